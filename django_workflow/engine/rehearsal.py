"""A journal replayed against the code of this process: does it fit?

Rules of this file: nothing is read, nothing is written, no body runs; everything comes in as values. What the engine
itself would accept fits: `verdict()` says what a turn would say, no more. Where workflows come from, a table or a file,
is somebody else's business.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django_workflow.conf import settings
from django_workflow.engine import rollbacks
from django_workflow.engine.world import world_of
from django_workflow.exceptions import (
    DeterminismViolation,
    DjangoWorkflowError,
    InvalidArguments,
    NotReadable,
    StepInterrupted,
    UsageError,
    WorkflowTimedOut,
    describe_error,
    dotted_path,
)
from django_workflow.handler import registry
from django_workflow.handler.commands import Blocked, Continued, Finished, Outcome, Recorded, Violated
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.handler.functions import import_function
from django_workflow.handler.replay import Replay, describe
from django_workflow.payloads import decode_error
from django_workflow.redaction import masked_text
from django_workflow.states import StepKind, StepState, WorkflowState
from django_workflow.verdict import Breaks, Fits, Verdict

_GOT = re.compile(r" \(got .*\)$", re.DOTALL)  # what a problem says of the value that doesn't fit


class Life(NamedTuple):
    """All that a replay has to know of a workflow besides its steps; columns of `Workflow` by their names."""

    id: UUID
    definition: str
    version: int
    args_text: str
    state: str
    created_at: datetime
    started_at: datetime | None = None  # None: it has never had a turn
    generation: int = 0
    paused: str | None = None
    ending: str | None = None
    seed: str = ""
    depth: int = 0
    result_text: str | None = None
    error_text: str | None = None

    @property
    def finished(self) -> bool:
        """True iff it has ended."""
        return self.state != WorkflowState.IN_PROGRESS

    @property
    def error_type(self) -> str | None:
        """The dotted path of its error's class."""
        return None if self.error_text is None else decode_error(self.error_text).type

    @property
    def cut_short(self) -> bool:
        """True iff the end came from outside of the handler, which was waiting."""
        timed_out = self.error_type == dotted_path(WorkflowTimedOut)
        return timed_out or WorkflowState.CANCELED in (self.state, self.ending)


class Rehearsed(NamedTuple):
    """How a replay went."""

    outcome: Outcome
    new: list[int]  # steps that the handler asked for and that are not on record
    raised: BaseException | None  # what the handler ended by, whatever the outcome makes of that


def rehearse(definition: WorkflowDefinition[Any, Any], life: Life, journal: Sequence[Recorded]) -> Rehearsed:
    """Run the handler up to the frontier of its journal, as the first thing that a turn does."""
    own = [step for step in journal if step.kind != StepKind.ROLLBACK]
    if life.cut_short:
        # What the cancel settled the handler was waiting for, and still is.
        own = [
            step._replace(state=StepState.PENDING) if step.state == StepState.CANCELED else step
            for step in own
        ]
    world = world_of(
        life.id,
        definition,
        began_at=life.started_at or life.created_at,
        committed=life.started_at is not None,
        seed=life.seed,
        depth=life.depth,
    )
    replay = Replay(definition, life.args_text, own, world)
    try:
        outcome = replay.start()
        asked = {command.number for command in replay.commands}
        return Rehearsed(outcome, sorted(asked - {step.number for step in own}), replay.raised)
    finally:
        replay.close()


def verdict(life: Life, journal: Sequence[Recorded]) -> Verdict:
    """Whether the code of this process can go on with a workflow; of a finished one, whether it would end alike.

    Of a parked one: whether it would go on after a restart.
    """
    definition = registry.find(life.definition, life.version)
    if definition is None and life.paused is not None:
        definition = _newest(life.definition)  # as a restart takes it
    if definition is None:
        return _unknown(life)
    if life.ending is not None and not life.finished:
        return _undoes(life, journal)
    if life.paused is not None:
        journal = [step for step in journal if step.state != StepState.CANCELED]  # as a restart drops them
    return _takes_arguments(definition, life) or _goes_on(definition, life, journal)


def _newest(name: str) -> WorkflowDefinition[Any, Any] | None:
    versions = [version for known, version in registry.known() if known == name]
    return registry.find(name, max(versions)) if versions else None


def _fits(life: Life) -> Fits:
    return Fits(life.id, life.definition, life.version, life.paused is not None)


def _breaks(
    life: Life, reason: str, number: int | None = None, recorded: str | None = None, asked: str | None = None
) -> Breaks:
    return Breaks(
        life.id,
        life.definition,
        life.version,
        number,
        recorded,
        asked,
        reason,
        life.paused is not None,
    )


