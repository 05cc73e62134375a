"""What can't be deterministic is refused by name, with a hint at what to do instead (behaviour 13)."""

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation

from django_workflow.exceptions import NotDeterministic
from django_workflow.handler import audit
from django_workflow.handler.commands import Blocked, Finished, Violated
from django_workflow.handler.context import StepContext
from tests.handler.bodies import double, echo
from tests.handler.drive import Live, live

# ── threads, sockets, processes, signals ────────────────────────────────────────────────────────────────────────


async def a_thread(step: StepContext) -> None:
    await asyncio.to_thread(print, "unseen")


async def an_executor(step: StepContext) -> None:
    await asyncio.get_running_loop().run_in_executor(None, print, "unseen")


async def django_in_a_thread(step: StepContext) -> None:
    await sync_to_async(print)("unseen")


async def a_connection(step: StepContext) -> None:
    await asyncio.open_connection("localhost", 80)


async def a_server(step: StepContext) -> None:
    await asyncio.start_server(print, "localhost", 0)


async def a_socket(step: StepContext) -> None:
    no_socket: Any = None
    await asyncio.get_running_loop().sock_connect(no_socket, ("localhost", 80))


async def a_lookup(step: StepContext) -> None:
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)


async def a_process(step: StepContext) -> None:
    await asyncio.create_subprocess_exec(sys.executable, "-V")


async def a_shell(step: StepContext) -> None:
    await asyncio.create_subprocess_shell("true")


async def another_thread(step: StepContext) -> None:
    asyncio.get_running_loop().call_soon_threadsafe(print, "unseen")
    await step.run_action(echo)


async def a_signal(step: StepContext) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print)
    await step.run_action(echo)


async def a_reader(step: StepContext) -> None:
    asyncio.get_running_loop().add_reader(0, print)
    await step.run_action(echo)


async def a_stop(step: StepContext) -> None:
    asyncio.get_running_loop().stop()
    await step.run_action(echo)


NO_IO = [
    (a_thread, "run_in_executor"),
    (an_executor, "run_in_executor"),
    (django_in_a_thread, "run_in_executor"),
    (a_connection, "create_connection"),
    (a_server, "create_server"),
    (a_socket, "sock_connect"),
    (a_lookup, "getaddrinfo"),
    (a_process, "subprocess_exec"),
    (a_shell, "subprocess_shell"),
    (another_thread, "call_soon_threadsafe"),
    (a_signal, "add_signal_handler"),
    (a_reader, "add_reader"),
    (a_stop, "stop"),
]


@pytest.mark.parametrize(("handler", "method"), NO_IO)
def test_io_and_threads_are_refused_with_a_hint(handler: Any, method: str) -> None:
    with Live(handler) as run:
        assert_refused(run, f"loop.{method}()", "move this into a step")


def assert_refused(run: Live, what: str, hint: str) -> None:
    error = run.violation
    assert isinstance(error, NotDeterministic)
    assert not isinstance(error, Exception)
    assert what in str(error)
    assert hint in str(error)


async def swallowing(handler: Callable[[StepContext], Any], step: StepContext) -> None:
    with contextlib.suppress(BaseException):
        await handler(step)


async def trying_again(handler: Callable[[StepContext], Any], step: StepContext) -> Any:
    while True:
        try:
            return await handler(step)
        except:  # noqa: E722, S110
            pass


async def gathering(handler: Callable[[StepContext], Any], step: StepContext) -> None:
    await asyncio.gather(handler(step), return_exceptions=True)


# asgiref's own state raises on a second try, without a way back to the loop: Python's endless loop, not ours.
HIDDEN = [
    (hide, refused, method)
    for hide in (swallowing, trying_again, gathering)
    for refused, method in NO_IO
    if (hide, refused) != (trying_again, django_in_a_thread)
]


@pytest.mark.parametrize(("hide", "refused", "method"), HIDDEN)
def test_a_refusal_can_not_be_hidden(hide: Any, refused: Any, method: str) -> None:
    async def handler(step: StepContext) -> None:
        await hide(refused, step)
        await step.run_action(echo)

    with Live(handler) as run:
        assert_refused(run, f"loop.{method}()", "move this into a step")


# ── asyncio's unordered functions ───────────────────────────────────────────────────────────────────────────────


async def two(step: StepContext) -> list[asyncio.Future[Any]]:
    return [asyncio.ensure_future(step.run_action(double, number)) for number in (1, 2)]


async def waits(step: StepContext) -> None:
    await asyncio.wait(await two(step))


async def waits_for_the_first(step: StepContext) -> None:
    await asyncio.wait(await two(step), return_when=asyncio.FIRST_COMPLETED, timeout=10)


