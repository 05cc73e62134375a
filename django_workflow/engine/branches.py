"""Runs steps that have a claim of their own: parallel actions, and what is asked for with `inline=False`.

The order is always claim → count the attempt → body → settle, each a fenced write of its own (R2, R3). A query
or mutation settles in the transaction of its body, so that its writes and its row commit together (P2).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import NamedTuple, TypeVar

from django.db import Error

from django_workflow.conf import settings
from django_workflow.engine import announce, current, rollbacks
from django_workflow.engine.attempts import Attempt, Body, TurnAborted, given_up, interrupted
from django_workflow.engine.deadline import BodyTimedOut
from django_workflow.engine.leases import Held, LeaseLost
from django_workflow.engine.recovery import backoff
from django_workflow.engine.transaction import make_hooks_robust
from django_workflow.exceptions import InternalError
from django_workflow.handler.commands import Answer
from django_workflow.handler.functions import import_function
from django_workflow.journal import holding, slots, steps, wakes
from django_workflow.journal.claims import Runnable
from django_workflow.journal.clock import ZERO, TurnClock
from django_workflow.journal.database import atomic, connection, passes, retrying
from django_workflow.retry import Retry
from django_workflow.states import StepKind, StepState

R = TypeVar("R")

logger = logging.getLogger("django_workflow.engine")


def run(claim: Runnable, held: Held) -> int:
    """Run a claimed step; whatever happens in it, it is settled, given back, or left to its lease.

    Returns how many bodies were run.
    """
    done = _guarded(claim, lambda: _run(claim, held))
    leave_pool(claim)
    return done or 0


def begins_at_once(claim: Runnable) -> bool:
    """True iff nothing stands between the claim of this step and its body, so that one write can be both (R3).

    That its function can be imported is known when it was: a module's code may do anything, and kill the process.
    """
    return claim.function in _begun and not claim.interrupted


_begun: set[str] = set()  # functions whose bodies this process has begun


def begin(claim: Runnable, held: Held) -> Begun | None:
    """Count the attempt at a claimed step whose body somebody else runs. None: there is nothing to run."""
    begun = _guarded(claim, lambda: _begin(claim, held))
    if begun is None:
        leave_pool(claim)
    return begun


@retrying
def settle(begun: Begun, answer: Answer) -> None:
    """Write how a body has ended, and wake its workflow's cluster. Raises `LeaseLost` when the step is not ours any more."""
    with _settling():
        _write(begun.claim, answer, begun.history, begun.claim.clock)
        wakes.ask(begun.claim.home)


def settle_together(ended: Sequence[tuple[Begun, Answer]]) -> set[str]:
    """Write how bodies have ended, in one transaction. The tokens of those that are written.

    A workflow whose row somebody else has locked is left out: who holds the rows of many waits for none, or it would
    meet those who lock them in another order (R20). Raises `LeaseLost` when one of them is not its token's any more;
    nothing is written then.
    """
    with atomic():
        free = holding.lock_unlocked({begun.claim.workflow_id for begun, _ in ended})
        written = [each for each in ended if each[0].claim.workflow_id in free]
        for begun, answer in written:
            _write(begun.claim, answer, begun.history, begun.claim.clock)
        for home in {begun.claim.home for begun, _ in written}:
            wakes.ask(home)
    return {begun.claim.token for begun, _ in written}


def leave_pool(claim: Runnable) -> None:
    """Give back the place in a limited pool that a step's body had."""
    if claim.pool:
        slots.give_back(claim.token)
        wakes.ask(claim.cluster)  # R10: a place is free


def _guarded(claim: Runnable, work: Callable[[], R]) -> R | None:
    try:
        return work()
    except LeaseLost as lost:
        logger.info("%s", lost)
    except TurnAborted as aborted:
        logger.warning("step %s of workflow %s is repeated: %s", claim.number, claim.workflow_id, aborted)
        holding.set_back_step(claim, backoff(claim.attempts), claim.history)
    except Error:
        raise
    except Exception:
        what = f"step {claim.number} of workflow {claim.workflow_id} could not be run; it is repeated"
        logger.exception("%s", InternalError(what))
        if claim.kind != StepKind.ACTION:
            holding.set_back_step(claim, backoff(claim.attempts), claim.history)
        # An action may have begun: its lease runs out, and the attempt counts as interrupted (P4).
    return None


class Begun(NamedTuple):
    """A step whose attempt is counted; its body is next."""

    claim: Runnable  # as the attempt has it
    kind: StepKind  # of the body
    body: Body
    history: str  # of the attempts before


def _run(claim: Runnable, held: Held) -> int:
    begun = _begin(claim, held)
    if begun is None:
        return 0
    if begun.kind == StepKind.ACTION:
        _settle(begun.claim, begun.body.run_alone(), begun.history, claim.clock)
    else:
        _run_in_transaction(begun, claim.clock)
    return 1


