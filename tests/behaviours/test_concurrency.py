"""Behaviours 9 and 10: many steps at once, in one order, whatever finishes first."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from django_workflow import Completed, Failed, InProgress, StepContext, workflow
from django_workflow.exceptions import StepFailed
from django_workflow.testing import Harness
from tests.behaviours.bodies import (
    CardDeclined,
    act,
    as_failure,
    calls,
    change,
    count,
    decline,
    double,
    look,
    rows,
    write,
)
from tests.behaviours.code import deploy, deployed

pytestmark = pytest.mark.usefixtures("any_mode")
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def test_9_gather_returns_results_in_the_order_asked_and_starts_in_it(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> list[int]:
        return await asyncio.gather(*(step.run_action(double, n) for n in range(30)))

    run = deployed.start()
    workflow_harness.drain()
    assert workflow_harness.result(run) == [2 * n for n in range(30)]
    assert [s.args["value"] for s in workflow_harness.journal(run)] == list(range(30))
    assert sorted(calls) == [("double", n) for n in range(30)]
    workflow_harness.assert_replays(run)


def test_9_gather_of_all_kinds(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await asyncio.gather(
            step.run_query(look, 1),
            step.run_action(act, 2),
            step.run_mutation(change, 3),
            step.sleep(HOUR),
            step.run_query(look, 4),
            asyncio.sleep(60, "slept"),
        )

    assert workflow_harness.run(deployed) == Completed([1, 2, 3, None, 4, "slept"])
    assert sorted(value for _, value in calls) == [1, 2, 3, 4]


def test_9_nested_gathers_ask_in_the_same_order_on_every_replay(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        async def branch(name: str, steps: int) -> list[Any]:
            done = []
            for number in range(steps):
                done.append(await step.run_action(act, f"{name}{number}"))
                done.append(await step.run_query(look, f"{name}{number}q"))
            return done

        return await asyncio.gather(
            branch("a", 3), asyncio.gather(branch("b", 1), branch("c", 2)), branch("d", 4)
        )

    run = deployed.start()
    workflow_harness.drain()
    a, (b, c), d = workflow_harness.result(run)
    assert [len(a), len(b), len(c), len(d)] == [6, 2, 4, 8]
    assert len(calls) == 20
    workflow_harness.assert_replays(run)


def test_9_one_failure_comes_out_of_gather_and_the_others_go_on(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> list[Any]:
        slow = asyncio.ensure_future(step.run_action(act, "other"))
        try:
            await asyncio.gather(slow, step.run_action(decline, "first"), step.run_action(decline, "second"))
        except CardDeclined as error:
            return [as_failure(error).error.message, await slow]
        return []

    run = deployed.start()
    workflow_harness.drain()
    message, other = workflow_harness.result(run)
    assert message in ("first", "second")
    assert other == "other"
    workflow_harness.assert_replays(run)


def test_9_gather_can_return_its_failures(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> list[Any]:
        steps: list[Any] = [
            step.run_action(act, "fine"),
            step.run_action(decline, "one"),
            step.run_query(look, "good"),
            step.run_action(decline, "two"),
        ]
        results = await asyncio.gather(*steps, return_exceptions=True)
        return [each.error.message if isinstance(each, StepFailed) else each for each in results]

    assert workflow_harness.run(deployed) == Completed(["fine", "one", "good", "two"])


def test_9_a_task_group_cancels_the_others_and_their_steps_settle_as_canceled(
    workflow_harness: Harness,
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        caught = 0
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(step.sleep(DAY))
                group.create_task(step.run_action(decline, "no"))
                group.create_task(step.using(run_after=HOUR).run_action(act, "late"))
        except* CardDeclined as errors:
            caught = len(errors.exceptions)
        await step.run_mutation(write, "went on")
        return f"caught {caught}"

    run = deployed.start()
    workflow_harness.drain()
    assert workflow_harness.result(run) == "caught 1"
    journal = workflow_harness.journal(run)
    assert [(s.kind, s.state) for s in journal] == [
        ("sleep", "canceled"),
        ("action", "failed"),
        ("action", "canceled"),
        ("mutation", "completed"),
    ]
    assert all(s.completed_at for s in journal)
    workflow_harness.advance(2 * DAY)
    assert ("act", "late") not in calls
    workflow_harness.assert_replays(run)


def test_9_a_failure_nobody_catches_ends_the_workflow_and_settles_the_rest(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await asyncio.gather(
            step.sleep(DAY),
            step.run_action(decline, "no"),
            step.using(run_after=HOUR).run_action(act, "late"),
        )

    run = deployed.start()
    workflow_harness.drain()
    status = workflow.status(run)
    assert isinstance(status, Failed)
    assert (status.error.message, status.error.step) == ("no", 2)
    assert [(s.state, s.completed_at is not None) for s in workflow_harness.journal(run)] == [
        ("canceled", True),
        ("failed", True),
        ("canceled", True),
    ]
    workflow_harness.advance(DAY)
    assert ("act", "late") not in calls


def test_9_a_slow_branch_does_not_hold_back_a_fast_ones_next_step(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        async def slow() -> str:
            await step.sleep(DAY)
            return str(await step.run_action(act, "slow"))

        async def fast() -> list[Any]:
            done = []
            for number in range(3):
                await step.sleep(HOUR)
                done.append(await step.run_mutation(write, "fast"))
                done.append(await step.run_action(act, number))
            return done

        return await asyncio.gather(slow(), fast())

    run = deployed.start()
    workflow_harness.drain()
    for hour in range(1, 4):
        workflow_harness.advance(HOUR)
        assert rows("fast") == hour
        assert ("act", hour - 1) in calls
    assert ("act", "slow") not in calls
    assert isinstance(workflow.status(run), InProgress)
    workflow_harness.advance(DAY)
    assert workflow_harness.result(run) == ["slow", [1, 0, 2, 1, 3, 2]]


def test_9_a_background_task_that_nobody_awaits_ends_with_the_handler(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        async def background() -> None:
            try:
                await step.sleep(HOUR)
            finally:
                await step.run_mutation(write, "never")

        task = asyncio.create_task(background())
        await step.run_action(act)
        assert not task.done()
        return "ended"

    run = deployed.start()
    workflow_harness.drain()
    workflow_harness.advance(DAY)
    assert workflow_harness.result(run) == "ended"
    assert rows("never") == 0
    assert [(s.kind, s.state) for s in workflow_harness.journal(run)] == [
        ("action", "completed"),
        ("sleep", "canceled"),
    ]


def test_10_a_timeout_around_a_sleep_ends_the_same_way_on_replay(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> list[str]:
        seen = []
        try:
            async with asyncio.timeout(60):
                await step.sleep(HOUR)
        except TimeoutError:
            seen.append("timeout")
        async with asyncio.timeout(7200):
            await step.sleep(HOUR)
            seen.append("in time")
        await step.sleep(DAY)
        return seen

    run = deployed.start()
    workflow_harness.drain()
    for _ in range(6):
        workflow_harness.advance(8 * HOUR)
    assert workflow_harness.result(run) == ["timeout", "in time"]
    workflow_harness.assert_replays(run)


def test_10_a_losers_result_never_leaks_into_a_later_await(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> list[Any]:
        results: list[Any] = []
        try:
            async with asyncio.timeout(60):
                results.append(await step.using(run_after=HOUR).run_action(act, "loser"))
        except TimeoutError:
            results.append("timeout")
        await step.sleep(2 * HOUR)
        results.append(await step.run_action(act, "winner"))
        results.append(await step.run_query(look, "last"))
        return results

    assert workflow_harness.run(deployed) == Completed(["timeout", "winner", "last"])
    assert ("act", "loser") not in calls


def test_10_a_step_of_the_same_moment_as_its_timeout_ends_one_way_for_ever(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        try:
            async with asyncio.timeout(60):
                await step.sleep(60)
                outcome = "slept"
        except TimeoutError:
            outcome = "timeout"
        await step.sleep(HOUR)
        await step.run_action(act, outcome)
        return outcome

    run = deployed.start()
    frozen.drain()
    frozen.advance(timedelta(minutes=1))
    frozen.advance(HOUR)
    assert calls == [("act", frozen.result(run))]
    frozen.assert_replays(run)


def test_handlers_may_use_events_queues_and_locks_of_asyncio_among_their_own_tasks(
    workflow_harness: Harness,
) -> None:
    @deploy
    async def handler(step: StepContext) -> list[Any]:
        queue: asyncio.Queue[Any] = asyncio.Queue()
        lock = asyncio.Lock()
        ready = asyncio.Event()

        async def producer() -> None:
            for number in range(3):
                async with lock:
                    await queue.put(await step.run_action(double, number))
                await step.sleep(HOUR)
            ready.set()

        async def consumer() -> list[Any]:
            got = [await queue.get() for _ in range(3)]
            await ready.wait()
            return got

        _, got = await asyncio.gather(producer(), consumer())
        return [*got, await step.run_query(count, "none")]

    assert workflow_harness.run(deployed) == Completed([0, 2, 4, 0])
