"""Claims, leases, fences: R1 to R7, each at the interleaving that it is there for."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection
from django.test import override_settings

from django_workflow import Completed, InProgress, workflow
from django_workflow.engine import branches, leases
from django_workflow.engine.drain import drain, known
from django_workflow.engine.leases import heartbeat
from django_workflow.journal import claims, clock, holding, processes, wakes
from django_workflow.models import Step, Workflow
from django_workflow.testing import Harness, SimulatedCrash
from tests.engine import bodies
from tests.engine.committed import committed
from tests.engine.elsewhere import PATIENCE, Elsewhere, before_statements, elsewhere, wait
from tests.shop.models import Entry

pytestmark = committed
NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)
LEASE = timedelta(seconds=30)


@pytest.fixture
def workflow_harness(transactional_db: None) -> Iterator[Harness]:
    """The harness, on a database on which other threads see what is committed."""
    with Harness() as harness:
        yield harness


def row(run: Workflow) -> Workflow:
    return Workflow.objects.get(id=run.id)


def claim(limit: int = 16, **options: Any) -> list[claims.Turnable]:
    return claims.claim_workflows(processes.token(), None, known(), limit, **options)


def with_a_late_action(harness: Harness) -> Workflow:
    """A workflow with an action that is due now, and a turn in 10 s."""
    harness.freeze(NOON)
    run = bodies.late_action_and_sleep.start("x")
    harness.drain()
    harness.freeze(NOON + timedelta(seconds=10))
    return run


def claim_step() -> claims.Runnable | None:
    return claims.claim_step(processes.token(), None, known())


# ── R1, R2 ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_r1_a_thread_that_lost_its_claim_to_another_of_its_process_writes_nothing(
    workflow_harness: Harness,
) -> None:
    second_is_in, first_is_out = threading.Event(), threading.Event()
    thieves: list[Elsewhere[int]] = []

    def body(label: str) -> str:
        if thieves:
            second_is_in.set()
            wait(first_is_out)
            return "second"
        thieves.append(Elsewhere(lambda: workflow_harness.advance(LEASE * 2)))
        wait(second_is_in)
        return "first"

    workflow_harness.replace(bodies.act, with_=body)
    run = bodies.one_action.start("x")
    drain(None)  # the worker that loses its lease while its body runs
    assert isinstance(workflow.status(run), InProgress)
    first_is_out.set()
    thieves[0].result()
    assert workflow.status(run) == Completed("second")
    assert [step.attempts for step in workflow_harness.journal(run)] == [2]


def test_r1_no_two_claims_have_the_same_token(workflow_harness: Harness) -> None:
    tokens = [processes.token(), processes.token(), elsewhere(processes.token)]
    assert len(set(tokens)) == 3


CLAIM_LOST: dict[str, dict[str, Any]] = {
    "another generation": {"generation": 1},
    "another owner": {"lease_owner": "somebody else"},
    "another state": {"state": "canceled"},
}


@pytest.mark.parametrize("change", CLAIM_LOST)
def test_r2_p9_a_turn_that_lost_its_claim_writes_nothing(workflow_harness: Harness, change: str) -> None:
    def body(label: str) -> str:
        elsewhere(lambda: Workflow.objects.filter(id=run.id).update(**CLAIM_LOST[change]))
        return "late"

    workflow_harness.replace(bodies.act, with_=body)
    run = bodies.action_then_mutation.start("x")
    workflow_harness.drain()
    (step,) = Step.objects.filter(workflow=run)
    assert (step.state, step.result_text, step.seq) == ("running", None, None)
    assert not Entry.objects.exists()


STEP_LOST: dict[str, tuple[type[Workflow] | type[Step], dict[str, Any]]] = {
    "the workflow's generation": (Workflow, {"generation": 1}),
    "the workflow's state": (Workflow, {"state": "canceled"}),
    "the step's owner": (Step, {"lease_owner": "somebody else"}),
    "the step's state": (Step, {"state": "pending"}),
}


@pytest.mark.parametrize("change", STEP_LOST)
def test_r2_p9_a_parallel_step_is_fenced_by_its_own_row_and_by_its_workflows(
    workflow_harness: Harness, change: str
) -> None:
    model, columns = STEP_LOST[change]
    lost: list[int] = []

    def body(label: str) -> str:
        rows = model.objects.filter(name="act") if model is Step else model.objects.filter(id=run.id)
        lost.append(elsewhere(lambda: rows.update(**columns)))
        return "late"

    workflow_harness.replace(bodies.act, with_=body)
    run = with_a_late_action(workflow_harness)
    wakes_before = row(run).wakes
    workflow_harness.drain()
    assert lost == [1]
    step = Step.objects.get(workflow=run, name="act")
    assert (step.result_text, step.completed_at) == (None, None)
    assert row(run).wakes == wakes_before


class _GiveUp(BaseException):
    """Ends a drain: the test has seen enough."""


def _give_up() -> None:
    raise _GiveUp


def test_r2_p8_a_cancel_is_final_for_the_turn_that_runs(workflow_harness: Harness) -> None:
    def body(label: str) -> str:
        elsewhere(lambda: workflow.cancel(run, "enough"))
        return "late"

    workflow_harness.replace(bodies.act, with_=body)
    run = bodies.action_then_mutation.start("x")
    workflow_harness.drain()
    run.refresh_from_db()
    assert (run.state, run.reason, run.lease_owner, run.due_at) == ("canceled", "enough", None, None)
    assert [(step.state, step.result_text) for step in workflow_harness.journal(run)] == [("canceled", None)]
    assert not Entry.objects.exists()


# ── R3 ──────────────────────────────────────────────────────────────────────────────────────────────────────


@override_settings(
    DJANGO_WORKFLOW={"CLAIM_LIMIT": 17}
)  # a full batch would be a reason for a wake-up of its own
def test_r3_another_worker_finishes_the_rest_of_the_batch_while_an_action_blocks(
    workflow_harness: Harness,
) -> None:
    asked: list[str] = []
    meanwhile: list[tuple[int, int]] = []

    def body(label: str) -> str:
        if label == "blocks":
            asks = len(asked)
            meanwhile.append((elsewhere(_finish_the_others), asks))
        return label

    def _finish_the_others() -> int:
        drain(None)
        return Workflow.objects.completed().count()

    workflow_harness.replace(bodies.act, with_=body)
    first = bodies.one_action.using(priority=1).start("blocks")
    for number in range(15):
        bodies.one_action.start(str(number))
    with wakes.sent_by(asked.append):
        drain(None)
    # 15 were finished before the first one's body ended, and a wake-up had told the others of them.
    assert meanwhile[0][0] == 15
    assert meanwhile[0][1] == 1
    assert row(first).state == "completed"
    assert set(Step.objects.values_list("attempts", flat=True)) == {1}


def test_r3_p4_an_attempt_is_committed_before_its_body_begins(workflow_harness: Harness) -> None:
    seen: list[Any] = []

    def body(label: str) -> str:
        seen.append(elsewhere(lambda: list(Step.objects.filter(name="act").values_list("state", "attempts"))))
        return label

    workflow_harness.replace(bodies.act, with_=body)
    bodies.one_action.start("inline")
    bodies.two_actions.start("parallel")
    workflow_harness.drain()
    assert ("running", 1) in seen[0]
    assert ("running", 1) in seen[1]


def test_r3_a_claim_is_no_start_and_a_start_is_an_attempt(workflow_harness: Harness) -> None:
    run = with_a_late_action(workflow_harness)
    claimed = claim_step()  # by a worker that dies before it counts the attempt
    assert claimed is not None
    assert claimed.attempts == 0
    workflow_harness.freeze(workflow_harness.now() + LEASE)
    claimed = claim_step()
    assert claimed is not None
    assert not claimed.interrupted
    assert holding.start_step(claimed, claimed.history)  # by one that dies before the body's first line
    workflow_harness.advance(LEASE)
    step = Step.objects.get(workflow=run, name="act")
    assert (step.state, step.attempts) == ("completed", 2)
    assert [entry["outcome"] for entry in step.history] == ["interrupted", "completed"]


def test_r3_a_death_between_the_start_and_the_body_is_an_interruption(workflow_harness: Harness) -> None:
    run = bodies.one_action.start("x")
    commits = _commits_until_the_body(workflow_harness)
    workflow_harness.crash_at(commits, after=True)
    run = bodies.one_action.start("y")
    with pytest.raises(SimulatedCrash):
        workflow_harness.drain()
    assert Step.objects.get(workflow=run).attempts == 1
    workflow_harness.advance(LEASE * 2)
    (step,) = workflow_harness.journal(run)
    assert (step.attempts, step.result) == (2, "y")
    assert [entry["outcome"] for entry in step.history] == ["interrupted", "completed"]


def _commits_until_the_body(harness: Harness) -> int:
    """How many commits there are from a start to the first line of an action's body, both included."""
    harness.drain()
    harness.crash_at(0)
    seen: list[int] = []

    def body(label: str) -> str:
        seen.append(harness.commits)
        return label

    with harness.replace(bodies.act, with_=body):
        bodies.one_action.start("probe")
        harness.drain()
    return seen[0]


