"""The replay fixed point (P10): a journal asks for what it holds, in its order, wherever and whenever it is replayed."""

import asyncio
import gc
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from django_workflow.exceptions import InternalError, StepFailed
from django_workflow.handler.commands import Answer, Blocked, Finished
from django_workflow.handler.context import StepContext
from django_workflow.handler.replay import Replay
from django_workflow.states import StepState
from tests.handler.bodies import double, echo, fail
from tests.handler.drive import (
    BEGAN,
    Live,
    answer_of,
    arguments,
    assert_replays,
    define,
    replayed,
    world,
)
from tests.handler.test_order import cancels_a_group, gathers

ROOT = Path(__file__).parents[2]


async def races(step: StepContext) -> list[Any]:
    """Whoever comes first decides what is asked for next."""
    order: list[Any] = []

    async def run(name: str) -> None:
        order.append(await step.run_action(echo, name))
        await step.run_action(echo, f"{name} came {len(order)}.")

    await asyncio.gather(*(run(name) for name in "abc"))
    return order


def test_answers_are_delivered_in_the_order_of_seq_one_at_a_time() -> None:
    """Architecture §5: the handler comes to rest between two answers, so a race ends as it did."""
    with Live(races) as run:
        run.settle(2, 3, 4, 1).finish()
        assert run.result == ["b", "c", "a"]
        assert [command.args for command in run.replay.commands[3:]] == [
            '{"value":"b came 1."}',
            '{"value":"c came 2."}',
            '{"value":"a came 3."}',
        ]
        assert_replays(run, races)


def test_answers_that_came_together_are_no_different_from_answers_that_came_apart() -> None:
    with Live(races) as run:
        run.settle(3, 1)
    with Live(races, journal=run.journal()) as again:
        assert again.waiting == run.waiting
        again.settle(2).finish()
    run.replay.close()
    with Live(races) as whole:
        whole.settle(3, 1, 2).finish()
    assert again.replay.commands == whole.replay.commands
    assert again.result == whole.result == ["c", "a", "b"]


@pytest.mark.parametrize("handler", [gathers, races, cancels_a_group])
def test_a_shaken_heap_changes_nothing(handler: Any) -> None:
    with Live(handler) as run:
        while run.waiting:
            run.settle(max(run.waiting))
    for size in (0, 1000, 50_000):
        garbage = [[object(), {}] for _ in range(size)]
        gc.collect()
        assert_replays(run, handler)
        del garbage[::2]
        assert_replays(run, handler)


def commands_of_some_runs() -> list[list[str]]:
    """What a few live runs ask for; called in processes with different hashes."""
    asked = []
    for handler in (gathers, races, cancels_a_group):
        with Live(handler) as run:
            while run.waiting:
                run.settle(max(run.waiting))
            asked.append([*run.asked, repr(run.result)])
    return asked


def test_another_process_with_other_hashes_asks_for_the_same() -> None:
    program = (
        "import json, django; django.setup()\n"
        "from tests.handler.test_replay import commands_of_some_runs\n"
        "print(json.dumps(commands_of_some_runs()))\n"
    )
    for seed in ("1", "2"):
        found = subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            env={
                **os.environ,
                "PYTHONHASHSEED": seed,
                "DJANGO_SETTINGS_MODULE": "tests.settings",
                "PYTHONPATH": str(ROOT),
            },
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stderr == ""
        assert json.loads(found.stdout) == commands_of_some_runs()


async def everything_deterministic(step: StepContext) -> list[str]:
    seen = []
    for number in range(3):
        seen += [str(step.now()), str(step.random.random()), str(step.uuid4())]
        seen.append(str(step.random.choice(range(1000))))
        await step.sleep(step.random.randint(1, 100))
        await step.run_action(echo, number)
    return seen


def test_time_and_dice_are_equal_on_replay_and_different_between_workflows() -> None:
    """Behaviour 11."""
    with Live(everything_deterministic) as run:
        run.finish()
        assert_replays(run, everything_deterministic)
    assert replayed(everything_deterministic, run.journal()).result == run.result
    with Live(everything_deterministic, workflow_id=UUID(int=8)) as other:
        other.finish()
    assert other.result[0] == run.result[0] == str(BEGAN)
    assert not set(other.result[1:3]) & set(run.result)


