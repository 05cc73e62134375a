"""The timeout of a step's body: an interrupt that lands inside the body, or nowhere.

A sync body in the main thread is interrupted by a signal at its next bytecode, also while it sleeps or blocks
in a system call. The signal may come at any time, so its handler looks where it landed: only in the frame that
calls the body, or below it, it raises. Whoever had set the timer before finds it set again. An `async def` body is canceled on its own loop. Elsewhere (a thread) nothing
can interrupt a body; one that comes back late has timed out all the same.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from django_workflow.journal.clock import monotonic

# A body may swallow the interrupt; it gets another one after so many seconds.
AGAIN_SECONDS = 1.0


class BodyTimedOut(BaseException):
    """The body took too long. No `Exception`: the body's own `except` clauses are not meant."""


class _Alarm(BodyTimedOut, KeyboardInterrupt):
    """What is raised inside of the body.

    A `KeyboardInterrupt` to whatever it runs: psycopg then cancels the statement on the server, which would go on
    with it, and keep its locks, when the connection is only closed.
    """


def call_within(seconds: float, call: Callable[[], Any]) -> Any:
    """Call, and raise `BodyTimedOut` inside it when it takes longer.

    Args:
        seconds: real seconds.
        call: the body.

    Returns:
        What `call` returned in time.

    """
    if threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer"):
        return _interrupting(seconds, call)
    began_at = monotonic()
    result = call()
    if monotonic() - began_at > seconds:
        raise BodyTimedOut
    return result


def _interrupting(seconds: float, call: Callable[[], Any]) -> Any:
    here = sys._getframe()
    fired = False

    def body() -> Any:
        return call()

    def on_alarm(signum: int, frame: FrameType | None) -> None:
        nonlocal fired
        if _is_in(frame, body.__code__, here):
            fired = True
            raise _Alarm

    previous = signal.getsignal(signal.SIGALRM)
    left, interval = signal.getitimer(signal.ITIMER_REAL)
    began_at = monotonic()
    try:
        signal.signal(signal.SIGALRM, on_alarm)
        signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
        result = body()
    except Exception as error:
        if fired:
            raise BodyTimedOut from error  # it made something else of the interrupt
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if previous is None else previous)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (monotonic() - began_at), 0.001), interval)
    if fired:
        raise BodyTimedOut  # it swallowed the interrupt; what it returned is dropped
    return result


def _is_in(frame: FrameType | None, code: CodeType, caller: FrameType) -> bool:
    """Whether `frame` is the one in which `caller` runs `code`, or below it.

    What else `caller` calls doesn't count: an alarm's handler that another alarm meets, or a finalizer.
    """
    while frame is not None and frame.f_back is not caller:
        frame = frame.f_back
    return frame is not None and frame.f_code is code
