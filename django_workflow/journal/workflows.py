"""The rows of workflows: one function per edge of their transition table.

Rules of this file: every ending is a compare-and-set on `in_progress`, takes the lease away and clears
`due_at`, in one UPDATE, before anything else of that transaction (R2, R20).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from django.db import IntegrityError
from django.db.models import Case, F, Value, When

from django_workflow.journal import clock, steps
from django_workflow.journal.clock import Now
from django_workflow.journal.database import alias, atomic, connection, retrying
from django_workflow.models import Step, Workflow
from django_workflow.states import WorkflowState, move_workflow

CLEANUP_BATCH = 1000
IN_PROGRESS = WorkflowState.IN_PROGRESS


def insert(
    definition: str,
    version: int,
    args: str,
    *,
    cluster: str,
    priority: int,
    run_at: datetime | None,
    run_after: timedelta | None,
) -> Workflow:
    """Start a workflow: one row, in the caller's transaction."""
    run = Workflow(
        id=clock.new_id(),
        definition=definition,
        version=version,
        args_text=args,
        cluster=cluster,
        priority=priority,
        due_at=run_at if run_at is not None else Now(run_after or clock.ZERO),
        created_at=Now(),
    )
    _insert(run)
    # The database made these two: whoever asks for them gets them from there.
    del run.__dict__["created_at"], run.__dict__["due_at"]
    return run


@retrying
def _insert(run: Workflow) -> None:
    try:
        run.save(using=alias(), force_insert=True)
    except IntegrityError:
        # A repetition, after a connection was lost: the first INSERT had reached the database (R18).
        if connection().in_atomic_block or not Workflow.objects.using(alias()).filter(id=run.id).exists():
            raise


@retrying
def cancel(workflow_id: UUID, reason: str) -> bool:
    """In progress → canceled, with all its steps. True iff this call did it."""
    with atomic():
        rows = (
            Workflow.objects.using(alias())
            .filter(id=workflow_id, state=IN_PROGRESS)
            .update(
                state=move_workflow(IN_PROGRESS, "cancel"),
                reason=reason,
                completed_at=Now(),
                due_at=None,
                lease_owner=None,  # R2: a turn that is under way meets its fence
            )
        )
        if rows:
            steps.cancel_all(workflow_id)
        return bool(rows)


@retrying
def delete(workflow_ids: Iterable[UUID]) -> int:
    """Delete finished workflows with all that is theirs, their steps in batches. How many were deleted."""
    deleted = 0
    for workflow_id in workflow_ids:
        finished = Workflow.objects.using(alias()).filter(id=workflow_id).exclude(state=IN_PROGRESS)
        with atomic():
            # R30: the row first, and its state again under the lock.
            if finished.select_for_update().values_list("id").first() is None:
                continue
            rows = Step.objects.using(alias()).filter(workflow_id=workflow_id)
            while batch := list(rows.values_list("id", flat=True)[:CLEANUP_BATCH]):
                Step.objects.using(alias()).filter(id__in=batch)._raw_delete(alias())
            deleted += finished._raw_delete(alias())
    return deleted


def wake(workflow_id: UUID, generation: int | None = None) -> bool:
    """Count an outside input and make the workflow due unless somebody holds it (R8). In the input's transaction.

    False: it has finished (or begun a new generation), and the input is not for it.
    """
    rows = Workflow.objects.using(alias()).filter(id=workflow_id, state=IN_PROGRESS)
    if generation is not None:
        rows = rows.filter(generation=generation)
    return bool(
        rows.update(
            wakes=F("wakes") + 1,
            due_at=Case(
                # A live lease is not stolen, and a workflow before its first turn keeps its start time.
                When(lease_owner=None, started_at__isnull=False, then=Now()),
                default=F("due_at"),
            ),
        )
    )


def nearest_or_now(wakes: int, nearest: datetime | None) -> Case:
    """R9: when a released workflow is due: at its nearest timer, or at once if inputs came since the claim."""
    return Case(When(wakes=wakes, then=Value(nearest)), default=Now())
