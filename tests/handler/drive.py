"""Drives a handler without a database.

`Live` is what the engine is to a replay, reduced to its essence: it says which step is answered next, calls the step's
body for the answer, and keeps the journal that a database would hold. `replayed` takes such a journal and says where
the handler stands after it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any
from uuid import UUID

from django_workflow.exceptions import ErrorInfo, describe_error
from django_workflow.handler import registry
from django_workflow.handler.commands import (
    Answer,
    Blocked,
    Command,
    Continued,
    Finished,
    Limits,
    Outcome,
    Recorded,
    Violated,
    World,
)
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.handler.functions import import_function
from django_workflow.handler.replay import Replay, as_recorded
from django_workflow.payloads import encode, encode_error, signature_of
from django_workflow.states import StepKind, StepState

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
WORKFLOW = UUID(int=7)
ROOMY = Limits(value=1 << 20, journal=8 << 20, steps=10_000)


class Dice:
    """As the engine makes them: seeded by the workflow's id."""

    def __init__(self, workflow_id: UUID) -> None:
        self.random = random.Random(f"random {workflow_id}")
        self._uuids = random.Random(f"uuid {workflow_id}")

    def uuid4(self) -> UUID:
        return UUID(int=self._uuids.getrandbits(128), version=4)


def world(
    *,
    committed: bool,
    limits: Limits = ROOMY,
    check: bool = False,
    workflow_id: UUID = WORKFLOW,
    depth: int = 0,
) -> World:
    return World(workflow_id, BEGAN, committed, Dice(workflow_id), limits, check, depth=depth)


def define(handler: Any) -> WorkflowDefinition[Any, Any]:
    manager: Any = None  # a definition only hands it on
    return WorkflowDefinition(handler, name="tests.handler", version=1, manager=manager)


def arguments(definition: WorkflowDefinition[Any, Any], args: Sequence[Any]) -> str:
    return definition.signature.encode_arguments(
        args, {}, what="the arguments", limit=ROOMY.value, defaults=True
    )


class Live:
    """A handler that runs for the first time.

    Args:
        handler: an `async def`.
        args: its arguments.
        journal: what an earlier turn has left.
        options: of `world()`.

    """

    def __init__(self, handler: Any, *args: Any, journal: Sequence[Recorded] = (), **options: Any) -> None:
        definition = define(handler)
        self._settled: dict[int, Answer] = {
            step.number: Answer(StepState(step.state), step.result or step.error, step.attempts)
            for step in journal
            if step.seq is not None
        }
        options.setdefault("committed", bool(journal))
        self.replay = Replay(definition, arguments(definition, args), journal, world(**options))
        self.outcome: Outcome = self.replay.start()

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.replay.close()

    @property
    def waiting(self) -> list[int]:
        """The numbers of the steps that the handler waits for."""
        return list(self.outcome.waiting) if isinstance(self.outcome, Blocked) else []

    @property
    def asked(self) -> list[str]:
        """Every step so far: its name and arguments."""
        return [f"{command.name} {command.args}" for command in self.replay.commands]

    @property
    def result(self) -> Any:
        """What the handler returned. Raises what it raised."""
        if isinstance(self.outcome, Finished) and self.outcome.error is None:
            return self.outcome.result
        if isinstance(self.outcome, Finished | Violated) and self.outcome.error is not None:
            raise self.outcome.error
        raise AssertionError(f"the handler waits: {self.outcome}, having asked for {self.asked}")

    @property
    def violation(self) -> BaseException:
        """What the handler did that no handler may do."""
        assert isinstance(self.outcome, Violated), self.outcome
        return self.outcome.error

    def settle(self, *numbers: int) -> Live:
        """Run these steps' bodies (a sleep: let it be over) and deliver their answers, in this order."""
        for number in numbers:
            command = self.replay.commands[number - 1]
            self.deliver(number, answer_of(command))
        return self

    def deliver(self, number: int, answer: Answer, at: datetime | None = None) -> None:
        command = self.replay.commands[number - 1]
        at = at or self.replay.now + timedelta(seconds=1)
        if command.kind == StepKind.SLEEP and command.due_at is not None:
            at = max(at, command.due_at)
        self._settled[number] = answer
        self.outcome = self.replay.deliver(number, answer, at)

    def finish(self, choose: Callable[[list[int]], int] = min) -> Live:
        """Settle what the handler waits for, one after the other, until it ends."""
        while self.waiting:
            self.settle(choose(self.waiting))
        return self

    def journal(self) -> list[Recorded]:
        """What a database would hold now."""
        seqs = {delivery.number: seq for seq, delivery in enumerate(self.replay.delivered, 1)}
        return [self._row(command, seqs.get(command.number)) for command in self.replay.commands]

    def _row(self, command: Command, seq: int | None) -> Recorded:
        if seq is not None:
            answer = self._settled[command.number]
            failed = answer.state == StepState.FAILED
            return as_recorded(
                command,
                id=command.number,
                state=answer.state,
                result=None if failed else answer.text,
                error=answer.text if failed else None,
                attempts=answer.attempts,
                seq=seq,
                delivered_at=self.replay.delivered[seq - 1].at,
            )
        state = StepState.CANCELED if command.number in self.replay.canceled else StepState.PENDING
        if command.kind == StepKind.MARKER:
            state = StepState.COMPLETED  # settles by itself, and is delivered to nobody
        return as_recorded(command, id=command.number, state=state)


