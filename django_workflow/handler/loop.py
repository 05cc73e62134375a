"""An event loop on which everything happens in one order, given the same answers in the same order.

It knows no I/O, no threads and no clock: callbacks run first in, first out; timers become steps of the
journal; what can't be deterministic is refused by name. It is polled to quiescence, never run.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import functools
import gc
import inspect
import logging
import sys
import weakref
from asyncio import tasks as asyncio_tasks
from collections import deque
from collections.abc import AsyncGenerator, Callable
from types import AsyncGeneratorType, CellType, CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any, TypeVarTuple, Unpack

from django_workflow.exceptions import DeterminismViolation, NotDeterministic, WorkflowStuck
from django_workflow.handler.commands import Violate

Ts = TypeVarTuple("Ts")

logger = logging.getLogger("django_workflow.handler")

# Callbacks in one poll. A handler that spins (`while True: await asyncio.sleep(0)`) would never come to rest.
POLL_LIMIT = 1_000_000
# A dropped coroutine that goes on awaiting is thrown out again, this often: first without force, then with it.
THROWS = (False,) * 20 + (True,) * 20
# Objects looked at in search of coroutines that a dropped one holds and never began.
LOOK_LIMIT = 2_000

# asyncio's functions that keep futures in sets: by what they leave behind, or by who asks for a future.
_WAIT = ("asyncio.wait", "step.first_completed")
_AS_COMPLETED = ("asyncio.as_completed", "step.as_completed")
UNORDERED = {
    "_wait": _WAIT,
    "_wait.<locals>._on_completion": _WAIT,
    "as_completed.<locals>._on_completion": _AS_COMPLETED,
    "as_completed.<locals>._wait_for_one": _AS_COMPLETED,
    "_AsCompletedIterator._handle_completion": _AS_COMPLETED,
    "_AsCompletedIterator._wait_for_one": _AS_COMPLETED,
}
_QUEUE_GET = asyncio.Queue.get.__code__


class Dropped(BaseException):
    """Thrown into a handler that is dropped (a suspension or an ending): nothing it still does counts."""


class Timers:
    """Who makes a step of a timer. (An interface; `replay.Replay` is the one implementation.)"""

    @property
    def is_replaying(self) -> bool:
        """True while the handler only repeats what has been said before."""
        raise NotImplementedError

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

    number = 0  # of the step whose answer it takes; 0: of none

    def __init__(self, loop: DeterministicLoop) -> None:
        self._order = loop.next_order()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._order

    def add_done_callback(
        self, fn: Callable[[Any], object], /, *, context: contextvars.Context | None = None
    ) -> None:
        _refuse_unordered(self.get_loop(), _code_of(fn))
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
        _refuse_unordered(self.get_loop(), _code_of(fn))
        super().add_done_callback(fn, context=context)


def _code_of(callback: Any) -> CodeType | None:
    # Methods arrive bound; the code object's qualified name is the same on every supported Python.
    code = getattr(getattr(callback, "__func__", callback), "__code__", None)
    return code if isinstance(code, CodeType) else None


def _refuse_unordered(loop: asyncio.AbstractEventLoop, code: CodeType | None) -> None:
    # asyncio.wait and as_completed keep sets and tell nobody: their callbacks and futures give them away.
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
        self._refused = False
        self.callbacks = 0  # run so far; never decreases
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
        self._violate(WorkflowStuck("it never comes to rest: a loop in it awaits nothing that takes time"))

    def _run(self, handle: asyncio.Handle) -> None:
        if handle.cancelled():
            return
        self.callbacks += 1
        context, callback, args = handle._context, handle._callback, handle._args  # type: ignore[attr-defined]
        try:
            context.run(callback, *args)
        except KeyboardInterrupt:
            raise  # Ctrl-C at the worker, not the handler's business
        except (SystemExit, DeterminismViolation, NotDeterministic, WorkflowStuck):
            pass  # a task keeps what it raised as its outcome; a violation is kept by the replay
        except BaseException as error:  # noqa: BLE001  as asyncio: one callback's error ends no other
            self.call_exception_handler({"message": "a callback of a handler raised", "exception": error})

    def fire(self, handle: asyncio.Handle) -> None:
        """A timer's step has settled: run its callback in this poll."""
        self._ready.append(handle)

    def drop(self) -> None:
        """End every coroutine of the handler, without a trace.

        Each is left by an exception, so that Python has nothing to close (and to warn of) when it collects them.
        Their `finally` blocks run, as they must; this loop and the step context are inert by then: what is
        awaited there never comes, and is left by an exception in its turn.
        """
        self.dropped = True
        tasks, self._tasks = self._tasks, []
        with _Running(self):
            for task in tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                if not task.done():
                    task.context.run(self._leave, task)
                elif not task.cancelled():
                    task.exception()  # retrieved: asyncio is not to report it when it collects the task
            for generator in list(self._generators):
                _close_generator(generator)
        self._ready.clear()

    def _leave(self, task: OrderedTask) -> None:
        asyncio_tasks._enter_task(self, task)
        try:
            _throw_out(task.get_coro())
        finally:
            asyncio_tasks._leave_task(self, task)

    # ── what asyncio asks of a loop ─────────────────────────────────────────────────────────────────────────

    def call_soon(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self.dropped:
            self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = Timer(self.time() + delay, callback, args, self, context)
        if not self.dropped:
            self._timers.add_timer(timer, delay)
        return timer

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_later(when - self.time(), callback, *args, context=context)

    def time(self) -> float:
        return self._timers.time()

    def create_future(self) -> OrderedFuture:
        caller = sys._getframe(1)
        if caller.f_code is _QUEUE_GET and caller.f_back is not None:
            caller = caller.f_back
        _refuse_unordered(self, caller.f_code)
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
            _close_unstarted(coro)
        task = OrderedTask(coro, self, contextvars.copy_context() if context is None else context)
        if name is not None:
            task.set_name(str(name))
        if self.dropped:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        else:
            self._tasks.append(task)
        return task

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if isinstance(handle, Timer) and not self.dropped:
            self._timers.drop_timer(handle)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.dropped and not self._timers.is_replaying:
            logger.error(
                "%s", context.get("message", "an error in a handler"), exc_info=context.get("exception")
            )

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

    def refuse(self, what: str, hint: str) -> OrderedFuture:
        """Raise `NotDeterministic`, and see that no `except` hides it.

        A handler that goes on all the same is not told twice: it gets a future that nothing sets, so that even a loop
        with a bare `except` comes to rest.
        """
        if self.dropped or self._refused:
            return OrderedFuture(self)
        self._refused = True
        raise self._violate(NotDeterministic(what, hint))


def _refused(name: str) -> Callable[..., OrderedFuture]:
    def method(self: DeterministicLoop, *args: object, **kwargs: object) -> OrderedFuture:
        return self.refuse(
            f"loop.{name}() in a handler", "a handler does no I/O and has no threads; move this into a step"
        )

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
            self._loop.call_soon(self._aclose, generator)

    def _aclose(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._loop.create_task(generator.aclose())


# ── dropping ────────────────────────────────────────────────────────────────────────────────────────────────

_HOLDERS: frozenset[type] = frozenset(
    {list, tuple, dict, set, frozenset, deque, functools.partial, CellType}
    | {CoroutineType, GeneratorType, AsyncGeneratorType}
)

# What outlives all this. If it were collected, Python would run it once more, outside of its loop; so it is kept.
_undying: list[Any] = []


def _throw_out(coroutine: Any) -> None:
    """Leave a suspended coroutine by an exception; close one that has not begun."""
    _close_unstarted(coroutine)
    for forced in THROWS:
        # Not close(): it tells each coroutine on the way that an inner one "ignored GeneratorExit".
        if _ends(coroutine.throw, Dropped(), forced=forced):
            return
        _close_unstarted(coroutine)
    _keep(coroutine)


def _close_generator(generator: AsyncGenerator[Any, Any]) -> None:
    _close_unstarted(generator)
    for forced in THROWS:
        if getattr(generator, "ag_frame", None) is None:
            return
        leaving = _leave_generator(generator)
        if not _ends(leaving.send, None, forced=forced):
            _throw_out(leaving)
    _keep(generator)


async def _leave_generator(generator: AsyncGenerator[Any, Any]) -> None:
    await generator.athrow(Dropped())


def _ends(resume: Callable[[Any], object], value: object, *, forced: bool) -> bool:
    """Resume something suspended. True: it has ended; False: it has caught that, and awaits again."""
    tracing = sys.gettrace()
    if forced:
        sys.settrace(_leave_at_next_line())
    try:
        resume(value)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001  whatever it raises, that is its end
        return True
    finally:
        if forced:
            sys.settrace(tracing)
    return False


def _leave_at_next_line() -> Callable[[FrameType, str, object], Any]:
    """A trace function that ends `while True: try: await … except: pass`: it raises where that has caught something."""
    raised_at: dict[FrameType, int] = {}

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if event == "exception":
            raised_at[frame] = frame.f_lineno
        elif event == "line" and raised_at.get(frame, frame.f_lineno) != frame.f_lineno:
            raise Dropped
        return trace

    return trace


def _keep(undying: Any) -> None:
    _undying.append(undying)
    # The list goes when the interpreter ends and clears its modules. Collected then, a loop over a bare `except` would
    # run for ever and the process never end: so it also gets a reference that nobody gives back.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(undying))
    logger.warning(
        "%r can't be suspended: it catches whatever is thrown into it; it stays in memory", undying
    )


def _close_unstarted(holder: Any) -> None:
    """Close what `holder` or a collection that it holds has not begun to await: Python warns of such coroutines."""
    unstarted, seen, unseen = [], {id(holder)}, deque([holder])
    while unseen and len(seen) < LOOK_LIMIT:
        held = unseen.popleft()  # the near ones first: what lies beyond the limit is data
        if type(held) is CoroutineType and held.cr_frame is not None and not held.cr_suspended:
            unstarted.append(held)
        for inner in gc.get_referents(held):
            if type(inner) in _HOLDERS and id(inner) not in seen:
                seen.add(id(inner))
                unseen.append(inner)
    for coroutine in unstarted:  # all found before one is closed: an outer one lets go of its inner ones
        if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
            coroutine.close()
