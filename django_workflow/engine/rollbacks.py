"""Sagas: a workflow that has failed, or was canceled with `rollback=True`, undoes what its steps have done (R29).

Rules of this file: the handler never runs again. One rollback at a time, the last started step's first; each is a
step of its own that a worker claims like any other, so that attempts, retries, leases and crashes are as everywhere.
A turn here only decides which comes next. The ending was decided before; it is written when the last has settled.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import Error

from django_workflow.conf import settings
from django_workflow.engine import completion, endings
from django_workflow.engine.leases import Held, LeaseLost
from django_workflow.engine.recovery import backoff, completion_given_up
from django_workflow.engine.transaction import CommitRefused, TurnTransaction
from django_workflow.exceptions import describe_error
from django_workflow.handler import registry
from django_workflow.handler.commands import Recorded
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.handler.functions import StepMark, import_function, mark_of
from django_workflow.journal import holding, steps, wakes, workflows
from django_workflow.journal.claims import Runnable, Turnable
from django_workflow.journal.database import alias
from django_workflow.models import Workflow
from django_workflow.payloads import decode_error, decode_plain, encode_error, signature_of
from django_workflow.retry import Retry
from django_workflow.states import StepKind, StepState

logger = logging.getLogger("django_workflow.engine")

EDGES = {"failed": "fail", "canceled": "cancel"}
BEGINNING = datetime.min.replace(tzinfo=UTC)


def to_undo(journal: Sequence[Recorded]) -> list[Recorded]:
    """The steps that are undone, in the order in which that happens: the last started first."""
    ended = (StepState.COMPLETED, StepState.FAILED)
    asked = [step for step in journal if step.rollback and step.state in ended]
    return sorted(asked, key=lambda step: (_began_at(step), step.number), reverse=True)


def _began_at(step: Recorded) -> datetime:
    """When its first attempt began."""
    first = next((each["started_at"] for each in decode_plain(step.history) if each["started_at"]), None)
    return datetime.fromisoformat(first) if first else step.started_at or BEGINNING


def take(claim: Turnable, journal: Sequence[Recorded], held: Held, pool: str) -> int:
    """A turn of a workflow that undoes its steps: have the next one undone, or end. Returns 0: it runs no body."""
    undoing, left = _undoing_and_left(journal)
    if any(step.state in steps.UNSETTLED for step in undoing):
        _commit(claim, held, [])
    elif left and not any(step.state == StepState.FAILED for step in undoing):
        _undo_next(claim, held, left[0], 1 + max(step.number for step in journal), pool)
    else:
        _end(claim, held)
    return 0


def _undoing_and_left(journal: Sequence[Recorded]) -> tuple[list[Recorded], list[Recorded]]:
    """The rollbacks that have begun, and the steps that have none yet."""
    undoing = [step for step in journal if step.kind == StepKind.ROLLBACK]
    undone = {json.loads(step.args)["step"] for step in undoing}
    return undoing, [step for step in to_undo(journal) if step.number not in undone]


def functions_left(journal: Sequence[Recorded]) -> list[tuple[Recorded, str]]:
    """The dotted paths that are still to be called, each with the step that it stands at; none after a failure."""
    undoing, left = _undoing_and_left(journal)
    if any(step.state == StepState.FAILED for step in undoing):
        return []
    begun = [(step, step.function) for step in undoing if step.state in steps.UNSETTLED]
    return begun + [(step, step.rollback) for step in left]


def _undo_next(claim: Turnable, held: Held, step: Recorded, number: int, pool: str) -> None:
    try:
        row = _row(claim, step, number, pool)
    except Error:
        raise
    except Exception as error:  # noqa: BLE001  importing runs a module's code, which may raise anything
        # R27: an old deploy, perhaps. Others may know the function.
        logger.warning("the rollback of step %s of workflow %s: %s", step.number, claim.id, error)
        holding.set_back(claim, backoff(claim.setbacks + 4))
    else:
        _commit(claim, held, [row])
        wakes.ask(step.cluster)


def _row(claim: Turnable, step: Recorded, number: int, pool: str) -> Recorded:
    function = import_function(step.rollback)
    mark = mark_of(function) or StepMark(StepKind.ACTION)
    retry = _retry(claim, mark)
    return Recorded(
        id=None,
        number=number,
        kind=StepKind.ROLLBACK,
        name=step.rollback.rpartition(".")[2],
        function=step.rollback,
        args=json.dumps({"step": step.number}, separators=(",", ":")),
        result=None,
        error=None,
        state=StepState.PENDING,
        attempts=0,
        history="[]",
        due_at=claim.clock.now(),
        lease_owner=None,
        seq=None,
        delivered_at=None,
        started_at=None,
        completed_at=None,
        retry=retry.to_text() if retry else None,
        timeout=mark.timeout,
        at_most_once=bool(mark.at_most_once),
        cluster=step.cluster,
        pool=pool,
        generation=claim.generation,
    )


def _retry(claim: Turnable, mark: StepMark) -> Retry | None:
    """How it is attempted again: as its mark says, else by the defaults for what it runs as."""
    definition = registry.find(claim.definition, claim.version)
    if definition is None or isinstance(mark.retry, Retry):
        return mark.retry if isinstance(mark.retry, Retry) else None
    if mark.retry is None:
        return definition.action_retry if mark.kind == StepKind.ACTION else None
    return definition.manager.retry if mark.retry else None


def _commit(claim: Turnable, held: Held, new: Sequence[Recorded]) -> None:
    def write() -> None:
        if not holding.fence(claim, interruptions=0, **holding.release_columns(claim, None)):
            raise LeaseLost(f"workflow {claim.id} is no longer {claim.token}'s")
        if new:
            steps.insert(claim.id, new)

    TurnTransaction().commit(write, held.may_begin)


def _end(claim: Turnable, held: Held) -> None:
    edge = EDGES[claim.ending or "failed"]
    run = Workflow.objects.using(alias()).only("reason", "error_text").get(id=claim.id)
    facts: dict[str, Any] = {"error_text": run.error_text} if edge == "fail" else {"reason": run.reason}
    transaction = TurnTransaction()
    columns = workflows.ended(edge)
    try:
        if claim.on_complete:
            if not held.may_begin():  # R5
                raise LeaseLost(f"the lease {claim.token} of workflow {claim.id} ran out")
            columns["on_complete_error_text"] = _complete(claim, edge, transaction, facts)
        transaction.commit(lambda: _write_end(claim, edge, columns, facts), held.may_begin)
    except CommitRefused as refused:
        columns["on_complete_error_text"] = encode_error(describe_error(refused.__cause__ or refused))
        TurnTransaction().commit(lambda: _write_end(claim, edge, columns, facts), held.may_begin)
    except BaseException as error:
        transaction.roll_back(error)
        raise


def _complete(claim: Turnable, edge: str, transaction: TurnTransaction, facts: dict[str, Any]) -> str | None:
    if claim.taken_over and claim.interruptions >= settings.INTERRUPTED_LIMIT:
        return encode_error(completion_given_up(claim))  # R15: nothing else can have killed its workers
    transaction.open()
    ended = completion.ended_as(edge, (claim.definition, claim.version), custom_text=claim.custom, **facts)
    return completion.run(claim.on_complete, claim.id, ended)


def _write_end(claim: Turnable, edge: str, columns: dict[str, Any], facts: dict[str, Any]) -> None:
    endings.lock_parent(claim)
    if not holding.fence(claim, **columns):
        raise LeaseLost(f"workflow {claim.id} is no longer {claim.token}'s")
    endings.settle_rest(claim, edge, **facts)


# ── the body of a rollback ──────────────────────────────────────────────────────────────────────────────────


def kind_of_body(function: Any) -> StepKind:
    """What a rollback runs as: what it is marked, an action when it isn't."""
    mark = mark_of(function)
    return mark.kind if mark is not None else StepKind.ACTION


def arguments(claim: Runnable) -> tuple[list[Any], dict[str, Any]]:
    """What a rollback is called with: error, result, and the arguments of the step that it undoes."""
    step = steps.find(claim.workflow_id, json.loads(claim.args)["step"])
    assert step is not None, "a rollback's step is in the journal as long as the rollback is"
    error = decode_error(step.error) if step.error is not None else None
    if step.kind == StepKind.WORKFLOW:
        signature = _of_child(step).signature
    else:
        signature = signature_of(import_function(step.function))
    args, kwargs = signature.decode_arguments(step.args)
    result = signature.decode_result(step.result) if step.result is not None else None
    return [error, result, *args], kwargs


def _of_child(step: Recorded) -> WorkflowDefinition[Any, Any]:
    """The definition of the child that a step has started: of its version while the code has that."""
    versions = Workflow.objects.using(alias()).filter(parent_step=step.id).values_list("version", flat=True)
    known = (registry.find(step.function, version) for version in versions)
    return next((each for each in known if each is not None), None) or registry.newest(step.function)
