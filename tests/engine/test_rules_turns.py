"""Turns: R11 to R17. What a body did is kept, or undone with everything that rests on it."""

import logging
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.models import F
from django.db.transaction import TransactionManagementError
from django.test import override_settings

from django_workflow import Completed, Failed
from django_workflow.engine import transaction as transactions
from django_workflow.engine.drain import drain, known
from django_workflow.journal import claims, holding, pauses, processes
from django_workflow.models import Step, Workflow
from django_workflow.testing import Harness, SimulatedCrash
from tests.engine import bodies
from tests.engine.committed import committed
from tests.engine.elsewhere import (
    PATIENCE,
    Elsewhere,
    before_statements,
    elsewhere,
    is_fence,
    lose_connection,
    may_be_locked,
)
from tests.shop.models import Entry, Line

pytestmark = committed
NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)
SERVER = settings.DATABASE in ("postgres", "mariadb")


@pytest.fixture
def workflow_harness(transactional_db: None) -> Iterator[Harness]:
    """The harness, on a database on which other threads see what is committed."""
    with Harness() as harness:
        yield harness


def drain_through_setbacks(harness: Harness, times: int = 10) -> None:
    """Drain, and again past every backoff."""
    for _ in range(times):
        harness.advance(timedelta(seconds=31))


def labels() -> list[str]:
    return sorted(Entry.objects.values_list("label", flat=True))


class Failing:
    """A body that meets an error of the database before it comes to its end, so many times."""

    def __init__(self, function: Any, times: int, *, swallows: bool = False) -> None:
        self.function = function
        self.left = times
        self.swallows = swallows
        self.runs = 0

    def __call__(self, label: str) -> Any:
        self.runs += 1
        result = self.function(label)
        if self.left:
            self.left -= 1
            try:
                self._deadlock()
            except OperationalError:
                if not self.swallows:
                    raise
        return result

    def _deadlock(self) -> None:
        def report(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
            raise OperationalError("database is locked")

        # The innermost wrapper stands for the database: what it raises, the engine sees as the database's.
        connection.execute_wrappers.append(report)
        try:
            Entry.objects.count()
        finally:
            connection.execute_wrappers.remove(report)


# ── R11 ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_r11_an_action_is_not_repeated_when_the_mutation_after_it_deadlocks(
    workflow_harness: Harness,
) -> None:
    charges: list[str] = []
    workflow_harness.replace(bodies.act, with_=charges.append)
    failing = Failing(bodies.write, 2)
    workflow_harness.replace(bodies.write, with_=failing)
    run = bodies.action_then_mutation.start("x")
    drain_through_setbacks(workflow_harness, 3)
    assert isinstance(run.status(), Completed)
    assert (charges, failing.runs, labels()) == (["x"], 3, ["x"])
    assert Step.objects.get(name="act").attempts == 1


def test_r11_the_result_is_there_for_others_before_the_next_body_runs(workflow_harness: Harness) -> None:
    seen: list[Any] = []

    def body(label: str) -> int:
        seen.append(elsewhere(lambda: Step.objects.values_list("state", "result_text").get(name="act")))
        return 0

    workflow_harness.replace(bodies.look, with_=body)
    run = bodies.action_then_query.start("x")
    workflow_harness.drain()
    assert run.status() == Completed("x")
    assert seen == [("completed", '"x"')]


def test_r11_actions_in_a_row_cost_one_commit_more_than_there_are(workflow_harness: Harness) -> None:
    costs = []
    for count in (0, 4):
        run = bodies.actions_in_a_row.start(count)
        workflow_harness.crash_at(0)
        workflow_harness.drain()
        costs.append(workflow_harness.commits)
        assert run.status() == Completed(count)
    assert costs[1] - costs[0] == 4


def test_r11_an_action_is_not_repeated_when_its_connection_dies_meanwhile(workflow_harness: Harness) -> None:
    charges: list[str] = []

    def body(label: str) -> str:
        charges.append(label)
        lose_connection()
        return label

    workflow_harness.replace(bodies.act, with_=body)
    run = bodies.action_then_mutation.start("x")
    drain_through_setbacks(workflow_harness, 3)
    assert run.status() == Completed("x")
    assert (charges, labels()) == (["x"], ["x"])


