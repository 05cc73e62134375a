"""asyncio in a handler: everything happens in one order, and the order is the one that asyncio promises."""

import asyncio
import contextvars
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from django_workflow.exceptions import StepFailed
from django_workflow.handler.commands import Blocked
from django_workflow.handler.context import StepContext
from tests.handler.bodies import double, echo, fail
from tests.handler.drive import BEGAN, Live, assert_replays, live

LETTERS = "abcdefgh"


def asked_values(run: Live) -> list[str]:
    return [command.args for command in run.replay.commands]


async def gathers(step: StepContext) -> list[str]:
    return list(await asyncio.gather(*(step.run_action(echo, letter) for letter in LETTERS)))


def test_gather_asks_in_the_order_of_its_arguments_and_answers_in_it_too() -> None:
    """Behaviour 9."""
    with Live(gathers) as run:
        assert run.waiting == [1, 2, 3, 4, 5, 6, 7, 8]
        run.settle(5, 3, 8, 1, 2, 7, 6, 4)
        assert run.result == list(LETTERS)
        assert [delivery.number for delivery in run.replay.delivered] == [5, 3, 8, 1, 2, 7, 6, 4]
        assert_replays(run, gathers)


def test_a_coroutine_of_a_step_does_nothing_before_it_is_awaited() -> None:
    async def handler(step: StepContext) -> list[Any]:
        late = step.run_action(echo, "late")
        early = await step.run_action(echo, "early")
        return [early, await late]

    assert live(handler).result == ["early", "late"]
    assert asked_values(live(handler)) == ['{"value":"early"}', '{"value":"late"}']


def test_a_slow_branch_does_not_hold_back_the_next_step_of_a_fast_one() -> None:
    """Behaviour 9."""

    async def branch(step: StepContext, name: str) -> None:
        for number in range(3):
            await step.run_action(echo, f"{name}{number}")

    async def handler(step: StepContext) -> None:
        await asyncio.gather(branch(step, "slow"), branch(step, "fast"))

    with Live(handler) as run:
        assert run.waiting == [1, 2]
        assert run.settle(2).waiting == [1, 3]
        assert run.settle(3).waiting == [1, 4]
        run.settle(4, 1).finish()
        assert_replays(run, handler)


def test_one_failure_in_a_gather_raises_at_once_and_the_others_go_on() -> None:
    """Behaviour 9: as asyncio says."""

    async def handler(step: StepContext) -> Any:
        others = [asyncio.ensure_future(step.run_action(echo, letter)) for letter in "ab"]
        try:
            await asyncio.gather(step.run_action(fail, "no"), *others)
        except ValueError as error:
            return [str(error), [other.done() for other in others], await asyncio.gather(*others)]

    with Live(handler) as run:
        run.settle(3)
        assert isinstance(run.outcome, Blocked)
        run.finish()
        assert run.result[1:] == [[False, False], ["a", "b"]]
        assert "ValueError: no" in run.result[0]
        assert_replays(run, handler)


def test_gather_with_return_exceptions_hands_the_failures_over() -> None:
    async def handler(step: StepContext) -> Any:
        results = await asyncio.gather(
            step.run_action(fail, "no"), step.run_action(double, 2), return_exceptions=True
        )
        assert isinstance(results[0], StepFailed)
        assert isinstance(results[0], ValueError)
        return results[1]

    assert live(handler).result == 4


# ── TaskGroup ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_task_group_starts_and_ends_in_order() -> None:
    async def handler(step: StepContext) -> list[str]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(step.run_action(echo, letter)) for letter in LETTERS]
        return [task.result() for task in tasks]

    with Live(handler) as run:
        assert asked_values(run) == [f'{{"value":"{letter}"}}' for letter in LETTERS]
        run.finish(max)
        assert run.result == list(LETTERS)
        assert_replays(run, handler)


