"""How workflows end: R11, R13, R14, R15 and R18 as they hold for `on_complete`, and R29 for rollbacks."""

import logging
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.db import OperationalError, connection, transaction

from django_workflow import Canceled, Completed, Failed, InProgress, StepContext, mutation, workflow
from django_workflow.engine.drain import drain
from django_workflow.models import Step, Workflow
from django_workflow.testing import Harness, SimulatedCrash
from tests.engine import bodies
from tests.engine.committed import committed
from tests.engine.elsewhere import before_statements, elsewhere, lose_connection
from tests.shop.models import Entry

pytestmark = committed
NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)
LEASE = timedelta(seconds=31)
SERVER = settings.DATABASE in ("postgres", "mariadb")

told: list[str] = []  # what was told, whether or not it counts
script: list[Callable[[], None]] = []  # what `tell` does next, once each


@pytest.fixture(autouse=True)
def clean_slate() -> None:
    told.clear()
    script.clear()


@pytest.fixture
def workflow_harness(transactional_db: None) -> Iterator[Harness]:
    """The harness, on a database on which other threads see what is committed."""
    with Harness() as harness:
        yield harness


def tell(workflow_id: UUID, result: Any, context: Any) -> None:
    told.append(result.type)
    Entry.objects.create(label=f"told {result.type}")
    if script:
        script.pop(0)()


@workflow.define(name="endings.actions", on_complete=tell)
async def acts(step: StepContext, label: str, fails: bool = False) -> str:
    await step.run_mutation(bodies.write, label)
    await step.run_action(bodies.act, label)
    if fails:
        raise ValueError("at last")
    return label


@mutation
def unwrite(error: Any, result: Any, label: str) -> None:
    told.append(f"unwrite {label}")
    Entry.objects.create(label=f"un{label}")
    if script:
        script.pop(0)()


@workflow.define(name="endings.saga", on_complete=tell)
async def saga(step: StepContext, labels: list[str]) -> None:
    for label in labels:
        await step.using(rollback=unwrite).run_mutation(bodies.write, label)
    if "wait" in labels:
        await step.sleep(86_400)
    raise ValueError("at last")


@workflow.define(name="endings.nothing", on_complete=tell)
async def does_nothing(step: StepContext) -> str:
    return "nothing"


def rows(label: str) -> int:
    return Entry.objects.filter(label=label).count()


def on(harness: Harness, times: int = 10) -> None:
    """Past every backoff and lease."""
    for _ in range(times):
        harness.advance(LEASE)