def test_r11_an_action_is_not_repeated_when_its_commit_meets_a_lock(workflow_harness: Harness) -> None:
    """On a connection that is past its `CONN_MAX_AGE`, and is closed at the next occasion."""
    charges: list[str] = []
    met: list[str] = []

    def body(label: str) -> str:
        charges.append(label)
        connection.close_at = monotonic()
        return label

    def lock(sql: str) -> None:
        if charges and not met and is_fence(sql):
            met.append(sql)
            raise OperationalError("database is locked")

    workflow_harness.replace(bodies.act, with_=body)
    run = bodies.action_then_mutation.start("x")
    with before_statements(lock):
        drain_through_setbacks(workflow_harness, 3)
    assert len(met) == 1
    assert run.status() == Completed("x")
    assert (charges, labels()) == (["x"], ["x"])


if settings.DATABASE == "postgres":

    def test_r11_an_action_is_not_repeated_when_its_body_has_closed_the_connection(
        workflow_harness: Harness,
    ) -> None:
        charges: list[str] = []

        def body(label: str) -> str:
            charges.append(label)
            connection.connection.close()
            return label

        workflow_harness.replace(bodies.act, with_=body)
        run = bodies.action_then_mutation.start("x")
        drain_through_setbacks(workflow_harness, 3)
        assert run.status() == Completed("x")
        assert (charges, labels()) == (["x"], ["x"])

    @pytest.mark.parametrize("quiet", [False, True])
    def test_r11_after_a_silence_a_commit_begins_with_begin(
        workflow_harness: Harness, monkeypatch: pytest.MonkeyPatch, quiet: bool
    ) -> None:
        """A server that was lost in silence is met by BEGIN, when nothing is in doubt yet."""
        monkeypatch.setattr(transactions, "QUIET_SECONDS", -1.0 if quiet else 1e9)
        alone: list[str] = []

        def look(sql: str) -> None:
            if sql.startswith("WITH held") and not connection.in_atomic_block:
                alone.append(sql)

        run = bodies.actions_in_a_row.start(3)
        with before_statements(look):
            workflow_harness.drain()
        assert run.status() == Completed(3)
        assert bool(alone) is not quiet


# ── R12 ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_r12_r20_the_fence_is_the_first_of_a_commits_writes(workflow_harness: Harness) -> None:
    statements: list[str] = []
    run = bodies.two_mutations.start("x")
    with before_statements(statements.append):
        drain(None)
    assert isinstance(run.status(), Completed)
    writes = [sql for sql in statements if sql.startswith(("INSERT", "UPDATE"))]
    tables = [
        ("step" if "workflow_step" in sql else "workflow" if "workflow_workflow" in sql else "body")
        for sql in writes
    ]
    bodies_from = tables.index("body")
    assert tables[bodies_from:] == ["body", "body", "workflow", "step"]


def test_r12_r6_a_heartbeat_gets_through_while_a_turn_is_in_a_body(workflow_harness: Harness) -> None:
    renewed: list[int] = []

    def body(label: str) -> str:
        if connection.vendor != "sqlite" and label == "second":  # R22: on SQLite the commit renews it
            renewed.append(elsewhere(beat))
        Entry.objects.create(label=label)
        return label

    def beat() -> int:
        limit = {"postgresql": "SET lock_timeout = '5s'", "mysql": "SET innodb_lock_wait_timeout = 5"}
        with connection.cursor() as cursor:
            cursor.execute(limit[connection.vendor])
        owner = Workflow.objects.values_list("lease_owner", flat=True).get()
        assert owner is not None
        return holding.extend(owner)

    workflow_harness.replace(bodies.write, with_=body)
    workflow_harness.replace(bodies.write_also, with_=lambda label: body("second"))
    run = bodies.two_mutations.start("x")
    workflow_harness.drain()
    assert run.status() == Completed(["x", "second"])
    assert renewed == ([1] if SERVER else [])


