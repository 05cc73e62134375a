"""The harness: a cluster in the test's own process, and the durable clock in the test's hand."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self
from uuid import UUID

from django_workflow.cluster import agenda, retention
from django_workflow.engine import attempts, inspection
from django_workflow.engine.drain import drain
from django_workflow.engine.leases import heartbeat
from django_workflow.engine.rehearsal import rehearse
from django_workflow.exceptions import UsageError
from django_workflow.handler import registry
from django_workflow.handler.commands import Blocked, Violated
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.handler.functions import function_path, mark_of
from django_workflow.journal import clock, processes, steps, wakes, workflows
from django_workflow.journal.database import alias, connection
from django_workflow.manager import Id, identify, workflow
from django_workflow.models import Step, Workflow
from django_workflow.states import BODY_KINDS, StepKind
from django_workflow.status import Completed, InProgress, Status
from django_workflow.testing.faults import CommitFault
from django_workflow.testing.journals import assert_replays_files

P = ParamSpec("P")

# What the harness at work will put back. One at a time: the clock and the connection are the whole process's.
_at_work = ExitStack()

IDLE_ROUNDS = 50  # in which run() jumped to the next due time and no step settled


class TestClock:
    """A durable clock that a test moves. It runs with the database's until it is frozen."""

    __test__ = False  # no test class, whatever pytest makes of its name

    def __init__(self) -> None:
        self._ahead = clock.ZERO
        self._at: datetime | None = None

    def shift(self) -> timedelta:
        """How far it is ahead of the database's clock."""
        return self._ahead

    def fixed(self) -> datetime | None:
        """Where it stands still; None while it runs."""
        return self._at

    def freeze(self, at: datetime) -> None:
        """Stand still at `at`."""
        self._at = at

    def advance(self, delta: timedelta) -> None:
        """Go forward by `delta`."""
        if self._at is not None:
            self._at += delta
        else:
            self._ahead += delta