def _unknown(life: Life) -> Breaks:
    versions = [str(version) for name, version in registry.known() if name == life.definition]
    has = f"version {' and '.join(versions)} only" if versions else "no definition of this name"
    return _breaks(
        life,
        f"the code has {has}, so no worker takes it: keep {life.definition} version {life.version} until its workflows "
        "have ended",
        recorded=f"{life.definition} version {life.version}",
        asked=f"the code has {has}",
    )


def _undoes(life: Life, journal: Sequence[Recorded]) -> Verdict:
    """The handler of a workflow whose rollbacks run never runs again: what is left of it are these functions."""
    for step, path in rollbacks.functions_left(journal):
        try:
            import_function(path)
        except Exception as error:  # noqa: BLE001  importing runs a module's code, which may raise anything
            return _breaks(
                life,
                f"the rollback {path} can't be imported ({type(error).__name__}: {error}); leave an alias behind until "
                "its workflows have ended",
                step.number,
                f"rollback {path}",
            )
    return _fits(life)


def _takes_arguments(definition: WorkflowDefinition[Any, Any], life: Life) -> Breaks | None:
    try:
        definition.signature.decode_arguments(life.args_text)
    except UsageError as error:
        handler = definition.handler
        return _breaks(
            life,
            f"{_without_values(error)}; give new parameters a default, and let old ones accept the old values",
            recorded=f"arguments {masked_text(life.args_text, (*settings.REDACT, *definition.redact))}",
            asked=f"{handler.__name__}{inspect.signature(handler)}",
        )
    return None


def _goes_on(definition: WorkflowDefinition[Any, Any], life: Life, journal: Sequence[Recorded]) -> Verdict:
    if life.started_at is None:
        return _fits(life)  # whatever it asks for is new
    done = rehearse(definition, life, journal)
    match done.outcome:
        case Violated(error) if life.error_type == dotted_path(type(error)):
            return _fits(life)  # it has failed by that very thing
        case Violated(DeterminismViolation() as error):
            return _parted(life, error, done.raised)
        case Violated(error):
            return _breaks(life, str(error))
        case _ if life.finished:
            return _ended(definition, life, journal, done)
        case Finished(_, NotReadable() as error):
            return _breaks(life, _without_values(error))
    return _fits(life)


def _without_values(error: BaseException) -> str:
    """Its text without the values that don't fit, one of which may be a secret."""
    if not isinstance(error, InvalidArguments | NotReadable):
        return str(error)
    return "\n  ".join([str(error).split("\n  ", 1)[0], *(_GOT.sub("", each) for each in error.problems)])


def _parted(life: Life, error: DeterminismViolation, raised: BaseException | None) -> Breaks:
    reason = str(error)
    if error.asked is None and isinstance(raised, Exception):
        reason += f". The handler raised {type(raised).__name__}: {_without_values(raised)}"
    recorded = None if error.recorded is None else str(error.recorded)
    return _breaks(life, reason, error.position, recorded, None if error.asked is None else str(error.asked))


def _ended(
    definition: WorkflowDefinition[Any, Any], life: Life, journal: Sequence[Recorded], done: Rehearsed
) -> Verdict:
    """The end of a replay, held against the one on record."""
    by_number = {step.number: step for step in journal}
    match done.outcome:
        case _ if life.cut_short or life.error_type == dotted_path(StepInterrupted):
            return _fits(life)  # by somebody else than the handler
        case Blocked(waiting):
            shown = ", ".join(
                describe(by_number[number], (*settings.REDACT, *definition.redact))
                if number in by_number
                else f"step {number}, which is not on record"
                for number in waiting
            )
            return _breaks(
                life, f"it has {life.state}, and its replay waits for {shown}", waiting[0], life.state, shown
            )
        case Continued():
            return _breaks(life, f"it has {life.state}, and its replay goes on as new", None, life.state)
        case Finished(result, error):
            recorded, now = _said(life), _now(definition, result, error)
            if recorded != now:
                names = (*settings.REDACT, *definition.redact)
                shown, asked = _masked(recorded, names), _masked(now, names)
                return _breaks(life, f"it ended as {shown}, and its replay as {asked}", None, shown, asked)
    return _fits(life)


End = tuple[str, str]  # a state; JSON of the result, or the type of the error


def _said(life: Life) -> End:
    if life.state == WorkflowState.COMPLETED:
        return WorkflowState.COMPLETED.value, life.result_text or "null"
    return WorkflowState.FAILED.value, life.error_type or ""


def _now(definition: WorkflowDefinition[Any, Any], result: Any, error: BaseException | None) -> End:
    if error is None:
        try:
            text = definition.signature.encode_result(result, what="the result", limit=settings.VALUE_LIMIT)
        except DjangoWorkflowError as refused:
            error = refused
        else:
            return WorkflowState.COMPLETED.value, text
    return WorkflowState.FAILED.value, describe_error(error).type


def _masked(end: End, names: Sequence[str]) -> str:
    state, said = end
    return f"{state}: {masked_text(said, names) if state == WorkflowState.COMPLETED else said}"