def deadlock() -> None:
    def report(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        raise OperationalError("database is locked")

    # The innermost wrapper stands for the database: what it raises, the engine sees as the database's.
    connection.execute_wrappers.append(report)
    try:
        Entry.objects.count()
    finally:
        connection.execute_wrappers.remove(report)


def swallow_a_deadlock() -> None:
    try:
        deadlock()
    except OperationalError:
        told.append("swallowed")


def lose_it() -> None:
    if not SERVER:
        deadlock()
    lose_connection()
    Entry.objects.count()


def die() -> None:
    raise SimulatedCrash


# ── on_complete ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("trouble", [deadlock, swallow_a_deadlock, lose_it])
@pytest.mark.parametrize("fails", [False, True])
def test_r11_r13_what_the_database_does_in_on_complete_repeats_the_turn_and_no_action(
    workflow_harness: Harness, trouble: Callable[[], None], fails: bool
) -> None:
    charges: list[str] = []
    workflow_harness.replace(bodies.act, with_=charges.append)
    script.extend([trouble] * 3)
    run = acts.start("x", fails)
    on(workflow_harness)
    end = "failed" if fails else "completed"
    assert run.status().type == end
    assert workflow.get(run).on_complete_error is None  # nobody's fault is not its error
    assert [each for each in told if each == end] == [end] * 4
    assert (charges, rows("x"), rows(f"told {end}")) == (["x"], 1, 1)


def test_r13_a_cancel_that_meets_a_deadlock_in_on_complete_is_repeated(workflow_harness: Harness) -> None:
    run = saga.start(["wait"])
    workflow_harness.drain()
    script.extend([deadlock] * 2)
    assert workflow.cancel(run, "enough") is True
    assert run.status() == Canceled("enough")
    assert workflow.get(run).on_complete_error is None
    assert (told, rows("told canceled")) == (["canceled"] * 3, 1)


def test_r13_in_a_callers_transaction_it_is_the_callers_deadlock(workflow_harness: Harness) -> None:
    run = saga.start(["wait"])
    workflow_harness.drain()
    script.append(deadlock)
    with pytest.raises(OperationalError), transaction.atomic():
        workflow.cancel(run, "enough")
    assert isinstance(run.status(), InProgress)
    assert rows("told canceled") == 0


def test_r18_its_on_commit_hooks_run_after_the_commit_and_what_they_raise_changes_nothing(
    workflow_harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []

    def look() -> None:
        seen.append(elsewhere(lambda: workflow.list(acts).get().state))
        raise ValueError("a hook's own")

    script.append(lambda: transaction.on_commit(look))
    run = acts.start("x")
    with caplog.at_level(logging.ERROR):
        workflow_harness.drain()
    assert seen == ["completed"]
    assert run.status() == Completed("x")
    assert "a hook's own" in caplog.text


def test_r18_p7_its_writes_are_seen_with_the_ending_and_not_before(workflow_harness: Harness) -> None:
    if not SERVER:
        script.append(lambda: told.append("nobody else can look while SQLite's one writer writes"))
    else:
        script.append(lambda: told.append(str(elsewhere(lambda: (rows("told completed"), in_progress())))))
    acts.start("x")
    workflow_harness.drain()
    assert told[1:] == ["(0, 1)"] or not SERVER
    assert (rows("told completed"), in_progress()) == (1, 0)


def in_progress() -> int:
    return Workflow.objects.in_progress().count()


def test_r2_p9_a_turn_that_has_lost_its_lease_tells_nothing(workflow_harness: Harness) -> None:
    run = acts.start("x")

    def body(label: str) -> str:
        assert elsewhere(lambda: workflow.cancel(run, "faster"))
        return label

    workflow_harness.replace(bodies.act, with_=body)
    workflow_harness.drain()
    assert run.status() == Canceled("faster")
    assert (told, rows("told canceled"), rows("told completed")) == (["canceled"], 1, 0)


def deaths(harness: Harness, limit: int = 40) -> int:
    """Let workers die one after the other until nothing kills them any more; how many died."""
    died = 0
    while died < limit:
        try:
            if not harness.advance(LEASE):
                return died
        except SimulatedCrash:
            died += 1
    raise AssertionError(f"still deadly after {limit} deaths")


@pytest.mark.parametrize("kind", ["no steps", "steps", "fails", "unwinds"])
def test_r15_an_on_complete_that_kills_its_workers_is_given_up_and_the_ending_stands(
    workflow_harness: Harness, kind: str
) -> None:
    script.extend([die] * 100)
    run: Workflow
    if kind == "unwinds":
        script.insert(0, lambda: None)  # the rollback's own turn of it
        run = saga.start(["x"])
    else:
        run = does_nothing.start() if kind == "no steps" else acts.start("x", kind == "fails")
    assert deaths(workflow_harness) <= 6
    status = run.status()
    if kind in ("fails", "unwinds"):
        assert isinstance(status, Failed)
        assert status.error.message == "at last"  # its own, whatever came after
    else:
        assert isinstance(status, Completed)
    error = workflow.get(run).on_complete_error
    assert error is not None
    assert error.type == "django_workflow.exceptions.StepInterrupted"
    assert "retry_on_complete" in error.message
    script.clear()
    assert workflow.retry_on_complete(run) is True
    assert rows(f"told {status.type}") == 1


def test_r15_a_body_that_killed_its_workers_is_not_held_against_on_complete(
    workflow_harness: Harness,
) -> None:
    """The fifth start goes well: everything is done then, `on_complete` included."""
    left = [4]

    def body(label: str) -> str:
        if left[0]:
            left[0] -= 1
            raise SimulatedCrash
        Entry.objects.create(label=label)
        return label

    workflow_harness.replace(bodies.write, with_=body)
    run = acts.start("x")
    assert deaths(workflow_harness) == 4
    assert run.status() == Completed("x")
    assert workflow.get(run).on_complete_error is None
    assert (rows("x"), rows("told completed")) == (1, 1)


def test_r15_a_workflow_that_is_ended_for_killing_its_workers_tells_of_it(workflow_harness: Harness) -> None:
    def body(label: str) -> str:
        raise SimulatedCrash

    workflow_harness.replace(bodies.write, with_=body)
    run = acts.start("x")
    assert deaths(workflow_harness) == 5
    assert isinstance(run.status(), Failed)
    assert workflow.get(run).on_complete_error is None
    assert rows("told failed") == 1


# ── rollbacks ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("trouble", [deadlock, swallow_a_deadlock, lose_it])
def test_r29_r13_what_the_database_does_in_a_rollback_repeats_it_and_is_no_failure(
    workflow_harness: Harness, trouble: Callable[[], None]
) -> None:
    script.extend([trouble] * 2)
    run = saga.start(["a", "b"])
    on(workflow_harness)
    assert isinstance(run.status(), Failed)
    assert (rows("una"), rows("unb"), rows("told failed")) == (1, 1, 1)
    undoing = Step.objects.filter(workflow=run, kind="rollback").order_by("number")
    assert [(step.args["step"], step.state) for step in undoing] == [(2, "completed"), (1, "completed")]


@pytest.mark.parametrize("trouble", [deadlock, lose_it])
def test_r29_r13_what_the_database_does_in_on_complete_repeats_the_ending_and_no_rollback(
    workflow_harness: Harness, trouble: Callable[[], None]
) -> None:
    script.extend([lambda: None, trouble, trouble])
    run = saga.start(["a"])
    on(workflow_harness)
    assert isinstance(run.status(), Failed)
    assert workflow.get(run).on_complete_error is None
    assert told.count("unwrite a") == 1
    assert (rows("una"), rows("told failed")) == (1, 1)


def test_r29_the_ending_is_decided_and_a_generation_begun_when_it_begins_to_unwind(
    workflow_harness: Harness,
) -> None:
    run = saga.start(["a", "wait"])
    workflow_harness.drain()
    before = workflow.get(run).generation
    assert workflow.cancel(run, "enough", rollback=True)
    row = workflow.get(run)
    assert (row.state, row.ending, row.generation) == ("in_progress", "canceled", before + 1)
    assert (row.reason, row.lease_owner, row.deadline_at) == ("enough", None, None)
    workflow_harness.drain()
    row = workflow.get(run)
    assert (row.state, row.ending, row.generation, row.due_at) == ("canceled", None, before + 1, None)


def test_r29_p9_a_turn_that_is_under_way_at_the_cancel_writes_nothing_more(workflow_harness: Harness) -> None:
    run = acts.start("x")

    def body(label: str) -> str:
        assert elsewhere(lambda: workflow.cancel(run, "meanwhile", rollback=True))
        return label

    workflow_harness.replace(bodies.act, with_=body)
    workflow_harness.drain()
    assert run.status() == Canceled("meanwhile")
    assert told == ["canceled"]
    assert [step.state for step in run.steps()] == ["completed", "canceled"]


def test_p8_a_plain_cancel_while_a_rollback_runs_undoes_its_writes(workflow_harness: Harness) -> None:
    run = saga.start(["a", "wait"])
    workflow_harness.drain()
    workflow.cancel(run, "first", rollback=True)
    came: list[bool] = []

    def cancel() -> None:
        came.append(elsewhere(lambda: workflow.cancel(run, "stop")))

    def at_start(sql: str) -> None:
        # SQLite has one writer: there it comes after the claim of the step, before its transaction.
        starts = sql.startswith("UPDATE") and "attempts" in sql
        if starts and not SERVER and not came and not connection.in_atomic_block:
            cancel()

    def undo(error: Any, result: Any, label: str) -> None:
        if SERVER and not came:
            cancel()
        Entry.objects.create(label=f"un{label}")

    workflow_harness.replace(unwrite, with_=undo)
    with before_statements(at_start):
        drain(None)
    assert came == [True]
    assert run.status() == Canceled("stop")
    on(workflow_harness, 2)
    assert (rows("una"), rows("unwait"), rows("told canceled")) == (0, 0, 1)
    assert [step.state for step in run.steps().filter(kind="rollback")] == ["canceled"]


def for_a_while(error: Any, result: Any, label: str) -> None:
    told.append(f"undone {label}")


@workflow.define(name="endings.renamed")
async def renamed(step: StepContext) -> None:
    await step.using(rollback=for_a_while).run_mutation(bodies.write, "x")
    await step.wait_for_event("never")


def test_r29_r27_a_rollback_that_this_worker_can_not_import_is_left_to_others(
    workflow_harness: Harness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = renamed.start()
    workflow_harness.drain()
    assert workflow.cancel(run, "enough", rollback=True)
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.delattr(sys.modules[__name__], "for_a_while")
        on(workflow_harness, 8)
        assert isinstance(run.status(), InProgress)
        assert "for_a_while" in caplog.text
        assert "bug of django_workflow" not in caplog.text
    on(workflow_harness, 3)
    assert run.status() == Canceled("enough")
    assert told == ["undone x"]


def test_r20_r29_two_workers_go_for_one_chain_and_each_rollback_runs_once(workflow_harness: Harness) -> None:
    """Wherever the first one is about to write, another one drains."""
    run = saga.start(["a", "b", "c"])
    busy: list[bool] = []

    def other(sql: str) -> None:
        if not connection.in_atomic_block and sql.startswith("UPDATE") and not busy:
            busy.append(True)
            elsewhere(lambda: drain(None))
            busy.clear()

    with before_statements(other):
        for _ in range(12):
            drain(None)
    workflow_harness.drain()
    assert isinstance(run.status(), Failed)
    assert [each for each in told if each.startswith("un")] == ["unwrite c", "unwrite b", "unwrite a"]
    assert [rows(f"un{label}") for label in "abc"] == [1, 1, 1]
    assert rows("told failed") == 1
