"""An event loop on which everything happens in one order, given the same answers in the same order.

It knows no I/O, no threads and no clock: callbacks run first in, first out; timers become steps of the
journal; what can't be deterministic is refused by name. It is polled to quiescence, never run.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import sys
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from types import FrameType
from typing import Any, NoReturn

from django_workflow.exceptions import NotDeterministic, WorkflowStuck
from django_workflow.handler.commands import Violate

logger = logging.getLogger("django_workflow.handler")

# Callbacks in one poll. A handler that spins (`while True: await asyncio.sleep(0)`) would never come to rest.
POLL_LIMIT = 1_000_000
# A dropped coroutine that goes on awaiting in its `finally` is closed again, this often.
CLOSE_LIMIT = 100

UNORDERED = {
    "_wait.<locals>._on_completion": ("asyncio.wait", "step.first_completed"),
    "as_completed.<locals>._on_completion": ("asyncio.as_completed", "step.as_completed"),
    "_AsCompletedIterator._handle_completion": ("asyncio.as_completed", "step.as_completed"),
}


class Dropped(BaseException):
    """The handler is being dropped (a suspension or an ending): nothing it still asks for counts."""


class Timers:
    """Who makes a step of a timer. (An interface; `replay.Replay` is the one implementation.)"""

    def time(self) -> float:
        """Seconds since the workflow began, on the durable clock."""
        raise NotImplementedError

    def add_timer(self, handle: Timer, delay: float) -> None:
        """Have `handle` run `delay` seconds from now."""
        raise NotImplementedError

    def drop_timer(self, handle: Timer) -> None:
        """`handle` was canceled."""
        raise NotImplementedError


class Timer(asyncio.TimerHandle):
    """A timer of asyncio's that is a step of the journal."""

    number = 0


class OrderedFuture(asyncio.Future[Any]):
    """A future that hashes by creation, so that sets of futures have one order on every replay."""

    def __init__(self, loop: DeterministicLoop) -> None:
        self._order = loop.next_order()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._order

    def add_done_callback(
        self, fn: Callable[[Any], object], /, *, context: contextvars.Context | None = None
    ) -> None:
        _refuse_unordered(self.get_loop(), fn)
        super().add_done_callback(fn, context=context)


class OrderedTask(asyncio.Task[Any]):
    """A task that hashes by creation: `TaskGroup` cancels its tasks in the order of a set."""

    def __init__(self, coro: Any, loop: DeterministicLoop, context: contextvars.Context) -> None:
        self._order = loop.next_order()
        self.context = context
        super().__init__(coro, loop=loop, name=f"task-{self._order}", context=context)

    def __hash__(self) -> int:
        return self._order

    def add_done_callback(
        self, fn: Callable[[Any], object], /, *, context: contextvars.Context | None = None
    ) -> None:
        _refuse_unordered(self.get_loop(), fn)
        super().add_done_callback(fn, context=context)


def _refuse_unordered(loop: asyncio.AbstractEventLoop, callback: Any) -> None:
    # asyncio.wait and as_completed keep sets and tell nobody; the callbacks that they leave give them away.
    # Methods arrive bound; the code object's qualified name is the same on every supported Python.
    code = getattr(getattr(callback, "__func__", callback), "__code__", None)
    twin = UNORDERED.get(code.co_qualname) if code is not None and "asyncio" in code.co_filename else None
    if twin is not None and isinstance(loop, DeterministicLoop):
        name, ordered = twin
        loop.refuse(f"{name} in a handler", f"it returns in no fixed order; use {ordered}, its ordered twin")