# ── R4 ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_r4_a_step_inside_a_turn_has_no_lease_and_is_never_claimed(workflow_harness: Harness) -> None:
    seen: list[Any] = []

    def body(label: str) -> str:
        seen.append(elsewhere(lambda: Step.objects.values_list("state", "due_at", "lease_owner").get()))
        raise _GiveUp

    with workflow_harness.replace(bodies.act, with_=body):
        run = bodies.one_action.start("x")
        with pytest.raises(_GiveUp):
            workflow_harness.drain()
    assert seen == [("running", None, None)]
    workflow_harness.freeze(workflow_harness.now() + LEASE * 2)
    assert claim_step() is None
    workflow_harness.drain()
    assert workflow.status(run) == Completed("x")


def test_a_step_that_nobody_can_unseal_keeps_no_other_from_being_claimed(workflow_harness: Harness) -> None:
    workflow_harness.freeze(NOON)
    runs = [bodies.late_action_and_sleep.start(label) for label in "ab"]
    workflow_harness.drain()
    workflow_harness.freeze(NOON + timedelta(seconds=10))
    sealed = Step.objects.filter(workflow=runs[0], name="act")
    assert sealed.update(due_at=NOON) == 1  # the first in line
    with connection.cursor() as cursor:  # below the field, which would seal it
        cursor.execute(
            "UPDATE django_workflow_step SET args = '~by a codec that is gone' WHERE id = %s",
            [sealed.get().pk],
        )
    with pytest.raises(ImproperlyConfigured, match="CODEC"):
        claim_step()
    claimed = claim_step()
    assert claimed is not None
    assert claimed.workflow_id == runs[1].pk