def test_the_handlers_time_is_that_of_the_last_delivery_and_never_goes_back() -> None:
    async def handler(step: StepContext) -> list[float]:
        moments = [(step.now() - BEGAN).total_seconds()]
        loop = asyncio.get_running_loop()
        for _ in range(3):
            await step.run_action(echo)
            moments.append((step.now() - BEGAN).total_seconds())
            assert moments[-1] == loop.time()
        return moments

    with Live(handler) as run:
        for number, seconds in ((1, 5.5), (2, 3), (3, 9)):
            answer = answer_of(run.replay.commands[number - 1])
            run.deliver(number, answer, BEGAN + timedelta(seconds=seconds))
        assert run.result == [0.0, 5.5, 5.5, 9.0]
        assert_replays(run, handler)


async def catches(step: StepContext) -> list[Any]:
    try:
        await step.run_action(fail, "first")
    except ValueError as error:
        assert isinstance(error, StepFailed)  # noqa: PT017  here the handler is the test
        caught = [error.step_name, error.number, error.attempts, error.error.type, error.error.message]
        return [*caught, str(error), await step.run_action(echo, "after")]
    return []


def test_a_caught_failure_is_raised_again_as_the_same_error() -> None:
    """Behaviours 3 and 4."""
    with Live(catches) as run:
        run.finish()
        assert run.result[:5] == ["fail", 1, 1, "builtins.ValueError", "first"]
        assert_replays(run, catches)
    assert replayed(catches, run.journal()).result == run.result


def test_none_is_a_result_like_any_other() -> None:
    """Behaviour 2."""

    async def handler(step: StepContext) -> list[Any]:
        return [await step.run_action(echo, None), await step.run_action(double, 1)]

    with Live(handler) as run:
        run.settle(1)
    again = replayed(handler, run.journal())
    assert again.waiting == [2]
    assert [delivery.number for delivery in again.replay.delivered] == [1]


def test_every_replay_decodes_values_anew() -> None:
    """Behaviour 8: a step can't change what replay sees by changing its arguments or what it got."""

    async def handler(step: StepContext) -> list[Any]:
        basket = await step.run_action(echo, {"b": [1], "a": 2})
        basket["b"].append("changed")
        again = await step.run_action(echo, basket)
        basket.clear()
        return [basket, again, list(again)]

    with Live(handler) as run:
        assert run.finish().result == [{}, {"b": [1, "changed"], "a": 2}, ["b", "a"]]
        assert_replays(run, handler)


def test_is_replaying_is_true_until_the_frontier() -> None:
    async def handler(step: StepContext) -> list[bool]:
        seen = [step.is_replaying]
        for number in range(3):
            await step.run_action(echo, number)
            seen.append(step.is_replaying)
        return seen

    with Live(handler) as run:
        run.settle(1, 2)
    with Live(handler, journal=run.journal()) as again:
        again.settle(3)
        assert again.result == [True, True, True, False]
    with Live(handler) as first_turn:
        assert first_turn.finish().result == [False] * 4


def test_a_step_of_unstable_arguments_is_compared_without_them() -> None:
    def handler_with(value: int) -> Any:
        async def handler(step: StepContext) -> Any:
            return await step.using(unstable_args=True).run_action(echo, value)

        return handler

    with Live(handler_with(1)) as run:
        run.settle(1)
    assert replayed(handler_with(2), run.journal()).result == 1


def test_an_answer_for_a_step_that_nobody_waits_for_is_our_own_bug() -> None:
    async def handler(step: StepContext) -> None:
        await step.run_action(echo)

    with Live(handler) as run, pytest.raises(InternalError, match="step 2 was answered"):
        run.replay.deliver(2, Answer(StepState.COMPLETED, None), BEGAN)


def test_a_handler_without_steps_ends_in_its_first_poll() -> None:
    async def handler(step: StepContext, value: int) -> int:
        return value + 1

    with Live(handler, 1) as run:
        assert run.result == 2
        assert run.journal() == []
        assert_replays(run, handler, 1)


def test_blocked_names_what_is_waited_for_in_the_order_of_the_journal() -> None:
    with Live(gathers) as run:
        assert run.settle(4, 2).outcome == Blocked((1, 3, 5, 6, 7, 8))


def test_a_handler_that_no_longer_takes_its_arguments_says_so_whatever_its_journal_holds() -> None:
    async def before(step: StepContext, count: int) -> None:
        await step.run_action(echo)

    async def after(step: StepContext, count: int, size: int) -> None:
        await step.run_action(echo)

    with Live(before, 1) as run:
        run.settle(1)
    stored = arguments(define(before), [1])
    replay = Replay(define(after), stored, run.journal(), world(committed=True))
    outcome = replay.start()
    replay.close()
    assert isinstance(outcome, Finished)
    assert isinstance(outcome.error, TypeError)
    assert "size" in str(outcome.error)
