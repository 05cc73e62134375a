"""The ticker: a thread of each worker process that sees to it that what is due gets done (R26).

On each host the worker with the lowest pid watches: it looks at the journal every second, and frees what a
dead process of its host had leased. Among the watchers of a cluster one leads, by a lease, and sends the
wake-ups. The others ask the kernel whether their watcher lives, and look for themselves now and then. A
process that has drained looks too: it may have written a timer that is due before anybody else looks.

Where wake-ups are sent and nobody takes them, a worker that is idle drains without one, in its main thread or in one of
its own: django-q2's queue may be stuck (a worker was killed while it held the queue's lock), and no health check of its
own shows it. While a message lies there that nobody reads, it does so whoever else takes work meanwhile.

Who leads also starts what schedules have due, and sweeps out what the retention doesn't keep.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

from django.db import DatabaseError, connections
from django_q.conf import Conf

from django_workflow.cluster import wakeups
from django_workflow.cluster.agenda import Agenda
from django_workflow.cluster.errand import has_unread_message, lend_main_thread
from django_workflow.cluster.heads import HIDDEN, Call, Head
from django_workflow.cluster.neighbours import Neighbours
from django_workflow.cluster.retention import Sweeper
from django_workflow.conf import settings
from django_workflow.engine.drain import drain
from django_workflow.engine.executor import executor
from django_workflow.journal import due, leader, processes
from django_workflow.journal.clock import monotonic
from django_workflow.journal.database import passes
from django_workflow.journal.due import Look

logger = logging.getLogger("django_workflow.cluster")

POLL_SECONDS: Final = 0.25  # between two questions to the kernel, which cost no statement
WATCH_SECONDS: Final = 1.0  # between two looks of a watcher while nothing is due
GLANCE_SECONDS: Final = 20.0  # between two looks of the others, one after the other, however many they are
RENEW_SECONDS: Final = 1.5  # of the two that a lead lasts: with the looks less than two statements a second
SWEEP_SECONDS: Final = 600.0  # between two sweeps for the rows of processes that were never buried
SLACK_SECONDS: Final = 0.002  # to come after a timer by the database's clock, not a hair before it
FOREIGN_AFTER: Final = timedelta(seconds=2)  # by then another cluster's own ticker would have announced it
PATIENCE_SECONDS: Final = 1.5  # for a wake-up to be taken, besides the broker's own poll
STUCK_SECONDS: Final = 3.0  # with a message that nobody reads, after which the queue is taken to be stuck
QUEUE_PATIENCE_SECONDS: Final = 5.0  # a wake-up as often goes into a queue that others keep full
YIELD_SECONDS: Final = 0.05  # by which who doesn't lead is later than the leader, that one wake-up be enough
COMPLAINT_SECONDS: Final = 60.0  # between two log records about a queue that is stuck
QUIET_FAILURES: Final = 2  # in a row that are not worth a word: a lock, a connection that broke
LONGEST_PAUSE: Final = 5.0  # seconds between two tries while the database is away


class Ticker:
    """The ticker of this process."""

    def __init__(
        self, cluster: str, names: frozenset[str], *, stopping: Callable[[], bool], idle: Callable[[], bool]
    ) -> None:
        """Prepare it; nothing runs before `start()`.

        Args:
            cluster: this worker's cluster, as django-q2 names it.
            names: what rows call it.
            stopping: True once this worker is to end.
            idle: True while this worker's main thread waits for a task.

        """
        self._cluster = cluster
        self._names = names
        self._stopping = stopping
        self._idle = idle
        self._nudged = threading.Event()
        self._neighbours = Neighbours()
        self._heads: dict[str, Head] = {}
        self._agenda = Agenda()
        self._sweeper = Sweeper(stopping)
        self._look: Look | None = None  # the last one
        self._leading = False
        self._alert = (
            False  # True iff a timer that this process may have written could be due before its next look
        )
        self._rescue: threading.Thread | None = None
        self._failures = 0
        self._stuck = False  # True iff django-q2's queue is
        # Monotonic seconds.
        self._unread_since: float | None = None
        self._looked_at = 0.0
        self._look_at = 0.0
        self._renew_at = 0.0
        self._sweep_at = monotonic() + SWEEP_SECONDS
        self._complain_at = 0.0

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="django_workflow ticker", daemon=True).start()

    def nudge(self) -> None:
        """Ask for a look, from any thread."""
        self._nudged.set()

    def _run(self) -> None:
        try:
            while not self._stopping():
                try:
                    self._tick()
                    self._recovered()
                except Exception as error:  # noqa: BLE001  the thread must outlive whatever the database does
                    self._failed(error)
                self._wait()
            self._resign()
        finally:
            connections.close_all()

    def _tick(self) -> None:
        processes.seen()
        if self._nudged.is_set():
            self._nudged.clear()
            self._alert = True
            self._look_at = min(self._look_at, self._looked_at + settings.TICK_SECONDS)
            self._agenda.hasten()
        self._look_after_the_queue()
        watching = self._is_watching()
        if watching:
            self._watch()
        if monotonic() >= self._look_at:
            self._take_a_look(watching)
        if self._leading and self._look is not None:
            self._keep_house(self._look)

    def _wait(self) -> None:
        if self._failures:
            seconds = min(POLL_SECONDS * 2**self._failures, LONGEST_PAUSE)
        else:
            at = self._look_at
            if self._leading:
                at = min(at, self._renew_at, self._agenda.due_at)
            seconds = min(at - monotonic(), POLL_SECONDS)
        if seconds > 0:
            self._nudged.wait(seconds)

    # ── watching and leading ─────────────────────────────────────────────────────────────────────────────────

    def _is_watching(self) -> bool:
        return (
            self._leading or self._neighbours.is_first(self._cluster) or not (self._look and self._look.led)
        )

    def _watch(self) -> None:
        if self._neighbours.bury_the_dead():
            self._look_at = 0.0
        # Who was no watcher before had planned its next look for much later.
        self._look_at = min(self._look_at, self._looked_at + WATCH_SECONDS)
        if self._leading and monotonic() >= self._renew_at:
            self._lead()
        if self._leading and monotonic() >= self._sweep_at:
            self._sweep_at = monotonic() + SWEEP_SECONDS
            processes.drop_stale()

    def _seek_the_lead(self, look: Look) -> None:
        me = processes.identity().id
        if not look.led or look.leader == me:
            self._lead()
        elif look.leader is not None and self._neighbours.has_died(look.leader):
            self._lead(instead_of=look.leader)

    def _lead(self, instead_of: UUID | None = None) -> None:
        self._renew_at = monotonic() + RENEW_SECONDS
        led = self._leading
        self._leading = leader.try_lead(processes.identity().id, self._cluster, instead_of)
        if led and not self._leading:
            logger.info("Another process took the lead of the cluster %r's ticker.", self._cluster)

    def _resign(self) -> None:
        if self._leading:
            try:
                leader.resign(processes.identity().id, self._cluster)
            except DatabaseError:
                logger.debug("The lead of the ticker was not given back; it ends by itself.", exc_info=True)

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────

    def _take_a_look(self, watching: bool) -> None:
        since = self._look.now if self._look else None
        look = due.look(self._cluster, since, within=timedelta(seconds=WATCH_SECONDS * 1.1))
        self._look, self._looked_at = look, monotonic()
        self._neighbours.refresh(look.processes)
        if watching and not self._leading:
            self._seek_the_lead(look)
        woken = self._announce(look)
        self._plan(look, woken)
        self._help_out()

    def _announce(self, look: Look) -> bool:
        """Send the wake-ups that this look asks for; True iff there were any."""
        woken = False
        for name in self._names | look.clusters.keys():
            ours = name in self._names
            found = look.clusters.get(name) or (HIDDEN if look.crowded and ours else due.Due())
            if not ours and (found.overdue is None or look.now - found.overdue < FOREIGN_AFTER):
                self._heads.pop(name, None)
                continue
            call = self._heads.setdefault(name, Head()).take_in(found, self._looked_at)
            if call is Call.NOTHING or not (self._leading or (ours and call is Call.WAKE and self._alert)):
                continue
            wakeups.send_unless_waiting(name, QUEUE_PATIENCE_SECONDS if ours else None)
            woken = woken or call is Call.WAKE
        return woken

    def _plan(self, look: Look, woken: bool) -> None:
        """When to look again: after a while, when something is due, when a wake-up may have to be repeated."""
        coming = [
            (found.coming - look.now).total_seconds() + (SLACK_SECONDS if self._leading else YIELD_SECONDS)
            for name, found in look.clusters.items()
            if name in self._names and found.coming is not None
        ]
        self._alert = self._alert and bool(coming)
        glance = GLANCE_SECONDS * self._neighbours.who_glance(self._cluster)
        after = [WATCH_SECONDS if self._is_watching() else glance]
        if self._leading or self._alert:
            after += coming
        if self._leading:
            after += [
                head.repeat_at - self._looked_at for head in self._heads.values() if head.due is not None
            ]
            after += [settings.TICK_SECONDS] if woken else []
        self._look_at = self._looked_at + max(min(after), settings.TICK_SECONDS)

    # ── what is done once ────────────────────────────────────────────────────────────────────────────────────

    def _keep_house(self, look: Look) -> None:
        """Start what schedules have due, and sweep. Two leaders at once do no harm."""
        if (now := monotonic()) >= self._agenda.due_at:
            try:
                self._agenda.look(look.now + timedelta(seconds=now - self._looked_at))
            except Exception as error:
                if passes(error):
                    raise
                logger.exception("The schedules can't be read; wake-ups go on.")
        self._sweeper.look()

    # ── helping out ──────────────────────────────────────────────────────────────────────────────────────────

    def _look_after_the_queue(self) -> None:
        now = monotonic()
        if not has_unread_message():
            self._unread_since, self._stuck = None, False
            return
        self._unread_since = self._unread_since or now
        if not self._stuck and now - self._unread_since >= STUCK_SECONDS:
            self._stuck = True
            logger.error(
                "django-q2's queue of the cluster %r is stuck: it has a message, and this worker waits for the lock to "
                "read it, which somebody took along who was killed. Its workers look for work themselves, until the "
                "cluster is restarted.",
                self._cluster,
            )
        if self._stuck:
            self._look_at = min(self._look_at, self._looked_at + WATCH_SECONDS)

    def _help_out(self) -> None:
        """Drain if wake-ups for this worker's own clusters are not taken while it is idle, and don't wait for that."""
        if self._rescue is not None and self._rescue.is_alive():
            return
        now, patience = monotonic(), PATIENCE_SECONDS + Conf.POLL
        for name in self._names:
            head = self._heads.get(name)
            if head is not None and head.is_neglected(now, 0.0 if self._stuck else patience) and self._idle():
                self._rescue = threading.Thread(
                    target=self._drain, args=(name, head), name="django_workflow rescue", daemon=True
                )
                self._rescue.start()
                return

    def _drain(self, name: str, head: Head) -> None:
        done = 0
        try:
            by_main = lend_main_thread(partial(self._work, name, timed=True))
            done = self._work(name, timed=False) if by_main is None else by_main
        except BaseException:
            logger.exception("A drain of the cluster %r outside of its queue ended early.", name)
        finally:
            head.probed(monotonic(), done)
        if done and monotonic() >= self._complain_at:
            self._complain_at = monotonic() + COMPLAINT_SECONDS
            logger.warning(
                "Wake-ups for the cluster %r were not taken for %.1f seconds while a worker was idle, so its ticker "
                "has done %d pieces of work itself. If this goes on, django-q2's queue is stuck: restart the cluster.",
                self._cluster,
                PATIENCE_SECONDS,
                done,
            )

    def _work(self, name: str, *, timed: bool) -> int:
        try:
            return drain(
                name,
                seconds=settings.DRAIN_SECONDS,
                stop=lambda: self._stopping() or not self._idle(),
                timed=timed,
                executor=executor,
            )
        finally:
            connections.close_all()

    # ── failing ──────────────────────────────────────────────────────────────────────────────────────────────

    def _failed(self, error: Exception) -> None:
        """The database is away, or locked, or not migrated: try again, with one word about it."""
        self._failures += 1
        connections.close_all()
        if self._failures == (QUIET_FAILURES + 1 if passes(error) else 1):
            self._failures = max(self._failures, QUIET_FAILURES + 1)
            logger.error(
                "The ticker of the cluster %r can't reach the journal.", self._cluster, exc_info=error
            )

    def _recovered(self) -> None:
        if self._failures > QUIET_FAILURES:
            logger.info("The ticker of the cluster %r reaches the journal again.", self._cluster)
        self._failures = 0
