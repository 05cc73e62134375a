"""A suspension is invisible: the handler is dropped without an effect, a word or a warning."""

import asyncio
import contextlib
import functools
import gc
import logging
import os
import subprocess
import sys
import warnings
import weakref
from collections.abc import AsyncIterator, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from django_workflow.handler import loop
from django_workflow.handler.commands import Blocked
from django_workflow.handler.context import StepContext
from tests.handler.bodies import echo, fail
from tests.handler.drive import Live, assert_replays

PROJECT = Path(__file__).parents[2]


async def with_finally(step: StepContext) -> None:
    try:
        await step.sleep(60)
    finally:
        await step.run_mutation(echo, "release")


async def with_finally_of_everything(step: StepContext) -> None:
    try:
        await step.sleep(60)
    finally:
        step.logger.info("left")
        step.set_status("left")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(1)
        await asyncio.create_task(step.run_action(echo, "task"))
        await asyncio.gather(step.run_action(echo, 1), step.run_action(echo, 2))
        async with asyncio.timeout(3), asyncio.TaskGroup() as group:
            group.create_task(step.run_action(echo, "group"))
            group.create_task(asyncio.wait_for(step.run_action(echo, "group"), 5))
        await asyncio.wait_for(step.run_action(echo, "wait"), 5)
        await asyncio.shield(step.run_action(echo, "shield"))
        await asyncio.Event().wait()


async def with_base_exceptions(step: StepContext) -> None:
    try:
        await step.run_action(echo, 1)
    except BaseException:  # noqa: BLE001
        with contextlib.suppress(BaseException):
            await step.run_action(echo, 2)
        await step.run_action(echo, 3)


async def with_generator_exit(step: StepContext) -> None:
    try:
        await step.run_action(echo, 1)
    except GeneratorExit:
        await step.run_action(echo, 2)
        raise


async def with_a_retry_loop(step: StepContext) -> None:
    for _ in range(50):
        try:
            await step.run_action(echo, 1)
        except:  # noqa: E722
            await asyncio.sleep(0)


async def nested(step: StepContext) -> None:
    async def inner() -> None:
        try:
            await step.run_action(echo, 1)
        finally:
            try:
                await asyncio.sleep(0)
            finally:
                await asyncio.sleep(0)

    try:
        await inner()
    except Exception:  # noqa: BLE001
        sys.exit("the drop must look like no error of a step's")
    finally:
        await step.run_action(echo, "outer")


async def with_async_with(step: StepContext) -> None:
    @contextlib.asynccontextmanager
    async def held() -> AsyncIterator[None]:
        await step.run_action(echo, "hold")
        try:
            yield
        finally:
            await step.run_action(echo, "release")
            await asyncio.sleep(0)

    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(step.run_action, echo, "stack")
        async with held():
            await step.sleep(60)


async def inside_task_group(step: StepContext) -> None:
    async def member(name: int) -> None:
        try:
            await step.run_action(echo, name)
        finally:
            await asyncio.gather(step.run_action(echo, f"clean {name}"), asyncio.sleep(1))

    async with asyncio.TaskGroup() as group:
        for name in range(5):
            group.create_task(member(name))


async def inside_timeout(step: StepContext) -> None:
    async with asyncio.timeout(60), asyncio.timeout(30):
        await asyncio.wait_for(step.run_action(echo), 10)


async def inside_locks(step: StepContext) -> None:
    lock, condition, places, queue = (
        asyncio.Lock(),
        asyncio.Condition(),
        asyncio.Semaphore(1),
        asyncio.Queue[int](),
    )

    async def visit() -> None:
        async with lock, condition, places:
            await asyncio.shield(step.run_action(echo))
            await queue.get()

    await asyncio.gather(visit(), visit(), queue.get(), step.sleep(1))


async def inside_async_generator(step: StepContext) -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            await step.sleep(1)
            yield 2
        finally:
            await asyncio.sleep(0)
            await step.run_action(echo, "generator")

    async for _ in numbers():
        pass


async def beside_async_generator(step: StepContext) -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await step.run_action(echo, "generator")

    held = numbers()
    await anext(held)
    async for _ in numbers():
        await step.sleep(1)


