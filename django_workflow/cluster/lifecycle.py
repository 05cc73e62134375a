"""This process as a worker of a django-q2 cluster: which cluster, whether it is stopping, whether it waits.

Rules of this file: of django-q2's signals only `post_spawn` is used, since others are sent under a lock that
the whole cluster waits for. What django-q2 doesn't tell is read from where it stands, and nothing breaks
where it isn't found.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from django.apps import apps

from django_workflow.journal import processes, wakes

if TYPE_CHECKING:
    from django_workflow.cluster.ticker import Ticker

logger = logging.getLogger("django_workflow.cluster")


@dataclass(frozen=True)
class Worker:
    """A worker process of a running cluster."""

    cluster: str  # as django-q2 names it
    names: frozenset[str]  # what rows call it
    sentinel: int  # the pid of the process that it was forked from
    stop_event: Any  # multiprocessing's Event that the cluster sets when it stops; None where it wasn't found
    ticker: Ticker


_worker: Worker | None = None


def connect() -> None:
    """Hook the app into django-q2. For `AppConfig.ready()`; without django-q2 installed nothing happens."""
    if not apps.is_installed("django_q"):
        return
    from django_q.signals import post_spawn

    from django_workflow.cluster import wakeups

    wakes.register(wakeups.send)
    post_spawn.connect(_spawned, dispatch_uid="django_workflow.cluster.lifecycle")


def in_worker() -> bool:
    """True in a worker process of a running cluster."""
    return _worker is not None


def names() -> frozenset[str]:
    """What rows call the cluster of this worker."""
    return _worker.names if _worker is not None else frozenset()


def stopping() -> bool:
    """True as soon as this worker's cluster was told to stop, or has lost its sentinel."""
    return _worker is not None and (_is_set(_worker.stop_event) or orphaned())


def orphaned() -> bool:
    """True once this worker's sentinel is gone, by which nobody can stop or replace it any more."""
    return _worker is not None and os.getppid() != _worker.sentinel


def leave(cluster: str) -> NoReturn:
    """End this orphaned worker, between two tasks, and hand on the wake-up that it had taken.

    Workers outlive their sentinel, and its pusher goes on feeding them with messages of the cluster that was
    started in its place. Raises SystemExit, which django-q2 lets pass: the message stays unanswered.
    """
    logger.error("django_workflow: the sentinel of this django-q2 worker is gone, so the worker ends too.")
    from django_workflow.cluster import wakeups

    wakeups.send(cluster)
    raise SystemExit(1)


def nudge() -> None:
    """Let the ticker look at once: this process may have written a timer that is due soon."""
    if _worker is not None:
        _worker.ticker.nudge()


def idle() -> bool:
    """True while the main thread of this worker waits for a task."""
    from django_q.queues import Queue

    ident = threading.main_thread().ident
    frame = sys._current_frames().get(ident) if ident is not None else None
    return any(each.f_code is Queue.get.__code__ for each in _stack(frame))


def _spawned(**_: object) -> None:
    """A worker process has begun. Returns at once: the ticker is a thread."""
    try:
        _begin()
    except Exception:
        # An error here would end this worker, and each one that replaces it.
        logger.exception("django_workflow: this worker goes on without a ticker.")


def _begin() -> None:
    global _worker
    from django_q.conf import Conf
    from django_q.tasks import _sync

    from django_workflow.cluster import errand, tasks, wakeups
    from django_workflow.cluster.ticker import Ticker
    from django_workflow.engine.executor import executor

    stack = list(_stack(sys._getframe()))
    if Conf.SYNC or any(frame.f_code is _sync.__code__ for frame in stack):
        return  # not a cluster: the worker's loop runs in the process that enqueues
    cluster = Conf.CLUSTER_NAME
    names = frozenset({cluster, ""} if cluster == wakeups.default_queue() else {cluster})
    processes.belong(cluster)
    ticker = Ticker(cluster, names, stopping=stopping, idle=idle)
    _worker = Worker(cluster, names, os.getppid(), _stop_event(stack), ticker)
    executor.meanwhile = tasks.go_on
    errand.prepare(_task_queue(stack))
    ticker.start()


def _stop_event(stack: list[FrameType]) -> Any:
    """The cluster's stop event: a forked worker still has, below its own, the frames of the sentinel that forked it."""
    from django_q.cluster import Sentinel

    for frame in stack:
        sentinel = frame.f_locals.get("self")
        if isinstance(sentinel, Sentinel):
            return getattr(sentinel, "stop_event", None)
    return None


def _task_queue(stack: list[FrameType]) -> Any:
    """The queue that the cluster's pusher fills: this signal is sent from the worker's own loop, which has it."""
    from django_q.worker import worker

    return next(
        (frame.f_locals.get("task_queue") for frame in stack if frame.f_code is worker.__code__), None
    )


def _is_set(event: Any) -> bool:
    """Whether a multiprocessing Event is set, without its lock.

    `is_set()` takes the lock that the sentinel waits with, and a worker that is killed holding it would hang
    the whole cluster. The flag below it is a semaphore, which can be read without one.
    """
    if event is None:
        return False
    try:
        return not event._flag._semlock._is_zero()
    except AttributeError:
        return bool(event.is_set())


def _stack(frame: FrameType | None) -> Any:
    while frame is not None:
        yield frame
        frame = frame.f_back
