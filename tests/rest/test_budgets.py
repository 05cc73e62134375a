"""What a request costs in statements; a list of fifty costs what a list of one does."""

from typing import Any

import django
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_workflow import workflow
from django_workflow.testing import Harness
from tests.rest.stage import approved, at, boss, failed, note, waiting

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(workflow_harness: Harness) -> Any:
    return boss()


def cost(ask: Any, status: int) -> int:
    """Statements of ours: those without transaction control, and without what tells who it is."""
    with CaptureQueriesContext(connection) as queries:
        assert ask().status_code == status
    said = [query["sql"] for query in queries]
    control = ("SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN", "COMMIT")
    return sum(
        not sql.startswith(control) and "django_session" not in sql and "auth_" not in sql
        and "django_content_type" not in sql
        for sql in said
    )  # fmt: skip


def test_a_list_of_fifty_costs_what_one_does(client: Any) -> None:
    note.using(labels={"a": 1, "b": 2}).start()
    one = cost(lambda: client.get(at("workflow-list")), 200)
    workflow.start_many(note.using(labels={"a": 1, "b": 2}), [{}] * 60)
    fifty = cost(lambda: client.get(at("workflow-list")), 200)
    assert len(client.get(at("workflow-list")).json()["results"]) == 50
    assert (one, fifty) == (1, 1)
    filtered = at("workflow-list", state="in_progress", definition="rest.note", key="k", **{"label.a": "1"})
    assert cost(lambda: client.get(filtered), 200) == 1


def test_looking(client: Any, workflow_harness: Harness) -> None:
    waits, ended = waiting(workflow_harness, "a"), failed(workflow_harness, "b")
    assert cost(lambda: client.get(at("workflow-detail", waits.id)), 200) == 1
    assert cost(lambda: client.get(at("workflow-status", ended.id)), 200) == 1
    assert cost(lambda: client.get(at("workflow-status", waits.id)), 200) == 3  # its steps, the pauses
    assert cost(lambda: client.get(at("workflow-steps", ended.id)), 200) == 3  # is there one, and its steps
    assert cost(lambda: client.get(at("definition-list")), 200) == 0


def test_verbs(client: Any, workflow_harness: Harness) -> None:
    waits = waiting(workflow_harness, "a")

    def post(name: str, body: dict[str, Any], *args: Any) -> Any:
        return lambda: client.post(at(name, *args), body, format="json")

    start = cost(post("workflow-list", {"definition": "rest.note"}), 201)
    assert start == cost(post("workflow-list", {"definition": "rest.note", "args": [[1] * 100]}), 201)
    event = cost(post("workflow-events", {"name": "x"}, waits.id), 202)
    cancel = cost(post("workflow-cancel", {}, waits.id), 200)
    # The insertion and the log; and the times that the database has set, which Django 6 has it return at once.
    assert start == (3 if django.VERSION < (6,) else 2)
    # Who it is, and whether there is one; the manager's call; the log; what has become of it.
    assert event == 7
    assert cancel == 7


def test_the_other_routes(client: Any, workflow_harness: Harness) -> None:
    waits, ended, other = (
        waiting(workflow_harness, "a"),
        failed(workflow_harness, "b"),
        failed(workflow_harness, "c"),
    )
    address = waits.event_url(approved)

    def post(name: str, body: dict[str, Any], *args: Any) -> Any:
        return lambda: client.post(at(name, *args), body, format="json")

    assert cost(lambda: client.get(at("definition-detail", "rest.note")), 200) == 0
    assert cost(lambda: client.get(at("health")), 503) == 8  # no ticker leads
    assert cost(lambda: client.get(address), 200) == 3
    assert cost(lambda: client.post(address, {"value": True}, format="json"), 202) == 8
    # Each with a look at the workflow before, the log, and what has become of it.
    assert cost(post("workflow-restart", {}, ended.id), 202) <= 10
    assert cost(post("workflow-fork", {"from_step": 2}, other.id), 201) <= 10
    assert cost(post("workflow-cleanup", {}, other.id), 204) <= 12
