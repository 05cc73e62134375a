"""R23: a limited pool never runs more bodies than it has places, whoever dies or hurries; R10: a freed place calls.

The bodies count themselves: how many run at once, in all threads. What dies is simulated, so the counter is set back
by the test where a body took its worker along.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test import override_settings

from django_workflow import (
    Completed,
    InProgress,
    Retry,
    StepContext,
    WorkflowManager,
    action,
    mutation,
    query,
    workflow,
)
from django_workflow.engine.drain import drain, known, take_one
from django_workflow.engine.leases import heartbeat
from django_workflow.exceptions import StepTimedOut
from django_workflow.journal import claims, processes, slots, wakes
from django_workflow.models import Process, Slot, Step, Workflow
from django_workflow.testing import Harness, SimulatedCrash
from tests.engine.committed import committed
from tests.engine.elsewhere import PATIENCE, Elsewhere, before_statements, elsewhere
from tests.shop.models import Entry

pytestmark = committed
NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)
LEASE = timedelta(seconds=30)

pool = WorkflowManager("slots", max_parallelism=2)
single = WorkflowManager("slots of one", max_parallelism=1)


class Crowd:
    """How many bodies run at once, and how many did at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        self.now = self.most = self.total = 0
        self.inside: Any = lambda: None  # what a body does while it is counted

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.total += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1

    def enter(self) -> None:
        with self:
            self.inside()


crowd = Crowd()


@action
def act(value: Any = None) -> Any:
    crowd.enter()
    return value


@mutation
def write(value: Any = None) -> Any:
    crowd.enter()
    Entry.objects.create(label="slots")
    return value


@query
def look(value: Any = None) -> Any:
    crowd.enter()
    return value


@pool.define(name="slots.mixed")
async def mixed(step: StepContext, number: int) -> int:
    """Bodies of all kinds, inside the turn and beside it."""
    await step.run_query(look)
    await step.run_action(act)
    await asyncio.gather(*(step.run_action(act, n) for n in range(3)))
    await step.using(inline=False).run_mutation(write)
    await step.run_mutation(write)
    return number


@single.define(name="slots.one")
async def one(step: StepContext, value: Any) -> Any:
    return await step.run_action(act, value)


@single.define(name="slots.three")
async def three(step: StepContext) -> Any:
    return await asyncio.gather(*(step.run_action(act, n) for n in range(3)))


@single.define(name="slots.failing")
async def failing(step: StepContext, kind: str) -> str:
    context = step.using(inline=False) if kind.startswith("parallel") else step
    try:
        if kind.endswith("timeout"):
            await context.using(timeout=0.05).run_action(sleepy)
        elif kind.endswith("retry"):
            await context.using(retry=Retry(max_attempts=2, initial=60, jitter=False)).run_action(refuse)
        elif kind.endswith("mutation"):
            await context.run_mutation(refuse)
        else:
            await context.run_action(refuse)
    except StepTimedOut:
        return "StepTimedOut"
    except ValueError:
        return "ValueError"
    return "?"


def refuse() -> None:
    crowd.enter()
    raise ValueError("no")


@action
def sleepy() -> None:
    import time

    with crowd:
        time.sleep(60)


@pytest.fixture(autouse=True)
def nobody() -> None:
    crowd.reset()