async def cancels_a_group(step: StepContext) -> list[str]:
    """Each canceled task asks for a step of its own: the order in which the group cancels is in the journal."""

    async def member(name: int) -> None:
        try:
            await step.run_action(echo, name)
        finally:
            await step.run_action(echo, f"clean up {name}")

    errors: list[str] = []
    try:
        async with asyncio.TaskGroup() as group:
            for name in range(40):
                group.create_task(member(name))
            group.create_task(step.run_action(fail, "no"))
    except* ValueError as failed:
        errors += [str(error) for error in failed.exceptions]
    return errors


def test_a_failure_in_a_task_group_cancels_the_rest_in_one_order() -> None:
    """P10: asyncio keeps the tasks of a group in a set."""
    with Live(cancels_a_group) as run:
        run.settle(41)
        assert run.replay.canceled == set(range(1, 41))
        cleaned = [command.args for command in run.replay.commands[41:]]
        assert sorted(cleaned) == sorted(f'{{"value":"clean up {name}"}}' for name in range(40))
        run.finish()
        assert len(run.result) == 1
        assert_replays(run, cancels_a_group)
    garbage = [object() for _ in range(10_000)]
    with Live(cancels_a_group) as again:
        again.settle(41)
        assert [command.args for command in again.replay.commands[41:]] == cleaned
    assert len(garbage) == 10_000


def test_nested_groups_and_tasks() -> None:
    async def handler(step: StepContext) -> list[Any]:
        found: list[Any] = []

        async def inner(name: str) -> None:
            async with asyncio.TaskGroup() as group:
                for number in range(2):
                    group.create_task(leaf(f"{name}{number}"))

        async def leaf(name: str) -> None:
            found.append(await asyncio.create_task(step.run_action(echo, name)))

        async with asyncio.TaskGroup() as group:
            group.create_task(inner("a"))
            group.create_task(inner("b"))
        return found

    with Live(handler) as run:
        run.settle(4, 2).finish()
        assert run.result == ["b1", "a1", "a0", "b0"]
        assert_replays(run, handler)


# ── time ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def races_timeout(step: StepContext) -> str:
    try:
        async with asyncio.timeout(10):
            return str(await step.run_action(echo, "in time"))
    except TimeoutError:
        return "too late"


async def races_timeout_at(step: StepContext) -> str:
    try:
        async with asyncio.timeout_at(asyncio.get_running_loop().time() + 10):
            return str(await step.run_action(echo, "in time"))
    except TimeoutError:
        return "too late"


async def races_wait_for(step: StepContext) -> str:
    try:
        return str(await asyncio.wait_for(step.run_action(echo, "in time"), 10))
    except TimeoutError:
        return "too late"


@pytest.mark.parametrize("handler", [races_timeout, races_timeout_at, races_wait_for])
@pytest.mark.parametrize("winner", ["in time", "too late"])
def test_a_timeout_around_a_step_ends_the_same_way_on_replay(handler: Any, winner: str) -> None:
    """Behaviour 10."""
    with Live(handler) as run:
        kinds = {str(command.kind): command.number for command in run.replay.commands}
        assert run.waiting == [1, 2]
        timer = run.replay.commands[kinds["sleep"] - 1]
        assert (timer.name, timer.args) == ("sleep", '{"seconds":10.0}')
        assert timer.due_at == BEGAN + timedelta(seconds=10)
        run.settle(kinds["action"] if winner == "in time" else kinds["sleep"])
        assert run.result == winner
        assert run.replay.canceled == {kinds["sleep"] if winner == "in time" else kinds["action"]}
        assert_replays(run, handler)


def test_wait_for_without_time_left_gives_up_at_once() -> None:
    async def handler(step: StepContext) -> str:
        try:
            await asyncio.wait_for(step.run_action(echo, "never"), 0)
        except TimeoutError:
            return "none left"
        return "?"

    with Live(handler) as run:
        assert run.result == "none left"
        assert_replays(run, handler)


def test_a_timeout_is_rescheduled_on_the_durable_clock() -> None:
    async def handler(step: StepContext) -> str:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(5) as deadline:
                await step.run_action(echo)
                deadline.reschedule(loop.time() + 60)
                await step.sleep(100)
        except TimeoutError:
            return f"{loop.time()}"
        return "?"

    with Live(handler) as run:
        run.settle(2)
        assert [command.args for command in run.replay.commands] == [
            '{"seconds":5.0}',
            "{}",
            '{"seconds":60.0}',
            '{"seconds":100.0}',
        ]
        run.settle(3)
        assert run.result == "61.0"
        assert_replays(run, handler)