async def waits_for_what_is_done(step: StepContext) -> None:
    done = asyncio.get_running_loop().create_future()
    done.set_result(None)
    await asyncio.wait([done])


async def waits_for_gathers(step: StepContext) -> None:
    await asyncio.wait([asyncio.gather(*await two(step))])


async def waits_for_plain_futures(step: StepContext) -> None:
    future: asyncio.Future[None] = asyncio.Future()
    future.set_result(None)
    await asyncio.wait([future])


async def iterates_as_completed(step: StepContext) -> None:
    for each in asyncio.as_completed(await two(step)):
        await each


async def iterates_coroutines_as_completed(step: StepContext) -> None:
    for each in asyncio.as_completed([step.run_action(double, 1), step.run_action(double, 2)], timeout=9):
        await each


async def takes_the_next_as_completed(step: StepContext) -> None:
    await next(iter(asyncio.as_completed(await two(step))))


async def iterates_gathers_as_completed(step: StepContext) -> None:
    for each in asyncio.as_completed([asyncio.gather(*await two(step))]):
        await each


async def iterates_as_completed_asynchronously(step: StepContext) -> None:
    async for each in asyncio.as_completed(await two(step)):  # type: ignore[attr-defined, unused-ignore]
        await each


UNORDERED = [
    (waits, "asyncio.wait", "step.first_completed"),
    (waits_for_the_first, "asyncio.wait", "step.first_completed"),
    (waits_for_what_is_done, "asyncio.wait", "step.first_completed"),
    (waits_for_gathers, "asyncio.wait", "step.first_completed"),
    (waits_for_plain_futures, "asyncio.wait", "step.first_completed"),
    (iterates_as_completed, "asyncio.as_completed", "step.as_completed"),
    (iterates_coroutines_as_completed, "asyncio.as_completed", "step.as_completed"),
    (takes_the_next_as_completed, "asyncio.as_completed", "step.as_completed"),
    (iterates_gathers_as_completed, "asyncio.as_completed", "step.as_completed"),
]
if sys.version_info >= (3, 13):  # before, as_completed() was a plain iterator
    UNORDERED.append(
        (iterates_as_completed_asynchronously, "asyncio.as_completed", "step.as_completed"),
    )


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # what as_completed() was given
@pytest.mark.parametrize("hide", [None, swallowing, trying_again, gathering])
@pytest.mark.parametrize(("unordered", "name", "twin"), UNORDERED)
def test_the_unordered_functions_are_refused_in_favour_of_their_twins(
    unordered: Any, name: str, twin: str, hide: Any
) -> None:
    async def handler(step: StepContext) -> None:
        await (unordered(step) if hide is None else hide(unordered, step))

    with Live(handler) as run:
        assert_refused(run, f"{name} in a handler", f"use {twin}")


def test_a_users_own_function_of_such_a_name_is_not_refused() -> None:
    async def handler(step: StepContext) -> list[int]:
        seen: list[int] = []

        async def _wait() -> None:
            def _on_completion(future: asyncio.Future[int]) -> None:
                seen.append(future.result())

            future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            future.add_done_callback(_on_completion)
            future.set_result(await step.run_action(double, 2))

        await _wait()
        await asyncio.sleep(0)
        return seen

    assert live(handler).result == [4]


# ── the ORM ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_orm_in_a_handler_is_refused_with_a_hint() -> None:
    from tests.shop.models import Entry

    async def handler(step: StepContext) -> None:
        await step.run_action(echo)
        Entry.objects.count()

    run = live(handler)
    assert_refused(run, "the ORM in a handler", "query or a mutation")
    assert isinstance(run.violation.__cause__, SynchronousOnlyOperation)


def test_the_async_orm_in_a_handler_is_refused_with_a_hint() -> None:
    from tests.shop.models import Entry

    async def handler(step: StepContext) -> None:
        await Entry.objects.acount()

    assert_refused(live(handler), "loop.run_in_executor()", "move this into a step")


# ── the audit watch ─────────────────────────────────────────────────────────────────────────────────────────────


def connects() -> None:
    with socket.socket() as opened:
        opened.connect(("127.0.0.1", 9))


def looks_up() -> None:
    socket.getaddrinfo("localhost", 80)


def starts() -> None:
    subprocess.run([sys.executable, "-V"], check=True, capture_output=True)


WATCHED = [(connects, "socket.connect"), (looks_up, "socket.getaddrinfo"), (starts, "subprocess.Popen")]


def handler_that(blocks: Callable[[], None]) -> Any:
    async def handler(step: StepContext) -> None:
        await step.run_action(echo)
        try:
            blocks()
        except BaseException:  # noqa: BLE001
            await step.run_action(echo, "hidden")

    return handler


