"""Runs the bodies of async actions, hundreds at once, on one event loop in a thread, while the worker takes turns.

Rules of this file: the worker's own thread claims a step and counts its attempt (R3); the loop's thread runs its
body and touches no row; a third thread, the clerk, writes how bodies have ended, many in one transaction, and cancels
those whose step is no longer theirs. What a body returned is kept until the database has taken it or the fence has
refused it. Neither thread ends before `finish()`, whatever a body does: a lease is renewed as long as its body is
here. A process ends when the last body has, unless it is killed: then each counts as interrupted (P4).
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from contextvars import Context
from multiprocessing import util

from asgiref.sync import sync_to_async
from django.db import Error, connections

from django_workflow.conf import settings
from django_workflow.engine import branches
from django_workflow.engine.branches import Begun
from django_workflow.engine.leases import ASK_SECONDS, MANY, Held, LeaseLost
from django_workflow.exceptions import InternalError
from django_workflow.handler.commands import Answer
from django_workflow.handler.functions import is_async
from django_workflow.journal import holding, steps, wakes
from django_workflow.journal.claims import Runnable
from django_workflow.journal.clock import monotonic
from django_workflow.journal.database import connection, passes, pause
from django_workflow.states import StepKind

logger = logging.getLogger("django_workflow.engine")

TOGETHER = 50  # bodies whose ends one transaction writes
AWAY_SECONDS = 1.0  # between two tries to write while the database is away
IDLE_SECONDS = 5.0  # without a body, before the clerk's connections are closed
CANCEL_SECONDS = 10.0  # for a canceled body to clean up, before it is canceled again
MEANWHILE_SECONDS = 0.1  # between two looks at what else there is to do, while the last bodies end
STRAY_SECONDS = 5.0  # for what bodies have left on the loop, when it ends


class _Running:
    """A body on the loop, or one that has ended and is not written yet."""

    def __init__(self, begun: Begun, held: Held, lease: ExitStack) -> None:
        self.begun = begun
        self.held = held
        self.lease = lease  # closed when the step's lease needs no renewal any more
        self.task: asyncio.Task[Answer] | None = None  # None: the loop has not come to it yet
        self.cancel_at = 0.0  # when it is canceled next, if its step is lost (monotonic seconds)


class Executor:
    """The async actions of this process."""

    def __init__(self) -> None:
        self.meanwhile: Callable[[], None] | None = (
            None  # what is done while `finish()` waits, again and again
        )
        self.reset()

    def reset(self) -> None:
        """Begin anew: after a fork neither the threads nor the bodies are there."""
        self._changed = threading.Condition()
        self._beginning = 0  # steps that are neither running nor given up yet
        self._running: dict[str, _Running] = {}  # by token
        self._ended: dict[str, _Running] = {}  # of them, those whose bodies have ended
        self._functions: set[str] = set()  # that were seen to be async
        self._loop: asyncio.AbstractEventLoop | None = None  # None: the threads are not there
        self._threads: list[threading.Thread] = []
        self._finishing = False  # True: nothing is taken any more
        self._closing = False  # True: and nothing runs any more

    # ── for the thread that drains ──────────────────────────────────────────────────────────────────────────

    def refused(self) -> Sequence[str]:
        """The functions of which no step is to be claimed now: all async ones, once `ASYNC_LIMIT` bodies run."""
        with self._changed:
            return sorted(self._functions) if self._finishing or self._is_full() else ()

    def _is_full(self) -> bool:
        return len(self._running) >= settings.ASYNC_LIMIT

    def take(self, claim: Runnable, held: Held, lease: ExitStack) -> bool:
        """Begin the body of a claimed step, and return at once.

        Args:
            claim: the step.
            held: its lease.
            lease: what keeps the lease alive; the executor takes it over if there is a body to run.

        Returns:
            False: it is none for the loop, and untouched.

        """
        if claim.kind != StepKind.ACTION or not is_async(claim.function) or _is_suspect(claim):
            return False
        with self._changed:
            self._functions.add(claim.function)
            loop = self._loop or self._start()
            if self._finishing or loop is None:
                return False
            self._beginning += 1
        running = None
        try:
            begun = branches.begin(claim, held)
            if begun is not None:
                held.of_a_step = True
                running = _Running(begun, held, lease.pop_all())
        finally:
            with self._changed:
                self._beginning -= 1
                if running is not None:
                    self._running[claim.token] = running
                self._changed.notify_all()
        if running is not None:
            # In a context of its own: it finds nothing that other steps left in this thread's.
            Context().run(loop.call_soon_threadsafe, self._begin, running)
        return True

    def finish(self) -> None:
        """Wait until every body has ended and is written, and end the threads. For good: nothing is taken after it.

        A worker that is told to stop ends what it has begun.
        """
        with self._changed:
            self._finishing = True
            if self._running:
                logger.info("This worker ends when its %d async actions have.", len(self._running))
        while not self._is_over(within=None if self.meanwhile is None else MEANWHILE_SECONDS):
            if self.meanwhile is not None:
                self.meanwhile()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._loop is not None and self._threads:
            on_loop, clerk = self._threads
            clerk.join()  # first: it uses the loop
            with suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self._loop.stop)
            on_loop.join()
            self._threads = []

    def _is_over(self, within: float | None) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._running and not self._beginning, within)

    def _start(self) -> asyncio.AbstractEventLoop | None:
        """Start the threads. None: there are none to be had, and bodies run in the thread that drains."""
        if self._finishing:
            return None
        loop = asyncio.new_event_loop()
        work = {"async actions": self._run_loop, "clerk": self._keep_books}
        threads = [
            threading.Thread(target=target, args=[loop], name=f"django_workflow {name}", daemon=True)
            for name, target in work.items()
        ]
        try:
            for thread in threads:
                thread.start()
        except RuntimeError:
            logger.exception("No thread can be started for async actions; the next one runs without.")
            if threads[0].ident is not None:
                loop.call_soon_threadsafe(loop.stop)
            return None
        self._loop, self._threads = loop, threads
        # Before the interpreter takes thread pools away, on which name lookups and the ORM of bodies depend.
        util.Finalize(None, self.finish, exitpriority=100)
        return loop

    # ── on the loop ─────────────────────────────────────────────────────────────────────────────────────────

    def _run_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        ended = False
        while not ended:
            try:
                loop.run_forever()
                ended = True
            except BaseException:
                # asyncio lets a task's SystemExit and KeyboardInterrupt end the loop, on which others run.
                logger.exception("An async action has raised what ends a process; only its own attempt ends.")
                ended = self._closing
        try:
            loop.run_until_complete(_clear(loop))
        except BaseException:
            logger.exception("What async actions have left running could not be ended.")
        loop.close()

    def _begin(self, running: _Running) -> None:
        assert self._loop is not None
        running.task = self._loop.create_task(_run(running))
        running.task.add_done_callback(lambda _: self._has_ended(running))

    def _has_ended(self, running: _Running) -> None:
        with self._changed:
            self._ended[running.begun.claim.token] = running
            self._changed.notify_all()

    # ── the clerk ───────────────────────────────────────────────────────────────────────────────────────────

    def _keep_books(self, loop: asyncio.AbstractEventLoop) -> None:
        ask_at = 0.0
        while not self._closing:
            try:
                self._await_work(loop)
                ended = self._await_ended(until=ask_at)
                if ended:
                    self._write(ended)
                if monotonic() >= ask_at:
                    ask_at = monotonic() + ASK_SECONDS
                    self._cancel_lost(loop)
            except BaseException as error:  # the thread must outlive whatever the database does
                if not (isinstance(error, Error) and passes(error)):
                    logger.exception("The books of async actions can't be kept; it is tried again.")
                _close_own_connections()
                pause(AWAY_SECONDS)
        _close_own_connections()

    def _await_work(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._changed:
            if self._changed.wait_for(self._has_work, IDLE_SECONDS):
                return
        _close_own_connections()
        loop.call_soon_threadsafe(_in_orm_thread, loop, connections.close_all)
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
        """Write ends together, and one by one what is left. Raises `Error` while the database is away."""
        left = self._write_together(ended) if len(ended) > 1 else ended
        for each in left:
            claim = each.begun.claim
            try:
                branches.settle(each.begun, _answer(each))
            except BaseException as error:
                if isinstance(error, Error) and passes(error):
                    raise
                _refused(claim, error)
            self._forget(each)

    def _write_together(self, ended: Sequence[_Running]) -> Sequence[_Running]:
        """Those that are left: where somebody else has the row, and all where one is refused."""
        try:
            written = branches.settle_together([(each.begun, _answer(each)) for each in ended])
        except BaseException as error:  # noqa: BLE001  each of them meets it again, and is told of it
            if isinstance(error, Error):
                connection().close_if_unusable_or_obsolete()
            return ended
        for each in ended:
            if each.begun.claim.token in written:
                self._forget(each)
        return [each for each in ended if each.begun.claim.token not in written]

    def _forget(self, running: _Running) -> None:
        claim = running.begun.claim
        running.lease.close()
        with self._changed:
            was_full = self._is_full()
            self._running.pop(claim.token)
            self._ended.pop(claim.token)
            self._changed.notify_all()
        if was_full:
            wakes.ask(claim.cluster)  # those that were refused are due
        try:
            branches.leave_pool(claim)
        except Error as error:
            # What is written is written; the place is free when its lease runs out.
            logger.info("The place of %s in its pool was not given back: %s", claim.token, error)
            _close_own_connections()

    def _cancel_lost(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel bodies whose step was canceled, or taken over by somebody else."""
        with self._changed:
            running = {token: each for token, each in self._running.items() if token not in self._ended}
        tokens = list(running)
        for at in range(0, len(tokens), MANY):
            for token in holding.missing_steps(tokens[at : at + MANY]):
                each = running[token]
                each.held.lost()
                if monotonic() >= each.cancel_at:
                    each.cancel_at = monotonic() + CANCEL_SECONDS
                    loop.call_soon_threadsafe(_cancel, each)