def test_asyncio_sleep_is_a_step_and_takes_no_time_when_it_is_zero() -> None:
    async def handler(step: StepContext) -> list[str]:
        before = step.now()
        await asyncio.sleep(0)
        await asyncio.sleep(-3)
        assert step.now() == before
        value: str = await asyncio.sleep(90, "slept")
        return [value, str(step.now() - before)]

    with Live(handler) as run:
        assert [(str(command.kind), command.args) for command in run.replay.commands] == [
            ("sleep", '{"seconds":90.0}')
        ]
        assert run.finish().result == ["slept", "0:01:30"]
        assert_replays(run, handler)


def test_sleeps_in_parallel_end_in_the_order_of_their_delivery() -> None:
    async def handler(step: StepContext) -> list[int]:
        ended: list[int] = []

        async def nap(seconds: int) -> None:
            await asyncio.sleep(seconds)
            ended.append(seconds)

        await asyncio.gather(*(nap(seconds) for seconds in (30, 10, 20)))
        return ended

    with Live(handler) as run:
        assert run.settle(2, 3, 1).result == [10, 20, 30]
        assert_replays(run, handler)


def test_a_timer_that_is_canceled_is_a_step_given_up() -> None:
    async def handler(step: StepContext) -> str:
        rung: list[str] = []
        loop = asyncio.get_running_loop()
        bell = loop.call_later(5, rung.append, "bell")
        loop.call_at(loop.time() + 7, rung.append, "clock")
        await step.run_action(echo)
        bell.cancel()
        await step.sleep(10)
        return " ".join(rung)

    with Live(handler) as run:
        run.settle(3)
        assert run.replay.canceled == {1}
        assert run.settle(2, 4).result == "clock"
        assert_replays(run, handler)


def test_sleep_zero_gives_way_to_the_other_tasks() -> None:
    async def handler(step: StepContext) -> list[str]:
        seen: list[str] = []

        async def count(name: str) -> None:
            for number in range(2):
                seen.append(f"{name}{number}")
                await asyncio.sleep(0)

        await asyncio.gather(count("a"), count("b"))
        return seen

    assert live(handler).result == ["a0", "b0", "a1", "b1"]


# ── what tasks share ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_lock_lets_them_in_one_by_one() -> None:
    async def handler(step: StepContext) -> list[str]:
        lock, seen = asyncio.Lock(), []

        async def visit(name: str) -> None:
            async with lock:
                seen.append(await step.run_action(echo, f"{name} in"))
                seen.append(await step.run_action(echo, f"{name} out"))

        await asyncio.gather(*(visit(name) for name in "abc"))
        return seen

    with Live(handler) as run:
        assert run.waiting == [1]
        assert run.finish().result == ["a in", "a out", "b in", "b out", "c in", "c out"]
        assert_replays(run, handler)


def test_a_semaphore_bounds_what_is_under_way() -> None:
    async def handler(step: StepContext) -> list[int]:
        places = asyncio.Semaphore(2)

        async def visit(number: int) -> int:
            async with places:
                return await step.run_action(double, number)

        return await asyncio.gather(*(visit(number) for number in range(5)))

    with Live(handler) as run:
        assert len(run.waiting) == 2
        while run.waiting:
            assert len(run.waiting) <= 2
            run.settle(max(run.waiting))
        assert run.result == [0, 2, 4, 6, 8]
        assert_replays(run, handler)