@pytest.mark.parametrize(("blocks", "event"), WATCHED)
def test_blocking_io_in_a_handler_is_refused_where_it_is_watched(
    blocks: Callable[[], None], event: str
) -> None:
    with Live(handler_that(blocks), check=True) as run:
        run.settle(1)
        assert_refused(run, event, "move this into a step")
        assert run.asked == ["echo {}"]


def test_nothing_is_watched_without_check() -> None:
    seen: list[str] = []

    async def handler(step: StepContext) -> None:
        looks_up()
        seen.append("looked up")

    assert live(handler).result is None
    assert seen == ["looked up"]


def test_io_between_two_polls_is_not_the_handlers() -> None:
    """A step's body runs while the handler is alive, and not while it is polled."""

    async def handler(step: StepContext) -> str:
        await step.run_action(echo)
        return "fine"

    with Live(handler, check=True) as run:
        looks_up()
        starts()
        assert run.settle(1).result == "fine"
        looks_up()
    assert audit._watched == {}


def test_io_of_another_thread_is_not_the_handlers() -> None:
    failed: list[BaseException] = []

    def elsewhere() -> None:
        try:
            looks_up()
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    async def handler(step: StepContext) -> str:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        return "fine"

    assert live(handler, check=True).result == "fine"
    assert failed == []


def test_io_on_another_loop_of_this_thread_is_not_the_handlers() -> None:
    async def outer() -> int:
        with Live(handler_that(looks_up), check=True) as run:
            assert isinstance(run.outcome, Blocked)
            return len(await asyncio.get_running_loop().getaddrinfo("localhost", 80))

    assert asyncio.run(outer()) > 0


# ── endings that are no return ──────────────────────────────────────────────────────────────────────────────────


class Odd(BaseException):
    """Neither an error nor the interpreter's."""


@pytest.mark.parametrize(
    "error", [SystemExit(3), Odd("odd"), asyncio.CancelledError("mine"), GeneratorExit()]
)
@pytest.mark.parametrize("settled", [False, True])
def test_what_a_handler_raises_is_its_outcome(error: BaseException, settled: bool) -> None:
    async def handler(step: StepContext) -> None:
        if settled:
            await step.run_action(echo)
        raise error

    run = live(handler)
    assert isinstance(run.outcome, Finished)
    assert type(run.outcome.error) is type(error)


@pytest.mark.parametrize("error", [SystemExit(3), Odd("odd"), ValueError("no")])
def test_what_a_task_raises_is_raised_where_it_is_awaited(error: BaseException) -> None:
    async def handler(step: StepContext) -> Any:
        async def raising() -> None:
            await step.run_action(echo)
            raise error

        try:
            await asyncio.gather(raising(), step.run_action(double, 1))
        except BaseException as caught:  # noqa: BLE001
            return [repr(caught), await step.run_action(double, 2)]

    assert live(handler).result == [repr(error), 4]


def test_keyboard_interrupt_is_the_workers_and_passes_through() -> None:
    async def handler(step: StepContext) -> None:
        await step.run_action(echo)
        raise KeyboardInterrupt

    with Live(handler) as run, pytest.raises(KeyboardInterrupt):
        run.settle(1)
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_a_handler_that_cancels_itself_ends_as_canceled() -> None:
    async def handler(step: StepContext) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel("enough")
        await step.run_action(echo)

    run = live(handler)
    assert isinstance(run.outcome, Finished)
    assert isinstance(run.outcome.error, asyncio.CancelledError)


def test_a_handler_that_catches_its_own_cancel_goes_on() -> None:
    async def handler(step: StepContext) -> int:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)
        try:
            await step.run_action(echo)
        except asyncio.CancelledError:
            task.uncancel()
        return await step.run_action(double, 4)

    with Live(handler) as run:
        assert run.replay.canceled == {1}
        assert run.finish().result == 8


def test_an_error_in_a_plain_callback_is_logged_once_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(step: StepContext) -> int:
        def raising(error: BaseException) -> None:
            raise error

        for error in (ValueError("plain"), Odd("odd")):
            asyncio.get_running_loop().call_soon(raising, error)
        return await step.run_action(double, 1)

    with Live(handler) as run:
        assert run.finish().result == 2
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    with Live(handler, journal=run.journal()) as again:
        assert again.result == 2
    assert len(caplog.records) == 2


def test_an_async_generator_of_a_handler_is_none_of_the_outer_loops_business() -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    async def handler(step: StepContext) -> list[int]:
        found = [number async for number in numbers()]
        await step.run_action(echo)
        return found

    before = sys.get_asyncgen_hooks()
    with Live(handler) as run:
        assert sys.get_asyncgen_hooks() == before
        assert run.finish().result == [0, 1, 2]
    assert not isinstance(run.outcome, Violated)
