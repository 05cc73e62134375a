"""The journal held against what the handler asks.

A replay polls the handler to quiescence, delivers the next recorded answer, polls again, until the recorded
answers are used up: the frontier. From there on the engine delivers new answers, one at a time, by the same
rule; so a live run and its replay can't differ. A replay decides nothing and writes nothing: it says by its
`outcome` where the handler stands.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django_workflow.exceptions import (
    DeterminismViolation,
    InternalError,
    LimitReached,
    NotDeterministic,
    UsageError,
    WorkflowStuck,
    dotted_path,
)
from django_workflow.handler import audit
from django_workflow.handler.commands import (
    Answer,
    Blocked,
    Command,
    Continued,
    Finished,
    Outcome,
    Recorded,
    Violated,
    World,
)
from django_workflow.handler.context import StepContext
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.handler.loop import DeterministicLoop, OrderedFuture, Timer, Timers
from django_workflow.redaction import masked_text
from django_workflow.states import StepKind, StepState

# Steps refused in one go, without a return to the loop.
REFUSED_ASKS_LIMIT = 10_000
# Django's guard against the ORM in async code, by name: nothing here imports Django.
ASYNC_UNSAFE = "django.core.exceptions.SynchronousOnlyOperation"


class Delivery(NamedTuple):
    """An answer that the handler got."""

    number: int
    at: datetime


class Replay(Timers):
    """One life of a handler in this process.

    Args:
        definition: whose handler to run.
        args: its arguments, as JSON text.
        journal: the recorded steps, by number.
        world: what comes from outside.

    """

    def __init__(
        self, definition: WorkflowDefinition[Any, Any], args: str, journal: Sequence[Recorded], world: World
    ) -> None:
        self.world = world
        self.now = world.began_at
        self.commands: list[Command] = []
        self.canceled: set[int] = set()  # steps whose answer the handler gave up
        self.delivered: list[Delivery] = []  # in the order of seq
        self.custom: str | None = None  # the custom status set since the last commit
        self.journal_size = len(args)
        self.author_logger = logging.getLogger(definition.handler.__module__)
        self._definition = definition
        self._args = args
        self._recorded = {step.number: step for step in journal}
        self._last_recorded = max(self._recorded, default=0)
        self._markers = frozenset(step.name for step in journal if step.kind == StepKind.MARKER)
        self._waiting: dict[int, OrderedFuture | Timer] = {}
        self._logs: list[tuple[logging.Logger, logging.LogRecord]] = []
        self._violation: BaseException | None = None
        self._continued: str | None = None  # the arguments with which it goes on as new
        self._patches: dict[str, bool] = {}
        self._main: asyncio.Task[Any] | None = None
        self._refused_asks = (0, 0)  # (in callback n, so many since the last step)
        self._live = not world.committed
        self._loop = DeterministicLoop(self, self.violate)  # type: ignore[abstract]  # the rest is refused by name

    # ── the life of a handler ───────────────────────────────────────────────────────────────────────────────

    def start(self) -> Outcome:
        """Run the handler up to the frontier: every recorded answer delivered, in its order."""
        try:
            positional, named = self._definition.signature.decode_arguments(self._args)
            coroutine = self._definition.handler(StepContext(self), *positional, **named)
        except UsageError as error:  # the handler no longer takes what it was started with
            self._main = self._loop.create_task(_raise(error))
            self._poll()
            return self.outcome
        # An empty context: what the worker has set for itself is none of the handler's business.
        context = contextvars.Context()
        self._loop.call_soon(self.world.prepare, context=context)
        self._main = self._loop.create_task(coroutine, context=context)
        self._poll()
        for step in self._recorded_deliveries():
            if not isinstance(self.outcome, Blocked):
                break
            if step.number not in self._waiting:
                self._answer_nobody_waits_for(step)
                break
            assert step.delivered_at is not None
            self._hand_over(step.number, recorded_answer(step), step.delivered_at)
        self._find_unasked()
        self._find_given_up()
        self._find_stuck()
        return self.outcome

    def deliver(self, number: int, answer: Answer, at: datetime) -> Outcome:
        """Deliver a new answer at the frontier and poll the handler to quiescence.

        Args:
            number: of a step that the handler waits for.
            answer: how it settled.
            at: when, on the durable clock; the handler's time never goes back.

        """
        self._live = True
        self._hand_over(number, answer, max(at, self.now))
        self._find_stuck()
        return self.outcome

    @property
    def outcome(self) -> Outcome:
        """Where the handler stands now."""
        if self._violation is not None:
            return Violated(self._violation)
        if self._continued is not None:
            return Continued(self._continued)
        assert self._main is not None
        if not self._main.done():
            return Blocked(tuple(sorted(self._waiting)))
        if self._main.cancelled():
            return Finished(error=asyncio.CancelledError("the handler canceled itself"))
        error = self._main.exception()
        if error is not None and dotted_path(type(error)) == ASYNC_UNSAFE:
            return Violated(_orm_in_a_handler(error))
        return Finished(result=self._main.result()) if error is None else Finished(error=error)

    @property
    def raised(self) -> BaseException | None:
        """What the handler ended by, whatever the outcome makes of it; None while it runs, and when it returned."""
        main = self._main
        return main.exception() if main is not None and main.done() and not main.cancelled() else None

    def close(self) -> None:
        """Drop the handler without a trace. Call it once, when the outcome has been taken."""
        self._loop.drop()

    @property
    def is_replaying(self) -> bool:
        """True while the handler only repeats what an earlier turn has committed."""
        return not self._live

    # ── what a handler does ─────────────────────────────────────────────────────────────────────────────────

    def ask(self, command: Command) -> OrderedFuture:
        """A step that the handler asks for; its answer comes as an `Answer`.

        A handler that is dropped, or that goes on after a violation, asks for nothing: no answer ever comes.
        """
        future = self._loop.create_future()
        if not self._is_over():
            future.number = command.number
            self._record(command, future)
            future.add_done_callback(self._given_up)
        return future

    def next_number(self) -> int:
        """The number of the step asked for next."""
        if not self._is_over():
            self._count_refused_asks()
            while (marker := self._marker()) is not None:
                self._mark(marker)  # the call was removed: what is left is the code that it had let through
        return len(self.commands) + 1

    @property
    def counts_from(self) -> datetime:
        """From when a timer counts that is asked for now: after a restart not from an answer of long ago."""
        resumed_at = self.world.resumed_at
        return self.now if resumed_at is None else max(self.now, resumed_at)

    def time(self) -> float:
        return (self.now - self.world.began_at).total_seconds()

    def add_timer(self, handle: Timer, delay: float) -> None:
        if self._is_over():
            return
        handle.number = self.next_number()
        seconds = round(max(float(delay), 0.0), 6)  # an int, too, is told as a float
        self._record(sleep_command(handle.number, "sleep", seconds, self.counts_from), handle)

    def drop_timer(self, handle: Timer) -> None:
        if self._waiting.pop(handle.number, None) is not None:
            self.canceled.add(handle.number)

    def patched(self, patch: str) -> bool:
        """Whether the change of this name is in force; on record where it is."""
        if self._is_over():
            return True
        if patch not in self._patches:
            if self._find_marker(patch):
                self._mark(patch)
            elif patch not in self._markers and self._at_frontier():
                command = marker_command(len(self.commands) + 1, patch)
                self._check_limits(command)
                self.commands.append(command)
                self._patches[patch] = True
            # On record at another place: the call was moved, and the change is in force all the same.
            self._patches.setdefault(patch, patch in self._markers)
        return self._patches[patch]

    def deprecate(self, patch: str) -> None:
        """Take the marker of a change where there is one; record none."""
        if not self._is_over() and patch not in self._patches:
            if self._find_marker(patch):
                self._mark(patch)
            self._patches[patch] = True

    def continue_as_new(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> BaseException:
        """End here and go on with these arguments. Returns what to raise; raises `InvalidArguments`."""
        text = self._definition.signature.encode_arguments(
            args,
            kwargs,
            what=f"the arguments of step.continue_as_new() for {self._definition.name}",
            limit=self.world.limits.value,
            defaults=True,
        )
        if not self._is_over():
            self._continued = text
        return ContinuesAsNew()

    def log(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """Keep a line of the handler's until what it speaks of is committed; one of a replay is dropped."""
        if self._live and not self._loop.dropped:
            self._logs.append((logger, record))

    def set_custom(self, text: str) -> None:
        """Keep the custom status; one that a replay sets again is dropped, but where a restart has gone back to it."""
        if (self._live or self.world.resumed_at is not None) and not self._loop.dropped:
            self.custom = text

    def take_logs(self) -> list[tuple[logging.Logger, logging.LogRecord]]:
        """The lines that became true with the last commit, once."""
        lines, self._logs = self._logs, []
        return lines

    def violate(self, error: BaseException) -> BaseException:
        """Keep the first thing that no handler may do. Returns `error`, to be raised."""
        if self._violation is None:
            self._violation = error
        return error

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────

    def _is_over(self) -> bool:
        return self._loop.dropped or self._violation is not None or self._continued is not None

    def _marker(self, ahead: int = 0) -> str | None:
        """The name of the recorded marker that is next (or so many places ahead), or None."""
        recorded = self._recorded.get(len(self.commands) + 1 + ahead)
        return recorded.name if recorded is not None and recorded.kind == StepKind.MARKER else None

    def _find_marker(self, patch: str) -> bool:
        """Pass the markers of other changes up to the one of `patch`, where it follows; else stay."""
        ahead = 0
        while (name := self._marker(ahead)) is not None:
            if name == patch:
                for _ in range(ahead):
                    self._mark(self._marker() or "")
                return True
            ahead += 1
        return False

    def _at_frontier(self) -> bool:
        # Nothing behind it, either: a restart leaves holes where steps were given up.
        return len(self.commands) >= self._last_recorded

    def _mark(self, name: str) -> None:
        self.commands.append(marker_command(len(self.commands) + 1, name))
        self._patches[name] = True

    def _count_refused_asks(self) -> None:
        # `while True: try: await step… except Exception: pass` around a step that is refused (bad arguments, a limit)
        # never comes back to the loop.
        callback, asks = self._refused_asks
        asks = asks + 1 if callback == self._loop.callbacks else 1
        self._refused_asks = (self._loop.callbacks, asks)
        if asks > REFUSED_ASKS_LIMIT:
            raise self.violate(
                WorkflowStuck(
                    f"it asks for step {len(self.commands) + 1} again and again, and is refused each time"
                )
            )

    def _record(self, command: Command, waiter: OrderedFuture | Timer) -> None:
        recorded = self._recorded.get(command.number)
        if recorded is not None and not _repeats(command, recorded):
            raise self.violate(
                DeterminismViolation(command.number, self._describe(recorded), self._describe(command))
            )
        if recorded is None:
            self._check_limits(command)
        self.journal_size += len(command.args)
        self.commands.append(command)
        self._refused_asks = (0, 0)
        self._waiting[command.number] = waiter

    def _check_limits(self, command: Command) -> None:
        limits = self.world.limits
        if command.number > limits.steps:
            raise LimitReached(
                f"workflow {self.world.workflow_id} asked for step {command.number}",
                f"STEP_LIMIT = {limits.steps}",
                "go on in a fresh journal before that (step.continue_as_new), or raise STEP_LIMIT",
            )
        if self.journal_size + len(command.args) > limits.journal:
            raise LimitReached(
                f"step {command.number} ({command.name}) would take the journal of workflow "
                f"{self.world.workflow_id} to {self.journal_size + len(command.args)} bytes",
                f"JOURNAL_LIMIT = {limits.journal}",
                "store large values in your own tables and pass their ids between steps",
            )

    def _given_up(self, future: OrderedFuture) -> None:
        if future.cancelled() and self._waiting.pop(future.number, None) is not None:
            self.canceled.add(future.number)

    def _hand_over(self, number: int, answer: Answer, at: datetime) -> None:
        waiter = self._waiting.pop(number, None)
        if waiter is None:
            raise InternalError(f"step {number} was answered, and nobody waits for it")
        self.now = at
        self.delivered.append(Delivery(number, at))
        self.journal_size += len(answer.text or "")
        if isinstance(waiter, Timer):
            self._loop.fire(waiter)
        else:
            waiter.set_result(answer)
        self._poll()

    def _poll(self) -> None:
        with audit.watching(self._loop, self.violate if self.world.check else None):
            self._loop.poll(self._ended)

    def _find_stuck(self) -> None:
        if self._violation is None and isinstance(self.outcome, Blocked) and not self._waiting:
            self.violate(
                WorkflowStuck(
                    f"workflow {self.world.workflow_id} waits, after step {len(self.commands)}, for something "
                    "that no step will ever answer; await steps, tasks made of steps, or what these set"
                )
            )

    def _describe(self, step: Command | Recorded) -> str:
        return describe(step, self.world.redact)

    def _ended(self) -> bool:
        return (
            self._violation is not None
            or self._continued is not None
            or (self._main is not None and self._main.done())
        )

    def _recorded_deliveries(self) -> list[Recorded]:
        return sorted(
            (step for step in self._recorded.values() if step.seq is not None), key=lambda step: step.seq or 0
        )

    def _answer_nobody_waits_for(self, step: Recorded) -> None:
        asked = self._describe(self.commands[step.number - 1]) if step.number <= len(self.commands) else None
        if asked is not None:
            asked += ", but gave up waiting for it"
        self.violate(DeterminismViolation(step.number, self._describe(step), asked))

    def _find_unasked(self) -> None:
        """A recorded step that the handler, at the frontier or at its end, has not asked for."""
        missing = sorted(
            number
            for number, step in self._recorded.items()
            if number > len(self.commands) and step.kind != StepKind.MARKER
        )
        if missing and self._violation is None:
            self.violate(DeterminismViolation(missing[0], self._describe(self._recorded[missing[0]]), None))

    def _find_given_up(self) -> None:
        """A recorded step that the handler once gave up waiting for, and now waits for."""
        if not isinstance(self.outcome, Blocked):
            return  # what is left when it has ended, the ending settled
        for number in sorted(self._waiting):
            step = self._recorded.get(number)
            if step is not None and step.state == StepState.CANCELED and self._violation is None:
                given_up = f"{self._describe(step)}, but gave up waiting for it"
                self.violate(
                    DeterminismViolation(number, given_up, f"{self._describe(step)}, and waits for it")
                )


