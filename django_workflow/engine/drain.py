"""What a worker does when it is woken: take what is due, until nothing is.

A drain holds one batch of workflows and takes their turns one after the other; then a step that runs by
itself, or several short ones; and again. Before a body that may take long it gives the rest of its batch back (R3).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from uuid import UUID

from django.db import Error

from django_workflow.conf import settings
from django_workflow.engine import branches, turn
from django_workflow.engine.executor import Executor
from django_workflow.engine.leases import heartbeat
from django_workflow.engine.recovery import backoff
from django_workflow.handler import registry
from django_workflow.journal import claims, holding, pauses, steps, wakes
from django_workflow.journal.claims import Known, Seen
from django_workflow.journal.clock import monotonic
from django_workflow.journal.database import connection, passes, pause

logger = logging.getLogger("django_workflow.engine")

# For so long steps are run one after the other before the workflows that they woke get a turn: with 200 parallel
# actions a workflow is not replayed 200 times, and no branch waits much longer than that for the next one's answer.
BURST_SECONDS = 0.05
# Where the turn itself takes long, since it has so much to replay, for so many times as long: then turns take a fifth of
# the time at the most. No longer than that, though (seconds).
BURST_TURNS = 4
BURST_MOST = 0.5
# Where a machine is so slow that hardly one fits, some are run all the same, for a few times as long at the most.
BURST_STEPS = 16
LONG_BURST = 3  # × the burst

# Under constant load, how often to look for what dead workers left behind (seconds).
TAKEOVER_SECONDS = 1.0


def drain(
    cluster: str | None = "",
    *,
    seconds: float | None = None,
    stop: Callable[[], bool] = lambda: False,
    timed: bool = True,
    executor: Executor | None = None,
) -> int:
    """Work off what is due.

    Args:
        cluster: whose work; None: that of all.
        seconds: stop after so many; None: when nothing is due.
        stop: asked between two pieces of work; True ends the drain.
        timed: False: leave steps that have a timeout to a thread that can interrupt them (R26).
        executor: runs async actions, many at once, while the drain goes on; None: they run here, one by one.

    Returns:
        The number of turns taken and step bodies run.

    """
    done = Drain(cluster, seconds, stop, timed, executor).run()
    without = executor.refused() if executor is not None else ()
    if seconds is not None and claims.anything_due(cluster, known(), without=without):
        wakes.ask(cluster or "")
    return done


def known() -> Known:
    """What this process can run. A pool that is limited to nothing is held: its workflows are not claimed."""
    managers = {key: registry.manager_of(*key) for key in registry.known()}
    limits = {
        manager.name: manager.max_parallelism
        for manager in managers.values()
        if manager is not None and manager.max_parallelism is not None
    }
    definitions = tuple(
        key for key, manager in managers.items() if manager is None or manager.max_parallelism != 0
    )
    return Known(definitions, sorted(registry.fingerprints()), limits)


def take_one(workflow_id: UUID) -> int:
    """Take one turn of one workflow here and now, if it is due and nobody holds it: for `eager` starts."""
    here = known()
    with heartbeat.holding() as held:
        claimed = claims.claim_workflows(held.token, None, here, 1, only=workflow_id)
        held.claimed = True
        journals = steps.load([claim.id for claim in claimed if claim.started_at is not None])
        return sum(
            1 + turn.take(claim, journals.get(claim.id, []), held, lambda: None, here, timed=False)
            for claim in claimed
        )


class Drain:
    """One drain."""

    def __init__(
        self,
        cluster: str | None,
        seconds: float | None,
        stop: Callable[[], bool],
        timed: bool,
        executor: Executor | None,
    ) -> None:
        self._timed = timed
        self._executor = executor
        self._cluster = cluster
        self._ends_at = None if seconds is None else monotonic() + seconds
        self._stop = stop
        self._known = known()
        self._next_takeover = 0.0
        self._setbacks = 0
        self._batch = settings.CLAIM_LIMIT
        self._burst = BURST_SECONDS
        self._replayed = 0.0  # how long the last turns without a body took (seconds)

    def run(self) -> int:
        """Until nothing is due, time is up, or it is told to stop."""
        total = 0
        while not self._is_over():
            try:
                self._give_up_what_was_left()
                self._replayed = 0.0
                done = self._take_over() + self._take_turns()
                self._burst = max(BURST_SECONDS, min(BURST_TURNS * self._replayed, BURST_MOST))
                done += self._run_steps()
            except Error as error:
                self._survive(error)
                continue
            self._setbacks = 0
            total += done
            if not done:
                return total
        return total

    def _is_over(self) -> bool:
        return self._stop() or (self._ends_at is not None and monotonic() >= self._ends_at)

    def _survive(self, error: Error) -> None:
        """A database that restarts, or is locked for long: what was held runs into its lease; go on later."""
        self._setbacks += 1
        if not passes(error) or self._setbacks > 5 or connection().in_atomic_block:
            raise error
        connection().close_if_unusable_or_obsolete()
        pause(0.05 * 2**self._setbacks)

    def _give_up_what_was_left(self) -> None:
        """What this process held when the database went away is no crash: give it back now that it answers (R15)."""
        while heartbeat.left_behind:
            left = heartbeat.left_behind[0]
            holding.give_up(left.token, backoff(0), claimed=left.claimed)
            heartbeat.left_behind.pop(0)

    def _take_over(self) -> int:
        """What dead workers left behind, one at a time: it may be what killed them (R15)."""
        if monotonic() < self._next_takeover:
            return 0
        turns = self._claim_and_take(limit=1, taken_over=True)
        if not turns:
            self._next_takeover = monotonic() + TAKEOVER_SECONDS
        return turns

    def _take_turns(self) -> int:
        turns = self._claim_and_take(limit=self._batch, taken_over=False)
        if not turns and monotonic() < self._next_takeover:
            # Nothing else is due: look for what was left behind before saying that nothing is.
            return self._claim_and_take(limit=1, taken_over=True)
        return turns

    def _claim_and_take(self, *, limit: int, taken_over: bool) -> int:
        with heartbeat.holding() as held:
            batch = claims.claim_workflows(
                held.token, self._cluster, self._known, limit, taken_over=taken_over
            )
            held.claimed = True
            if len(batch) == limit > 1:
                wakes.ask(self._cluster or "")  # there may be more than this worker can take
            ran = [claim.id for claim in batch if claim.started_at is not None]
            journals = steps.load(ran) if ran else {}
            rest = list(batch)
            total = 0
            # Workflows that run actions hand their batch back: claim fewer of them, and more again by and by.
            self._batch = min(2 * self._batch, settings.CLAIM_LIMIT)
            while rest:
                claim = rest.pop(0)
                if self._is_over() and total:
                    holding.hand_back([claim, *rest])
                    break
                began_at = monotonic()
                bodies = turn.take(
                    claim,
                    journals.get(claim.id, []),
                    held,
                    lambda: self._hand_back(rest),
                    self._known,
                    timed=self._timed,
                    apart=self._executor is not None,
                )
                total += 1 + bodies
                self._replayed += 0 if bodies else monotonic() - began_at
            return total

    def _hand_back(self, rest: list[claims.Turnable]) -> None:
        if rest:
            self._batch = max(1, self._batch // 4)
            holding.hand_back(rest)
            rest.clear()
            wakes.ask(self._cluster or "")

    def _run_steps(self) -> int:
        """One step, and while these are short ones more, so that a turn takes the answers of many."""
        began_at = monotonic()
        seen: list[Seen] = []
        pauses_seen = pauses.changes()
        total = done = self._run_step(seen)
        while done and not self._is_over():
            took = monotonic() - began_at
            if took >= self._burst and (total >= BURST_STEPS or took >= LONG_BURST * self._burst):
                break
            if pauses.changes() != pauses_seen:
                seen.clear()  # a body has paused something
            done = self._run_step(seen)
            total += done
        return total

    def _run_step(self, seen: list[Seen]) -> int:
        with ExitStack() as lease:
            held = lease.enter_context(heartbeat.holding())
            without = self._executor.refused() if self._executor is not None else ()
            claim = claims.claim_step(
                held.token,
                self._cluster,
                self._known,
                timed=self._timed,
                without=without,
                seen=seen,
                begins=branches.begins_at_once,
            )
            held.claimed = True
            if claim is None:
                return 0
            if self._executor is not None and self._executor.take(claim, held, lease):
                return 1
            return branches.run(claim, held) or 1
