"""Runs the bodies of async actions, hundreds at once, on one event loop in a thread, while the worker takes turns.

Rules of this file: the worker's own thread claims a step and counts its attempt (R3); the loop's thread runs its
body and touches no row; a third thread, the clerk, writes how bodies have ended, many in one transaction, and cancels
those whose step is no longer theirs. What a body returned is kept until the database has taken it or the fence has
refused it. A process ends when the last body has, unless it is killed: then each counts as interrupted (P4).
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing import util

from asgiref.sync import sync_to_async
from django.db import Error, close_old_connections, connections

from django_workflow.conf import settings
from django_workflow.engine import branches
from django_workflow.engine.branches import Begun
from django_workflow.engine.leases import ASK_SECONDS, Held, LeaseLost
from django_workflow.exceptions import InternalError
from django_workflow.handler.commands import Answer
from django_workflow.handler.functions import is_async
from django_workflow.journal import claims
from django_workflow.journal.claims import Runnable
from django_workflow.journal.clock import monotonic
from django_workflow.journal.database import passes
from django_workflow.states import StepKind, StepState

logger = logging.getLogger("django_workflow.engine")

TOGETHER = 50  # bodies whose ends one transaction writes
AWAY_SECONDS = 1.0  # between two tries to write while the database is away
IDLE_SECONDS = 5.0  # without a body, before the clerk's connections are closed


class _Running:
    """A body on the loop, or one that has ended and is not written yet."""

    def __init__(self, begun: Begun, held: Held, lease: ExitStack) -> None:
        self.begun = begun
        self.held = held
        self.lease = lease  # closed when the step's lease needs no renewal any more
        self.task: asyncio.Task[Answer] | None = None  # None: the loop has not come to it yet


class Executor:
    """The async actions of this process."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew: after a fork neither the threads nor the bodies are there."""
        self._changed = threading.Condition()
        self._running: dict[str, _Running] = {}  # by token
        self._ended: dict[str, _Running] = {}  # of them, those whose bodies have ended
        self._functions: set[str] = set()  # that were seen to be async
        self._loop: asyncio.AbstractEventLoop | None = None  # None: the threads are not there
        self._threads: list[threading.Thread] = []
        self._closing = False

    # ── for the thread that drains ──────────────────────────────────────────────────────────────────────────

    def takes(self, claim: Runnable) -> bool:
        """Whether a step's body is for the loop."""
        return claim.kind == StepKind.ACTION and is_async(claim.function)

    def refused(self) -> Sequence[str]:
        """The functions of which no step is to be claimed now: all async ones, once `ASYNC_LIMIT` bodies run."""
        with self._changed:
            return sorted(self._functions) if len(self._running) >= settings.ASYNC_LIMIT else ()

    def take(self, claim: Runnable, held: Held, lease: ExitStack) -> None:
        """Begin the body of a claimed step, and return at once.

        Args:
            claim: the step.
            held: its lease.
            lease: what keeps the lease alive; the executor takes it over if there is a body to run.

        """
        self._functions.add(claim.function)
        begun = branches.begin(claim, held)
        if begun is None:
            return
        held.of_a_step = True
        running = _Running(begun, held, lease.pop_all())
        with self._changed:
            loop = self._loop or self._start()
            self._running[claim.token] = running
            self._changed.notify()
        loop.call_soon_threadsafe(self._begin, running)

    def finish(self) -> None:
        """Wait until every body has ended and is written, and end the threads.

        A worker that is told to stop ends what it has begun.
        """
        with self._changed:
            if self._running:
                logger.info("This worker ends when its %d async actions have.", len(self._running))
            self._changed.wait_for(lambda: not self._running)
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self.reset()

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = self._loop = asyncio.new_event_loop()
        work = {"async actions": loop.run_forever, "clerk": self._keep_books}
        self._threads = [
            threading.Thread(target=target, name=f"django_workflow {name}", daemon=True)
            for name, target in work.items()
        ]
        for thread in self._threads:
            thread.start()
        # Before the interpreter takes thread pools away, on which name lookups and the ORM of bodies depend.
        util.Finalize(None, self.finish, exitpriority=100)
        return loop

    # ── on the loop ─────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, running: _Running) -> None:
        assert self._loop is not None
        running.task = self._loop.create_task(_run(running))
        running.task.add_done_callback(lambda _: self._has_ended(running))

    def _has_ended(self, running: _Running) -> None:
        with self._changed:
            self._ended[running.begun.claim.token] = running
            self._changed.notify_all()

    # ── the clerk ───────────────────────────────────────────────────────────────────────────────────────────

    def _keep_books(self) -> None:
        loop, ask_at = self._loop, 0.0
        assert loop is not None
        while not self._closing:
            self._await_work(loop)
            ended = self._await_ended(until=ask_at)
            try:
                if ended:
                    self._write(ended)
                if monotonic() >= ask_at:
                    ask_at = monotonic() + ASK_SECONDS
                    self._cancel_lost()
            except Error as error:
                if not passes(error):
                    logger.exception("The books of async actions can't be kept; it is tried again.")
                connections.close_all()
                threading.Event().wait(AWAY_SECONDS)
        _close_connections(loop)
        loop.call_soon_threadsafe(loop.stop)

    def _await_work(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._changed:
            if self._changed.wait_for(self._has_work, IDLE_SECONDS):
                return
        _close_connections(loop)
        with self._changed:
            self._changed.wait_for(self._has_work)

    def _has_work(self) -> bool:
        return bool(self._running) or self._closing

    def _await_ended(self, until: float) -> list[_Running]:
        """Some that have ended; none when it is time to ask which are lost."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._closing, max(until - monotonic(), 0))
            return list(self._ended.values())[:TOGETHER]

    def _write(self, ended: Sequence[_Running]) -> None:
        """Write ends together, or one by one where that is refused. Raises `Error` while the database is away."""
        try:
            branches.settle([(each.begun, _answer(each)) for each in ended])
        except Exception as error:
            if len(ended) > 1:
                for each in ended:
                    self._write([each])
                return
            if isinstance(error, Error) and passes(error):
                raise
            _refused(ended[0].begun.claim, error)
        for each in ended:
            self._forget(each)

    def _forget(self, running: _Running) -> None:
        claim = running.begun.claim
        running.lease.close()
        with self._changed:
            self._running.pop(claim.token)
            self._ended.pop(claim.token)
            self._changed.notify_all()
        branches.leave_pool(claim)

    def _cancel_lost(self) -> None:
        """Cancel bodies whose step was canceled, or taken over by somebody else."""
        with self._changed:
            running = {token: each for token, each in self._running.items() if token not in self._ended}
        lost = claims.missing_steps(list(running)) if running else set()
        for token in lost:
            running[token].held.lost()
            if self._loop is not None:
                self._loop.call_soon_threadsafe(_cancel, running[token])


async def _run(running: _Running) -> Answer:
    answer = await running.begun.body.run_in_loop()
    if answer.state is StepState.FAILED:
        # Django looks after its connections between two requests; here nobody else does.
        await sync_to_async(close_old_connections)()
    return answer


def _close_connections(loop: asyncio.AbstractEventLoop) -> None:
    """Close those of this thread, and of the one in which bodies use the ORM (R31)."""
    connections.close_all()
    asyncio.run_coroutine_threadsafe(sync_to_async(connections.close_all)(), loop).result()


def _cancel(running: _Running) -> None:
    if running.task is not None:
        running.task.cancel()


def _answer(running: _Running) -> Answer:
    """How a body has ended. Raises what it should not have raised, `LeaseLost` when it was canceled unbegun."""
    assert running.task is not None
    if running.task.cancelled():
        raise LeaseLost(f"step {running.begun.claim.number} of {running.begun.claim.workflow_id} is canceled")
    return running.task.result()


def _refused(claim: Runnable, error: Exception) -> None:
    if isinstance(error, LeaseLost):
        logger.info("%s", error)
        return
    # Its lease runs out, and the attempt counts as interrupted (P4).
    what = (
        f"the end of step {claim.number} of workflow {claim.workflow_id} could not be written; it is repeated"
    )
    logger.error("%s", InternalError(what), exc_info=error)


executor = Executor()


os.register_at_fork(after_in_child=executor.reset)