async def _raise(error: Exception) -> Any:
    raise error


def _orm_in_a_handler(error: BaseException) -> NotDeterministic:
    refused = NotDeterministic("the ORM in a handler", "move this into a query or a mutation")
    refused.__cause__ = error  # its traceback shows the line
    return refused


class ContinuesAsNew(BaseException):
    """Leaves the handler whose workflow goes on as new. No `except Exception` is meant by it."""


def marker_command(number: int, patch: str) -> Command:
    """The step that says that a change of the code is in force."""
    return Command(number, StepKind.MARKER, patch, "", "{}")


def recorded_answer(step: Recorded) -> Answer:
    """The answer that a settled step holds."""
    text = step.error if step.state == StepState.FAILED else step.result
    return Answer(StepState(step.state), text, step.attempts)


def sleep_command(number: int, name: str, seconds: float, now: datetime) -> Command:
    """A sleep of so many seconds from `now`. Raises `OverflowError` past the year 9999."""
    return Command(
        number, StepKind.SLEEP, name, "", f'{{"seconds":{seconds!r}}}', now + timedelta(seconds=seconds)
    )


def _repeats(command: Command, recorded: Recorded) -> bool:
    return (
        command.kind == recorded.kind
        and command.name == recorded.name
        and command.function == recorded.function
        and (command.unstable_args or command.args == recorded.args)
    )


