"""What is due, and who leads, in one statement that reads short stretches of indexes."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from pytest_django import DjangoAssertNumQueries

from django_workflow.journal import clock, due, leader, processes
from django_workflow.journal.clock import Now
from django_workflow.models import Step, Workflow

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
WITHIN = timedelta(seconds=30)


def workflow(due_in: timedelta | None, **others: Any) -> Workflow:
    """A workflow that is due after so long; None: never."""
    due_at = None if due_in is None else Now(due_in)
    values = {"id": clock.new_id(), "definition": "none", "due_at": due_at, "created_at": Now()}
    return Workflow.objects.create(**(values | others))


def step(due_in: timedelta | None, **others: Any) -> Step:
    """A pending step of a workflow that is due never."""
    due_at = None if due_in is None else Now(due_in)
    values = {"number": 1, "name": "a", "kind": "action", "due_at": due_at, "created_at": Now()}
    return Step.objects.create(workflow=workflow(None), **(values | others))


def due_at(row: Workflow | Step) -> Any:
    row.refresh_from_db(fields=["due_at"])
    return row.due_at


def test_nothing_is_due() -> None:
    workflow(None, state="completed")
    workflow(MINUTE)
    step(None, state="completed")
    look = due.look("tests", within=WITHIN)
    assert look.clusters == {}
    assert not look.crowded
    assert (look.leader, look.led) == (None, False)
    assert due.oldest_due_age() is None


def test_the_first_look_finds_all_that_is_due_fresh() -> None:
    oldest = workflow(-MINUTE)
    workflow(-SECOND)
    look = due.look("tests")
    assert look.clusters == {"": due.Due(fresh=due_at(oldest))}


def test_each_look_tells_what_was_due_before_from_what_became_due_and_what_will_be() -> None:
    before = workflow(-MINUTE)
    now = clock.read(connection)
    since, middle = now - 10 * SECOND, now - 5 * SECOND
    since_then = workflow(None, due_at=middle)
    coming = workflow(10 * SECOND)
    workflow(20 * SECOND)
    look = due.look("tests", since, WITHIN)
    assert look.clusters == {"": due.Due(due_at(before), due_at(since_then), due_at(coming))}
    assert look.now >= now


def test_clusters_are_told_apart() -> None:
    ours, theirs = workflow(-SECOND), workflow(-MINUTE, cluster="reports")
    look = due.look("tests")
    assert look.clusters == {"": due.Due(fresh=due_at(ours)), "reports": due.Due(fresh=due_at(theirs))}


@pytest.mark.parametrize("kind", ["query", "mutation", "action", "rollback"])
def test_steps_with_a_body_are_due_by_themselves(kind: str) -> None:
    earlier = step(-MINUTE, kind=kind, cluster="reports")
    workflow(-SECOND, cluster="reports")
    assert due.look("tests").clusters == {"reports": due.Due(fresh=due_at(earlier))}


@pytest.mark.parametrize("kind", ["sleep", "event", "workflow", "marker"])
def test_steps_without_a_body_are_not(kind: str) -> None:
    step(-MINUTE, kind=kind)
    assert due.look("tests").clusters == {}
    assert due.oldest_due_age() is None


def test_a_lease_that_has_run_out_is_due() -> None:
    abandoned = workflow(-SECOND, lease_owner="somebody:1")
    workflow(MINUTE, lease_owner="somebody:2")
    assert due.look("tests").clusters == {"": due.Due(fresh=due_at(abandoned))}


def test_a_look_that_may_have_missed_something_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(due, "LIMIT", 3)
    for _ in range(2):
        workflow(-SECOND)
    assert not due.look("tests").crowded
    workflow(-SECOND)
    assert due.look("tests").crowded


def test_a_look_tells_who_leads_its_cluster() -> None:
    owner = uuid.uuid4()
    leader.try_lead(owner, "tests")
    look = due.look("tests")
    assert (look.leader, look.led) == (owner, True)
    assert due.look("reports").leader is None
    leader.resign(owner, "tests")
    look = due.look("tests")
    assert (look.leader, look.led) == (None, False)


def test_a_look_tells_when_processes_come_or_go() -> None:
    processes._forked()
    nobody = due.look("tests").processes
    processes.register()
    somebody = due.look("tests").processes
    assert somebody != nobody
    assert due.look("tests").processes == somebody
    processes._forked()


def test_the_age_of_the_oldest_due_work() -> None:
    workflow(-SECOND)
    step(-MINUTE)
    age = due.oldest_due_age()
    assert age is not None
    assert MINUTE <= age < 10 * MINUTE


def test_a_look_is_one_statement(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    workflow(-SECOND)
    with django_assert_num_queries(1):
        due.look("tests", within=WITHIN)
    with django_assert_num_queries(1):
        due.oldest_due_age()


def test_a_look_reads_the_tables_by_their_indexes_alone() -> None:
    sql, params = due._statement(connection, clock.to_db(connection, due.BEGINNING), WITHIN, "ticker:tests")
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # It reads small tables whole for good reason; can it do without?
            cursor.execute("SET LOCAL enable_seqscan = off")
        explain = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
        cursor.execute(f"{explain} {sql}", params)
        plan = "\n".join(str(row) for row in cursor.fetchall())
    assert plan.count("workflow_due") >= 2
    assert plan.count("workflow_step_due") >= 2
    for table in ("django_workflow_workflow", "django_workflow_step"):
        assert f"SCAN {table}" not in plan  # SQLite
        assert f"Seq Scan on {table}" not in plan  # PostgreSQL
        assert f"'{table}', 'ALL'" not in plan  # MariaDB