def _is_suspect(claim: Runnable) -> bool:
    """True for a step at which workers have died so often that it runs beside no other that they died at (R15).

    All that ran in a process that was killed count as interrupted, and one of them may be to blame. The rest
    must not be given up with it: so in the end each of them has a worker's own thread to itself.
    """
    deaths = claim.interrupted + steps.interruptions(claim.history)
    return deaths >= max(1, settings.INTERRUPTED_LIMIT - 2)


async def _run(running: _Running) -> Answer:
    if not running.held.may_begin():
        claim = running.begun.claim  # R5: the loop was blocked for longer than the lease could be renewed
        raise LeaseLost(f"the lease {claim.token} of step {claim.number} of {claim.workflow_id} is gone")
    try:
        return await running.begun.body.run_in_loop()
    finally:
        # Django looks after its connections between two requests; here nobody else does.
        _in_orm_thread(asyncio.get_running_loop(), _close_broken_connections)


async def _clear(loop: asyncio.AbstractEventLoop) -> None:
    """End what bodies have left running, and close the connections of the thread in which they used the ORM."""
    stray = asyncio.all_tasks() - {asyncio.current_task()}
    for task in stray:
        task.cancel()
    closing = loop.create_task(_called(sync_to_async(connections.close_all)))
    await asyncio.wait([*stray, closing], timeout=STRAY_SECONDS)
    await loop.shutdown_asyncgens()