def _begin(claim: Runnable, held: Held) -> Begun | None:
    """Count the attempt. None: there is none, the step was settled or given back."""
    clock = claim.clock
    history = claim.history
    if claim.interrupted:
        if claim.at_most_once:
            _settle(claim, interrupted(_attempt(claim, history, held)), history, clock)
            return None
        history = steps.add_attempt(history, claim.attempts, claim.started_at, clock.now(), "interrupted")
        count = steps.interruptions(history)
        if count >= settings.INTERRUPTED_LIMIT:
            _settle(claim, given_up(_attempt(claim, history, held), count), history, clock)
            return None
    began = claim._replace(attempts=claim.attempts + 1, started_at=clock.now())
    try:
        kind = _kind_of_body(claim)
        body = Body(_attempt(began, history, held, kind))
    except Error:
        raise
    except Exception as error:  # noqa: BLE001  importing runs a module's code, which may raise anything
        # R27: an old deploy, perhaps. Others may know the function; nothing is counted but what was interrupted before.
        logger.warning("step %s of workflow %s: %s", claim.number, claim.workflow_id, error)
        not_counted = {"attempts": claim.attempts} if claim.begun else {}
        holding.set_back_step(claim, backoff(claim.attempts + 4), history, **not_counted)
        return None
    may_begin = held.may_begin()
    if claim.begun and not may_begin:
        holding.set_back_step(claim, ZERO, history, attempts=claim.attempts)  # R3: nothing has begun
    if not may_begin or not (claim.begun or holding.start_step(claim, history)):
        raise LeaseLost(f"the lease {claim.token} of step {claim.number} of {claim.workflow_id} is gone")
    _begun.add(claim.function)
    return Begun(began, kind, body, history)


def _kind_of_body(claim: Runnable) -> StepKind:
    if claim.kind == StepKind.ROLLBACK:
        return rollbacks.kind_of_body(import_function(claim.function))
    return StepKind(claim.kind)


def _attempt(claim: Runnable, history: str, held: Held, kind: StepKind = StepKind.ACTION) -> Attempt:
    return Attempt(
        current.begin(claim.workflow_id, claim.number, kind, claim.attempts, held, claim.born),
        claim.name,
        claim.function,
        claim.args,
        steps.failures(history),
        Retry.from_text(claim.retry) if claim.retry else None,
        _time_left(claim),
        partial(rollbacks.arguments, claim) if claim.kind == StepKind.ROLLBACK else None,
    )


def _time_left(claim: Runnable) -> float | None:
    """Seconds for the body: its own timeout, and what is left until its workflow's deadline (R6)."""
    if claim.deadline_at is None:
        return claim.timeout
    left = max((claim.deadline_at - claim.clock.now()).total_seconds(), 0.001)
    return left if claim.timeout is None else min(left, claim.timeout)


def _run_in_transaction(begun: Begun, clock: TurnClock) -> None:
    claim, kind, body, history = begun
    try:
        hooks = len(connection().run_on_commit)
        with atomic():
            answer = body.run_in_transaction(kind)
            _write(claim, answer, history, clock)
            make_hooks_robust(hooks)
    except BodyTimedOut:
        _settle(claim, body.timed_out(), history, clock)
    except Error as error:
        if passes(error):
            raise TurnAborted(f"the commit met {error!r}") from error
        # R14: its transaction had this body alone; what the commit refuses is the body's failure.
        _settle(claim, body.refused(error), history, clock)


@retrying
def _settle(claim: Runnable, answer: Answer, history: str, clock: TurnClock) -> None:
    with _settling():
        _write(claim, answer, history, clock)


def _settling() -> AbstractContextManager[object]:
    # What is not known of a statement whose connection is lost is known when it is repeated: it fits only once.
    return nullcontext() if holding.settles_alone() else atomic()


def _write(claim: Runnable, answer: Answer, history: str, clock: TurnClock) -> None:
    failed = answer.state is StepState.FAILED
    error = answer.text if failed else None
    history = steps.add_attempt(
        history, claim.attempts, claim.started_at, clock.now(), str(answer.state), error
    )
    if answer.retry_in is not None:
        written = holding.back_off_step(claim, answer.retry_in, history)
    else:
        written = holding.settle_step(
            claim,
            state=answer.state,
            result_text=None if failed else answer.text,
            error_text=error,
            history_text=history,
        )
    if not written:
        raise LeaseLost(f"step {claim.number} of workflow {claim.workflow_id} is no longer {claim.token}'s")
    if claim.home != claim.cluster and answer.retry_in is None:
        wakes.ask(claim.home)  # this drain doesn't come to its turn
    if failed and answer.retry_in is None:
        announce.step_failed(claim.workflow_id, claim.definition, claim.number, claim.name, error)
