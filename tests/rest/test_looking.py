"""A workflow, its status and its journal; what has not changed is not told again."""

import json
from datetime import timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from django_workflow import workflow
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.rest.stage import (
    VIEW,
    at,
    boss,
    client_of,
    failed,
    fields,
    finished,
    note,
    order,
    problem,
    user,
    waiting,
)

pytestmark = pytest.mark.django_db
PAGES = ("workflow-detail", "workflow-status")


def status(client: APIClient, run: Workflow, **query: str) -> dict[str, Any]:
    response = client.get(at("workflow-status", run.id, **query))
    assert response.status_code == 200, response.content
    told: dict[str, Any] = response.json()
    return told


# ── the status ──────────────────────────────────────────────────────────────────────────────────────────────


def test_in_progress(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    told = status(boss(), run)
    (wait,) = told.pop("running")
    assert told == {
        "id": str(run.id),
        "type": "in_progress",
        "custom": {"done": 1, "of": 2},
        "paused": None,
        "canceling": False,
        "hidden": [],
    }
    assert (wait["number"], wait["name"], wait["kind"], wait["state"]) == (
        2,
        "rest.approved",
        "event",
        "pending",
    )
    assert set(wait) == {"number", "name", "kind", "state", "attempts", "started_at", "due_at"}


def test_completed(workflow_harness: Harness) -> None:
    run = finished(workflow_harness, "plum")
    told = status(boss(), run)
    assert told == {
        "id": str(run.id),
        "type": "completed",
        "result": "delivered plum",
        "custom": {"done": 1, "of": 2},
        "paused": None,
        "canceling": False,
        "hidden": [],
    }


def test_failed(workflow_harness: Harness) -> None:
    told = status(boss(), failed(workflow_harness, "plum"))
    error = told.pop("error")
    assert told["type"] == "failed"
    assert set(told) == {"id", "type", "custom", "paused", "canceling", "hidden"}
    assert (error["type"], error["message"], error["step"]) == ("builtins.ValueError", "no plum", 3)
    assert "raise ValueError" in error["traceback"]


def test_canceled(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    run.cancel("not needed")
    told = status(boss(), run)
    assert (told["type"], told["reason"]) == ("canceled", "not needed")
    assert set(told) == {"id", "type", "reason", "custom", "paused", "canceling", "hidden"}


def test_paused_and_canceling(workflow_harness: Harness) -> None:
    client, run = boss(), waiting(workflow_harness)
    workflow.pause("a backup")
    run.cancel("called off", rollback=True)
    told = status(client, run)
    assert (told["type"], told["paused"], told["canceling"]) == ("in_progress", "a backup", True)
    workflow.resume()
    workflow_harness.drain()
    assert status(client, run)["type"] == "canceled"


def test_without_view_payload_results_and_tracebacks_are_null_and_named(workflow_harness: Harness) -> None:
    client = client_of(user("looker", VIEW))
    ended, broken = finished(workflow_harness, "plum"), failed(workflow_harness, "pear")
    told = status(client, ended)
    assert (told["result"], told["hidden"]) == (None, ["result"])
    told = status(client, broken)
    assert (told["error"]["message"], told["error"]["traceback"], told["hidden"]) == (
        "no pear",
        None,
        ["traceback"],
    )
    for run in (ended, broken):
        detail = client.get(at("workflow-detail", run.id)).json()
        assert detail["args"] is detail["result"] is detail["context"] is None
        assert detail["hidden"] == ["args", "result", "context", "traceback"]
        for step in client.get(at("workflow-steps", run.id)).json()["results"]:
            assert step["args"] is step["result"] is None
            assert step["hidden"] == ["args", "result", "traceback"]
            assert step["error"] is None or step["error"]["traceback"] is None


# ── all of it ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_detail_of_one_that_failed(workflow_harness: Harness) -> None:
    run = failed(workflow_harness, "plum")
    told = boss().get(at("workflow-detail", run.id)).json()
    assert (told["id"], told["definition"], told["state"]) == (str(run.id), "rest.order", "failed")
    assert told["args"] == {"label": "plum", "amount": 1}
    assert (told["custom"], told["result"], told["reason"]) == ({"done": 1, "of": 2}, None, None)
    assert told["error"]["type"] == "builtins.ValueError"
    assert told["created_at"] <= told["started_at"] <= told["completed_at"]
    assert told["hidden"] == []


def test_a_workflow_whose_code_is_gone_is_shown(workflow_harness: Harness) -> None:
    run = finished(workflow_harness, "plum")
    Workflow.objects.filter(id=run.id).update(definition="old.gone")
    client = boss()
    assert client.get(at("workflow-detail", run.id)).json()["args"] == {"label": "plum", "amount": 1}
    assert status(client, run)["result"] == "delivered plum"


def test_the_journal_in_pages(workflow_harness: Harness) -> None:
    client, run = boss(), failed(workflow_harness, "plum")
    whole = client.get(at("workflow-steps", run.id)).json()
    assert [(step["number"], step["name"], step["kind"], step["state"]) for step in whole["results"]] == [
        (1, "prepare", "action", "completed"),
        (2, "rest.approved", "event", "completed"),
        (3, "deliver", "action", "failed"),
        (4, "unprepare", "rollback", "completed"),
    ]
    assert [step["result"] for step in whole["results"]] == ["prepared plum", True, None, None]
    assert "plum" in json.dumps(whole["results"][0]["args"])
    assert whole["results"][2]["error"]["message"] == "no plum"
    first = client.get(at("workflow-steps", run.id, page_size="2")).json()
    second = client.get(first["next"]).json()
    assert first["results"] + second["results"] == whole["results"]
    assert second["next"] is None
    assert client.get(second["previous"]).json()["results"] == first["results"]
    for size in ("0", "501", "x"):
        assert set(fields(client.get(at("workflow-steps", run.id, page_size=size)))) == {"page_size"}


@pytest.mark.parametrize("name", [*PAGES, "workflow-steps"])
def test_a_query_that_is_not_known(workflow_harness: Harness, name: str) -> None:
    run = note.start()
    assert set(fields(boss().get(at(name, run.id, state="failed", fields="id")))) == {"state", "fields"}


@pytest.mark.parametrize(
    "id",
    [
        "1",
        "-",
        "None",
        "a.b",
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "00000000-0000-0000-0000-00000000000g",
        "01a218b7-a310-7000-9d5f-3fd0f011a789.json",
        "%00",
        "%0a",
        "%ed%a0%80",
        "x" * 3000,
        "' OR 1=1 --",
        "..%5c",
        "\u0660" * 32,
    ],
)
@pytest.mark.parametrize("page", ["", "status/", "steps/"])
def test_what_is_no_id_is_not_there(id: str, page: str) -> None:
    note.start()
    problem(boss().get(f"/api/workflows/{id}/{page}"), "not-found")


# ── ETags ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", PAGES)
def test_what_has_not_changed_is_304(workflow_harness: Harness, name: str) -> None:
    client, run = boss(), waiting(workflow_harness)
    first = client.get(at(name, run.id))
    tag = first.headers["ETag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = client.get(at(name, run.id), headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    for other in ('"other"', tag.strip('"'), "garbage", "", "\x85", "*, x"):
        assert client.get(at(name, run.id), headers={"If-None-Match": other}).status_code == 200
    run.send_event("rest.approved", True)
    workflow_harness.drain()
    changed = client.get(at(name, run.id), headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag
    assert "private" in first.headers["Cache-Control"]


def test_the_tag_is_of_what_this_user_sees(workflow_harness: Harness) -> None:
    run = finished(workflow_harness)
    seen = {
        client.get(at("workflow-detail", run.id)).headers["ETag"]
        for client in (boss(), client_of(user("l", VIEW)))
    }
    assert len(seen) == 2


def test_a_time_of_start_is_shown(workflow_harness: Harness) -> None:
    run = order.using(run_after=timedelta(days=1)).start("a")
    told = boss().get(at("workflow-detail", run.id)).json()
    assert told["due_at"] is not None
    assert told["due_at"].endswith("Z")
    assert told["started_at"] is None
