"""Children between threads and crashes: R17 to R20, R30, P7 and P8 where they are about children; behaviour 33 in bulk."""

import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.test import override_settings

from django_workflow import Canceled, Completed, InProgress, StepContext, mutation, workflow
from django_workflow.engine.drain import drain, known, take_one
from django_workflow.exceptions import StepCanceled, UsageError, WorkflowInProgress
from django_workflow.journal import claims, holding, processes, workflows
from django_workflow.models import Event, Process, Step, Workflow
from django_workflow.testing import Harness, SimulatedCrash
from tests.engine import bodies
from tests.engine.committed import committed
from tests.engine.elsewhere import (
    PATIENCE,
    Elsewhere,
    before_statements,
    elsewhere,
    is_fence,
    may_be_locked,
    wait,
)
from tests.shop.models import Entry

pytestmark = committed
NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PAST_A_LEASE = timedelta(seconds=31)


@workflow.define(name="rules.children.child")
async def child(step: StepContext, label: str, seconds: float = 0) -> str:
    await step.sleep(seconds)
    await step.run_mutation(bodies.write, label)
    await step.run_action(bodies.act, label)
    return label


@workflow.define(name="rules.children.parent")
async def parent(step: StepContext, label: str, seconds: float = 0) -> Any:
    """A mutation, a child, a mutation."""
    await step.run_mutation(bodies.write, f"{label} before")
    try:
        got: Any = await step.run_workflow(child, f"{label} child", seconds)
    except StepCanceled:
        got = "canceled"
    await step.run_mutation(bodies.write_also, f"{label} after")
    return got


@workflow.define(name="rules.children.race")
async def race(step: StepContext, label: str) -> Any:
    """A child of a minute against a sleep of a minute, and what comes then."""
    winner, _ = await step.first_completed(step.run_workflow(child, label, 60), step.sleep(60))
    await step.sleep(60)
    return winner


@workflow.define(name="rules.children.levels")
async def levels(step: StepContext, below: int) -> Any:
    if below:
        return await step.run_workflow(levels, below - 1)
    return await step.wait_for_event("go")


@workflow.define(name="rules.children.tells")
async def tells(step: StepContext) -> Any:
    """A parent whose mutation sends to its child, while that one ends."""
    import asyncio

    task = asyncio.create_task(step.run_workflow(child, "told", 60))
    await step.sleep(60)
    await step.run_mutation(bodies.write_also, str(step.workflow_id))
    return await task


@workflow.define(name="rules.children.ended")
async def with_ended(step: StepContext, verb: str, levels: int = 0) -> Any:
    if levels:
        return await step.run_workflow(
            with_ended.using(on_complete=meddle, context=[verb, str(step.workflow_id)]), verb, levels - 1
        )
    return "the end"


@mutation
def meddle(workflow_id: UUID, result: Any, context: Any) -> None:
    verb, other = context
    getattr(workflow, verb)(other or workflow_id)


@pytest.fixture
def workflow_harness(transactional_db: None) -> Iterator[Harness]:
    """The harness, on a database on which other threads see what is committed."""
    with Harness() as harness:
        yield harness


def children_of(run: Workflow) -> list[Workflow]:
    return list(Workflow.objects.filter(parent=run).order_by("id"))


def child_of(run: Workflow) -> Workflow:
    (found,) = children_of(run)
    return found


def labels() -> list[str]:
    return sorted(Entry.objects.values_list("label", flat=True))


def workflow_locks(statements: list[tuple[bool, str]]) -> list[str]:
    """Of the statements inside of transactions, those that lock rows of workflows."""
    locking = r"(UPDATE .?\w*workflow_workflow)|(SELECT .*workflow_workflow.* FOR UPDATE)"
    return [sql for inside, sql in statements if inside and re.match(locking, sql)]


