"""How workflows end: everything that belongs to an ending, in its one transaction (P7, P8, R18).

A turn ends its own workflow through `lock_parent` before its fence and `settle_rest` behind it; a cancel comes from
outside and is whole here. Locks go from the top down: parent, workflow, steps, children (R20).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from django.db import Error

from django_workflow.engine import announce, completion
from django_workflow.engine.attempts import TurnAborted
from django_workflow.exceptions import ErrorInfo, StepCanceled, dotted_path
from django_workflow.journal import steps, wakes, workflows
from django_workflow.journal.database import alias, atomic, connection, passes, retrying
from django_workflow.models import Workflow
from django_workflow.payloads import encode_error
from django_workflow.states import StepState


class Ending(Protocol):
    """What an ending has to know of its workflow: a claim knows it, and `workflows.about()` tells."""

    @property
    def id(self) -> UUID: ...
    @property
    def definition(self) -> str: ...
    @property
    def parent_id(self) -> UUID | None: ...
    @property
    def parent_step_id(self) -> int | None: ...


def lock_parent(workflow: Ending) -> None:
    """A child is about to end: wake its parent, by which the parent's row is locked first (R20)."""
    if workflow.parent_id is not None and workflow.parent_step_id is not None:
        workflows.wake(workflow.parent_id)


def settle_rest(
    workflow: Ending,
    edge: str,
    *,
    result_text: str | None = None,
    error_text: str | None = None,
    reason: str = "",
    children: Sequence[int] = (),
) -> None:
    """What an ending brings about besides its row: canceled children, the parent's step, signals.

    Args:
        workflow: the one that ends; its row is locked, and its parent's by `lock_parent`.
        edge: of the transition table.
        result_text: JSON text, of one that completes.
        error_text: JSON text, of one that fails.
        reason: of one that is canceled.
        children: its steps, by primary key, that still wait for a child.

    """
    cancel_children(children, f"its parent, workflow {workflow.id}, has ended")
    if workflow.parent_step_id is not None:
        if edge == "complete":
            steps.settle_child(workflow.parent_step_id, StepState.COMPLETED, result_text or "null", None)
        else:
            error = error_text if edge == "fail" else _canceled_text(reason)
            steps.settle_child(workflow.parent_step_id, StepState.FAILED, None, error)
        _call_for_parent(workflow)
    announce.ended(workflow.id, workflow.definition, edge, error_text=error_text, reason=reason)


def _canceled_text(reason: str) -> str:
    text = f"it was canceled: {reason}" if reason else "it was canceled"
    return encode_error(ErrorInfo(dotted_path(StepCanceled), text, "", None))


def _call_for_parent(workflow: Ending) -> None:
    if workflow.parent_id is None:
        return
    clusters = Workflow.objects.using(alias()).filter(id=workflow.parent_id)
    for cluster in clusters.values_list("cluster", flat=True):
        wakes.ask(cluster)


# ── from outside ────────────────────────────────────────────────────────────────────────────────────────────


def cancel(workflow_id: UUID, reason: str, *, rollback: bool = False) -> bool:
    """Cancel a workflow with all that is its own, in the caller's transaction. True iff this call did it."""
    try:
        return _cancel_retrying(workflow_id, reason, rollback)
    except TurnAborted as aborted:
        # Its transaction is the caller's, who gets what the database has said.
        raise aborted.__cause__ or aborted from None
    except Error as error:
        if connection().in_atomic_block or passes(error):
            raise
        with completion.refusing(error):  # R14
            return _cancel_retrying(workflow_id, reason, rollback)


@retrying
def _cancel_retrying(workflow_id: UUID, reason: str, rollback: bool) -> bool:
    try:
        with atomic():
            return _cancel(workflow_id, reason, rollback)
    except TurnAborted as aborted:
        if isinstance(aborted.__cause__, Error):
            raise aborted.__cause__ from None
        raise


def _cancel(workflow_id: UUID, reason: str, rollback: bool, *, by_parent: bool = False) -> bool:
    about = workflows.about(workflow_id, locked=by_parent)
    if about is None:
        return False
    if not by_parent:
        lock_parent(about)
    if rollback and workflows.unwind(workflow_id, reason):
        children = steps.unsettled_children(workflow_id)
        steps.cancel_all(workflow_id)
        cancel_children(children, f"its parent, workflow {workflow_id}, was canceled", rollback=True)
        if steps.rollbacks_left(workflow_id):
            wakes.ask(about.cluster)
            return True
        return _write_cancel(about, reason, [])
    if rollback and workflows.is_unwinding(workflow_id):
        return False
    return _write_cancel(about, reason, None)


def _write_cancel(about: workflows.About, reason: str, children: Sequence[int] | None) -> bool:
    if not workflows.cancel(about.id, reason):
        return False
    if children is None:
        children = steps.unsettled_children(about.id)
        steps.cancel_all(about.id)
    if about.on_complete:
        ended = completion.ended_as(
            "cancel", (about.definition, about.version), reason=reason, custom_text=about.custom
        )
        error = completion.run(about.on_complete, about.id, ended)
        workflows.store_on_complete(about.id, error)
    settle_rest(about, "cancel", reason=reason, children=children)
    return True


def cancel_children(step_ids: Sequence[int], reason: str, *, rollback: bool = False) -> None:
    """Cancel the children, in progress, that these steps have started; their parent's row is locked."""
    for child in workflows.children_of(step_ids):
        _cancel(child, reason, rollback, by_parent=True)


def complete_again(workflow_id: UUID) -> bool:
    """Run `on_complete` of a finished workflow once more, when it has failed. True iff it has ended well now."""
    try:
        return _complete_again(workflow_id)
    except TurnAborted as aborted:
        raise aborted.__cause__ or aborted from None
    except Error as error:
        if connection().in_atomic_block or passes(error):
            raise
        with completion.refusing(error):  # R14
            return _complete_again(workflow_id)


@retrying
def _complete_again(workflow_id: UUID) -> bool:
    with atomic():
        rows = Workflow.objects.using(alias()).filter(id=workflow_id).select_for_update()
        run = rows.exclude(on_complete_error_text=None).first()
        if run is None:
            return False
        edge = {"completed": "complete", "failed": "fail", "canceled": "cancel"}[run.state]
        ended = completion.ended_as(
            edge,
            (run.definition, run.version),
            result_text=run.result_text,
            error_text=run.error_text,
            reason=run.reason,
            custom_text=run.custom_text,
        )
        error = completion.run(run.on_complete, run.id, ended)
        workflows.store_on_complete(run.id, error)
        return error is None
