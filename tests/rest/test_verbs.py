"""Cancel, restart, fork, events and cleanup: what they answer, what they do, and what is written into the log."""

import json
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, DELETION
from django.test import override_settings
from rest_framework.test import APIClient

from django_workflow import workflow
from django_workflow.models import Event, Workflow
from django_workflow.testing import Harness
from tests.rest.stage import (
    at,
    boss,
    client_of,
    everything,
    failed,
    faults,
    fields,
    finished,
    logged,
    problem,
    user,
    waiting,
)
from tests.shop.models import Entry

pytestmark = pytest.mark.django_db


def send(client: APIClient, verb: str, run: Workflow, body: Any = None) -> Any:
    text = json.dumps({} if body is None else body)
    return client.post(at(f"workflow-{verb}", run.id), text, content_type="application/json")


# ── cancel ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_cancel(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    response = send(boss(), "cancel", run, {"reason": "not needed"})
    assert response.status_code == 200
    assert (response.json()["type"], response.json()["reason"]) == ("canceled", "not needed")
    assert workflow.status(run).type == "canceled"
    assert logged() == [("boss", str(run.pk), CHANGE, "cancel over HTTP: not needed")]


def test_cancel_with_rollback(workflow_harness: Harness) -> None:
    client, run = boss(), waiting(workflow_harness)
    response = send(client, "cancel", run, {"rollback": True})
    assert response.status_code == 200
    assert (response.json()["type"], response.json()["canceling"]) == ("in_progress", True)
    workflow_harness.drain()
    assert workflow.status(run).type == "canceled"
    assert Entry.objects.filter(label="undone apple").count() == 1
    assert [said for *_, said in logged()] == ["cancel over HTTP, with rollbacks"]


def test_cancel_of_what_has_finished_says_how_it_ended_and_is_no_deed(workflow_harness: Harness) -> None:
    run = finished(workflow_harness)
    before = everything()
    response = send(boss(), "cancel", run, {"reason": "too late"})
    assert (response.status_code, response.json()["type"]) == (200, "completed")
    assert everything() == before


def test_a_body_may_be_left_out(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    response = boss().generic("POST", at("workflow-cancel", run.id))
    assert response.status_code == 200
    assert workflow.status(run).type == "canceled"


def test_who_may_cancel_and_not_look_learns_that_it_is_canceled_and_no_more(
    workflow_harness: Harness,
) -> None:
    run = waiting(workflow_harness)
    response = send(client_of(user("stop", "cancel_workflow")), "cancel", run, {"reason": "x"})
    assert response.status_code == 200
    told = response.json()
    assert (told["id"], told["type"], told["canceling"]) == (str(run.id), "canceled", False)
    assert (told["custom"], told["reason"], told["paused"]) == (None, "", None)
    assert told["hidden"] == ["custom", "paused", "reason"]


def test_who_may_restart_and_not_look_learns_no_more(workflow_harness: Harness) -> None:
    run = failed(workflow_harness)
    told = send(client_of(user("again", "restart_workflow")), "restart", run, {"from_step": 2}).json()
    assert (told["type"], told["running"], told["custom"]) == ("in_progress", [], None)
    assert told["hidden"] == ["custom", "paused", "running"]


# ── restart ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"from_step": 3}, "restart over HTTP from step 3"),
        ({"from_step": "deliver"}, "restart over HTTP from step 'deliver'"),
        ({"from_failure": True}, "restart over HTTP from its failure"),
        (
            {"from_step": None, "from_failure": True, "reason": "fixed"},
            "restart over HTTP from its failure: fixed",
        ),
    ],
)
def test_restart(workflow_harness: Harness, body: dict[str, Any], said: str) -> None:
    run = failed(workflow_harness)
    faults.clear()
    response = send(boss(), "restart", run, body)
    assert (response.status_code, response.json()["type"]) == (202, "in_progress")
    workflow_harness.drain()
    assert workflow_harness.result(run) == "delivered apple"
    assert logged() == [("boss", str(run.pk), CHANGE, said)]


def test_restart_with_the_whole_journal_raises_what_is_on_record(workflow_harness: Harness) -> None:
    run = failed(workflow_harness)
    faults.clear()
    assert send(boss(), "restart", run).status_code == 202
    workflow_harness.drain()
    assert workflow.status(run).type == "failed"


@pytest.mark.parametrize("verb", ["restart", "fork"])
@pytest.mark.parametrize(
    "step", [0, 99, 2**31 - 1, "nowhere", "", "a\x00", "\ud800", "x" * 50_000, "os.system"]
)
def test_a_step_that_is_not_there(workflow_harness: Harness, verb: str, step: Any) -> None:
    client, run = boss(), failed(workflow_harness)
    before = everything()
    problem(send(client, verb, run, {"from_step": step}), "step-not-found")
    assert everything() == before


