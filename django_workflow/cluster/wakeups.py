"""Wake-ups on their way to django-q2: throttled, with a trailing edge (R10), and never an error of the caller's.

Rules of this file: a message carries two strings, the task's path and the name of a cluster. What can't be
sent is logged and forgotten, since the ticker finds by itself what is due.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Final

from django.conf import settings
from django.db import connections, transaction
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.tasks import async_task

from django_workflow.journal.clock import monotonic

logger = logging.getLogger("django_workflow.cluster")

TASK: Final = "django_workflow.cluster.tasks.drain"
WINDOW: Final = 0.05  # seconds in which one wake-up of a cluster stands for all
BROKEN_SECONDS: Final = 5.0  # for which a broker that didn't answer is left alone; each try may take as long
COMPLAINT_SECONDS: Final = 60.0  # between two log records about a broker that doesn't answer


def send(cluster: str) -> None:
    """Send a wake-up to `cluster`, or let the one of this window's end stand for it. Never raises.

    Args:
        cluster: the name as rows have it; "" is django-q2's default cluster.
    """
    if Conf.SYNC:
        _inline.run(cluster)
    elif _throttle.admits(cluster):
        _deliver(cluster)


def send_unless_waiting(cluster: str, patience: float | None = None) -> None:
    """Send a wake-up unless something still waits in the queue, by which one more would be of no use.

    Args:
        cluster: the name as rows have it.
        patience: seconds after the last one at which it is sent all the same: what waits may be tasks of
            others. None: never, for a cluster that nobody may serve.
    """
    if _throttle.is_broken() or not (_is_impatient(cluster, patience) or _is_empty(cluster)):
        return
    send(cluster)


def _is_impatient(cluster: str, patience: float | None) -> bool:
    return patience is not None and monotonic() - _throttle.sent_at.get(cluster, 0.0) >= patience


def _is_empty(cluster: str) -> bool:
    try:
        with _steady_connection():
            return not _broker(queue_name(cluster)).queue_size()
    except Exception as error:  # noqa: BLE001  each broker has its own errors
        _give_up(cluster, error)
        return False


def queue_name(cluster: str) -> str:
    """The name by which django-q2 knows a cluster that rows call `cluster`."""
    return cluster or default_queue()


def default_queue() -> str:
    """The name of django-q2's default cluster.

    Not `Conf.CLUSTER_NAME`: in a worker that `Q_CLUSTER_NAME` put into another cluster that is the other one.
    """
    configured = getattr(settings, "Q_CLUSTER", {})
    name: str = configured.get("cluster_name", configured.get("name", "default"))
    return name


# ── the throttle ─────────────────────────────────────────────────────────────────────────────────────────────────


class _Throttle:
    """At most one wake-up of a cluster a window; one that is held back is sent when the window ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open_until: dict[str, float] = {}
        self._held_back: set[str] = set()
        self._broken_until = 0.0
        self.sent_at: dict[str, float] = {}

    def breaks(self) -> None:
        """The broker doesn't answer: for a while nothing is sent, and nothing held back."""
        self._broken_until = monotonic() + BROKEN_SECONDS

    def is_broken(self) -> bool:
        """True while the broker is left alone."""
        return monotonic() < self._broken_until

    def admits(self, cluster: str) -> bool:
        """True iff the caller is to send; False: it is sent at the window's end, if the broker answers."""
        with self._lock:
            now = monotonic()
            if cluster in self._held_back or self.is_broken():
                return False
            wait = self._open_until.get(cluster, 0.0) - now
            if wait <= 0 or not self._trail(cluster, wait):
                self._open_until[cluster] = now + WINDOW
                return True
            self._held_back.add(cluster)
            return False

    def _trail(self, cluster: str, seconds: float) -> bool:
        # Not a daemon: a command that starts a workflow and ends must not take the wake-up with it.
        timer = threading.Timer(seconds, self._window_ends, [cluster])
        timer.name = "django_workflow wake-up"
        try:
            timer.start()
        except RuntimeError:  # the interpreter is shutting down
            return False
        return True

    def _window_ends(self, cluster: str) -> None:
        with self._lock:
            self._held_back.discard(cluster)
            self._open_until[cluster] = monotonic() + WINDOW
        try:
            _deliver(cluster)
        finally:
            connections.close_all()


# ── Q_CLUSTER["sync"] ────────────────────────────────────────────────────────────────────────────────────────────


class _Inline(threading.local):
    """With `sync`, django-q2 runs the task in the call that enqueues it: what is asked meanwhile comes after."""

    def __init__(self) -> None:
        self.pending: list[str] | None = None

    def run(self, cluster: str) -> None:
        if self.pending is not None:
            if cluster not in self.pending:
                self.pending.append(cluster)
            return
        self.pending = [cluster]
        try:
            while self.pending:
                _deliver(self.pending.pop(0))
        finally:
            self.pending = None


# ── delivery ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _deliver(cluster: str) -> None:
    queue = queue_name(cluster)
    try:
        with _steady_connection():
            # Only strings go along, and every option is named: django-q2 takes its options out of the callee's
            # keyword arguments, pickles the rest, and would store, time out or retry what doesn't say otherwise.
            async_task(
                TASK, cluster, broker=_broker(queue), cluster=queue, timeout=-1, save=False, ack_failure=True
            )
        _throttle.sent_at[cluster] = monotonic()
    except Exception as error:  # noqa: BLE001  each broker has its own errors, and none is the caller's
        _give_up(cluster, error)


@contextmanager
def _steady_connection() -> Iterator[None]:
    """Keep the ORM broker from closing this thread's connections, which are the caller's: it does so outside of transactions."""
    orm = Conf.ORM if not (Conf.SYNC or Conf.BROKER_CLASS) else None
    with transaction.atomic(using=orm) if orm else nullcontext():
        yield


class _Brokers(threading.local):
    """Brokers of this thread: making one is a new connection to Redis."""

    def __init__(self) -> None:
        self.by_queue: dict[str, Any] = {}


def _broker(queue: str) -> Any:
    if queue not in _brokers.by_queue:
        _brokers.by_queue[queue] = get_broker(queue)
    return _brokers.by_queue[queue]


def _give_up(cluster: str, error: Exception) -> None:
    """The wake-up is lost, and the next ones for a while: nobody who starts a workflow is to wait for a dead broker."""
    global _complained_at
    _brokers.by_queue.pop(queue_name(cluster), None)
    _throttle.breaks()
    now = monotonic()
    if _complained_at is None or now - _complained_at >= COMPLAINT_SECONDS:
        _complained_at = now
        logger.warning(
            "A wake-up for the cluster %r could not be sent: %s: %s. Nothing is lost, the ticker of a running "
            "cluster finds what is due; until the broker answers again it takes up to some seconds longer.",
            queue_name(cluster),
            type(error).__name__,
            error,
        )


_throttle = _Throttle()
_inline = _Inline()
_brokers = _Brokers()
_complained_at: float | None = None


def _forked() -> None:
    # A child has none of its parent's timers, must not share its sockets, and may find its locks taken for ever.
    global _throttle, _inline, _brokers
    _throttle, _inline, _brokers = _Throttle(), _Inline(), _Brokers()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