# ── R13 ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("swallows", [False, True])
@pytest.mark.parametrize(
    "definition", [bodies.one_mutation, bodies.one_mutation_alone], ids=["inline", "alone"]
)
def test_r13_r15_an_error_of_the_database_repeats_the_turn_however_often(
    workflow_harness: Harness, definition: Any, swallows: bool
) -> None:
    failing = Failing(bodies.write, 8, swallows=swallows)  # more often than INTERRUPTED_LIMIT
    workflow_harness.replace(bodies.write, with_=failing)
    run = definition.start("x")
    drain_through_setbacks(workflow_harness)
    assert run.status() == Completed("x")
    assert (failing.runs, labels()) == (9, ["x"])
    run.refresh_from_db()
    assert run.interruptions == 0
    assert [entry["outcome"] for entry in workflow_harness.journal(run)[0].history] == ["completed"]


def test_r13_what_went_before_in_the_turn_is_undone_and_done_once(workflow_harness: Harness) -> None:
    workflow_harness.replace(bodies.write_also, with_=Failing(bodies.write_also, 1, swallows=True))
    run = bodies.two_mutations.start("x")
    workflow_harness.drain()
    assert (labels(), Step.objects.count()) == ([], 0)
    drain_through_setbacks(workflow_harness, 2)
    assert run.status() == Completed(["x", "x"])
    assert labels() == ["x", "x"]


@pytest.mark.parametrize(
    "definition", [bodies.one_mutation, bodies.one_mutation_alone], ids=["inline", "alone"]
)
def test_r13_a_connection_lost_in_a_mutation_repeats_the_turn(
    workflow_harness: Harness, definition: Any
) -> None:
    losses = [0]

    def body(label: str) -> str:
        Entry.objects.create(label=label)
        if not losses[0]:
            losses[0] += 1
            lose_connection()
        Entry.objects.create(label=label)
        return label

    workflow_harness.replace(bodies.write, with_=body)
    run = definition.start("x")
    drain_through_setbacks(workflow_harness, 3)
    assert run.status() == Completed("x")
    assert labels() == ["x", "x"]


