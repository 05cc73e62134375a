"""The timeout of a step's body: an interrupt that lands inside the body, or nowhere.

A sync body in the main thread is interrupted by a signal at its next bytecode, also while it sleeps or blocks
in a system call. The signal may come at any time, so its handler looks where it landed: only below the frame
that called the body it raises. An `async def` body is canceled on its own loop. Elsewhere (a thread) nothing
can interrupt a body; one that comes back late has timed out all the same.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from django_workflow.journal.clock import monotonic

# A body may swallow the interrupt; it gets another one after so many seconds.
AGAIN_SECONDS = 1.0


class BodyTimedOut(BaseException):
    """The body took too long. No `Exception`: the body's own `except` clauses are not meant."""


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

    def on_alarm(signum: int, frame: FrameType | None) -> None:
        nonlocal fired
        if _is_below(frame, here):
            fired = True
            raise BodyTimedOut

    previous = signal.signal(signal.SIGALRM, on_alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
        result = call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    if fired:
        raise BodyTimedOut  # it swallowed the interrupt; what it returned is dropped
    return result


def _is_below(frame: FrameType | None, caller: FrameType) -> bool:
    frame = frame if frame is not caller else None
    while frame is not None:
        if frame is caller:
            return True
        frame = frame.f_back
    return False