def test_r4_a_turn_leaves_a_step_with_a_lease_to_its_holder(workflow_harness: Harness) -> None:
    ran: list[str] = []
    workflow_harness.replace(bodies.act, with_=ran.append)
    run = with_a_late_action(workflow_harness)
    claimed = claim_step()
    assert claimed is not None
    assert holding.start_step(claimed, claimed.history)
    workflow_harness.advance(
        timedelta(seconds=10)
    )  # the sleep is over: a turn, while the step runs elsewhere
    step = Step.objects.get(workflow=run, name="act")
    assert ran == []
    assert (step.state, step.attempts, step.lease_owner) == ("running", 1, claimed.token)


# ── R5 ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def worker_clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds by which a worker's own monotonic clock is put ahead."""
    ahead = [0.0]
    monkeypatch.setattr(leases, "monotonic", lambda: clock.monotonic() + ahead[0])
    return ahead


def test_r5_no_body_is_begun_past_the_deadline(workflow_harness: Harness, worker_clock: list[float]) -> None:
    written: list[str] = []

    def body(label: str) -> int:
        worker_clock[0] = 27.5  # of 30, and the margin is a tenth
        return 0

    workflow_harness.replace(bodies.write, with_=written.append)
    with workflow_harness.replace(bodies.look, with_=body):
        run = bodies.query_then_mutation.start("x")
        workflow_harness.drain()
    assert written == []
    assert row(run).lease_owner is not None  # left to its lease: nobody knows whose it is now
    workflow_harness.advance(LEASE)
    assert written == ["x"]