def test_an_event_a_condition_and_a_queue_wake_in_order() -> None:
    async def handler(step: StepContext) -> list[Any]:
        ready, changed, queue = asyncio.Event(), asyncio.Condition(), asyncio.Queue[int](2)
        seen: list[Any] = []

        async def wait(name: str) -> None:
            await ready.wait()
            seen.append(name)
            async with changed:
                await changed.wait()
                seen.append(name.upper())

        async def produce() -> None:
            for number in range(4):
                await queue.put(await step.run_action(double, number))

        async def consume() -> None:
            for _ in range(4):
                seen.append(await queue.get())
                queue.task_done()

        waiters = [asyncio.create_task(wait(name)) for name in "abc"]
        await step.run_action(echo)
        ready.set()
        await asyncio.gather(produce(), consume())
        await queue.join()
        async with changed:
            changed.notify_all()
        await asyncio.gather(*waiters)
        return seen

    with Live(handler) as run:
        assert run.finish().result == ["a", "b", "c", 0, 2, 4, 6, "A", "B", "C"]
        assert_replays(run, handler)


def test_a_shielded_step_survives_the_cancel_of_who_waits_for_it() -> None:
    async def handler(step: StepContext) -> list[Any]:
        charge = asyncio.ensure_future(step.run_action(echo, "charged"))
        try:
            async with asyncio.timeout(5):
                await asyncio.shield(charge)
        except TimeoutError:
            return ["late", await charge]
        return []

    with Live(handler) as run:
        timer = next(command.number for command in run.replay.commands if command.kind == "sleep")
        run.settle(timer)
        assert run.replay.canceled == set()
        assert run.finish().result == ["late", "charged"]
        assert_replays(run, handler)


def test_a_canceled_task_gives_its_step_up_and_its_result_never_comes() -> None:
    """Behaviour 10: a loser's result never leaks into a later await."""

    async def handler(step: StepContext) -> list[Any]:
        loser = asyncio.create_task(step.run_action(echo, "loser"))
        first = await step.run_action(echo, "first")
        loser.cancel()
        second = await step.run_action(echo, "second")
        return [first, second, loser.cancelled()]

    with Live(handler) as run:
        assert run.asked == ['echo {"value":"first"}', 'echo {"value":"loser"}']
        run.settle(1)
        assert run.replay.canceled == {2}
        assert run.waiting == [3]
        assert run.settle(3).result == ["first", "second", True]
        assert_replays(run, handler)


def test_an_async_generator_that_is_left_closes_as_soon_as_asyncio_would() -> None:
    async def handler(step: StepContext) -> list[Any]:
        seen: list[Any] = []

        async def numbers() -> AsyncIterator[int]:
            try:
                for number in range(10):
                    yield await step.run_action(double, number)
            finally:
                seen.append(await step.run_action(echo, "closed"))

        async for number in numbers():
            seen.append(number)
            if number == 4:
                break
        seen.append(await step.run_action(echo, "after"))
        seen.append(await step.run_action(echo, "end"))
        return seen

    with Live(handler) as run:
        assert run.finish().result == [0, 2, 4, "after", "closed", "end"]
        assert_replays(run, handler)


def test_context_variables_are_of_the_handler_alone_and_of_each_task() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    async def handler(step: StepContext) -> list[str]:
        seen = [variable.get()]
        variable.set("main")

        async def child(name: str) -> None:
            seen.append(variable.get())
            variable.set(name)
            await step.run_action(echo)
            seen.append(variable.get())

        await asyncio.gather(child("a"), child("b"))
        return [*seen, variable.get()]

    token = variable.set("the worker's")
    try:
        run = live(handler)
    finally:
        assert variable.get() == "the worker's"
        variable.reset(token)
    assert run.result == ["unset", "main", "main", "a", "b", "main"]


def test_tasks_have_names_that_are_the_same_on_every_replay() -> None:
    async def handler(step: StepContext) -> list[str]:
        async def name() -> str:
            await step.run_action(echo)
            task = asyncio.current_task()
            assert task is not None
            return task.get_name()

        named = asyncio.create_task(name(), name="mine")
        return [await named, *await asyncio.gather(name(), name())]

    first, second = live(handler).result, live(handler).result
    assert first == second
    assert first[0] == "mine"


def test_the_outer_loop_is_back_when_the_handler_is_at_rest() -> None:
    async def outer() -> None:
        mine = asyncio.get_running_loop()
        with Live(gathers) as run:
            assert asyncio.get_running_loop() is mine
            run.settle(1)
        assert asyncio.get_running_loop() is mine
        assert asyncio.current_task() is not None

    asyncio.run(outer())