def test_r13_an_error_of_the_database_is_nowhere_told_as_a_bug_of_ours(
    workflow_harness: Harness, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pauses, "LOOK_SECONDS", 0.0)  # before each body
    left = 0

    def lose(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            raise OperationalError(2013, "server closed the connection unexpectedly")
        return execute(sql, params, many, context)

    for number in range(1, 100):
        run = bodies.query_then_mutation.start(f"{number}")
        left = number
        with connection.execute_wrapper(lose), suppress(OperationalError):
            workflow_harness.drain()
        drain_through_setbacks(workflow_harness, 3)
        assert isinstance(run.status(), Completed)
        if left > 0:
            break
    assert number > 5
    assert [record for record in caplog.records if "This is a bug" in record.getMessage()] == []
    assert any(" is repeated: " in record.getMessage() for record in caplog.records)


def test_r13_a_failed_savepoint_is_never_the_steps_failure(workflow_harness: Harness) -> None:
    left = [1]

    def body(label: str) -> str:
        Entry.objects.create(label=label)
        if left.pop():
            left.append(0)
            # Its own transaction is over, and the engine's savepoint with it.
            with connection.cursor() as cursor:
                cursor.execute("ROLLBACK")
        else:
            left.append(0)
        return label

    workflow_harness.replace(bodies.write, with_=body)
    run = bodies.one_mutation.start("x")
    drain_through_setbacks(workflow_harness, 3)
    assert run.status() == Completed("x")
    assert labels() == ["x"]


def test_r13_a_body_that_goes_on_in_a_broken_transaction_has_failed(workflow_harness: Harness) -> None:
    def body(label: str) -> str:
        Entry.objects.create(label=label)
        transaction.set_rollback(True)
        return label

    workflow_harness.replace(bodies.write, with_=body)
    run = bodies.one_mutation.start("x")
    drain_through_setbacks(workflow_harness, 2)
    status = run.status()
    assert isinstance(status, Failed)
    assert status.error.type.endswith(TransactionManagementError.__name__)
    assert labels() == []


if SERVER:

    @pytest.mark.parametrize("swallows", [False, True])
    def test_r13_a_deadlock_of_two_turns_ends_both_well(workflow_harness: Harness, swallows: bool) -> None:
        Entry.objects.create(label="a")
        Entry.objects.create(label="b")
        meeting = threading.Barrier(2, timeout=PATIENCE)
        met: set[str] = set()
        others: list[Elsewhere[int]] = []

        def add(label: str) -> None:
            Entry.objects.filter(label=label).update(value=F("value") + 1)

        def body(label: str) -> str:
            add(label[0])
            if not met:
                others.append(Elsewhere(lambda: drain(None)))
            if label not in met:
                met.add(label)
                meeting.wait()
            try:
                with transaction.atomic():
                    add(label[1])
            except OperationalError:
                if not swallows:
                    raise
            return label

        workflow_harness.replace(bodies.write, with_=body)
        runs = [bodies.one_mutation.start("ab"), bodies.one_mutation.start("ba")]
        with override_settings(DJANGO_WORKFLOW={"CLAIM_LIMIT": 1}):
            drain(None)
            others[0].result()
        drain_through_setbacks(workflow_harness, 3)
        assert [run.status() for run in runs] == [Completed("ab"), Completed("ba")]
        assert list(Entry.objects.order_by("label").values_list("value", flat=True)) == [2, 2]


if settings.DATABASE == "mariadb":

    def test_r13_a_mutation_that_changes_the_schema_is_refused(workflow_harness: Harness) -> None:
        def body(label: str) -> str:
            Entry.objects.create(label=label)
            with connection.cursor() as cursor:
                cursor.execute("CREATE TABLE never_made (id int)")
            return label

        workflow_harness.replace(bodies.write, with_=body)
        run = bodies.one_mutation.start("x")
        workflow_harness.drain()
        status = run.status()
        assert isinstance(status, Failed)
        assert "CREATE" in status.error.message
        assert labels() == []
        assert "never_made" not in connection.introspection.table_names()


# ── R14 ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("inline", [True, False])
def test_r14_p2_the_step_whose_commit_is_refused_fails_and_no_other(
    workflow_harness: Harness, inline: bool, caplog: pytest.LogCaptureFixture
) -> None:
    acted: list[str] = []
    workflow_harness.replace(bodies.act, with_=acted.append)
    run = bodies.dangling.start("x", inline)
    with caplog.at_level(logging.INFO, "tests.engine.bodies"):
        workflow_harness.drain()
    assert run.status() == Completed("IntegrityError")
    assert (acted, labels(), Line.objects.count()) == (["x"], ["x", "x"], 0)
    assert [step.state for step in workflow_harness.journal(run)] == [
        "completed",
        "completed",
        "failed",
        "completed",
    ]
    assert [record.message for record in caplog.records if record.name == "tests.engine.bodies"] == [
        "begun",
        "acted",
    ]
    workflow_harness.assert_replays(run)


# ── R16 ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_r16_answers_come_in_the_order_in_which_they_became_ready(workflow_harness: Harness) -> None:
    workflow_harness.freeze(NOON)
    run = bodies.three_and_sleeps.start("x")
    workflow_harness.drain()
    workflow_harness.freeze(NOON + timedelta(seconds=10))
    claimed = {each.args: each for each in iter(_claim_and_start, None)}
    for seconds, label in ((20, "c"), (24, "a"), (24, "b")):
        workflow_harness.freeze(NOON + timedelta(seconds=seconds))
        settle(next(each for args, each in claimed.items() if f'"{label}"' in args))
    workflow_harness.freeze(NOON + timedelta(seconds=25))
    workflow_harness.drain()
    # c at 20, the sleep at 22, and of a and b, both at 24, the one that was asked for first.
    assert run.status() == Completed(["c", "sleep", "a", "b"])
    workflow_harness.assert_replays(run)


def _claim_and_start() -> claims.Runnable | None:
    claimed = claims.claim_step(processes.token(), None, known())
    if claimed is not None:
        assert holding.start_step(claimed, claimed.history)
    return claimed


def settle(claimed: claims.Runnable) -> bool:
    with transaction.atomic():
        settled = holding.settle_step(claimed, state="completed", result_text='"settled"')
        if not settled:
            transaction.set_rollback(True)
    return settled


def test_r16_deliveries_never_go_back_in_time(workflow_harness: Harness) -> None:
    test_r16_answers_come_in_the_order_in_which_they_became_ready(workflow_harness)
    deliveries = [step.delivered_at for step in Step.objects.order_by("seq")]
    assert None not in deliveries
    assert deliveries == sorted(moment for moment in deliveries if moment is not None)
    assert list(Step.objects.order_by("seq").values_list("seq", flat=True)) == [1, 2, 3, 4]


def test_r16_a_commit_has_the_seq_of_every_delivery_so_far(workflow_harness: Harness) -> None:
    seen: list[Any] = []

    def body(label: str) -> None:
        seen.append(elsewhere(lambda: list(Step.objects.order_by("number").values_list("name", "seq"))))
        raise SimulatedCrash

    workflow_harness.replace(bodies.act_also, with_=body)
    bodies.mutation_and_two_actions.start("x")
    with pytest.raises(SimulatedCrash):
        workflow_harness.drain()
    assert seen == [[("write", 1), ("act", 2), ("act_also", None)]]


# ── R17 ─────────────────────────────────────────────────────────────────────────────────────────────────────


def a_running_loser(harness: Harness) -> tuple[Workflow, claims.Runnable]:
    """A workflow that is about to give up its action, which runs elsewhere."""
    Workflow.objects.in_progress().update(due_at=None)
    start = NOON + timedelta(days=Workflow.objects.count())
    harness.freeze(start)
    run = bodies.race.start("x")
    harness.drain()
    harness.freeze(start + timedelta(seconds=10))
    claimed = _claim_and_start()
    assert claimed is not None
    harness.freeze(start + timedelta(seconds=20))
    return run, claimed


def test_r17_a_loser_that_has_not_settled_is_canceled_and_wakes_nobody(workflow_harness: Harness) -> None:
    run, claimed = a_running_loser(workflow_harness)
    workflow_harness.drain()
    run.refresh_from_db()
    due_at, wakes = run.due_at, run.wakes
    loser = Step.objects.get(workflow=run, name="act")
    assert (loser.state, loser.seq, loser.result_text) == ("canceled", None, None)
    assert loser.completed_at is not None
    assert not settle(claimed)
    run.refresh_from_db()
    assert (run.due_at, run.wakes) == (due_at, wakes)
    workflow_harness.advance(timedelta(hours=1))
    assert run.status() == Completed("too late")


def test_r17_a_loser_that_settles_at_any_moment_of_the_turn_is_never_delivered(
    workflow_harness: Harness,
) -> None:
    points, kept = 0, 0
    while True:
        run, claimed = a_running_loser(workflow_harness)
        hit = settle_before_statement(points, claimed)
        if not hit:
            break
        loser = Step.objects.get(workflow=run, name="act")
        assert loser.seq is None, f"delivered, settled before statement {points}: {hit}"
        assert (loser.state, loser.result_text) in (("canceled", None), ("completed", '"settled"'))
        kept += loser.state == "completed"
        workflow_harness.drain()
        workflow_harness.advance(timedelta(hours=1))
        assert run.status() == Completed("too late")
        workflow_harness.assert_replays(run)
        assert Step.objects.get(workflow=run, name="act").seq is None
        points += 1
    assert 0 < kept < points  # there is a moment from which on it is canceled


def settle_before_statement(point: int, claimed: claims.Runnable) -> str:
    """Drain, and let the step settle elsewhere before the drain's n-th statement that holds no lock of ours."""
    seen = 0
    hit = ""

    def hook(sql: str) -> None:
        nonlocal seen, hit
        if hit or may_be_locked(sql):
            return
        if seen == point:
            hit = sql
            elsewhere(lambda: settle(claimed))
        seen += 1

    with before_statements(hook):
        drain(None)
    return hit