@pytest.mark.parametrize("verb", ["restart", "fork"])
@pytest.mark.parametrize("step", [-1, 2**31, 10**100, 1.0, True, [1], {"number": 1}])
def test_a_step_that_is_none(workflow_harness: Harness, verb: str, step: Any) -> None:
    run = failed(workflow_harness)
    assert set(fields(send(boss(), verb, run, {"from_step": step}))) == {"from_step"}


def test_from_one_place_not_from_two(workflow_harness: Harness) -> None:
    run = failed(workflow_harness)
    wrong = fields(send(boss(), "restart", run, {"from_step": 1, "from_failure": True}))
    assert set(wrong) == {"from_failure"}


def test_restart_of_what_is_in_progress(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    before = everything()
    problem(send(boss(), "restart", run), "in-progress")
    assert {name: rows for name, rows in everything().items() if rows != before[name]} == {}


def test_restart_from_a_failure_that_is_none(workflow_harness: Harness) -> None:
    run = finished(workflow_harness)
    problem(send(boss(), "restart", run, {"from_failure": True}), "step-not-found")


# ── fork ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_fork(workflow_harness: Harness) -> None:
    run = failed(workflow_harness)
    faults.clear()
    client = boss()
    response = send(client, "fork", run, {"from_step": 3, "reason": "try"})
    assert response.status_code == 201
    made = response.json()
    assert made["id"] != str(run.id)
    assert response.headers["Location"] == f"http://testserver{at('workflow-detail', made['id'])}"
    assert client.get(response.headers["Location"]).status_code == 200
    workflow_harness.drain()
    assert workflow_harness.result(made["id"]) == "delivered apple"
    assert workflow.status(run).type == "failed"
    assert logged() == [
        ("boss", str(run.pk), CHANGE, f"fork over HTTP from step 3 to {made['id']}: try"),
        ("boss", made["id"], CHANGE, f"fork over HTTP from step 3 of {run.id}: try"),
    ]


@pytest.mark.parametrize("body", [{}, {"from_step": None}])
def test_fork_has_to_say_from_where(workflow_harness: Harness, body: dict[str, Any]) -> None:
    run = failed(workflow_harness)
    assert set(fields(send(boss(), "fork", run, body))) == {"from_step"}


# ── events ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_event_with_its_value(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    response = send(boss(), "events", run, {"name": "rest.approved", "value": True, "reason": "fine"})
    assert response.status_code == 202
    assert (response.json()["name"], response.json()["key"]) == ("rest.approved", None)
    workflow_harness.drain()
    assert workflow_harness.result(run) == "delivered apple"
    assert logged() == [("boss", str(run.pk), CHANGE, "event 'rest.approved' over HTTP: fine")]


def test_an_event_with_an_error(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    assert send(boss(), "events", run, {"name": "rest.approved", "error": "refused"}).status_code == 202
    workflow_harness.drain()
    status: Any = workflow.status(run)
    assert "refused" in status.error.message


def test_an_event_without_a_value_is_null(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    assert send(boss(), "events", run, {"name": "rest.untyped"}).status_code == 202
    assert Event.objects.get().value is None


@pytest.mark.parametrize("header", [False, True])
def test_the_same_key_twice_delivers_once(workflow_harness: Harness, header: bool) -> None:
    client, run = boss(), waiting(workflow_harness)
    body = {"name": "rest.approved", "value": True, **({} if header else {"key": "k"})}
    for _ in range(2):
        headers = {"Idempotency-Key": '"k"'} if header else {}
        response = client.post(at("workflow-events", run.id), body, format="json", headers=headers)
        assert (response.status_code, response.json()["key"]) == (202, "k")
    assert Event.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, {"name"}),
        ({"name": 5}, {"name"}),
        ({"name": ""}, {"name"}),
        ({"name": "a\x00"}, {"name"}),
        ({"name": "\ud800"}, {"name"}),
        ({"name": "x" * 1000}, {"name"}),
        ({"name": "rest.approved"}, {"value"}),
        ({"name": "rest.approved", "value": "maybe"}, {"value"}),
        ({"name": "rest.approved", "value": 2}, {"value"}),
        ({"name": "rest.approved", "value": {"password": "canary"}}, {"value"}),
        ({"name": "rest.approved", "value": True, "error": "no"}, {"error"}),
        ({"name": "rest.approved", "value": None, "error": "no"}, {"error"}),
        ({"name": "rest.approved", "error": 5}, {"error"}),
        ({"name": "rest.approved", "error": ""}, {"error"}),
        ({"name": "rest.approved", "value": True, "key": ""}, {"key"}),
        ({"name": "rest.approved", "value": True, "key": 5}, {"key"}),
        ({"name": "rest.approved", "value": True, "key": "x" * 201}, {"key"}),
        ({"name": "rest.approved", "value": True, "id": 5}, {"id"}),
    ],
)
def test_an_event_that_is_wrong(workflow_harness: Harness, body: dict[str, Any], wrong: set[str]) -> None:
    client, run = boss(), waiting(workflow_harness)
    before = everything()
    response = send(client, "events", run, body)
    assert set(fields(response)) == wrong
    assert "canary" not in response.content.decode()
    assert everything() == before


