"""After a crash or an error: when to try again, and when to stop trying (R15).

Crashes are counted at the takeover and end a workflow at `INTERRUPTED_LIMIT`; errors of the database are
counted apart and only make it wait longer.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django_workflow.conf import settings
from django_workflow.exceptions import ErrorInfo, StepInterrupted
from django_workflow.handler.commands import Recorded
from django_workflow.journal.claims import Turnable
from django_workflow.states import StepState


def backoff(setbacks: int) -> timedelta:
    """How long to wait before the next try: 0.1 s, doubled each time, 30 s at most."""
    return timedelta(seconds=min(30.0, 0.1 * 2 ** min(setbacks, 10)))


def is_inline(step: Recorded) -> bool:
    """True iff the step belongs to the turn: it has no lease of its own (R4)."""
    return step.due_at is None and step.lease_owner is None


def is_poisonous(claim: Turnable, journal: Iterable[Recorded]) -> bool:
    """True for crash upon crash, with no action on record that could be the one to blame."""
    if not claim.taken_over or claim.interruptions < settings.INTERRUPTED_LIMIT:
        return False
    in_action = any(step.state == StepState.RUNNING and is_inline(step) for step in journal)
    # An action's own count ends it first; if it doesn't, the handler dies before it comes to the action.
    return not in_action or claim.interruptions >= 2 * settings.INTERRUPTED_LIMIT


def completion_kills(claim: Turnable, *, got_on: bool) -> bool:
    """True for crash upon crash with nothing left to run but `on_complete`: the ending has to do without it (R15).

    A turn that has come to its end alive shows that no body before it is to blame. So it is asked one crash before the
    workflow would be called poisonous; and again when that made it fail, and the workers go on dying.

    Args:
        claim: the workflow, about to end.
        got_on: this turn has committed something that is new.

    """
    if not claim.taken_over or got_on:
        return False
    limit = settings.INTERRUPTED_LIMIT
    return claim.interruptions == limit - 1 or claim.interruptions > 2 * limit


def completion_given_up(claim: Turnable) -> ErrorInfo:
    """What is stored of an `on_complete` that was not called."""
    return ErrorInfo(
        f"{StepInterrupted.__module__}.{StepInterrupted.__qualname__}",
        f"the worker died {claim.interruptions} times when {claim.on_complete} was all that was left to run, so it was "
        "not called again; retry_on_complete() does that",
        "",
        None,
    )


class Poisonous(Exception):
    """Why a workflow that kills its workers is ended."""

    def __init__(self, claim: Turnable) -> None:
        super().__init__(
            f"the worker died {claim.interruptions} times in a turn of {claim.definition} {claim.id}, without a step "
            "being settled in between: its handler, or the query or mutation that it runs next, ends the process"
        )

    @property
    def info(self) -> ErrorInfo:
        """The workflow's error."""
        return ErrorInfo(f"{StepInterrupted.__module__}.{StepInterrupted.__qualname__}", str(self), "", None)