class Harness:
    """Runs workflows in the test's own process, on the real engine and the test database.

    A context manager; without `with` call `close()` at the end of the test (`addCleanup(harness.close)`).
    One that nobody closed ends when it is forgotten, or when the next one begins.
    """

    def __init__(self) -> None:
        global _at_work
        _at_work.close()
        processes.token()  # registers this process, once: not a commit of what is tested
        self._clock = TestClock()
        self._fault = CommitFault(connection())
        self._stack = ExitStack()
        self._stack.enter_context(clock.use(self._clock))
        if connection().in_atomic_block:
            # A TestCase (R31): the heartbeat's own connection doesn't see what is never committed.
            self._stack.enter_context(heartbeat.paused())
        self._stack.enter_context(wakes.sent_by(None))
        self._fault.install()
        self._stack.callback(self._fault.remove)
        _at_work = self._stack
        weakref.finalize(self, self._stack.close).atexit = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Put the real clock back, and everything that was replaced."""
        self._stack.close()

    # ── running ─────────────────────────────────────────────────────────────────────────────────────────────

    def drain(self) -> int:
        """Work off everything that is due, by schedules too. Returns the number of turns taken and step bodies run."""
        agenda.start_due()
        done = drain(None)
        retention.sweep()
        return done

    def run(self, definition: WorkflowDefinition[P, Any], *args: P.args, **kwargs: P.kwargs) -> Status:
        """Start a workflow, then drain and jump from timer to timer until it has finished.

        Returns its status: `InProgress` when nothing but outside input can wake it.
        """
        started = definition.start(*args, **kwargs)
        idle = 0
        before = -1
        while True:
            self.drain()
            status = workflow.status(started)
            due_at = self._next_due(started.id)
            if not isinstance(status, InProgress) or due_at is None:
                return status
            settled = workflow.steps(started).settled().count()
            idle = idle + 1 if settled == before else 0
            before = settled
            if idle > IDLE_ROUNDS:
                raise AssertionError(f"{started} doesn't get on: {status}; the log says why")
            self._move(due_at - self.now())

    # ── the durable clock ───────────────────────────────────────────────────────────────────────────────────

    def now(self) -> datetime:
        """The durable clock's time (aware, UTC)."""
        return clock.read(connection())

    def freeze(self, at: datetime) -> None:
        """Let the durable clock stand still at `at` (aware), until `advance()` moves it."""
        if not isinstance(at, datetime) or at.utcoffset() is None:
            raise UsageError(f"freeze({at!r}): give an aware datetime")
        self._clock.freeze(at.astimezone(UTC))

    def advance(self, delta: timedelta) -> int:
        """Move the durable clock by `delta`, then drain. Returns what `drain()` returns."""
        if not isinstance(delta, timedelta) or delta < clock.ZERO:
            raise UsageError(f"advance({delta!r}): give a timedelta of zero or more")
        self._move(delta)
        return self.drain()

    def _move(self, delta: timedelta) -> None:
        self._clock.advance(max(delta, timedelta(milliseconds=1)) if self._clock.fixed() is None else delta)

    def _next_due(self, workflow_id: UUID) -> datetime | None:
        family = [workflow_id, *workflows.descendants([workflow_id])]
        rows = Workflow.objects.using(alias()).filter(id__in=family, due_at__isnull=False)
        running = Step.objects.using(alias()).filter(
            workflow__in=family, kind__in=BODY_KINDS, due_at__isnull=False
        )
        due = [*rows.values_list("due_at", flat=True), *running.values_list("due_at", flat=True)]
        return min((moment for moment in due if moment is not None), default=None)

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────

    def result(self, workflow_id: Id) -> Any:
        """What a workflow returned. Raises `AssertionError`, with its status, when it has not completed."""
        status = workflow.status(workflow_id)
        if not isinstance(status, Completed):
            raise AssertionError(f"workflow {identify(workflow_id)} has not completed: {status}")
        return status.result

    def journal(self, workflow_id: Id) -> list[Step]:
        """The steps of a workflow, in the order in which the handler asked for them."""
        return list(workflow.steps(workflow_id))

    def assert_replays(self, journal: Id | Path) -> None:
        """Replay a workflow's journal against the code as it is now; nothing is run, nothing is written.

        Args:
            journal: a workflow; or the path of a golden journal (`manage.py workflow export`) or of a folder of them,
                for which nothing is read from the database either.

        Raises:
            AssertionError: the handler asks for something else than the journal holds, or ends in another way.

        """
        if isinstance(journal, Path):
            assert_replays_files(journal)
            return
        run = workflow.get(journal)
        life = inspection.lives([run.id])[0]
        definition = registry.find(run.definition, run.version) or registry.newest(run.definition)
        done = rehearse(definition, life, steps.load([run.id]).get(run.id, []))
        if isinstance(done.outcome, Violated):
            raise AssertionError(str(done.outcome.error)) from done.outcome.error
        # A cancel may come between two commits, when the handler has asked for more than is on record.
        if done.new and run.started_at is not None and not life.cut_short:
            raise AssertionError(f"the handler asks for step {done.new[0]}, which {run} has no record of")
        if isinstance(done.outcome, Blocked) and run.finished and not life.cut_short:
            raise AssertionError(
                f"{run} has {run.state}, and its replay waits for steps {done.outcome.waiting}"
            )

    # ── interfering ─────────────────────────────────────────────────────────────────────────────────────────

    def replace(self, fn: Callable[..., Any], *, with_: Callable[..., Any]) -> AbstractContextManager[None]:
        """Let a stand-in run wherever a step calls `fn`: until the test ends, or as a context manager."""
        path = function_path(fn, mark.kind if (mark := mark_of(fn)) else StepKind.ACTION)
        previous = attempts.stand_ins.get(path)
        attempts.stand_ins[path] = with_

        def restore() -> None:
            if previous is None:
                attempts.stand_ins.pop(path, None)
            else:
                attempts.stand_ins[path] = previous

        self._stack.callback(restore)
        return _until(restore)

    def crash_at(self, n: int, after: bool = False) -> None:
        """Die at a commit: `SimulatedCrash` comes out of whatever call is running then.

        Args:
            n: the n-th commit from now on, counted from 1; 0 takes an earlier call back. A commit is the end of
                a transaction on the journal's database, or a statement that writes outside of one. Inside a
                `TestCase` (the fixture `db`) nothing is ever committed: use `transactional_db`.
            after: right after the commit, rather than before.

        """
        if type(n) is not int or n < 0:
            raise UsageError(f"crash_at({n!r}): count commits from 1, or give 0 to take it back")
        self._fault.arm(n, after=after)

    @property
    def commits(self) -> int:
        """How many commits there were since the harness began, or since the last `crash_at()`."""
        return self._fault.commits


@contextmanager
def _until(restore: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    finally:
        restore()
