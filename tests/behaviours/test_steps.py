"""Behaviours 1, 2, 3 and 5: steps run in order, once, and their results come back."""

from datetime import timedelta
from typing import Any

import pytest

from django_workflow import Completed, InProgress, StepContext, workflow
from django_workflow.testing import Harness
from tests.behaviours.bodies import act, calls, change, count, double, look, rows, unmarked, write
from tests.behaviours.code import deploy, deployed

pytestmark = pytest.mark.usefixtures("any_mode")
DAY = timedelta(days=1)

RUNNERS = [("run_query", look), ("run_mutation", change), ("run_action", act)]


@pytest.mark.parametrize(("runner", "function"), RUNNERS)
def test_1_one_step_succeeds_and_the_result_follows(
    workflow_harness: Harness, runner: str, function: Any
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await getattr(step, runner)(function, 41) + 1

    run = deployed.start()
    workflow_harness.drain()
    assert workflow.status(run) == Completed(42)
    (step,) = workflow_harness.journal(run)
    assert (step.number, step.state, step.result) == (1, "completed", 41)
    assert step.kind == runner.removeprefix("run_")
    assert step.started_at is not None
    assert step.completed_at is not None
    workflow_harness.assert_replays(run)


def test_1_the_second_step_gets_the_first_ones_result(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await step.run_action(double, await step.run_action(double, 3))

    assert workflow_harness.run(deployed) == Completed(12)
    assert calls == [("double", 3), ("double", 6)]


@pytest.mark.parametrize(("runner", "function"), RUNNERS)
def test_1_a_nested_value_round_trips_through_every_kind_of_step(
    workflow_harness: Harness, runner: str, function: Any
) -> None:
    value = {"list": [1, 2.5, "ü", None, True, [], {}], "dict": {"a": {"b": [{"c": None}]}}, "": ""}

    @deploy
    async def handler(step: StepContext, given: Any) -> Any:
        first = await getattr(step, runner)(function, given)
        await step.sleep(DAY)
        assert first == value
        return await getattr(step, runner)(function, first)

    run = deployed.start(value)
    workflow_harness.drain()
    workflow_harness.advance(DAY)
    assert workflow_harness.result(run) == value


@pytest.mark.parametrize(("runner", "function"), RUNNERS)
def test_2_none_is_a_result_and_not_missing_on_replay(
    workflow_harness: Harness, runner: str, function: Any
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        results = [await getattr(step, runner)(function, None)]
        await step.sleep(DAY)
        results.append(await getattr(step, runner)(function, None))
        await step.sleep(DAY)
        return results

    assert workflow_harness.run(deployed) == Completed([None, None])
    assert len(calls) == 2


def test_2_none_is_a_workflows_result(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.run_action(act)

    run = deployed.start()
    workflow_harness.drain()
    assert workflow.status(run) == Completed(None)
    assert workflow.get(run).result is None
    assert workflow.get(run).finished


def test_3_after_a_suspension_settled_steps_are_not_run_again(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> list[Any]:
        results = []
        for day in range(4):
            results.append(await step.run_query(count, "apple"))
            results.append(await step.run_mutation(write, "apple"))
            results.append(await step.run_action(act, day))
            await step.sleep(DAY)
        return results

    run = deployed.start()
    for day in range(4):
        workflow_harness.drain()
        assert isinstance(workflow.status(run), InProgress)
        assert len(calls) == 3 * (day + 1)
        assert rows("apple") == day + 1
        workflow_harness.advance(DAY)
    assert workflow_harness.result(run) == [0, 1, 0, 1, 2, 1, 2, 3, 2, 3, 4, 3]
    assert len(calls) == 12
    before = [(s.number, s.result, s.completed_at, s.attempts) for s in workflow_harness.journal(run)]
    workflow_harness.assert_replays(run)
    assert len(calls) == 12
    assert before == [(s.number, s.result, s.completed_at, s.attempts) for s in workflow_harness.journal(run)]


def test_5_one_function_called_twice_gets_two_entries_in_order(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> list[int]:
        return [
            await step.run_action(double, 1),
            await step.run_action(double, 1),
            await step.run_action(double, 2),
        ]

    run = deployed.start()
    workflow_harness.drain()
    assert workflow_harness.result(run) == [2, 2, 4]
    journal = workflow_harness.journal(run)
    assert [(s.number, s.name, s.args) for s in journal] == [
        (1, "double", {"value": 1}),
        (2, "double", {"value": 1}),
        (3, "double", {"value": 2}),
    ]
    assert len(calls) == 3


@pytest.mark.django_db
def test_5_a_step_function_called_outside_a_handler_is_a_plain_call() -> None:
    assert double(4) == 8
    assert write("plain") == 1
    assert count("plain") == 1
    assert act([1, (2, 3)]) == [1, (2, 3)]  # the very value: nothing is stored
    assert workflow.list().count() == 0


def write_by_another(label: str) -> list[int]:
    return [write(label), write(label), count(label)]


def test_5_a_step_function_called_in_a_body_is_part_of_that_step(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await step.run_mutation(write_by_another, "pear")

    run = deployed.start()
    workflow_harness.drain()
    assert workflow_harness.result(run) == [1, 2, 2]
    assert [s.name for s in workflow_harness.journal(run)] == ["write_by_another"]


@pytest.mark.parametrize("runner", ["run_query", "run_mutation", "run_action"])
def test_an_unmarked_function_is_any_kind_of_step(workflow_harness: Harness, runner: str) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await getattr(step, runner)(unmarked, "x")

    run = deployed.start()
    workflow_harness.drain()
    assert workflow_harness.result(run) == "x"
    assert workflow_harness.journal(run)[0].kind == runner.removeprefix("run_")


def test_nothing_happens_before_a_step_is_awaited(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        second = step.run_action(act, "second")
        first = await step.run_action(act, "first")
        return [first, await second]

    run = deployed.start()
    workflow_harness.drain()
    assert workflow_harness.result(run) == ["first", "second"]
    assert [s.args for s in workflow_harness.journal(run)] == [{"value": "first"}, {"value": "second"}]


def test_using_returns_a_changed_copy_and_leaves_the_original(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        named = step.using(name="first").using(name="renamed")
        await named.run_action(act, 1)
        await step.run_action(act, 2)
        await named.sleep(0)

    run = deployed.start()
    workflow_harness.drain()
    assert workflow.status(run) == Completed(None)
    assert [s.name for s in workflow_harness.journal(run)] == ["renamed", "act", "renamed"]


@pytest.mark.parametrize(("runner", "function"), RUNNERS)
def test_a_step_that_is_not_inline_has_the_same_result(
    workflow_harness: Harness, runner: str, function: Any
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await getattr(step.using(inline=False), runner)(function, [1])

    run = deployed.start()
    workflow_harness.drain()
    assert workflow_harness.result(run) == [1]
    assert len(calls) == 1
    assert workflow_harness.journal(run)[0].attempts == 1


def test_a_finally_block_runs_its_mutation_once_and_after_the_sleep(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        try:
            await step.sleep(DAY)
        finally:
            await step.run_mutation(write, "released")
        return "ended"

    run = deployed.start()
    workflow_harness.drain()
    assert rows("released") == 0
    workflow_harness.advance(DAY)
    assert workflow_harness.result(run) == "ended"
    assert rows("released") == 1


def test_a_custom_status_is_shown_and_stays_after_the_end(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        step.set_status({"done": 1, "of": 2})
        await step.sleep(DAY)
        step.set_status({"done": 2, "of": 2})

    run = deployed.start()
    workflow_harness.drain()
    assert workflow.status(run).custom == {"done": 1, "of": 2}
    workflow_harness.advance(DAY)
    assert workflow.status(run) == Completed(None, custom={"done": 2, "of": 2})
