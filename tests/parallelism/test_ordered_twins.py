"""Behaviour 10 and the ordered twins: races, one after the other, at most so many at once."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_workflow import Completed, Failed, Retry, StepContext, action, mutation, workflow
from django_workflow.testing import Harness
from tests.shop.models import Entry

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@action
def give(value: Any) -> Any:
    if value == "boom":
        raise ValueError("boom")
    return value


@mutation
def note(label: str) -> None:
    Entry.objects.create(label=label)


@workflow.define(name="twins.race")
async def race(step: StepContext, sleeps: list[float]) -> Any:
    async def branch(seconds: float) -> float:
        try:
            await step.sleep(seconds)
        finally:
            await step.run_mutation(note, f"left {seconds}")
        return seconds

    winner = await step.first_completed(*(branch(seconds) for seconds in sleeps))
    after = await step.run_action(give, "after")
    return [*winner, after]


def test_10_a_race_ends_alike_on_replay_and_its_losers_settle(workflow_harness: Harness) -> None:
    workflow_harness.freeze(NOON)
    assert workflow_harness.run(race, [30, 10, 20]) == Completed([1, 10, "after"])
    run = workflow.list("twins.race").get()
    sleeps = {step.number: step.state for step in workflow_harness.journal(run) if step.kind == "sleep"}
    assert sleeps == {1: "canceled", 2: "completed", 3: "canceled"}
    assert set(Entry.objects.values_list("label", flat=True)) == {"left 10.0", "left 20.0", "left 30.0"}
    assert workflow_harness.now() == NOON + timedelta(seconds=10)
    workflow_harness.assert_replays(run)


@workflow.define(name="twins.first_fails")
async def first_fails(step: StepContext) -> Any:
    return await step.first_completed(step.run_action(give, "boom"), step.sleep(60))


def test_10_a_race_raises_what_its_first_one_raised(workflow_harness: Harness) -> None:
    status = workflow_harness.run(first_fails)
    assert isinstance(status, Failed)
    assert status.error.message == "boom"


@workflow.define(name="twins.in_order")
async def in_order(step: StepContext, sleeps: list[float]) -> list[float]:
    async def branch(seconds: float) -> float:
        await step.sleep(seconds)
        return seconds

    return [await task async for task in step.as_completed(*map(branch, sleeps))]


def test_as_completed_yields_in_the_order_of_completion(workflow_harness: Harness) -> None:
    assert workflow_harness.run(in_order, [3, 1, 2, 1]) == Completed([1, 1, 2, 3])


@workflow.define(name="twins.mapped")
async def mapped(step: StepContext, items: list[Any], limit: int, keep: bool) -> list[Any]:
    results = await step.map(give, items, limit=limit, return_exceptions=keep)
    return [str(result) if isinstance(result, Exception) else result for result in results]


def test_map_keeps_the_order_of_the_items(workflow_harness: Harness) -> None:
    items = list(range(25))
    assert workflow_harness.run(mapped, items, 4, False) == Completed(items)


def test_map_has_at_most_limit_unfinished_at_once(workflow_harness: Harness) -> None:
    seen: list[int] = []
    run = mapped.start(list(range(12)), 5, False)

    def count(value: int) -> int:
        seen.append(sum(step.state in ("pending", "running") for step in workflow_harness.journal(run)))
        return value

    workflow_harness.replace(give, with_=count)
    workflow_harness.drain()
    assert max(seen) == 5


def test_the_first_failure_of_a_map_cancels_the_rest(workflow_harness: Harness) -> None:
    status = workflow_harness.run(mapped, [1, "boom", 3, 4, 5], 2, False)
    assert isinstance(status, Failed)
    assert status.error.message == "boom"


def test_map_can_return_exceptions(workflow_harness: Harness) -> None:
    status = workflow_harness.run(mapped, [1, "boom", 3], 2, True)
    assert isinstance(status, Completed)
    assert status.result[0::2] == [1, 3]
    assert "boom" in status.result[1]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(workflow_harness: Harness, limit: int) -> None:
    status = workflow_harness.run(mapped, [1], limit, False)
    assert isinstance(status, Failed)
    assert status.error.type == "django_workflow.exceptions.UsageError"
    assert str(limit) in status.error.message


@workflow.define(name="twins.timeout_of_retry")
async def timeout_of_retry(step: StepContext) -> str:
    retry = Retry(max_attempts=100, initial=10, base=1, jitter=False)
    try:
        async with asyncio.timeout(25):
            await step.using(retry=retry).run_action(give, "boom")
    except TimeoutError:
        return "timed out"
    return "?"


def test_10_a_timeout_ends_a_step_that_backs_off(workflow_harness: Harness) -> None:
    workflow_harness.freeze(NOON)
    assert workflow_harness.run(timeout_of_retry) == Completed("timed out")
    run = workflow.list("twins.timeout_of_retry").get()
    assert [(step.state, step.attempts) for step in workflow_harness.journal(run)][1] == ("canceled", 3)