def _in_orm_thread(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    """Call it, some time, in the thread in which bodies use the ORM (R31)."""
    loop.create_task(_called(sync_to_async(function)))


async def _called(function: Callable[[], Awaitable[None]]) -> None:
    with suppress(
        Error, RuntimeError
    ):  # RuntimeError: the interpreter ends, and has ended that thread before
        await function()


def _close_broken_connections() -> None:
    for each in connections.all(initialized_only=True):
        if each.errors_occurred:
            each.close_if_unusable_or_obsolete()


def _close_own_connections() -> None:
    with suppress(Error):
        connections.close_all()


def _cancel(running: _Running) -> None:
    if running.task is not None:
        running.task.cancel()


def _answer(running: _Running) -> Answer:
    """How a body has ended. Raises what it should not have raised, `LeaseLost` when it was canceled unbegun."""
    assert running.task is not None
    if running.task.cancelled():
        claim = running.begun.claim
        raise LeaseLost(f"step {claim.number} of {claim.workflow_id} is canceled")
    return running.task.result()


def _refused(claim: Runnable, error: BaseException) -> None:
    if isinstance(error, LeaseLost):
        logger.info("%s", error)
        return
    # Its lease runs out, and the attempt counts as interrupted (P4).
    what = f"step {claim.number} of workflow {claim.workflow_id}"
    if isinstance(error, Exception):
        unwritten = InternalError(f"{what} has no end that could be written; it is repeated")
        logger.error("%s", unwritten, exc_info=error)
    else:
        logger.error("%s was interrupted by a %s that its body raised.", what, type(error).__name__)


executor = Executor()


os.register_at_fork(after_in_child=executor.reset)