# ── R20 ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("end", ["turn", "cancel"])
def test_r20_a_childs_ending_locks_its_parents_row_first(workflow_harness: Harness, end: str) -> None:
    run = levels.start(1)
    workflow_harness.drain()
    below = child_of(run)
    below.send_event("go")
    statements: list[tuple[bool, str, Any]] = []

    def note(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        statements.append((connection.in_atomic_block, str(sql), params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        assert take_one(below.id) if end == "turn" else below.cancel()
    updates = [
        {UUID(str(each)) for each in params if _is_id(each)} & {run.id, below.id}
        for inside, sql, params in statements
        if inside
        and re.match(r"UPDATE .?\w*workflow_workflow\b", sql)
        and "lease_owner = %s, due_at" not in sql
    ]
    assert updates[:2] == [{run.id}, {below.id}]


def _is_id(value: Any) -> bool:
    try:
        UUID(str(value))
    except ValueError:
        return False
    return True


def test_r20_r8_no_interleaving_of_a_childs_end_and_its_parents_turn_loses_the_wake_up(
    workflow_harness: Harness,
) -> None:
    """The child is canceled elsewhere before each statement of a turn of its parent."""
    points: list[str] = []
    for point in count():
        workflow_harness.freeze(NOON + timedelta(days=point))
        run = two_waits(workflow_harness)
        sent = before_statement(point, partial(workflow.cancel, child_of(run), "elsewhere"))
        # No clock is moved from here on: whoever is not due now never will be.
        workflow_harness.drain()
        if not sent:
            break
        points.append(sent)
        assert workflow.status(run) == Completed(["event", "canceled"]), f"lost before {sent}"
        workflow_harness.assert_replays(run)
    assert len(points) > 3


@workflow.define(name="rules.children.two")
async def event_and_child(step: StepContext) -> Any:
    import asyncio

    async def below() -> Any:
        try:
            return await step.run_workflow(levels, 0)
        except StepCanceled:
            return "canceled"

    return await asyncio.gather(step.wait_for_event("go"), below())


def two_waits(harness: Harness) -> Workflow:
    """A workflow that waits for its child, and is due for an event."""
    run = event_and_child.start()
    harness.drain()
    run.send_event("go", "event")
    return run


def before_statement(point: int, call: Callable[[], Any]) -> str:
    """Drain, and call elsewhere before the drain's n-th statement that leaves room for it; "" when there were fewer."""
    seen, hit = 0, ""

    def hook(sql: str) -> None:
        nonlocal seen, hit
        if hit or may_be_locked(sql):
            return
        if seen == point:
            hit = sql
            elsewhere(call)
        seen += 1

    with before_statements(hook):
        drain(None)
    return hit


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """The calls, each in a thread of its own, as much at once as threads can be. Raises what they raised."""
    barrier = threading.Barrier(len(calls), timeout=PATIENCE)

    def meet(call: Callable[[], Any]) -> Any:
        connection.ensure_connection()
        barrier.wait()
        return call()

    threads = [Elsewhere(partial(meet, call)) for call in calls]
    return [thread.result() for thread in threads]


def test_28_r20_cancel_of_a_parent_against_its_childs_end_at_the_same_moment(
    workflow_harness: Harness,
) -> None:
    """Whoever wins: no deadlock comes out, and step, child and parent say the same."""
    for number in range(6):
        run = parent.start(f"{number}", 60)
        workflow_harness.drain()
        below = child_of(run)
        workflow_harness.freeze(workflow_harness.now() + MINUTE)
        canceled, _ = at_once(lambda: workflow.cancel(run, "at once"), lambda: take_one(below.id))  # noqa: B023
        workflow_harness.drain()
        assert canceled is True
        assert workflow.status(run) == Canceled("at once")
        ended = workflow.status(below)
        assert not isinstance(ended, InProgress)
        states = {step.state for step in workflow_harness.journal(run) if step.kind == "workflow"}
        assert states == {"completed" if isinstance(ended, Completed) else "canceled"}
        assert f"{number} after" not in labels()


def test_28_r20_a_cancel_waits_for_the_child_that_is_just_ending(workflow_harness: Harness) -> None:
    """The child's ending holds the parent's row when the cancel comes; then the other way round."""
    if connection.vendor == "sqlite":
        run = levels.start(1)
        workflow_harness.drain()
        assert [workflow.cancel(child_of(run)), workflow.cancel(run)] == [True, True]
        return
    run = levels.start(1)
    workflow_harness.drain()
    below = child_of(run)
    canceling: list[Elsewhere[bool]] = []

    def hook(sql: str) -> None:
        if is_fence(sql) and not canceling:  # the parent's row is locked, the child's is about to be
            canceling.append(Elsewhere(lambda: workflow.cancel(run, "meanwhile")))

    below.send_event("go", "went")
    with before_statements(hook):
        assert take_one(below.id)
    assert canceling[0].result() is True
    assert workflow.status(below) == Completed("went")
    assert workflow.status(run) == Canceled("meanwhile")
    assert workflow_harness.journal(run)[0].state == "completed"

    other = levels.start(1)
    workflow_harness.drain()
    below = child_of(other)
    below.send_event("go", "went")
    begun = threading.Event()

    def take() -> int:
        begun.set()
        return take_one(below.id)

    with transaction.atomic():
        assert workflow.cancel(other, "first")
        late = Elsewhere(take)
        wait(begun)
    late.result()
    workflow_harness.drain()
    assert isinstance(workflow.status(below), Canceled)
    assert workflow.status(other) == Canceled("first")


def test_r20_children_that_end_at_once_all_count(workflow_harness: Harness) -> None:
    run = many.start(6)
    workflow_harness.drain()
    below = children_of(run)
    for each in below:
        each.send_event("go", str(each.id))
    at_once(*(partial(take_one, each.id) for each in below))
    workflow_harness.drain()
    assert workflow_harness.result(run) == [str(each.id) for each in below]
    workflow_harness.assert_replays(run)


@workflow.define(name="rules.children.many")
async def many(step: StepContext, children: int) -> Any:
    import asyncio

    return await asyncio.gather(*(step.run_workflow(levels, 0) for _ in range(children)))


def test_29_two_workers_at_once_start_each_child_once(workflow_harness: Harness) -> None:
    runs = [parent.start(f"{number}") for number in range(5)]

    def work() -> None:
        for _ in range(6):
            drain(None)

    at_once(work, work, work)
    workflow_harness.drain()
    for number, run in enumerate(runs):
        assert workflow_harness.result(run) == f"{number} child"
        assert child_of(run).parent_step_id == workflow_harness.journal(run)[1].id
        workflow_harness.assert_replays(run)
    assert labels() == sorted(
        f"{number} {what}" for number in range(5) for what in ("before", "child", "after")
    )


def test_r13_r20_a_parent_whose_mutation_sends_to_a_child_that_is_ending_gets_on(
    workflow_harness: Harness,
) -> None:
    """The mutation has the child's row and wants the parent's, the child's ending the other way round."""
    workflow_harness.freeze(NOON)
    run = tells.start()
    workflow_harness.drain()
    below = child_of(run)
    workflow_harness.freeze(NOON + MINUTE)
    ending = threading.Event()
    held = threading.Event()
    tried: list[str] = []

    def send(label: str) -> None:
        Entry.objects.create(label=label)
        if isinstance(workflow.status(below), InProgress):
            below.send_event("hello")
        tried.append(label)
        if len(tried) == 1 and connection.vendor != "sqlite":
            held.set()
            wait(ending)

    def end() -> None:
        def hook(sql: str) -> None:
            if is_fence(sql):
                ending.set()

        if connection.vendor != "sqlite":
            wait(held)
        with before_statements(lambda sql: ending.set() if "workflow_workflow" in sql else hook(sql)):
            take_one(below.id)
        ending.set()

    with workflow_harness.replace(bodies.write_also, with_=send):
        ender = Elsewhere(end)
        take_one(run.id)
        ender.result()
        for _ in range(6):
            workflow_harness.advance(MINUTE)
    assert workflow.status(below) == Completed("told")
    assert workflow.status(run) == Completed("told")
    assert labels() == sorted([str(run.id), "told"])  # the mutation once, whatever it took


# ── R17, R18 ────────────────────────────────────────────────────────────────────────────────────────────────


def test_r17_a_loser_that_ends_while_it_is_given_up_is_canceled_or_keeps_its_result(
    workflow_harness: Harness,
) -> None:
    """The child ends elsewhere before each statement of the turn in which the sleep wins."""
    ends: list[str] = []
    for point in count():
        start = NOON + timedelta(days=point)
        workflow_harness.freeze(start)
        run = race.start(f"{point}")
        workflow_harness.drain()
        below = child_of(run)
        workflow_harness.freeze(start + MINUTE)
        Workflow.objects.filter(id=below.id).update(due_at=None)  # no other worker takes it but ours, below

        def end(below: Workflow = below) -> None:
            workflows.wake(below.id)
            take_one(below.id)

        sent = before_statement(point, end)
        state = workflow.get(below).state
        ends.append(state)
        workflow_harness.advance(2 * MINUTE)
        assert not isinstance(workflow.status(run), InProgress)
        lost, slept = workflow_harness.journal(run)[:2]
        winner = workflow_harness.result(run)
        if winner == 1:
            assert lost.seq is None
            assert slept.seq == 1
        assert lost.state == workflow.get(below).state
        workflow_harness.assert_replays(run)
        if not sent:
            break
    assert len(ends) > 3


def test_r18_p8_a_cancel_ends_a_child_in_the_middle_of_its_turn(workflow_harness: Harness) -> None:
    """Its mutation has run and is not committed: with the ancestor's cancel it never will be."""
    run = parent.start("x")
    with workflow_harness.replace(
        bodies.act, with_=lambda label: elsewhere(partial(cancel_root, run)) and label
    ):
        workflow_harness.drain()
        workflow_harness.advance(PAST_A_LEASE)
    assert workflow.status(run) == Canceled("from elsewhere")
    assert isinstance(workflow.status(child_of(run)), Canceled)
    assert labels() == ["x before", "x child"]
    assert set(Step.objects.values_list("state", flat=True)) == {"completed", "canceled"}
    late = Step.objects.get(kind="action")
    assert (late.state, late.result) == ("canceled", None)


def cancel_root(run: Workflow) -> bool:
    return workflow.cancel(run, "from elsewhere")


def test_r18_r21_a_cancel_reaches_a_child_that_was_started_since_its_transaction_began(
    workflow_harness: Harness,
) -> None:
    run = parent.start("x", 60)
    if connection.vendor == "sqlite":  # a transaction there keeps every other writer out
        workflow_harness.drain()
        assert workflow.cancel(run)
    else:
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
    assert isinstance(workflow.status(child_of(run)), Canceled)
    workflow_harness.advance(2 * MINUTE)
    assert labels() == ["x before"]


# ── R19 ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("verb", ["cancel", "restart", "cleanup"])
@pytest.mark.parametrize("depth", [1, 2])
def test_r19_on_complete_neither_ends_nor_restarts_its_own_workflow_or_an_ancestor(
    workflow_harness: Harness, verb: str, depth: int
) -> None:
    """It runs in the turn's transaction, as a mutation does; its refusal is its failure, and the ending stands."""
    run = with_ended.start(verb, depth)
    for _ in range(3):
        workflow_harness.advance(PAST_A_LEASE)
    assert workflow.status(run) == Completed("the end")
    for each in Workflow.objects.exclude(id=run.id):
        error = each.on_complete_error
        assert error is not None
        assert error.type in {
            f"{UsageError.__module__}.UsageError",
            f"{WorkflowInProgress.__module__}.WorkflowInProgress",
        }


@pytest.mark.parametrize("verb", ["cancel", "restart", "cleanup"])
def test_r19_on_complete_of_a_canceled_workflow_does_not_meddle_either(
    workflow_harness: Harness, verb: str
) -> None:
    run = levels.using(on_complete=meddle, context=[verb, ""]).start(0)
    workflow_harness.drain()
    assert run.cancel("enough")
    workflow_harness.advance(PAST_A_LEASE)
    assert workflow.status(run) == Canceled("enough")
    error = workflow.get(run).on_complete_error
    assert error is not None
    assert "UsageError" in error.type


# ── crashes ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", [{}, {"ALWAYS_SUSPEND": True}])
@pytest.mark.parametrize("after", [False, True])
def test_29_a_crash_at_any_commit_starts_no_second_child_and_loses_none(
    workflow_harness: Harness, after: bool, mode: dict[str, Any]
) -> None:
    workflow_harness.freeze(NOON)
    # One transaction for each turn's bodies, however slow the machine.
    with override_settings(DJANGO_WORKFLOW={"TURN_COMMIT_MS": 1e9, **mode}):
        for n in count(1):
            Entry.objects.all().delete()
            run = parent.start("x", 10)
            workflow_harness.crash_at(n, after=after)
            crashed = False
            for _ in range(7):
                try:
                    workflow_harness.advance(PAST_A_LEASE)
                except SimulatedCrash:
                    crashed = True
                if workflow.get(run).finished:
                    break
            workflow_harness.crash_at(0)
            assert workflow.status(run) == Completed("x child"), f"crash at commit {n}"
            assert workflow.status(child_of(run)) == Completed("x child")
            assert labels() == ["x after", "x before", "x child"]
            for each in (run, child_of(run)):
                workflow_harness.assert_replays(each)
            if not crashed:
                break
        assert n > 6


@pytest.mark.parametrize("after", [False, True])
def test_29_a_crash_while_a_family_is_canceled_cancels_all_of_it_or_none(
    workflow_harness: Harness, after: bool
) -> None:
    run = levels.start(3)
    workflow_harness.drain()
    workflow_harness.crash_at(1, after=after)
    with pytest.raises(SimulatedCrash):
        workflow.cancel(run)
    workflow_harness.crash_at(0)
    assert set(Workflow.objects.values_list("state", flat=True)) == {"canceled" if after else "in_progress"}
    assert set(Step.objects.values_list("state", flat=True)) == {"canceled" if after else "pending"}
    assert workflow.cancel(run) is not after
    assert set(Workflow.objects.values_list("state", flat=True)) == {"canceled"}


# ── 33 ──────────────────────────────────────────────────────────────────────────────────────────────────────


@workflow.define(name="rules.children.leaf")
async def leaf(step: StepContext) -> None:
    """Nothing to do."""


@workflow.define(name="rules.children.big")
async def big(step: StepContext, children: int, events: int, sleeps: int) -> None:
    import asyncio

    await asyncio.gather(*(step.run_workflow(leaf.using(labels={"n": n})) for n in range(children)))
    for _ in range(events):
        await step.wait_for_event("go")
    await asyncio.gather(*(step.sleep(0) for _ in range(sleeps)))
    await step.run_workflow(levels, 2)


@pytest.mark.slow
def test_33_cleanup_of_a_workflow_with_thousands_of_steps_events_and_children_leaves_no_row(
    workflow_harness: Harness,
) -> None:
    run = big.using(labels={"big": 1}).start(1100, 300, 1200)
    for number in range(600):
        run.send_event("go" if number % 2 else "never taken", number)
    for _ in range(4):
        workflow_harness.drain()
    assert isinstance(workflow.status(run), InProgress)
    assert Workflow.objects.count() == 1104
    with pytest.raises(WorkflowInProgress):
        run.cleanup()
    assert Workflow.objects.count() == 1104
    for below in Workflow.objects.in_progress():
        if below.steps().filter(kind="event", state="pending").exists():
            below.send_event("go")
    workflow_harness.drain()
    assert workflow.status(run) == Completed(None)
    assert (Step.objects.count() > 2600, Event.objects.count()) == (True, 601)
    assert workflow.cleanup(run) is True
    models = apps.get_app_config("django_workflow").get_models()
    left = {model.__name__: model._default_manager.count() for model in models}
    assert {name: rows for name, rows in left.items() if rows and name != Process.__name__} == {}
    assert workflow.cleanup(run) is False


def test_33_r30_cleanup_is_refused_while_a_child_runs_again(workflow_harness: Harness) -> None:
    run = parent.start("x")
    workflow_harness.drain()
    below = child_of(run)
    workflow.restart(below, 2)
    with pytest.raises(WorkflowInProgress, match=str(below.id)):
        workflow.cleanup(run)
    assert Workflow.objects.count() == 2
    workflow_harness.drain()
    assert workflow.status(below) == Completed("x child")
    assert workflow_harness.journal(run)[1].result == "x child"
    assert workflow.cleanup(run) is True
    assert not Workflow.objects.exists()


def test_p9_a_childs_turn_that_lost_its_lease_settles_nothing_of_its_parent(
    workflow_harness: Harness,
) -> None:
    workflow_harness.freeze(NOON)
    run = levels.start(1)
    workflow_harness.drain()
    below = child_of(run)
    below.send_event("go", "value")
    (zombie,) = claims.claim_workflows(processes.token(), None, known(), 1)
    assert zombie.id == below.id
    workflow_harness.advance(PAST_A_LEASE)  # taken over, and ended
    assert workflow_harness.result(run) == "value"
    before = [*Workflow.objects.order_by("id").values(), *Step.objects.order_by("id").values()]
    with transaction.atomic():
        assert not holding.fence(zombie, state="failed")
    assert [*Workflow.objects.order_by("id").values(), *Step.objects.order_by("id").values()] == before