def test_an_event_for_what_has_finished(workflow_harness: Harness) -> None:
    run = finished(workflow_harness)
    problem(send(boss(), "events", run, {"name": "rest.approved", "value": True}), "finished")
    assert logged() == []


@override_settings(DJANGO_WORKFLOW={"PENDING_EVENT_LIMIT": 1})
def test_more_events_than_may_wait(workflow_harness: Harness) -> None:
    client, run = boss(), waiting(workflow_harness)
    assert send(client, "events", run, {"name": "rest.later"}).status_code == 202
    problem(send(client, "events", run, {"name": "rest.later"}), "limit-reached")


# ── cleanup ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", ["cleanup", "delete"])
def test_cleanup(workflow_harness: Harness, way: str) -> None:
    client, run = boss(), finished(workflow_harness)

    def ask() -> Any:
        if way == "delete":
            return client.delete(at("workflow-detail", run.id))
        return send(client, "cleanup", run, {"reason": "old"})

    response = ask()
    assert (response.status_code, response.content) == (204, b"")
    assert not Workflow.objects.exists()
    problem(ask(), "not-found")
    said = "clean up over HTTP" + (": old" if way == "cleanup" else "")
    assert logged() == [("boss", str(run.pk), DELETION, said)]


@pytest.mark.parametrize("way", ["cleanup", "delete"])
def test_cleanup_of_what_is_in_progress(workflow_harness: Harness, way: str) -> None:
    client, run = boss(), waiting(workflow_harness)
    before = everything()
    response = (
        client.delete(at("workflow-detail", run.id)) if way == "delete" else send(client, "cleanup", run)
    )
    problem(response, "in-progress")
    assert everything() == before


# ── what holds for all ──────────────────────────────────────────────────────────────────────────────────────

BODIES: dict[str, dict[str, Any]] = {
    "cancel": {},
    "restart": {},
    "fork": {"from_step": 1},
    "events": {"name": "rest.approved", "value": True},
    "cleanup": {},
}


@pytest.mark.parametrize("verb", BODIES)
@pytest.mark.parametrize("id", ["1", "00000000-0000-0000-0000-000000000000", "a.b", "%00"])
def test_what_is_not_there_is_404(verb: str, id: str) -> None:
    response = boss().post(f"/api/workflows/{id}/{verb}/", BODIES[verb], format="json")
    problem(response, "not-found")


@pytest.mark.parametrize("verb", BODIES)
@pytest.mark.parametrize(
    ("extra", "wrong"),
    [
        ({"reason": 5}, {"reason"}),
        ({"reason": None}, {"reason"}),
        ({"reason": "x" * 1001}, {"reason"}),
        ({"reason": "a\x00"}, {"reason"}),
        ({"reason": "\ud800"}, {"reason"}),
        ({"force": True}, {"force"}),
        ({"rollback": "yes", "from_failure": "yes"}, {"rollback", "from_failure"}),
        ({"": 1, "\x00": 2, "non_field_errors": 3}, {"", "\x00"}),
    ],
)
def test_fields_that_are_wrong(
    workflow_harness: Harness, verb: str, extra: dict[str, Any], wrong: set[str]
) -> None:
    client, run = boss(), waiting(workflow_harness)
    before = everything()
    assert set(fields(send(client, verb, run, {**BODIES[verb], **extra}))) == wrong
    assert everything() == before


@pytest.mark.parametrize("verb", BODIES)
@pytest.mark.parametrize("body", ["[]", "null", "5", '"x"', "true"])
def test_a_body_that_is_no_object(workflow_harness: Harness, verb: str, body: str) -> None:
    run = waiting(workflow_harness)
    response = boss().post(at(f"workflow-{verb}", run.id), body, content_type="application/json")
    assert set(fields(response)) == {""}


@pytest.mark.parametrize("verb", BODIES)
def test_a_query_is_not_a_body(workflow_harness: Harness, verb: str) -> None:
    client, run = boss(), waiting(workflow_harness)
    before = everything()
    response = client.post(at(f"workflow-{verb}", run.id) + "?reason=x", BODIES[verb], format="json")
    assert set(fields(response)) == {"reason"}
    assert everything() == before