async def holding_coroutines(step: StepContext) -> None:
    one = step.run_action(echo, 1)
    listed = [step.run_action(echo, number) for number in range(3)]
    deep: Any = {"a": [(step.run_action(echo, 2), {"b": step.run_query(echo)})]}
    wrapped = asyncio.wait_for(asyncio.wait_for(step.run_action(echo, 3), 1), 2)
    partial = functools.partial(asyncio.gather, step.run_action(echo, 4))
    await asyncio.gather(step.run_action(echo, 5), *(await together(step, step.run_action(echo, 6))))
    await asyncio.gather(one, *listed, wrapped, partial(), deep["a"][0][0], deep["a"][0][1]["b"])


async def together(step: StepContext, held: Any) -> list[Any]:
    await step.sleep(60)
    return [held]


async def in_the_value_stack(step: StepContext) -> None:
    await asyncio.gather(step.run_action(echo, 1), step.run_action(echo, await step.run_action(echo, 2)))


async def with_tasks_of_all_ages(step: StepContext) -> None:
    async def failing() -> None:
        raise LookupError("nobody asks")

    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    tasks = [asyncio.create_task(failing()), asyncio.create_task(never()), asyncio.create_task(step.sleep(5))]
    outcome = asyncio.gather(failing(), step.run_action(fail))
    await step.run_action(echo)
    tasks.append(asyncio.create_task(asyncio.wait_for(step.sleep(5), 2)))
    await outcome


HANDLERS = [
    with_finally,
    with_finally_of_everything,
    with_base_exceptions,
    with_generator_exit,
    with_a_retry_loop,
    nested,
    with_async_with,
    inside_task_group,
    inside_timeout,
    inside_locks,
    inside_async_generator,
    beside_async_generator,
    holding_coroutines,
    in_the_value_stack,
    with_tasks_of_all_ages,
]