def test_r5_no_parallel_body_is_begun_past_the_deadline(
    workflow_harness: Harness, worker_clock: list[float]
) -> None:
    ran: list[str] = []
    workflow_harness.replace(bodies.act, with_=ran.append)
    with_a_late_action(workflow_harness)
    with heartbeat.holding() as held:
        claimed = claims.claim_step(held.token, None, known())
        assert claimed is not None
        worker_clock[0] = 27.5
        assert branches.run(claimed, held) == 0
    assert ran == []
    assert Step.objects.get(name="act").attempts == 0


# ── R6 ──────────────────────────────────────────────────────────────────────────────────────────────────────


@override_settings(DJANGO_WORKFLOW={"LEASE_SECONDS": 1})
def test_r6_the_heartbeat_keeps_the_lease_of_a_long_action(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django_workflow.engine import attempts

    seen: list[tuple[int, str | None]] = []

    def body(label: str) -> str:
        seen.append(elsewhere(_outlast_the_first_lease))
        return label

    def _outlast_the_first_lease() -> tuple[int, str | None]:
        owner, ends_at = Workflow.objects.values_list("lease_owner", "due_at").get()
        assert ends_at is not None
        deadline = clock.monotonic() + PATIENCE
        while clock.read(connection) < ends_at + timedelta(seconds=0.3):
            assert clock.monotonic() < deadline
        return drain(None), owner

    monkeypatch.setitem(attempts.stand_ins, "tests.engine.bodies.act", body)
    with wakes.sent_by(None):
        run = bodies.one_action.start("x")
        drain(None)
    assert seen[0][0] == 0  # nobody could take it over
    assert workflow.status(run) == Completed("x")
    assert Step.objects.get().attempts == 1


# ── R3: a claim that counts the attempt ─────────────────────────────────────────────────────────────────────


def is_claim_and_start(sql: str) -> bool:
    return (
        sql.startswith("UPDATE")
        and "workflow_step" in sql
        and all(part in sql for part in ("attempts", "started_at", "IS NULL"))
    )


@pytest.fixture
def begun_before(workflow_harness: Harness) -> list[str]:
    """What `act` is called with, which this process has run before: so its claims count the attempt."""
    called: list[str] = []
    workflow_harness.replace(bodies.act, with_=called.append)
    bodies.two_once_at_once.start("before")
    workflow_harness.drain()
    assert sorted(called) == ["before 1", "before 2"]
    called.clear()
    return called


def went_well(run: Workflow, called: list[str]) -> bool:
    """Each body ran once, and one attempt is counted for it."""
    attempts = Step.objects.filter(workflow=run).values_list("attempts", flat=True)
    done = isinstance(run.status(), Completed)
    return done and sorted(called) == ["x 1", "x 2"] and list(attempts) == [1, 1]


@pytest.mark.parametrize("times", [1, 5])
def test_r3_r15_a_claim_whose_answer_is_lost_is_no_attempt(
    workflow_harness: Harness, begun_before: list[str], times: int
) -> None:
    """Found to be ours when it is repeated, or given back once the database answers again."""
    left = times

    def wrapper(execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        nonlocal left
        result = execute(sql, params, many, context)
        again = left < times and "workflow_step" in str(sql) and str(sql).startswith("UPDATE")
        if left and (is_claim_and_start(str(sql)) or again):
            left -= 1
            raise OperationalError("server closed the connection unexpectedly")
        return result

    run = bodies.two_once_at_once.start("x")
    with connection.execute_wrapper(wrapper):
        for _ in range(4):
            workflow_harness.advance(timedelta(seconds=2))
    assert left == 0
    assert went_well(run, begun_before)


def test_r3_r5_a_claim_that_took_too_long_is_no_attempt(
    workflow_harness: Harness, begun_before: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    late = 0.0

    def take_long(sql: str) -> None:
        nonlocal late
        if not late and is_claim_and_start(sql):
            late = 100.0

    monkeypatch.setattr(leases, "monotonic", lambda: clock.monotonic() + late)
    run = bodies.two_once_at_once.start("x")
    with before_statements(take_long):
        for _ in range(4):
            workflow_harness.advance(timedelta(seconds=2))
    assert late
    assert went_well(run, begun_before)


def test_r6_only_no_rows_mean_that_a_lease_is_lost(workflow_harness: Harness) -> None:
    run = bodies.one_mutation.start("x")
    failures: list[Exception] = [
        OperationalError("database is locked"),
        OperationalError("server closed the connection unexpectedly"),
        RuntimeError("what nobody has thought of"),
    ]

    def fail(sql: str) -> None:
        if failures and sql.startswith("UPDATE"):
            raise failures.pop()

    with heartbeat.holding() as held:
        (claimed,) = claims.claim_workflows(held.token, None, known(), 1)
        held.claimed = True
        with before_statements(fail):
            for _ in range(3):
                heartbeat.beat()
            assert failures == []
            assert held.may_begin()
            before = row(run).due_at
            heartbeat.beat()
        after = row(run).due_at
        assert held.may_begin()
        assert before is not None
        assert after is not None
        assert after > before
        workflow.cancel(run)
        heartbeat.beat()
        assert not held.may_begin()
    assert claimed.id == run.id


def test_r6_a_beat_before_the_claim_is_no_verdict_on_it(workflow_harness: Harness) -> None:
    run = bodies.one_mutation.start("x")
    beats: list[str] = []

    def beat(sql: str) -> None:
        # The claims of a drain: first what was left behind, then what is free. On SQLite each begins by its lock.
        claims_now = "BEGIN" in sql if connection.vendor == "sqlite" else "workflow_workflow" in sql
        if claims_now and len(beats) < 2:
            beats.append(sql)
            elsewhere(heartbeat.beat)

    with before_statements(beat):
        workflow_harness.drain()
    assert len(beats) == 2
    assert workflow.status(run) == Completed("x")


def test_r6_a_verdict_on_a_token_that_was_released_is_ignored(workflow_harness: Harness) -> None:
    with heartbeat.holding() as held:
        held.claimed = True
        beating, released = threading.Event(), threading.Event()

        def during_the_beat(sql: str) -> None:
            beating.set()
            wait(released)

        def beat() -> None:
            with before_statements(during_the_beat):
                heartbeat.beat()

        other = Elsewhere(beat)
        wait(beating)
    released.set()
    other.result()
    assert held.may_begin()


# ── R7 ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_r7_overdue_first_then_priority_then_age(workflow_harness: Harness) -> None:
    workflow_harness.freeze(NOON)
    starts = {
        "fresh, low": (timedelta(seconds=9), -1),
        "fresh, high": (timedelta(seconds=9), 1),
        "fresh, high, older": (timedelta(seconds=8), 1),
        "overdue, low": (timedelta(seconds=-60), -1),
        "overdue, older": (timedelta(seconds=-61), -1),
        "overdue, high": (timedelta(seconds=-31), 1),
        "not due": (timedelta(seconds=11), 9),
    }
    ids = {
        bodies.one_mutation.using(run_at=NOON + after, priority=priority).start(name).id: name
        for name, (after, priority) in starts.items()
    }
    workflow_harness.freeze(NOON + timedelta(seconds=10))
    order = [
        "overdue, high",
        "overdue, older",
        "overdue, low",
        "fresh, high, older",
        "fresh, high",
        "fresh, low",
    ]
    assert [ids[claimed.id] for claimed in claim(limit=4)] == order[:4]
    assert [ids[claimed.id] for claimed in claim()] == order[4:]


def test_r7_steps_have_the_same_order(workflow_harness: Harness) -> None:
    ran: list[str] = []
    workflow_harness.replace(bodies.act, with_=ran.append)
    workflow_harness.freeze(NOON)
    for label, priority in (("low", -1), ("high", 1), ("middle", 0)):
        bodies.late_action_and_sleep.using(priority=priority).start(label)
    workflow_harness.drain()
    Step.objects.filter(args_text__contains="low").update(created_at=NOON)
    workflow_harness.freeze(NOON + timedelta(seconds=10))
    for run in Workflow.objects.filter(args_text__contains="low"):
        Step.objects.filter(workflow=run, name="act").update(due_at=NOON - LEASE)
    workflow_harness.drain()
    assert ran == ["low", "high", "middle"]


@pytest.mark.parametrize("change", [{"definition": "rules.unheard_of"}, {"version": 77}])
def test_r7_what_is_unknown_here_is_never_claimed(workflow_harness: Harness, change: dict[str, Any]) -> None:
    workflow_harness.freeze(NOON)
    free, leased = bodies.one_mutation.start("x"), bodies.one_mutation.start("x")
    stepping = bodies.two_actions.start("x")
    (claimed,) = [each for each in claim() if each.id == stepping.id]
    assert claimed
    Workflow.objects.filter(id=stepping.id).update(lease_owner=None, due_at=workflow_harness.now())
    with workflow_harness.replace(bodies.act, with_=lambda label: _give_up()), pytest.raises(_GiveUp):
        workflow_harness.drain()
    Workflow.objects.filter(id=free.id).update(lease_owner=None, due_at=workflow_harness.now())
    Workflow.objects.update(**change)
    workflow_harness.freeze(workflow_harness.now() + LEASE * 3)
    before = (list(Workflow.objects.order_by("id").values()), list(Step.objects.order_by("id").values()))
    assert workflow_harness.drain() == 0
    assert before == (
        list(Workflow.objects.order_by("id").values()),
        list(Step.objects.order_by("id").values()),
    )
    assert leased.id in {each["id"] for each in before[0]}


def test_r7_a_worker_of_a_cluster_takes_its_own_only(workflow_harness: Harness) -> None:
    here, there = bodies.two_actions.start("here"), bodies.two_actions.start("there")
    Workflow.objects.filter(id=there.id).update(cluster="reports")
    drain("")
    assert (row(here).state, row(there).state) == ("completed", "in_progress")
    assert row(there).started_at is None
    with workflow_harness.replace(bodies.act, with_=lambda label: _give_up()), pytest.raises(_GiveUp):
        drain("reports")
    workflow_harness.freeze(workflow_harness.now() + LEASE * 3)
    assert drain("") == 0
    assert set(Step.objects.filter(workflow=there).values_list("cluster", flat=True)) == {"reports"}
    drain("reports")
    assert row(there).state == "completed"


def test_r7_two_workers_that_claim_at_once_share_what_is_due(workflow_harness: Harness) -> None:
    ids = {bodies.one_mutation.start(str(number)).id for number in range(12)}
    barrier = threading.Barrier(2, timeout=PATIENCE)

    def worker() -> list[Any]:
        barrier.wait()
        return [each.id for each in claim(limit=6)] + [each.id for each in claim(limit=12)]

    other = Elsewhere(worker)
    claimed = [*worker(), *other.result()]
    claimed += [each.id for each in claim()]
    assert len(claimed) == len(set(claimed))
    assert set(claimed) == ids
