"""The rows of workflows: one function per edge of their transition table.

Rules of this file: every ending is a compare-and-set on `in_progress`, takes the lease away and clears
`due_at`, in one UPDATE, before anything else of that transaction (R2, R20). A parent's row is locked before its
children's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import IntegrityError, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_workflow.handler.options import StartOptions
from django_workflow.journal import clock, writing
from django_workflow.journal.clock import Now, Uncompiled
from django_workflow.journal.database import alias, atomic, connection, retrying
from django_workflow.journal.writing import Fence
from django_workflow.keys import digest, label_digests
from django_workflow.models import Event, Label, Step, Workflow
from django_workflow.states import WorkflowState, move_workflow

BATCH = 1000
IN_PROGRESS = WorkflowState.IN_PROGRESS


# ── beginning ───────────────────────────────────────────────────────────────────────────────────────────────


def new(
    definition: str, version: int, args: str, *, cluster: str, options: StartOptions, **columns: Any
) -> Workflow:
    """A workflow that is about to be started, not yet a row. `columns`: of a child."""
    key, labels = options.key, options.labels or {}
    return Workflow(
        **{
            "id": clock.new_id(),
            "definition": definition,
            "version": version,
            "args_text": args,
            "cluster": cluster,
            "priority": options.priority or 0,
            "due_at": options.run_at if options.run_at is not None else Now(_delay(options.run_after)),
            "key": key,
            "key_digest": None if key is None else key_digest(definition, key),
            "args_digest": "" if key is None else digest(args),
            "labels_text": json.dumps(labels, separators=(",", ":")),
            "timeout": options.timeout,
            "on_complete": options.on_complete or "",
            "context_text": options.context,
            "created_at": Now(),
            **columns,
        }
    )


def _delay(run_after: timedelta | None) -> timedelta:
    return max(run_after or clock.ZERO, clock.ZERO)


def key_digest(definition: str, key: str) -> str:
    """By what a key is unique."""
    return digest(definition, key)


def insert(run: Workflow) -> Workflow:
    """Start a workflow: one row (and one for each label), in the caller's transaction.

    Raises `IntegrityError` when its key is taken; inside of a transaction the caller needs a savepoint for that.
    """
    _insert(run)
    return run


def as_stored(run: Workflow) -> Workflow:
    """Let what the database made of expressions be fetched by whoever asks for it.

    Not before its transaction has ended: one that is repeated inserts the same expressions again.
    """
    for column in ("created_at", "due_at"):
        if not isinstance(run.__dict__.get(column), datetime):
            run.__dict__.pop(column, None)
    return run


@retrying
def _insert(run: Workflow) -> None:
    try:
        # P1: with its labels, or not at all. A row alone needs no transaction.
        with transaction.atomic(using=alias(), savepoint=False) if _is_labeled(run) else nullcontext():
            run.save(using=alias(), force_insert=True)
            insert_labels([run])
    except IntegrityError:
        # A repetition, after a connection was lost: the first INSERT had reached the database (R18).
        if connection().in_atomic_block or not Workflow.objects.using(alias()).filter(id=run.id).exists():
            raise


def insert_many(runs: Sequence[Workflow]) -> None:
    """Start workflows, in few statements, in the caller's transaction."""
    Workflow.objects.using(alias()).bulk_create(runs, batch_size=BATCH)
    insert_labels(runs)


def insert_labels(runs: Iterable[Workflow]) -> None:
    """Make workflows findable by their labels."""
    rows = [
        Label(workflow_id=run.id, digest=each)
        for run in runs
        if _is_labeled(run)
        for each in label_digests("labels", run.labels).values()
    ]
    if rows:
        Label.objects.using(alias()).bulk_create(rows, batch_size=BATCH)


def _is_labeled(run: Workflow) -> bool:
    return run.labels_text != "{}"


class Keyed(NamedTuple):
    """What is known of the workflow that holds a key."""

    id: UUID
    args_digest: str


def with_key(definition: str, key: str) -> Keyed | None:
    """The workflow of this definition that was started with this key, or None."""
    rows = Workflow.objects.using(alias()).filter(key_digest=key_digest(definition, key))
    found = rows.values_list("id", "args_digest").first()
    return None if found is None else Keyed(*found)


# ── outside input ───────────────────────────────────────────────────────────────────────────────────────────


def wake(workflow_id: UUID, generation: int | None = None) -> bool:
    """Count an outside input and make the workflow due unless somebody holds it (R8). In the input's transaction.

    False: it has finished (or begun a new generation), and the input is not for it.
    """
    return bool(writing.update(*waking(workflow_id, generation)))


def waking(workflow_id: UUID, generation: int | None) -> Fence:
    """What `wake()` asks and writes, for a statement that does more."""
    where: dict[str, Any] = {"id": workflow_id, "state": IN_PROGRESS.value}
    if generation is not None:
        where["generation"] = generation
    return Fence(Workflow, where, {"wakes": OneMore("wakes"), "due_at": NowUnlessHeld()})