def asked_alike(one: Sequence[Command], other: Sequence[Command]) -> bool:
    """Whether two lives of a handler asked for the same, arguments aside where they are unstable."""
    return [_compared(command) for command in one] == [_compared(command) for command in other]


def _compared(command: Command) -> Command:
    return replace(command, args="", due_at=None) if command.unstable_args else command


def describe(step: Command | Recorded, redact: Sequence[str] = ()) -> str:
    """A step in an error text: kind, name, function and arguments, what stands under the names `redact` masked."""
    args = masked_text(step.args, redact) if redact else step.args
    shown = args if len(args) <= 200 else args[:200] + "…"
    of = f" = {step.function}" if step.function and step.function.rpartition(".")[2] != step.name else ""
    return f"{step.kind} {step.name}{of} {shown}"


def as_recorded(command: Command, **columns: Any) -> Recorded:
    """The row that a new command becomes."""
    blank = Recorded(
        id=None,
        number=command.number,
        kind=command.kind,
        name=command.name,
        function=command.function,
        args=command.args,
        result=None,
        error=None,
        state=StepState.PENDING,
        attempts=0,
        history="[]",
        due_at=command.due_at,
        lease_owner=None,
        seq=None,
        delivered_at=None,
        started_at=None,
        completed_at=None,
        retry=command.retry.to_text() if command.retry else None,
        timeout=command.timeout,
        at_most_once=command.at_most_once,
        cluster=command.cluster or "",
        rollback=command.rollback,
    )
    return blank._replace(**columns)