class DeterministicLoop(asyncio.AbstractEventLoop):
    """The loop of one replay.

    Args:
        timers: makes steps of timers.
        violate: is told of every refusal, so that no `except` in a handler can hide it; returns it.

    """

    def __init__(self, timers: Timers, violate: Violate) -> None:
        self._timers = timers
        self._violate = violate
        self._ready: deque[asyncio.Handle] = deque()
        self._tasks: list[OrderedTask] = []
        self._generators: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()
        self._orders = 0
        self._polling = False
        self.dropped = False

    def next_order(self) -> int:
        """The next number in the order of creation."""
        self._orders += 1
        return self._orders

    # ── polling ─────────────────────────────────────────────────────────────────────────────────────────────

    def poll(self, ended: Callable[[], bool]) -> None:
        """Run callbacks until none is ready or `ended()`. Raises what a callback of ours raises, never a handler's."""
        with _Running(self):
            for _ in range(POLL_LIMIT):
                if not self._ready or ended():
                    return
                self._run(self._ready.popleft())
        self._violate(WorkflowStuck("its handler never comes to rest: a loop in it awaits nothing that takes time"))

    def _run(self, handle: asyncio.Handle) -> None:
        if handle.cancelled():
            return
        context, callback, args = handle._context, handle._callback, handle._args  # type: ignore[attr-defined]
        try:
            context.run(callback, *args)
        except (SystemExit, NotDeterministic):
            pass  # a task keeps what it raised as its outcome; a refusal is kept by the replay
        except Exception as error:
            self.call_exception_handler({"message": "a callback of a handler raised", "exception": error})

    def fire(self, handle: asyncio.Handle) -> None:
        """A timer's step has settled: run its callback in this poll."""
        self._ready.append(handle)

    def drop(self) -> None:
        """Close every coroutine of the handler, without a trace.

        Python runs the `finally` blocks of a coroutine that is closed. What they ask of this loop or of the
        step context raises `Dropped`, so that a suspension has no effect of its own.
        """
        self.dropped = True
        tasks, self._tasks = self._tasks, []
        with _Running(self):
            for task in tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                if not task.done():
                    task.context.run(_close, task.get_coro())
                elif not task.cancelled():
                    task.exception()  # retrieved: asyncio is not to report it when it collects the task
            for generator in list(self._generators):
                _close_generator(generator)
        self._ready.clear()

    # ── what asyncio asks of a loop ─────────────────────────────────────────────────────────────────────────

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self.dropped:
            self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        self._refuse_dropped()
        timer = Timer(self.time() + delay, callback, args, self, context)
        self._timers.add_timer(timer, delay)
        return timer

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_later(when - self.time(), callback, *args, context=context)

    def time(self) -> float:
        return self._timers.time()

    def create_future(self) -> OrderedFuture:
        self._refuse_dropped()
        return OrderedFuture(self)

    def create_task(
        self,
        coro: Any,
        *,
        name: object = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> OrderedTask:
        if self.dropped:
            coro.close()
            raise Dropped
        task = OrderedTask(coro, self, contextvars.copy_context() if context is None else context)
        if name is not None:
            task.set_name(str(name))
        self._tasks.append(task)
        return task

    def _refuse_dropped(self) -> None:
        if self.dropped:
            raise Dropped

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if isinstance(handle, Timer) and not self.dropped:
            self._timers.drop_timer(handle)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.dropped:
            logger.error("%s", context.get("message", "an error in a handler"), exc_info=context.get("exception"))

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)

    def get_exception_handler(self) -> None:
        return None

    def get_task_factory(self) -> None:
        return None

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        """Debug mode measures time and is without effect here."""

    def is_running(self) -> bool:
        return self._polling

    def is_closed(self) -> bool:
        return False  # asyncio warns when a coroutine is closed on a closed loop

    def refuse(self, what: str, hint: str) -> NoReturn:
        """Raise `NotDeterministic`, and see that no `except` hides it."""
        if self.dropped:
            raise Dropped
        raise self._violate(NotDeterministic(what, hint))


def _refused(name: str) -> Callable[..., NoReturn]:
    def method(self: DeterministicLoop, *args: object, **kwargs: object) -> NoReturn:
        self.refuse(f"loop.{name}() in a handler", "a handler does no I/O and has no threads; move this into a step")

    method.__name__ = name
    return method


for _name in dir(asyncio.AbstractEventLoop):
    if not _name.startswith("_") and _name not in vars(DeterministicLoop):
        setattr(DeterministicLoop, _name, _refused(_name))


class _Running:
    """While it lasts, `loop` is the thread's running loop and looks after its async generators."""

    def __init__(self, loop: DeterministicLoop) -> None:
        self._loop = loop

    def __enter__(self) -> None:
        self._outer = asyncio._get_running_loop()
        self._hooks = sys.get_asyncgen_hooks()
        asyncio._set_running_loop(self._loop)
        sys.set_asyncgen_hooks(firstiter=self._loop._generators.add, finalizer=self._finalize)
        self._loop._polling = True

    def __exit__(self, *error: object) -> None:
        self._loop._polling = False
        sys.set_asyncgen_hooks(*self._hooks)
        asyncio._set_running_loop(self._outer)

    def _finalize(self, generator: AsyncGenerator[Any, Any]) -> None:
        if self._loop.dropped:
            _close_generator(generator)
        else:
            self._loop.call_soon(self._loop.create_task, generator.aclose())


# ── dropping ────────────────────────────────────────────────────────────────────────────────────────────────


def _close(coroutine: Any) -> None:
    for unstarted in list(_unstarted(coroutine)):
        unstarted.close()  # else Python warns that it was never awaited
    for _ in range(CLOSE_LIMIT):
        try:
            coroutine.close()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # "coroutine ignored GeneratorExit": its `finally` awaits something bare. All else is its own end.
            if isinstance(error, RuntimeError) and inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED:
                continue
        return


def _close_generator(generator: AsyncGenerator[Any, Any]) -> None:
    closing: Any = generator.aclose()
    for _ in range(CLOSE_LIMIT):
        try:
            closing.send(None)
        except KeyboardInterrupt:
            raise
        except BaseException:
            return


def _unstarted(coroutine: Any) -> Iterator[Coroutine[Any, Any, Any]]:
    """Coroutines that the frames below hold but have not begun to await."""
    while coroutine is not None:
        frame: FrameType | None = getattr(coroutine, "cr_frame", None)
        for value in list(frame.f_locals.values()) if frame is not None else ():
            held = value.values() if isinstance(value, dict) else value
            for candidate in held if isinstance(held, list | tuple | set | type({}.values())) else (value,):
                if inspect.iscoroutine(candidate) and inspect.getcoroutinestate(candidate) == inspect.CORO_CREATED:
                    yield candidate
        coroutine = getattr(coroutine, "cr_await", None)
