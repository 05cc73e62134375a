"""Locks, isolation and time: R20, R21, R22 and R24."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError, connection, connections, transaction

import django_workflow
from django_workflow import Canceled, Completed, workflow
from django_workflow.engine.drain import drain, known
from django_workflow.journal import claims, clock, holding, processes, workflows
from django_workflow.models import Label, Step, Workflow
from django_workflow.testing import Harness
from tests.engine import bodies
from tests.engine.committed import committed
from tests.engine.elsewhere import PATIENCE, Elsewhere, before_statements, elsewhere, wait
from tests.shop.models import Entry

pytestmark = committed
NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)


@pytest.fixture
def workflow_harness(transactional_db: None) -> Iterator[Harness]:
    """The harness, on a database on which other threads see what is committed."""
    with Harness() as harness:
        yield harness


def two_running_steps(harness: Harness) -> tuple[Workflow, list[claims.Runnable]]:
    harness.freeze(NOON)
    run = bodies.three_and_sleeps.start("x")
    harness.drain()
    harness.freeze(NOON + timedelta(seconds=10))
    claimed = [claims.claim_step(processes.token(), None, known()) for _ in range(2)]
    steps = [each for each in claimed if each is not None]
    assert [holding.start_step(each, each.history) for each in steps] == [True, True]
    return run, steps


def note(statements: list[tuple[bool, str]], sql: str) -> None:
    statements.append((connection.in_atomic_block, sql))


def settle(step: claims.Runnable) -> bool:
    with transaction.atomic():
        return holding.settle_step(step, state="completed", result_text="null")


# ── R20 ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_r20_every_edge_locks_the_workflow_before_its_steps(workflow_harness: Harness) -> None:
    run, steps = two_running_steps(workflow_harness)
    edges = {
        "settle": lambda: settle(steps[0]),
        "turn": lambda: workflow_harness.advance(timedelta(seconds=12)),
        "cancel": run.cancel,
        "cleanup": run.cleanup,
    }
    for edge, take in edges.items():
        statements: list[tuple[bool, str]] = []
        with before_statements(partial(note, statements)):
            assert take(), edge
        locking = [
            sql
            for inside, sql in statements
            if inside and re.match("INSERT|UPDATE|DELETE|SELECT.*FOR UPDATE", sql)
        ]
        steps_at = [
            at
            for at, sql in enumerate(locking)
            if re.match(r"(INSERT INTO|UPDATE|DELETE FROM) .?\w*workflow_step", sql)
        ]
        workflow_at = [at for at, sql in enumerate(locking) if "workflow_workflow" in sql]
        if edge == "cleanup" and connection.vendor == "sqlite":
            assert steps_at  # SQLite has one lock for all
        else:
            assert workflow_at, (edge, locking)
            assert steps_at, (edge, locking)
            assert workflow_at[0] < steps_at[0], (edge, locking)


def test_r20_two_steps_that_settle_at_once_both_count(workflow_harness: Harness) -> None:
    run, steps = two_running_steps(workflow_harness)
    before = Workflow.objects.get(id=run.id).wakes
    barrier = threading.Barrier(2, timeout=PATIENCE)

    def meet_and_settle(step: claims.Runnable) -> bool:
        barrier.wait()
        return settle(step)

    workers = [Elsewhere(partial(meet_and_settle, step)) for step in steps]
    assert [worker.result() for worker in workers] == [True, True]
    assert Workflow.objects.get(id=run.id).wakes == before + 2
    assert Step.objects.filter(workflow=run, state="completed").count() == 2


def test_r20_a_settling_step_and_a_cancel_at_once_have_one_winner(workflow_harness: Harness) -> None:
    run, steps = two_running_steps(workflow_harness)
    if connection.vendor == "sqlite":
        results = [settle(steps[0]), workflow.cancel(run)]
    else:
        canceling = threading.Event()
        others: list[Elsewhere[bool]] = []

        def cancel() -> bool:
            canceling.set()
            return workflow.cancel(run)

        # The settle has the workflow's row and not yet the step's when the cancel arrives.
        with transaction.atomic():
            assert workflows.wake(run.id)
            others.append(Elsewhere(cancel))
            wait(canceling)
            assert holding.settle_step(steps[0], state="completed", result_text="null")
        results = [True, others[0].result()]
    assert results == [True, True]
    assert isinstance(run.status(), Canceled)
    assert [step.state for step in workflow_harness.journal(run)] == [
        "completed",
        "canceled",
        "canceled",
        "canceled",
    ]
    assert not settle(steps[1])


@pytest.mark.parametrize("call", ["start", "cancel", "cleanup"])
def test_r20_a_deadlock_in_a_call_of_the_manager_is_retried(workflow_harness: Harness, call: str) -> None:
    run = bodies.one_mutation.start("x")
    if call == "cleanup":
        run.cancel()
    left = [2]

    def fail(sql: str) -> None:
        if left[0] and re.match("INSERT|UPDATE|DELETE", sql):
            left[0] -= 1
            raise OperationalError(1213 if connection.vendor == "mysql" else "database is locked")

    calls: dict[str, Any] = {
        "start": lambda: bool(bodies.one_mutation.start("y")),
        "cancel": run.cancel,
        "cleanup": run.cleanup,
    }
    with before_statements(fail):
        assert calls[call]()
    assert left == [0]
    assert Workflow.objects.count() == {"start": 2, "cancel": 1, "cleanup": 0}[call]


def test_r20_inside_a_callers_transaction_nothing_is_retried(workflow_harness: Harness) -> None:
    run = bodies.one_mutation.start("x")
    sent: list[str] = []

    def fail(sql: str) -> None:
        if sql.startswith("UPDATE"):
            sent.append(sql)
            raise OperationalError(1213 if connection.vendor == "mysql" else "database is locked")

    with pytest.raises(OperationalError), transaction.atomic(), before_statements(fail):
        run.cancel()
    assert len(sent) == 1


def test_p1_r18_a_start_whose_commit_was_lost_sight_of_makes_one_workflow(workflow_harness: Harness) -> None:
    left = [1]

    def lose(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        if left[0] and str(sql).startswith("INSERT"):
            left[0] -= 1
            raise OperationalError(2013, "server closed the connection unexpectedly")
        return result

    with connection.execute_wrapper(lose):
        run = bodies.one_mutation.start("x")
    assert left == [0]
    workflow_harness.drain()
    assert [each.id for each in Workflow.objects.all()] == [run.id]
    assert run.status() == Completed("x")


@pytest.mark.parametrize("committed", [False, True])
def test_p1_r18_a_start_with_a_key_whose_commit_was_lost_sight_of_makes_one_workflow(
    workflow_harness: Harness, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    here, left = connections["default"], [1]
    commit = here.commit

    def lose() -> None:
        if left[0]:
            left[0] -= 1
            if committed:
                commit()
            raise OperationalError(2013, "server closed the connection unexpectedly")
        commit()

    monkeypatch.setattr(here, "commit", lose)
    run = bodies.one_mutation.using(key="x").start("x")
    assert left == [0]
    assert run.created_at <= Workflow.objects.get().created_at
    workflow_harness.drain()
    assert [each.id for each in Workflow.objects.all()] == [run.id]
    assert run.status() == Completed("x")


@pytest.mark.parametrize("passes", [False, True])
def test_p1_a_start_whose_labels_can_not_be_written_is_none_or_is_repeated(
    workflow_harness: Harness, passes: bool
) -> None:
    left = [1]

    def lose(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        if left[0] and str(sql).startswith("INSERT") and Label._meta.db_table in str(sql):
            left[0] -= 1
            raise OperationalError(2013 if passes else 1, "connection lost" if passes else "disk full")
        return execute(sql, params, many, context)

    start = bodies.one_mutation.using(labels={"customer": 42}).start
    with connection.execute_wrapper(lose), nullcontext() if passes else pytest.raises(OperationalError):
        start("x")
    assert left == [0]
    assert workflow.list(labels={"customer": 42}).count() == Workflow.objects.count() == passes


# ── R21 ─────────────────────────────────────────────────────────────────────────────────────────────────────

if settings.DATABASE != "sqlite":  # there the caller's transaction keeps every other writer out

    def test_r21_a_cancel_sees_what_others_committed_since_its_transaction_began(
        workflow_harness: Harness,
    ) -> None:
        run = bodies.two_sleeps.start("x")
        with connection.cursor() as cursor:
            if connection.vendor == "mysql":
                cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        try:
            with transaction.atomic():
                assert Step.objects.count() == 0  # a snapshot, where there are any
                elsewhere(lambda: drain(None))
                assert workflow.cancel(run)
        finally:
            connection.close()
        assert [step.state for step in workflow_harness.journal(run)] == ["canceled", "canceled"]

    def test_r21_the_tests_themselves_run_under_read_committed(transactional_db: None) -> None:
        show = "SHOW transaction_isolation" if connection.vendor == "postgresql" else "SELECT @@tx_isolation"
        with connection.cursor() as cursor:
            cursor.execute(show)
            (level,) = cursor.fetchone()
        assert level.replace("-", " ").lower() == "read committed"


# ── R22 ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_r22_leading_queries_hold_no_lock_that_others_need(workflow_harness: Harness) -> None:
    def body(label: str) -> int:
        elsewhere(write_at_once)
        return 0

    def write_at_once() -> None:
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute("PRAGMA busy_timeout = 100")
        Entry.objects.create(label="meanwhile")

    workflow_harness.replace(bodies.look, with_=body)
    run = bodies.query_then_mutation.start("x")
    workflow_harness.drain()
    assert run.status() == Completed("x")
    assert sorted(Entry.objects.values_list("label", flat=True)) == ["meanwhile", "x"]


if settings.DATABASE == "sqlite":

    @pytest.mark.parametrize("definition", [bodies.query_then_mutation, bodies.one_mutation_alone])
    def test_r22_a_locked_database_is_waited_for_and_no_steps_error(
        workflow_harness: Harness, monkeypatch: pytest.MonkeyPatch, definition: Any
    ) -> None:
        locked, refused = threading.Event(), threading.Event()
        holders: list[Elsewhere[None]] = []
        last = ""

        def hold_the_lock() -> None:
            with transaction.atomic():
                Entry.objects.create(label="holder")
                locked.set()
                wait(refused)

        def watch(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
            nonlocal last
            # The mutation's transaction is about to begin: after the query, or after its own start was counted.
            if sql.startswith("BEGIN") and not holders and ("shop_entry" in last or '"attempts" =' in last):
                holders.append(Elsewhere(hold_the_lock))
                wait(locked)
            last = sql
            try:
                return execute(sql, params, many, context)
            except OperationalError:
                refused.set()
                raise

        run = definition.start("x")
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", 0.02)
        connection.close()
        try:
            with connection.execute_wrapper(watch):
                workflow_harness.drain()
            holders[0].result()
            workflow_harness.advance(timedelta(seconds=31))
            workflow_harness.advance(timedelta(seconds=31))
        finally:
            connection.close()
        assert refused.is_set()
        assert run.status() == Completed("x")
        assert {step.state for step in workflow_harness.journal(run)} == {"completed"}
        assert sorted(Entry.objects.values_list("label", flat=True)) == ["holder", "x"]


def test_r22_a_turns_commit_renews_the_lease(workflow_harness: Harness) -> None:
    dues: list[Any] = []

    def body(label: str) -> str:
        dues.append(elsewhere(lambda: Workflow.objects.values_list("due_at", flat=True).get()))
        clock_of(workflow_harness, seconds=20)
        return label

    workflow_harness.freeze(NOON)
    workflow_harness.replace(bodies.act, with_=body)
    bodies.actions_in_a_row.start(3)
    workflow_harness.drain()
    assert dues == [NOON + timedelta(seconds=30 + 20 * count) for count in range(3)]


def clock_of(harness: Harness, *, seconds: int) -> None:
    """Move the clock without draining."""
    harness.freeze(harness.now() + timedelta(seconds=seconds))


# ── R24 ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_r24_time_goes_on_within_a_transaction(transactional_db: None) -> None:
    with transaction.atomic():
        first = clock.read(connection)
        deadline = time.monotonic() + PATIENCE
        while clock.read(connection) == first:
            assert time.monotonic() < deadline, "the clock stands still inside a transaction"


def test_r24_time_is_the_databases_and_utc_whatever_the_session_says(transactional_db: None) -> None:
    with connection.cursor() as cursor:
        utc = {
            "sqlite": "SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')",
            "postgresql": "SELECT clock_timestamp()",
            "mysql": "SELECT UTC_TIMESTAMP(6)",
        }
        shift = {"postgresql": "SET TIME ZONE 'Asia/Tokyo'", "mysql": "SET time_zone = '+09:00'"}
        try:
            if connection.vendor in shift:
                cursor.execute(shift[connection.vendor])
            cursor.execute(utc[connection.vendor])
            expected = clock.to_python(cursor.fetchone()[0])
            assert expected is not None
            assert abs(clock.read(connection) - expected) < timedelta(minutes=1)
            run = Workflow(id=clock.new_id(), definition="x", created_at=clock.Now(), due_at=clock.Now())
            run.save(force_insert=True)
            run = Workflow.objects.get(id=run.id)
            assert abs(run.created_at - expected) < timedelta(minutes=1)
        finally:
            connection.close()


def test_r24_a_host_whose_clock_is_an_hour_off_changes_nothing(
    workflow_harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = clock.read(connection)
    run = bodies.two_sleeps.start("x")
    off = 3600.0
    monkeypatch.setattr(time, "time", lambda now=time.time: now() + off)
    monkeypatch.setattr(time, "time_ns", lambda now=time.time_ns: now() + int(off * 1e9))
    workflow_harness.drain()
    run.refresh_from_db()
    assert run.due_at is not None
    assert timedelta(seconds=10) <= run.due_at - started < timedelta(minutes=1)
    off = -3600.0
    workflow_harness.advance(timedelta(seconds=9))
    assert run.status() != Completed("x")
    workflow_harness.advance(timedelta(minutes=1))
    assert run.status() == Completed("x")


def test_r24_p6_the_last_of_a_batch_knows_what_time_it_is(workflow_harness: Harness) -> None:
    """Its clock began at the claim, not at its turn: a sleep after the turns before it is not early."""
    read: dict[str, datetime] = {}

    def body(label: str) -> str:
        claimed_at = clock.read(connection)
        deadline = time.monotonic() + PATIENCE
        while clock.read(connection) < claimed_at + timedelta(milliseconds=60):
            assert time.monotonic() < deadline
        read[label] = clock.read(connection)
        return label

    workflow_harness.replace(bodies.write, with_=body)
    runs = [bodies.mutation_and_sleep.start(str(number)) for number in range(4)]
    workflow_harness.drain()
    for number, run in enumerate(runs):
        written, asleep = workflow_harness.journal(run)
        assert asleep.due_at is not None
        assert written.delivered_at is not None
        early = read[str(number)] + timedelta(seconds=60) - asleep.due_at
        assert early < timedelta(milliseconds=50), f"workflow {number} sleeps too short by {early}"


ASKS_THE_TIME = re.compile(
    r"\b(timezone\.now|datetime\.(now|utcnow|today)|date\.today|time\.time(_ns)?|time\.monotonic|perf_counter)\s*\("
)


def test_r24_nobody_but_the_clock_asks_what_time_it_is() -> None:
    root = Path(django_workflow.__file__).parent
    parts = ["engine", "handler", "journal"]
    asking = [
        f"{path.relative_to(root)}:{number}"
        for part in parts
        for path in sorted((root / part).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if ASKS_THE_TIME.search(line) and path.name != "clock.py"
    ]
    assert asking == []