def answer_of(command: Command) -> Answer:
    """What a worker would answer; a wait gets its timeout, or without one an event whose value is its name."""
    if command.kind == StepKind.SLEEP:
        return Answer(StepState.COMPLETED, None)
    if command.kind == StepKind.EVENT:
        return no_event(command) if command.due_at is not None else event(command.name)
    if command.kind == StepKind.WORKFLOW:
        return _answer_of_child(command)
    function = import_function(command.function)
    signature = signature_of(function)
    positional, named = signature.decode_arguments(command.args)
    try:
        result = function(*positional, **named)
    except Exception as error:  # noqa: BLE001  a body's failure is an answer
        return Answer(StepState.FAILED, encode_error(describe_error(error, command.number)))
    return Answer(StepState.COMPLETED, encode(result, what="the result", limit=ROOMY.value))


def _answer_of_child(command: Command) -> Answer:
    assert command.child is not None
    definition = registry.find(command.function, command.child.version)
    assert definition is not None
    positional, named = definition.signature.decode_arguments(command.args)
    try:
        result = live(definition.handler, *positional, *named.values()).result
    except Exception as error:  # noqa: BLE001  a child's failure is an answer
        return Answer(StepState.FAILED, encode_error(describe_error(error)))
    text = definition.signature.encode_result(result, what="the result", limit=ROOMY.value)
    return Answer(StepState.COMPLETED, text)


def event(value: Any) -> Answer:
    """The answer to a wait whose event has come."""
    return Answer(StepState.COMPLETED, encode(value, what="the value", limit=ROOMY.value), attempts=0)


def event_error(error: BaseException) -> Answer:
    """The answer to a wait whose event carries an error."""
    return Answer(StepState.FAILED, encode_error(describe_error(error)), attempts=0)


def no_event(command: Command) -> Answer:
    """The answer to a wait whose time is over."""
    error = ErrorInfo("builtins.TimeoutError", f"no event {command.name!r}", "", command.number)
    return Answer(StepState.FAILED, encode_error(error), attempts=0)


def live(handler: Any, *args: Any, **options: Any) -> Live:
    """A live run up to its end, the oldest step first; dropped."""
    with Live(handler, *args, **options) as run:
        return run.finish()


def replayed(handler: Any, journal: Sequence[Recorded], *args: Any, **options: Any) -> Live:
    """Where the handler stands after this journal; dropped."""
    with Live(handler, *args, journal=journal, **{"committed": True, **options}) as run:
        return run


def shown(outcome: Outcome) -> object:
    """An outcome by what it says, so that two of them can be compared."""
    match outcome:
        case Finished(result, None):
            return ("returned", repr(result))
        case Finished(_, error):
            return ("raised", type(error).__name__, str(error))
        case Violated(error):
            return ("violated", type(error).__name__, str(error))
        case Blocked(waiting):
            return ("waits", waiting)
        case Continued(arguments):
            return ("continues", arguments)


def assert_replays(run: Live, handler: Any, *args: Any) -> None:
    """The fixed point (P10): the journal of a live run asks for the same and comes to the same end."""
    again = replayed(handler, run.journal(), *args)
    assert again.replay.commands == run.replay.commands
    assert shown(again.outcome) == shown(run.outcome)
    assert again.replay.canceled == run.replay.canceled
    assert again.replay.delivered == run.replay.delivered
    assert again.replay.journal_size == run.replay.journal_size
