"""Work for a worker's main thread while that waits for the lock of django-q2's queue, maybe for ever.

A worker that is killed while it waits for a message takes the lock with it. Then no worker of its cluster gets a message
any more, and only a main thread can interrupt a body that has a timeout (R26). So it is lent: the handler of a signal
does the work, on top of that wait.

Rules of this file: nothing is done on top of anything but a wait for a lock. Who waits for a message *holds* the lock and
is left alone: the others may get it next.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from multiprocessing.synchronize import SemLock
from types import FrameType
from typing import Any

from django_q.queues import Queue

# Its default is to be ignored, and hardly anybody asks for it. None: a system without signals for threads.
SIGNAL = getattr(signal, "SIGURG", None) if hasattr(signal, "pthread_kill") else None


class _Errand:
    """One piece of work on its way to the main thread."""

    def __init__(self, work: Callable[[], int]) -> None:
        self._work = work
        self.ended = threading.Event()
        self.done: int | None = None  # None: it was refused
        self.error: BaseException | None = None

    def run(self) -> None:
        """Do it. What it raises is told to the one who sent it, and to nobody below."""
        try:
            self.done = self._work()
        except BaseException as error:  # noqa: BLE001  it would end the wait for the queue, and with it the worker
            self.error = error


_errand: _Errand | None = None
_queue: Any = None  # from which this worker takes its messages; None where it wasn't found
_ready = False


def prepare(queue: Any) -> None:
    """Let this worker's main thread be lent. For the main thread, once in a process.

    Args:
        queue: the queue from which this worker takes its messages; None: unknown.
    """
    global _queue, _ready
    _queue = queue
    if SIGNAL is not None and signal.getsignal(SIGNAL) == signal.SIG_DFL:
        signal.signal(SIGNAL, _called)
        _ready = True


def lend_main_thread(work: Callable[[], int]) -> int | None:
    """Have the main thread do some work, and wait for its end. For one thread at a time.

    Args:
        work: what to do; returns how much it was.

    Returns:
        What `work` returned; None: the main thread doesn't wait for a lock of the queue, and nothing was done.

    """
    global _errand
    main = threading.main_thread().ident
    if not _ready or main is None or SIGNAL is None or not _waits_in_line(_main_frame()):
        return None
    _errand = errand = _Errand(work)
    signal.pthread_kill(main, SIGNAL)
    errand.ended.wait()
    if errand.error is not None:
        raise errand.error
    return errand.done


def has_unread_message() -> bool:
    """True iff the queue has a message while the main thread waits for the lock: whoever holds that doesn't read."""
    if _queue is None or not any(map(_waits_in_line, _stack(_main_frame()))):
        return False
    return bool(_queue._reader.poll(0))


def _called(_: int, frame: FrameType | None) -> None:
    global _errand
    errand, _errand = _errand, None
    if errand is None:
        return
    try:
        if _waits_in_line(frame):
            errand.run()
    finally:
        errand.ended.set()


def _waits_in_line(frame: FrameType | None) -> bool:
    """True iff this frame waits for a lock of the queue; what is done on top of that is in other frames."""
    if frame is None or frame.f_code is not SemLock.__enter__.__code__:
        return False
    return any(below.f_code is Queue.get.__code__ for below in _stack(frame))


def _main_frame() -> FrameType | None:
    ident = threading.main_thread().ident
    return sys._current_frames().get(ident) if ident is not None else None


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
