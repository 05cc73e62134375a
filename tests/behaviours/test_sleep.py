"""Behaviour 23: sleeps are exact on the durable clock, hold nobody, and fire once."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from django_workflow import Completed, InProgress, StepContext, workflow
from django_workflow.testing import Harness, SimulatedCrash
from tests.behaviours.bodies import act, calls, count, rows, write
from tests.behaviours.code import deploy, deployed
from tests.behaviours.conftest import NOON
from tests.engine.committed import committed
from tests.shop.workflows import echo

pytestmark = pytest.mark.usefixtures("either_mode")
SECOND = timedelta(seconds=1)
MICROSECOND = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
YEAR = timedelta(days=365)


def deploy_sleep(duration: Any) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.sleep(duration)
        await step.run_action(act, "woke")
        return "woke"


def sleeping(run: Any) -> Any:
    status = workflow.status(run)
    assert isinstance(status, InProgress), status
    (step,) = status.running
    assert step.kind == "sleep"
    return step


def test_23_a_sleep_holds_no_worker(frozen: Harness) -> None:
    deploy_sleep(DAY)
    run = deployed.start()
    frozen.drain()
    row = workflow.get(run)
    assert row.lease_owner is None
    assert row.due_at == NOON + DAY
    assert frozen.drain() == 0  # nothing to do, nobody waits
    others = [echo.start(number) for number in range(20)]
    frozen.drain()
    assert [frozen.result(other) for other in others] == list(range(20))
    assert isinstance(workflow.status(run), InProgress)


@pytest.mark.parametrize(
    "duration",
    [MICROSECOND, timedelta(milliseconds=1), SECOND, HOUR, DAY, 30 * DAY, YEAR, 10 * YEAR, 1000 * YEAR],
    ids=str,
)
def test_23_a_sleep_is_over_at_its_due_time_and_not_a_microsecond_before(
    frozen: Harness, duration: timedelta
) -> None:
    deploy_sleep(duration)
    run = deployed.start()
    frozen.drain()
    assert sleeping(run).due_at == NOON + duration  # years aren't clamped
    frozen.advance(duration - MICROSECOND)
    assert isinstance(workflow.status(run), InProgress)
    assert calls == []
    frozen.advance(MICROSECOND)
    assert frozen.result(run) == "woke"
    assert calls == [("act", "woke")]


@pytest.mark.parametrize("duration", [0.25, 1, 90.5, 2_592_000], ids=str)
def test_23_a_number_is_seconds(frozen: Harness, duration: float) -> None:
    deploy_sleep(duration)
    run = deployed.start()
    frozen.drain()
    assert sleeping(run).due_at == NOON + timedelta(seconds=duration)


@pytest.mark.parametrize("duration", [0, 0.0, -0.0, -1, -1e9, timedelta(0), -DAY, -1000 * YEAR], ids=str)
def test_23_zero_and_negative_return_at_once_and_are_journaled(frozen: Harness, duration: Any) -> None:
    deploy_sleep(duration)
    run = deployed.start()
    frozen.drain()
    assert frozen.result(run) == "woke"
    slept, acted = frozen.journal(run)
    assert (slept.kind, slept.state, acted.number) == ("sleep", "completed", 2)
    frozen.assert_replays(run)


def test_23_sleep_until_a_moment_that_has_passed_returns_at_once(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.sleep_until(datetime(1999, 12, 31, tzinfo=UTC))
        await step.sleep_until(step.now())
        return "at once"

    run = deployed.start()
    frozen.drain()
    assert frozen.result(run) == "at once"
    assert [step.state for step in frozen.journal(run)] == ["completed", "completed"]


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("began", "until", "instant"),
    [
        # Clocks go forward at 02:00 → 03:00 on 2031-03-30, and back at 03:00 → 02:00 on 2031-10-26.
        (
            datetime(2031, 3, 29, 12, tzinfo=BERLIN),
            datetime(2031, 3, 30, 12, tzinfo=BERLIN),
            "2031-03-30T10:00",
        ),
        (
            datetime(2031, 3, 30, 1, tzinfo=BERLIN),
            datetime(2031, 3, 30, 3, 30, tzinfo=BERLIN),
            "2031-03-30T01:30",
        ),
        (
            datetime(2031, 10, 25, 12, tzinfo=BERLIN),
            datetime(2031, 10, 26, 12, tzinfo=BERLIN),
            "2031-10-26T11:00",
        ),
        (
            datetime(2031, 10, 26, 1, tzinfo=BERLIN),
            datetime(2031, 10, 26, 2, 30, tzinfo=BERLIN),
            "2031-10-26T00:30",
        ),
        (
            datetime(2031, 10, 26, 1, tzinfo=BERLIN),
            datetime(2031, 10, 26, 2, 30, tzinfo=BERLIN, fold=1),
            "2031-10-26T01:30",
        ),
    ],
)
def test_23_an_aware_datetime_across_dst_is_an_instant(
    workflow_harness: Harness, began: datetime, until: datetime, instant: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.sleep_until(until)
        return "woke"

    due_at = datetime.fromisoformat(f"{instant}:00+00:00")
    workflow_harness.freeze(began.astimezone(UTC))
    run = deployed.start()
    workflow_harness.drain()
    assert sleeping(run).due_at == due_at
    workflow_harness.advance(due_at - began.astimezone(UTC) - SECOND)
    assert isinstance(workflow.status(run), InProgress)
    workflow_harness.advance(SECOND)
    assert workflow_harness.result(run) == "woke"


def test_23_a_sleep_of_a_day_is_24_hours_across_dst(workflow_harness: Harness) -> None:
    began = datetime(2031, 3, 29, 12, tzinfo=BERLIN).astimezone(UTC)
    deploy_sleep(DAY)
    workflow_harness.freeze(began)
    run = deployed.start()
    workflow_harness.drain()
    assert sleeping(run).due_at == began + timedelta(hours=24)


def test_23_a_late_worker_does_not_shift_the_next_sleep_of_the_same_branch_back(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> list[str]:
        await step.sleep(HOUR)
        woke = step.now()
        await step.sleep(HOUR)
        return [woke.isoformat(), step.now().isoformat()]

    run = deployed.start()
    frozen.drain()
    frozen.advance(5 * HOUR)  # nobody worked for hours
    assert sleeping(run).due_at == NOON + 6 * HOUR  # from the moment at which the handler asked
    frozen.advance(HOUR)
    assert frozen.result(run) == [(NOON + 5 * HOUR).isoformat(), (NOON + 6 * HOUR).isoformat()]


def test_23_wakes_on_the_original_schedule_after_restarts(frozen: Harness) -> None:
    deploy_sleep(10 * DAY)
    run = deployed.start()
    frozen.drain()
    for day in range(1, 10):
        frozen.close()
        frozen = Harness()  # another process, for all that the journal knows
        try:
            frozen.freeze(NOON + day * DAY)
            frozen.drain()
            assert sleeping(run).due_at == NOON + 10 * DAY
        finally:
            frozen.close()
    with Harness() as last:
        last.freeze(NOON + 10 * DAY - MICROSECOND)
        last.drain()
        assert isinstance(workflow.status(run), InProgress)
        last.freeze(NOON + 10 * DAY)
        last.drain()
        assert last.result(run) == "woke"
    assert calls == [("act", "woke")]


@committed
def test_23_killed_several_times_around_a_sleep_wakes_on_the_original_schedule(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.run_mutation(write, "before")
        await step.sleep(DAY)
        await step.run_mutation(write, "after")
        return "woke"

    run = deployed.start()
    frozen.drain()
    due_at = sleeping(run).due_at
    assert due_at == NOON + DAY
    echo.start(1)
    frozen.crash_at(1)
    with pytest.raises(SimulatedCrash):
        frozen.drain()
    frozen.advance(HOUR)
    frozen.drain()
    assert sleeping(run).due_at == due_at
    frozen.freeze(due_at)
    for commit in (1, 2):
        frozen.crash_at(commit)
        with pytest.raises(SimulatedCrash):
            frozen.drain()
        frozen.advance(timedelta(seconds=31))
        if workflow.get(run).finished:
            break
    frozen.drain()
    assert frozen.result(run) == "woke"
    assert (rows("before"), rows("after")) == (1, 1)
    slept = frozen.journal(run)[1]
    assert slept.completed_at == due_at


@pytest.mark.slow
def test_23_hundreds_of_sleepers_each_fire_once(frozen: Harness, either_mode: str) -> None:
    @deploy
    async def handler(step: StepContext, number: int) -> int:
        await step.sleep(timedelta(seconds=number % 20))
        await step.run_mutation(write, f"sleeper {number}")
        return number

    many = 500 if either_mode == "live" else 40
    runs = [deployed.start(number) for number in range(many)]
    frozen.drain()
    for _ in range(20):
        frozen.advance(SECOND)
    assert [run.result for run in workflow.list().order_by("created_at", "id")] == list(range(many))
    assert all(rows(f"sleeper {number}") == 1 for number in range(0, many, 7))
    assert len(calls) == many
    assert len(runs) == many


@pytest.mark.slow
def test_23_hundreds_of_parallel_sleeps_of_one_workflow_each_fire_once(
    frozen: Harness, either_mode: str
) -> None:
    many = 300 if either_mode == "live" else 30

    @deploy
    async def handler(step: StepContext) -> list[str]:
        async def one(number: int) -> str:
            await step.sleep(timedelta(minutes=number % 10))
            return step.now().isoformat()

        return await asyncio.gather(*(one(number) for number in range(many)))

    run = deployed.start()
    frozen.drain()
    for _ in range(10):
        frozen.advance(timedelta(minutes=1))
    woke = frozen.result(run)
    assert woke == [(NOON + timedelta(minutes=number % 10)).isoformat() for number in range(many)]
    assert all(step.state == "completed" and step.seq for step in frozen.journal(run))


def test_23_a_wake_up_is_no_attempt(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        for _ in range(10):
            await step.sleep(HOUR)
        await step.run_action(act)
        await step.sleep(HOUR)

    run = deployed.start()
    frozen.drain()
    for _ in range(11):
        frozen.advance(HOUR)
    assert workflow.status(run) == Completed(None)
    attempts = {step.number: step.attempts for step in frozen.journal(run)}
    assert attempts[11] == 1
    assert {attempts[number] for number in (*range(1, 11), 12)} == {0}
    assert workflow.get(run).interruptions == 0


def test_23_asyncio_sleep_is_durable_too(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        return await asyncio.sleep(86400, "slept")

    run = deployed.start()
    frozen.drain()
    assert sleeping(run).due_at == NOON + DAY
    frozen.advance(DAY)
    assert frozen.result(run) == "slept"


def test_23_a_step_with_run_after_or_run_at_starts_then(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> list[str]:
        seen = []
        await step.using(run_after=HOUR).run_mutation(write, "after")
        seen.append(step.now().isoformat())
        await step.using(run_at=NOON + DAY).run_action(act)
        seen.append(step.now().isoformat())
        await step.using(run_at=NOON).run_query(count, "past")
        seen.append(step.now().isoformat())
        return seen

    run = deployed.start()
    frozen.drain()
    frozen.advance(HOUR - MICROSECOND)
    assert rows("after") == 0
    frozen.advance(MICROSECOND)
    assert rows("after") == 1
    frozen.advance(DAY - HOUR - MICROSECOND)
    assert ("act", None) not in calls
    frozen.advance(MICROSECOND)
    assert frozen.result(run) == [
        (NOON + HOUR).isoformat(),
        (NOON + DAY).isoformat(),
        (NOON + DAY).isoformat(),
    ]


def test_23_a_workflow_with_run_at_or_run_after_has_its_first_turn_then(frozen: Harness) -> None:
    later = deployed.using(run_at=NOON + HOUR).start()
    after = deployed.using(run_after=60).start()
    past = deployed.using(run_at=NOON - DAY).start()
    frozen.drain()
    assert [workflow.get(run).finished for run in (later, after, past)] == [False, False, True]
    frozen.advance(timedelta(minutes=1))
    assert [workflow.get(run).finished for run in (later, after)] == [False, True]
    frozen.advance(HOUR - timedelta(minutes=1) - MICROSECOND)
    assert not workflow.get(later).finished
    assert workflow.get(later).started_at is None
    frozen.advance(MICROSECOND)
    assert workflow.get(later).finished
    assert workflow.get(later).started_at == NOON + HOUR