class OneMore(Uncompiled):
    """One more than a column has."""

    output_field = models.PositiveBigIntegerField()

    def __init__(self, column: str) -> None:
        super().__init__()
        self._column = column

    def text(self, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        """See `Uncompiled`."""
        return f"{self._column} + 1", []


class NowUnlessHeld(Uncompiled):
    """R8: when a workflow is due that has got an input.

    A live lease is not stolen, a workflow before its first turn keeps its start time, a parked one null.
    """

    output_field = models.DateTimeField()

    def text(self, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        """See `Uncompiled`."""
        return (
            "CASE WHEN lease_owner IS NULL AND started_at IS NOT NULL AND paused IS NULL "
            f"THEN {clock.sql(connection)} ELSE due_at END",
            [],
        )


class NearestOrNow(Uncompiled):
    """R9: when a released workflow is due: at its nearest timer, or at once if inputs came since the claim.

    Args:
        wakes: the counter as it was at the claim.
        nearest: the timer, or None.

    """

    output_field = models.DateTimeField()

    def __init__(self, wakes: int, nearest: datetime | None) -> None:
        super().__init__()
        self._wakes = wakes
        self._nearest = nearest

    def text(self, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        """See `Uncompiled`."""
        timer = None if self._nearest is None else clock.to_db(connection, self._nearest)
        return f"CASE WHEN wakes = %s THEN %s ELSE {clock.sql(connection)} END", [self._wakes, timer]


# ── ending ──────────────────────────────────────────────────────────────────────────────────────────────────


class About(NamedTuple):
    """What an ending has to know of its workflow; all of it but the last two never changes."""

    id: UUID
    definition: str
    version: int
    cluster: str
    on_complete: str
    context: str | None
    parent_id: UUID | None
    parent_step_id: int | None
    custom: str | None


_ABOUT = (
    "id",
    "definition",
    "version",
    "cluster",
    "on_complete",
    "context_text",
    "parent_id",
    "parent_step_id",
    "custom_text",
)


def about(workflow_id: UUID, *, locked: bool = False) -> About | None:
    """What an ending has to know, or None where there is no such workflow.

    `locked`: its row is, or may be: then one is found, too, that was committed since the transaction began (R21).
    """
    rows = Workflow.objects.using(alias()).filter(id=workflow_id)
    row = (rows.select_for_update() if locked else rows).values_list(*_ABOUT).first()
    return None if row is None else About(*row)


def ended(edge: str) -> dict[str, Any]:
    """The columns by which a workflow in progress ends."""
    return {
        "state": move_workflow(IN_PROGRESS, edge),
        "completed_at": Now(),
        "due_at": None,
        "lease_owner": None,  # R2: a turn that is under way meets its fence
        "setbacks": 0,
        "paused": None,
        "ending": None,
    }


def unwinding(ending: WorkflowState) -> dict[str, Any]:
    """The columns by which a workflow begins to run its rollbacks, to end in `ending` (R29)."""
    return {
        "ending": ending,
        "generation": OneMore("generation"),
        "due_at": Now(),
        "lease_owner": None,
        "setbacks": 0,
        "interruptions": 0,
        "paused": None,
        "deadline_at": None,
    }


def cancel(workflow_id: UUID, reason: str) -> bool:
    """In progress → canceled. True iff this call did it. In the caller's transaction."""
    rows = Workflow.objects.using(alias()).filter(id=workflow_id, state=IN_PROGRESS)
    return bool(rows.update(reason=reason, error_text=None, **ended("cancel")))


def unwind(workflow_id: UUID, reason: str) -> bool:
    """Begin the rollbacks of a cancel. True iff this call did it: it was in progress, and not unwinding already."""
    rows = Workflow.objects.using(alias()).filter(id=workflow_id, state=IN_PROGRESS, ending=None)
    return bool(rows.update(reason=reason, **unwinding(WorkflowState.CANCELED)))


def is_unwinding(workflow_id: UUID) -> bool:
    """True while it runs its rollbacks."""
    rows = Workflow.objects.using(alias()).filter(id=workflow_id, state=IN_PROGRESS)
    return rows.exclude(ending=None).exists()


def children_of(step_ids: Sequence[int], *, in_progress: bool = True) -> list[UUID]:
    """The children that these steps have started, locked, in the order of their ids (R18, R21)."""
    if not step_ids:
        return []
    rows = Workflow.objects.using(alias()).filter(parent_step__in=list(step_ids))
    if in_progress:
        rows = rows.filter(state=IN_PROGRESS)
    return list(rows.select_for_update().order_by("id").values_list("id", flat=True))


def store_on_complete(workflow_id: UUID, error: str | None) -> None:
    """How `on_complete` went: its error, or None."""
    Workflow.objects.using(alias()).filter(id=workflow_id).update(on_complete_error_text=error)


# ── deleting ────────────────────────────────────────────────────────────────────────────────────────────────


class StillRunning(Exception):
    """A descendant of what was to be deleted is in progress."""

    def __init__(self, workflow_id: UUID) -> None:
        super().__init__(str(workflow_id))
        self.workflow_id = workflow_id


@retrying
def delete(workflow_id: UUID) -> bool:
    """Delete a finished workflow with all that is its own, children included. False: it is gone, or in progress.

    Raises `StillRunning` when a child is in progress (one that was restarted by itself).
    """
    with atomic():
        # R30: the row first, and its state again under the lock.
        if _lock_finished(Workflow.objects.using(alias()).filter(id=workflow_id)) is None:
            return False
        family = descendants([workflow_id])
        for child, state in _lock(family):
            if state == IN_PROGRESS:
                raise StillRunning(child)
        erase([workflow_id, *family])
        return True


def _lock_finished(rows: Any, *, skip_locked: bool = False) -> UUID | None:
    skip = skip_locked and connection().features.has_select_for_update_skip_locked
    finished = rows.exclude(state=IN_PROGRESS).select_for_update(skip_locked=skip)
    found: UUID | None = finished.values_list("id", flat=True).first()
    return found


def _lock(workflow_ids: Sequence[UUID], *, skip_locked: bool = False) -> list[tuple[UUID, str]]:
    """Lock workflows, parents first, and say in which state they are now; those that are gone or held are left out."""
    # Under the lock: one that is restarted by itself at this moment is not to vanish (R21).
    skip = skip_locked and connection().features.has_select_for_update_skip_locked
    return [
        found
        for at in range(0, len(workflow_ids), BATCH)
        for found in Workflow.objects.using(alias())
        .filter(id__in=workflow_ids[at : at + BATCH])
        .select_for_update(skip_locked=skip)
        .order_by("depth", "id")
        .values_list("id", "state")
    ]


def descendants(workflow_ids: Sequence[UUID]) -> list[UUID]:
    """All children, and theirs, parents before their children."""
    found: list[UUID] = []
    level = list(workflow_ids)
    while level:
        batches = (level[at : at + BATCH] for at in range(0, len(level), BATCH))
        level = [
            child
            for batch in batches
            for child in Workflow.objects.using(alias()).filter(parent__in=batch).values_list("id", flat=True)
        ]
        found += level
    return found


def erase(workflow_ids: Sequence[UUID]) -> None:
    """Delete workflows and their rows, whatever their state, in batches."""
    batches = [workflow_ids[at : at + BATCH] for at in range(0, len(workflow_ids), BATCH)]
    for batch in batches:
        for model in (Event, Label):
            _delete_all(model.objects.using(alias()).filter(workflow__in=batch))
        # Let go of one another: then any order of deletion will do.
        if len(workflow_ids) > 1:
            Workflow.objects.using(alias()).filter(id__in=batch).update(parent=None, parent_step=None)
    for batch in batches:
        _delete_all(Step.objects.using(alias()).filter(workflow__in=batch))
        Workflow.objects.using(alias()).filter(id__in=batch)._raw_delete(alias())


def _delete_all(rows: Any) -> None:
    while batch := list(rows.values_list("id", flat=True)[:BATCH]):
        rows.model.objects.using(alias()).filter(id__in=batch)._raw_delete(alias())


def prune(older_than: timedelta, limit: int) -> int:
    """Delete roots that finished longer ago than that, at most so many, each in a transaction of its own.

    What somebody else holds, or has restarted meanwhile, is left alone (R30). Returns how many roots are gone.
    """
    try:
        before = clock.read(connection()) - older_than
    except OverflowError:
        return 0
    # A value, no expression: PostgreSQL uses no index for one that changes while it is computed.
    finished = Workflow.objects.using(alias()).filter(completed_at__lt=before).exclude(state=IN_PROGRESS)
    old = finished.filter(parent=None)
    # Roots by their depth: SQLite would take the index of parents for the better one, and sort all roots there are.
    ids = finished.filter(depth=0).order_by("completed_at", "id").values_list("id", flat=True)
    gone = kept = 0
    # What has to stay must not hide what comes after it.
    while gone < limit and (found := list(ids[kept : kept + limit - gone])):
        pruned = sum(_prune(old.filter(id=workflow_id), workflow_id) for workflow_id in found)
        gone += pruned
        kept += len(found) - pruned
    return gone


@retrying
def _prune(rows: Any, workflow_id: UUID) -> bool:
    with atomic():
        if _lock_finished(rows, skip_locked=True) is None:
            return False
        family = descendants([workflow_id])
        locked = _lock(family, skip_locked=True)
        if len(locked) < len(family) or any(state == IN_PROGRESS for _, state in locked):
            return False
        erase([workflow_id, *family])
        return True
