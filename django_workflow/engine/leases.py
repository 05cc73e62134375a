"""A worker's view of the leases that it holds, and the thread that renews them.

A fence covers writes, not bodies: before a body the worker asks `may_begin()`, which counts on its own
monotonic clock and errs on the side of the lease (R5). The heartbeat renews all leases of a token in one
statement on a connection of its own; only "0 rows" means that they are lost (R6).
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db import Error, connections

from django_workflow.conf import settings
from django_workflow.journal import holding, processes
from django_workflow.journal.clock import monotonic
from django_workflow.journal.database import passes
from django_workflow.journal.holding import Renewed

logger = logging.getLogger("django_workflow.engine")

# Between the moment at which a worker stops trusting a lease and the one at which others may take it.
MARGIN = 0.1  # of a lease
BEATS = 3  # in a lease
STALE = 0.5  # of a lease; what has less left is renewed by each commit
ASK_SECONDS = 1.0  # between two questions of a body whether it is canceled
MANY = 500  # leases that one statement renews


def trusted_until(asked_at: float) -> float:
    """Until when to trust a lease that was taken or renewed by a statement sent at `asked_at` (monotonic seconds)."""
    return asked_at + settings.LEASE_SECONDS * (1 - MARGIN)


class LeaseLost(Exception):
    """The fence did not match: somebody canceled the workflow or took it over. Nothing was written."""


class Held:
    """The leases of one token."""

    def __init__(self) -> None:
        self.token = processes.token()
        self._deadline = 0.0
        self._lost = False
        self._ask_at = 0.0  # when a body that wants to know may ask the database again
        self.claimed = False  # True once the claim has returned: before that nothing of it can be lost
        self.of_a_step = False  # True: all that it leases is one step, whose body the executor runs
        self.renewed(monotonic())

    def renewed(self, asked_at: float) -> None:
        """They were all renewed by a statement that was sent at `asked_at` (monotonic seconds)."""
        self._deadline = max(self._deadline, trusted_until(asked_at))

    def lost(self) -> None:
        """Somebody else has them."""
        self._lost = True

    def is_lost(self) -> bool:
        """True once it is known that somebody else has them, or nobody: by the last beat, or asked right here."""
        now = monotonic()
        if not self._lost and now >= self._ask_at and not _in_event_loop():
            self._ask_at = now + ASK_SECONDS
            self._lost = not holding.holds(self.token)
        return self._lost

    def may_begin(self, renewed_at: float | None = None) -> bool:
        """True while a body may be begun: nobody has taken the lease, and the last renewal can be relied on (R5).

        Args:
            renewed_at: when a fenced commit renewed the one lease that is asked about (monotonic seconds).

        """
        return not self._lost and monotonic() < self._trusted(renewed_at)

    def is_fresh(self, renewed_at: float | None) -> bool:
        """True while it is too early for a commit to renew it: the heartbeat does it in time."""
        return not self._lost and monotonic() < self._trusted(renewed_at) - settings.LEASE_SECONDS * STALE

    def _trusted(self, renewed_at: float | None) -> float:
        return self._deadline if renewed_at is None else max(self._deadline, trusted_until(renewed_at))


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Heartbeat:
    """Renews what is held while it is held. One thread a process, alive while it has work."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew: after a fork neither the thread nor a lock that somebody held is there."""
        self._held: set[Held] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._pauses = 0
        self._interval = 0.0  # that the thread waits between two beats (seconds)
        # Whose holder met an error of the database and could not give back what it held.
        self.left_behind: list[Held] = []

    @contextmanager
    def holding(self) -> Iterator[Held]:
        """A new token; what is claimed with it is kept alive until the block ends."""
        held = Held()
        with self._changed:
            self._held.add(held)
            if not self._pauses:
                self._ensure_thread()
            if self._interval > settings.LEASE_SECONDS / BEATS:
                self._changed.notify()
        try:
            yield held
        except Error:
            self.left_behind.append(held)
            raise
        finally:
            with self._changed:
                self._held.discard(held)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No thread meanwhile: in a `TestCase` another connection doesn't see the rows (R31)."""
        with self._changed:
            self._pauses += 1
        try:
            yield
        finally:
            with self._changed:
                self._pauses -= 1

    def _ensure_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="django_workflow heartbeat", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        idle = False
        while True:
            with self._changed:
                self._interval = settings.LEASE_SECONDS / BEATS
                if self._changed.wait(self._interval):
                    continue  # leases are shorter now (a test's)
                if not self._held and idle:
                    # Nothing in two intervals: a thread that is needed again is made again.
                    self._thread = None
                    return
                idle = not self._held
            try:
                self.beat()
            finally:
                # Beats are seconds apart: a connection for each is cheaper than one more for every worker (R31).
                connections.close_all()

    def beat(self) -> None:
        """Renew all that is held, once."""
        with self._changed:
            held = [each for each in self._held if each.claimed]
        of_steps = [each for each in held if each.of_a_step]
        for at in range(0, len(of_steps), MANY):
            self._renew(of_steps[at : at + MANY])
        for each in held:
            if not each.of_a_step:
                self._renew([each])

    def _renew(self, held: Sequence[Held]) -> None:
        """Renew what one token leases, or one step by each of many."""
        asked_at = monotonic()
        try:
            renewed = _extend(held)
        except Exception as error:
            # Not a verdict: the next beat tries again, and past its deadline the worker begins nothing. Whatever it is:
            # with this thread all that this process holds would be lost.
            if not (isinstance(error, Error) and passes(error)):
                logger.exception("the heartbeat of %s failed", ", ".join(each.token for each in held[:3]))
            connections.close_all()
            return
        for each in held:
            if each.token in renewed.held:
                each.renewed(asked_at)
            elif each.token in renewed.lost:
                with self._changed:
                    if each in self._held:  # a verdict on a token that was released meanwhile says nothing
                        each.lost()


def _extend(held: Sequence[Held]) -> Renewed:
    tokens = [each.token for each in held]
    if held[0].of_a_step:
        return holding.extend_steps(tokens)
    return Renewed(set(tokens), set()) if holding.extend(tokens[0]) else Renewed(set(), set(tokens))


heartbeat = Heartbeat()


os.register_at_fork(after_in_child=heartbeat.reset)