@pytest.fixture
def silence(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Nothing is printed, logged, warned of, or raised where nobody hears it."""
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda event: unraisable.append(str(event.exc_value)))
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert unraisable == []
    assert [str(warning.message) for warning in warned] == []
    assert [record.getMessage() for record in caplog.records] == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("silence")
@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("settled", [0, 1, 2])
def test_a_dropped_handler_has_no_effect_and_leaves_no_trace(handler: Any, settled: int) -> None:
    """P10, behaviour 3: whatever its `finally` blocks, exits and generators do."""
    with Live(handler) as run:
        for _ in range(settled):
            if run.waiting:
                run.settle(run.waiting[0])
        commands, outcome = list(run.replay.commands), run.outcome
        canceled, custom = set(run.replay.canceled), run.replay.custom
        logs = list(run.replay._logs)
    assert run.replay.commands == commands
    assert run.replay.outcome == outcome
    assert run.replay.canceled == canceled
    assert run.replay.custom == custom
    assert run.replay._logs == logs


@pytest.mark.usefixtures("silence")
@pytest.mark.parametrize("handler", HANDLERS)
def test_a_handler_that_was_dropped_goes_on_where_it_was(handler: Any) -> None:
    """P10: what a drop left behind is nothing, so the journal at it leads on to the same end."""
    with Live(handler) as through:
        whole: list[int] = []
        while through.waiting and len(whole) < 12:
            whole.append(through.waiting[0])
            through.settle(through.waiting[0])
    piecewise = Live(handler)
    for number in whole:
        piecewise.replay.close()
        piecewise = Live(handler, journal=piecewise.journal(), committed=True)
        assert isinstance(piecewise.outcome, Blocked)
        piecewise.settle(number)
    piecewise.replay.close()
    assert piecewise.replay.commands == through.replay.commands
    assert type(piecewise.outcome) is type(through.outcome)


def test_a_finally_with_a_step_runs_it_once_when_the_handler_gets_there() -> None:
    with Live(with_finally) as run:
        assert run.asked == ['sleep {"seconds":60.0}']
    with Live(with_finally, journal=run.journal()) as again:
        again.settle(1)
        assert again.asked == ['sleep {"seconds":60.0}', 'echo {"value":"release"}']
        again.settle(2)
        assert again.result is None
        assert_replays(again, with_finally)


@pytest.mark.usefixtures("silence")
def test_nothing_of_a_dropped_handler_stays_in_memory() -> None:
    class Big:
        """Something that a handler holds."""

    big: list[weakref.ref[Big]] = []

    async def handler(step: StepContext) -> None:
        held = Big()
        big.append(weakref.ref(held))
        try:
            async with asyncio.timeout(10):
                await asyncio.gather(step.run_action(echo), asyncio.create_task(step.sleep(5)))
        finally:
            await step.run_action(echo, repr(held))

    with Live(handler) as run:
        assert big[0]() is not None
    loop_gone, replay_gone = weakref.ref(run.replay._loop), weakref.ref(run.replay)
    del run
    gc.collect()
    assert big[0]() is None
    assert loop_gone() is None
    assert replay_gone() is None


@pytest.mark.usefixtures("silence")
def test_a_handler_that_ended_drops_the_tasks_that_it_left() -> None:
    async def handler(step: StepContext) -> str:
        left = [asyncio.create_task(with_finally(step)) for _ in range(3)]
        late = asyncio.create_task(step.run_action(echo, "never begun"))
        await asyncio.sleep(0)
        left[0].cancel()
        later = asyncio.create_task(asyncio.wait_for(step.run_action(echo, late.done()), 1))
        return f"{later.done()}"

    with Live(handler) as run:
        assert run.result == "False"
    assert [command.name for command in run.replay.commands] == ["sleep", "sleep", "sleep", "echo"]


async def catches_everything(step: StepContext) -> None:
    while True:
        try:
            return await step.run_action(fail)
        except:  # noqa: E722, S110
            pass


async def catches_everything_within(step: StepContext) -> None:
    while True:
        try:
            await catches_everything(step)
        except BaseException:  # noqa: BLE001
            await asyncio.sleep(0)
        finally:
            await step.run_action(echo)


async def catches_everything_in_a_generator(step: StepContext) -> None:
    async def numbers() -> AsyncIterator[int]:
        while True:
            try:
                yield 1
                await step.run_action(echo)
            except BaseException:  # noqa: BLE001
                await asyncio.sleep(0)

    async for _ in numbers():
        await catches_everything(step)


async def catches_everything_in_a_generator_that_is_left(step: StepContext) -> None:
    async def numbers() -> AsyncIterator[int]:
        while True:
            try:
                yield 1
            except:  # noqa: E722, S112
                continue

    async for _ in (held := numbers()):
        break
    await step.run_action(echo)
    await held.aclose()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("silence")
@pytest.mark.parametrize(
    "handler",
    [
        catches_everything,
        catches_everything_within,
        catches_everything_in_a_generator,
        catches_everything_in_a_generator_that_is_left,
    ],
)
def test_a_handler_that_catches_everything_in_a_loop_is_left_all_the_same(handler: Any) -> None:
    tracing = sys.gettrace()
    kept = len(loop._undying)
    with Live(handler) as run:
        assert run.waiting == [1]
    assert sys.gettrace() is tracing
    assert len(loop._undying) == kept
    with Live(handler, journal=run.journal(), committed=True) as again:
        assert again.waiting == [1]


class Undying(Coroutine[Any, Any, None]):
    """What is no coroutine of Python's own can't be forced."""

    def send(self, value: object) -> Any:
        return None

    def throw(self, *error: object) -> Any:
        return None

    def close(self) -> None:
        """Never called."""

    def __await__(self) -> Generator[Any, Any, None]:
        raise NotImplementedError


def test_what_can_not_be_ended_hangs_nobody_and_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    monkeypatch.setattr(loop, "_undying", kept)

    async def handler(step: StepContext) -> None:
        task = asyncio.create_task(Undying())
        await step.run_action(echo)
        await task

    monkeypatch.setattr(loop, "POLL_LIMIT", 100)  # it spins
    with Live(handler):
        pass
    assert [type(undying) for undying in kept] == [Undying]
    assert "can't be suspended" in caplog.text


def test_keyboard_interrupt_ends_a_drop() -> None:
    async def handler(step: StepContext) -> None:
        try:
            await step.sleep(1)
        finally:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Live(handler) as run:
        assert run.waiting == [1]


def test_a_process_that_has_kept_something_undying_ends() -> None:
    """Collected at the interpreter's exit, a loop over a bare `except` would never come back."""
    script = (
        "import django; django.setup()\n"
        "from tests.handler import test_refusals as refusals\n"
        "from tests.handler.drive import Live\n"
        "async def handler(step):\n"
        "    await refusals.trying_again(refusals.waits_for_what_is_done, step)\n"
        "with Live(handler): pass\n"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    subprocess.run([sys.executable, "-c", script], cwd=PROJECT, env=environment, check=True, timeout=60)