@pytest.fixture
def workflow_harness(transactional_db: None) -> Iterator[Harness]:
    with Harness() as harness:
        yield harness


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the limit of a pool, as a deploy would."""
    return lambda manager, limit: monkeypatch.setattr(manager, "max_parallelism", limit)


def taken() -> list[tuple[str, int]]:
    return list(Slot.objects.exclude(lease_owner=None).order_by("pool", "n").values_list("pool", "n"))


def drain_in_threads(count: int) -> None:
    workers = [Elsewhere(lambda: drain(None)) for _ in range(count)]
    for worker in workers:
        worker.result()


# ── the limit ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("threads", [1, 4])
def test_r23_39_never_more_bodies_than_places(workflow_harness: Harness, threads: int) -> None:
    """With four threads every body that finds company waits until it has seen all that come."""
    runs = [mixed.start(number) for number in range(6)]
    if threads > 1:
        together = threading.Barrier(2)

        def meet() -> None:
            try:
                together.wait(0.05)
            except threading.BrokenBarrierError:
                together.reset()

        crowd.inside = meet
    rounds = 0
    while Workflow.objects.in_progress().exists():
        drain_in_threads(threads)
        rounds += 1
        assert rounds < 100, list(Step.objects.unsettled().values())
    assert [workflow.status(run) for run in runs] == [Completed(number) for number in range(6)]
    assert crowd.total == 6 * 7
    assert crowd.most <= 2
    assert Entry.objects.count() == 12
    assert taken() == []


def test_r23_two_places_are_two_bodies_at_once(workflow_harness: Harness) -> None:
    """The limit is no lock: two bodies do run at once, else this would wait for ever."""
    both = threading.Barrier(2, timeout=PATIENCE)
    second: list[Elsewhere[int]] = []

    def meet() -> None:
        if not second:
            second.append(Elsewhere(lambda: drain(None)))
        both.wait()

    crowd.inside = meet
    runs = [two_wide.start(n) for n in range(2)]
    workflow_harness.drain()
    second[0].result()
    assert [workflow.status(run) for run in runs] == [Completed(0), Completed(1)]
    assert crowd.most == 2


@pool.define(name="slots.two_wide")
async def two_wide(step: StepContext, value: Any) -> Any:
    return await step.run_action(act, value)


@pytest.mark.parametrize("body", ["action", "mutation", "query"])
@pytest.mark.parametrize("inline", [None, False])
def test_r23_while_the_only_place_is_taken_no_other_body_begins(
    workflow_harness: Harness, body: str, inline: bool | None
) -> None:
    first, second = any_body.start(body, inline), any_body.start(body, inline)
    seen: list[Any] = []

    def meanwhile() -> None:
        crowd.inside = lambda: None
        if connection.in_atomic_block and connection.vendor == "sqlite":
            return  # nobody else can write there now; the threads of the other test have met
        elsewhere(lambda: drain(None))
        seen.append((crowd.total, taken()))

    crowd.inside = meanwhile
    drain(None)
    assert all(each == (1, [("slots of one", 1)]) for each in seen)
    assert seen or connection.vendor == "sqlite"
    drain(None)
    assert [workflow.status(run) for run in (first, second)] == [Completed("done")] * 2
    assert (crowd.most, crowd.total) == (1, 2)


def test_r23_a_step_whose_place_is_taken_between_the_look_and_the_claim_is_not_claimed(
    workflow_harness: Harness,
) -> None:
    run = any_body.start("action", False)
    assert slots.take(single.name, 1, "somebody")  # the place is there from here on
    slots.give_back("somebody")
    take_one(run.id)
    taken_by: list[bool] = []

    def take_it(sql: str) -> None:
        claims_it = sql.startswith("BEGIN" if connection.vendor == "sqlite" else "UPDATE")
        if claims_it and not taken_by:
            taken_by.append(elsewhere(lambda: slots.take(single.name, 1, "somebody else")))

    with before_statements(take_it):
        assert claims.claim_step("me", None, known()) is None
    assert taken_by == [True]
    (step,) = workflow_harness.journal(run)
    assert (step.state, step.attempts, step.lease_owner) == ("pending", 0, None)
    assert taken() == [("slots of one", 1)]
    slots.give_back("somebody else")
    workflow_harness.drain()
    assert workflow.status(run) == Completed("done")


@single.define(name="slots.any_body")
async def any_body(step: StepContext, body: str, inline: bool | None) -> str:
    context = step.using(inline=inline)
    match body:
        case "action":
            await context.run_action(act)
        case "mutation":
            await context.run_mutation(write)
        case _:
            await context.run_query(look)
    return "done"


def test_r23_an_inline_body_without_a_place_becomes_a_row(workflow_harness: Harness) -> None:
    assert slots.take(single.name, 1, "somebody else")
    run = one.start("x")
    workflow_harness.drain()
    (step,) = workflow_harness.journal(run)
    assert (step.state, step.attempts, step.pool) == ("pending", 0, "slots of one")
    assert step.due_at is not None
    assert workflow.get(run).lease_owner is None
    assert workflow_harness.drain() == 0  # R7: not claimed and released again and again
    slots.give_back("somebody else")
    workflow_harness.drain()
    assert workflow_harness.result(run) == "x"
    assert crowd.total == 1
    workflow_harness.assert_replays(run)


def test_r23_what_needs_no_body_goes_on_without_a_place(workflow_harness: Harness) -> None:
    assert slots.take(single.name, 1, "somebody else")
    run = sleeps_and_waits.start()
    workflow_harness.drain()
    run.send_event("go", 7)
    workflow_harness.advance(timedelta(minutes=2))
    assert workflow_harness.result(run) == 7


@single.define(name="slots.sleeps_and_waits")
async def sleeps_and_waits(step: StepContext) -> Any:
    await step.sleep(60)
    return await step.wait_for_event("go")


def test_r23_a_crowded_pool_does_not_hold_up_others(workflow_harness: Harness) -> None:
    assert slots.take(single.name, 1, "somebody else")
    crowded = [three.start() for _ in range(5)]
    free = two_wide.start("free")
    workflow_harness.drain()
    assert workflow.status(free) == Completed("free")
    assert all(isinstance(workflow.status(run), InProgress) for run in crowded)


def test_39_pools_are_told_apart_by_name(workflow_harness: Harness) -> None:
    ran = [one.start(1), two_wide.start(2)]
    seen: list[Any] = []
    crowd.inside = lambda: seen.append(taken())
    workflow_harness.drain()
    assert [workflow_harness.result(run) for run in ran] == [1, 2]
    assert seen == [[("slots of one", 1)], [("slots", 1)]]


def test_an_unlimited_pool_takes_no_places(workflow_harness: Harness) -> None:
    run = free_for_all.start()
    workflow_harness.drain()
    assert workflow_harness.result(run) == 1
    assert not Slot.objects.exists()


unlimited = WorkflowManager("slots without a limit")


@unlimited.define(name="slots.free_for_all")
async def free_for_all(step: StepContext) -> Any:
    return await step.run_action(act, 1)


# ── limits that change ──────────────────────────────────────────────────────────────────────────────────────


def test_39_0_holds_everything_and_a_higher_limit_goes_on(workflow_harness: Harness, limited: Any) -> None:
    limited(single, 0)
    run, sleeper = three.start(), sleeps_and_waits.start()
    assert workflow_harness.advance(timedelta(hours=1)) == 0
    assert (workflow.get(run).started_at, crowd.total) == (None, 0)
    run.send_event("kept", 1)
    limited(single, 2)
    sleeper.send_event("go", 1)
    workflow_harness.drain()
    assert workflow_harness.result(run) == [0, 1, 2]
    workflow_harness.advance(timedelta(hours=1))
    assert workflow_harness.result(sleeper) == 1


def test_39_0_holds_what_is_under_way(workflow_harness: Harness, limited: Any) -> None:
    run = late_and_parallel.start()
    workflow_harness.drain()
    limited(single, 0)
    assert workflow_harness.advance(timedelta(hours=1)) == 0
    limited(single, 1)
    workflow_harness.drain()
    assert workflow_harness.result(run) == [1, 2]


@single.define(name="slots.late_and_parallel")
async def late_and_parallel(step: StepContext) -> Any:
    later = step.using(run_after=60)
    return await asyncio.gather(later.run_action(act, 1), later.run_action(act, 2))


def test_39_0_does_not_hold_other_pools(workflow_harness: Harness, limited: Any) -> None:
    limited(single, 0)
    held, free = one.start(1), two_wide.start(2)
    workflow_harness.drain()
    assert workflow.status(free) == Completed(2)
    assert isinstance(workflow.status(held), InProgress)


def test_r23_a_lowered_limit_holds_from_then_on(workflow_harness: Harness, limited: Any) -> None:
    limited(pool, 3)
    assert [slots.take("slots", 3, str(n)) for n in range(4)] == [True, True, True, False]
    slots.give_back("0")
    limited(pool, 1)
    run = two_wide.start(1)
    workflow_harness.drain()
    assert workflow_harness.result(run) == 1  # place 1 is free; 2 and 3, still held, count no more
    assert slots.take("slots", 1, "x")
    again = two_wide.start(2)
    workflow_harness.drain()
    assert isinstance(workflow.status(again), InProgress)


def test_r23_a_raised_limit_holds_from_then_on(workflow_harness: Harness, limited: Any) -> None:
    assert slots.take("slots of one", 1, "somebody else")
    run = one.start(1)
    workflow_harness.drain()
    assert isinstance(workflow.status(run), InProgress)
    limited(single, 2)
    workflow_harness.drain()
    assert workflow_harness.result(run) == 1


def test_39_a_pool_that_has_lost_its_limit_runs_what_waits(workflow_harness: Harness, limited: Any) -> None:
    assert slots.take("slots of one", 1, "somebody else")
    run = three.start()
    workflow_harness.drain()
    limited(single, None)
    workflow_harness.drain()
    assert workflow_harness.result(run) == [0, 1, 2]


# ── deaths ──────────────────────────────────────────────────────────────────────────────────────────────────


def die() -> None:
    crowd.inside = lambda: None
    raise SimulatedCrash("in a body")


@pytest.mark.parametrize("kind", ["one", "three", "mutation"])
def test_39_r23_a_place_that_a_dead_worker_held_is_free_after_its_lease(
    workflow_harness: Harness, kind: str
) -> None:
    starts: dict[str, Callable[[], Workflow]] = {
        "one": lambda: one.start("x"),
        "three": three.start,
        "mutation": lambda: any_body.start("mutation", False),
    }
    run = starts[kind]()
    other = one.start("other")
    Workflow.objects.filter(id=other.id).update(priority=-1)
    crowd.inside = die
    with pytest.raises(SimulatedCrash):
        workflow_harness.drain()
    assert taken() == [("slots of one", 1)]
    workflow_harness.drain()
    assert crowd.total == 1  # the dead one's place is not given to anybody
    workflow_harness.advance(LEASE + timedelta(seconds=1))
    assert workflow.status(run).type == "completed"
    assert workflow_harness.result(other) == "other"
    assert (crowd.most, taken()) == (1, [])


def test_r23_a_step_that_is_taken_over_takes_the_dead_ones_place(workflow_harness: Harness) -> None:
    workflow_harness.freeze(NOON)
    run = three.start()
    crowd.inside = die
    with pytest.raises(SimulatedCrash):
        workflow_harness.drain()
    # Its step is due (somebody saw it dead), its place is not: nobody but the step's next worker may have it.
    Step.objects.filter(state="running").update(due_at=NOON)
    seen: list[Any] = []
    crowd.inside = lambda: seen.append((taken(), Slot.objects.get().lease_owner))
    dead = Slot.objects.get().lease_owner
    workflow_harness.drain()
    assert workflow_harness.result(run) == [0, 1, 2]
    assert seen[0][0] == [("slots of one", 1)]
    assert seen[0][1] != dead
    assert taken() == []


def test_r23_r25_the_places_of_a_process_that_is_dead_are_free_at_once(workflow_harness: Harness) -> None:
    run = one.start("x")
    crowd.inside = die
    with pytest.raises(SimulatedCrash):
        workflow_harness.drain()
    processes.release_dead(Process(id=processes.identity().id))
    workflow_harness.drain()
    assert workflow_harness.result(run) == "x"


def test_r23_the_heartbeat_keeps_a_place_as_it_keeps_the_lease(workflow_harness: Harness) -> None:
    workflow_harness.freeze(NOON)

    def beat() -> None:
        workflow_harness.freeze(NOON + timedelta(seconds=20))
        elsewhere(heartbeat.beat)
        ends.append(Slot.objects.get().due_at)

    ends: list[Any] = []
    crowd.inside = beat
    one.start("x")
    workflow_harness.drain()
    assert ends == [NOON + timedelta(seconds=50)]


def test_r23_a_commit_renews_the_place_with_the_lease(workflow_harness: Harness) -> None:
    """A turn that commits again and again lives longer than one lease, heartbeat or no."""
    workflow_harness.freeze(NOON)
    moments = iter(range(20, 200, 20))
    ends: list[Any] = []

    def later() -> None:
        slot = Slot.objects.get()
        assert slot.due_at is not None
        ends.append(slot.due_at - workflow_harness.now())
        workflow_harness.freeze(NOON + timedelta(seconds=next(moments)))

    crowd.inside = later
    run = actions_in_a_row.start()
    workflow_harness.drain()
    assert workflow_harness.result(run) == "done"
    assert ends == [LEASE] * 4


@single.define(name="slots.actions_in_a_row")
async def actions_in_a_row(step: StepContext) -> str:
    for number in range(4):
        await step.run_action(act, number)
    return "done"


# ── places are given back ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "kind",
    [
        "action",
        "mutation",
        "timeout",
        "retry",
        "parallel action",
        "parallel mutation",
        "parallel timeout",
        "parallel retry",
    ],
)
def test_r23_a_failure_gives_the_place_back(workflow_harness: Harness, kind: str) -> None:
    run = failing.start(kind)
    workflow_harness.drain()
    assert taken() == []
    other = one.start("x")
    workflow_harness.drain()
    assert workflow_harness.result(other) == "x"
    workflow_harness.advance(timedelta(minutes=2))
    assert workflow_harness.result(run) == ("StepTimedOut" if "timeout" in kind else "ValueError")
    assert (crowd.most, taken()) == (1, [])


@pytest.mark.parametrize("inline", [None, False])
def test_r23_r13_a_turn_that_is_repeated_gives_the_place_back(
    workflow_harness: Harness, inline: bool | None
) -> None:
    def deadlock() -> None:
        crowd.inside = lambda: None
        raise OperationalError(1213 if connection.vendor == "mysql" else "database is locked")

    crowd.inside = deadlock
    run = any_body.start("mutation", inline)
    workflow_harness.drain()
    assert taken() == []
    workflow_harness.advance(timedelta(minutes=1))
    assert workflow_harness.result(run) == "done"
    assert Entry.objects.count() == 1


@pytest.mark.parametrize("parallel", [False, True])
def test_r23_a_lost_lease_gives_the_place_back(workflow_harness: Harness, parallel: bool) -> None:
    run = any_body.start("action", not parallel)
    crowd.inside = lambda: elsewhere(lambda: workflow.cancel(run))
    workflow_harness.drain()
    assert workflow.status(run).type == "canceled"
    assert taken() == []


def test_r23_a_deadlock_over_places_is_nobodys_fault(workflow_harness: Harness) -> None:
    left = [2]

    def fail(sql: str) -> None:
        if left[0] and "workflow_slot" in sql and sql.startswith("UPDATE"):
            left[0] -= 1
            raise OperationalError(1213 if connection.vendor == "mysql" else "database is locked")

    run = one.start("x")
    with before_statements(fail):
        workflow_harness.drain()
    workflow_harness.advance(timedelta(minutes=1))
    assert left == [0]
    assert workflow_harness.result(run) == "x"
    assert taken() == []


@override_settings(DJANGO_WORKFLOW={"ALWAYS_SUSPEND": True})
def test_r23_a_suspended_turn_gives_the_place_back_each_time(workflow_harness: Harness) -> None:
    run = actions_in_a_row.start()
    workflow_harness.drain()
    assert workflow_harness.result(run) == "done"
    assert taken() == []


# ── R10, two clusters ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("parallel", [False, True])
def test_r10_a_freed_place_asks_for_a_wake_up(workflow_harness: Harness, parallel: bool) -> None:
    sent: list[str] = []

    def from_now_on() -> None:
        sent.clear()

    any_body.start("action", not parallel)
    crowd.inside = from_now_on
    with wakes.sent_by(sent.append):
        drain("", seconds=None)
        assert "" in sent


@single.define(name="slots.over_there")
async def over_there(step: StepContext, value: Any) -> Any:
    return await step.using(cluster="reports").run_action(act, value)


def test_39_the_limit_holds_over_two_clusters(workflow_harness: Harness) -> None:
    runs = [over_there.start(1), one.start(2), over_there.start(3), one.start(4)]
    rounds = 0
    while Workflow.objects.in_progress().exists():
        workers = [Elsewhere(lambda: drain("")), Elsewhere(lambda: drain("reports"))]
        for worker in workers:
            worker.result()
        rounds += 1
        assert rounds < 50
    assert [workflow_harness.result(run) for run in runs] == [1, 2, 3, 4]
    assert (crowd.most, crowd.total) == (1, 4)


# ── step.using(cluster=) ────────────────────────────────────────────────────────────────────────────────────


@workflow.define(name="slots.elsewhere")
async def on_another_cluster(step: StepContext) -> Any:
    await step.run_action(act, "here")
    there = step.using(cluster="reports")
    return [
        await there.run_action(act, 1),
        await there.run_mutation(write, 2),
        await there.run_query(look, 3),
    ]


def test_a_step_for_another_cluster_runs_there_only(workflow_harness: Harness) -> None:
    run = on_another_cluster.start()
    drain("")
    assert crowd.total == 1
    for body in (2, 3, 4):
        assert drain("") == 0
        drain("reports")
        assert crowd.total == body
        drain("")
    assert workflow_harness.result(run) == [1, 2, 3]
    assert [step.cluster for step in workflow_harness.journal(run)] == ["", "reports", "reports", "reports"]


def test_a_step_for_another_cluster_wakes_it_and_is_woken_for(workflow_harness: Harness) -> None:
    on_another_cluster.start()
    sent: list[str] = []
    with wakes.sent_by(sent.append):
        drain("")
        assert "reports" in sent
        sent.clear()
        drain("reports")
        assert "" in sent


def test_a_step_for_its_own_cluster_by_name_is_inline(workflow_harness: Harness) -> None:
    run = by_its_own_name.start()
    drain("reports")
    assert workflow_harness.result(run) == 1
    assert workflow_harness.journal(run)[0].lease_owner is None
    assert Step.objects.filter(workflow=run, attempts=1).count() == 1


reports = WorkflowManager("slots reports", cluster="reports")


@reports.define(name="slots.by_its_own_name")
async def by_its_own_name(step: StepContext) -> Any:
    return await step.using(cluster="reports").run_action(act, 1)
