"""The rows of the journal: read whole, written in few statements, one function per edge.

Rules of this file: a settled row changes no more (its delivery aside). A turn's writes stand behind its fence
in the same transaction, which makes workflow and number as good as a primary key: no other generation can
have a row there meanwhile. A step's own claim writes in `claims`, by primary key and token (R1).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Case, Value, When

from django_workflow.handler.commands import Recorded
from django_workflow.journal import writing
from django_workflow.journal.clock import Now
from django_workflow.journal.database import alias
from django_workflow.journal.writing import Fence, Upsert
from django_workflow.models import Step, StepQuerySet
from django_workflow.states import StepKind, StepState

COLUMNS = (
    "id",
    "number",
    "kind",
    "name",
    "function",
    "args_text",
    "result_text",
    "error_text",
    "state",
    "attempts",
    "history_text",
    "due_at",
    "lease_owner",
    "seq",
    "delivered_at",
    "started_at",
    "completed_at",
    "retry_text",
    "timeout",
    "at_most_once",
    "cluster",
    "pool",
    "rollback",
    "generation",
)
# What changes of a step that runs inside a turn: columns, and their fields of `Recorded`.
_INLINE = (
    ("result_text", "result"),
    ("error_text", "error"),
    ("state", "state"),
    ("attempts", "attempts"),
    ("history_text", "history"),
    ("due_at", "due_at"),
    ("seq", "seq"),
    ("delivered_at", "delivered_at"),
    ("started_at", "started_at"),
    ("completed_at", "completed_at"),
)
# The same of a step that may have a row already (R4: without a lease).
_OVER_INLINE = Upsert(("workflow_id", "number"), tuple(column for column, _ in _INLINE), unless="lease_owner")
_NAMES = ("workflow_id", "created_at", "details_text", *COLUMNS[1:])
UNSETTLED = (StepState.PENDING.value, StepState.RUNNING.value)
DROP_BATCH = 1000


def load(workflow_ids: Iterable[UUID]) -> dict[UUID, list[Recorded]]:
    """The journals of these workflows, by number, in one query."""
    journals: dict[UUID, list[Recorded]] = defaultdict(list)
    rows = (
        Step.objects.using(alias())
        .filter(workflow_id__in=list(workflow_ids))
        .order_by("workflow_id", "number")
        .values_list("workflow_id", *COLUMNS)
    )
    for workflow_id, *columns in rows:
        journals[workflow_id].append(Recorded(*columns))
    return journals


def insert(workflow_id: UUID, steps: Sequence[Recorded]) -> dict[int, int]:
    """Write new steps, in one statement. Returns their primary keys by number, as far as the database tells them."""
    return _write(workflow_id, steps, None)


def update_and_insert(
    workflow_id: UUID, changed: Sequence[Recorded], new: Sequence[Recorded]
) -> dict[int, int]:
    """`update()` of some steps and `insert()` of others, in one statement where the database can."""
    if changed and new and writing.can_upsert():
        return _write(workflow_id, [*changed, *new], _OVER_INLINE)
    for step in changed:
        update(workflow_id, step)
    return insert(workflow_id, new) if new else {}


def can_write_behind(fence: Fence, steps: int) -> bool:
    """True where `write_behind()` can do that with so many steps."""
    return writing.can_insert_behind(fence, Step, _NAMES, steps)


def write_behind(fence: Fence, workflow_id: UUID, steps: Sequence[Recorded]) -> bool:
    """`update_and_insert()` with the turn's fence, in one statement. False: the fence did not match."""
    return writing.insert_behind(fence, Step, _NAMES, _rows(workflow_id, steps), _OVER_INLINE)


def _write(workflow_id: UUID, steps: Sequence[Recorded], upsert: Upsert | None) -> dict[int, int]:
    rows = _rows(workflow_id, steps)
    return dict(writing.insert(Step, _NAMES, rows, returning=("number", "id"), upsert=upsert))


def _rows(workflow_id: UUID, steps: Sequence[Recorded]) -> list[tuple[Any, ...]]:
    return [(workflow_id, Now(), None, *step[1:]) for step in steps]


def ids_of(workflow_id: UUID, numbers: Iterable[int]) -> dict[int, int]:
    """The primary keys of steps, by number."""
    return dict(_numbered(workflow_id, list(numbers)).values_list("number", "id"))


def unsettled_children(workflow_id: UUID) -> list[int]:
    """The steps, by primary key, that wait for a child."""
    rows = Step.objects.using(alias()).filter(
        workflow_id=workflow_id, kind=StepKind.WORKFLOW, state__in=UNSETTLED
    )
    return list(rows.select_for_update().values_list("id", flat=True))  # R21


def rollbacks_left(workflow_id: UUID) -> bool:
    """True iff a step that has ended asked for a rollback."""
    rows = Step.objects.using(alias()).filter(
        workflow_id=workflow_id, state__in=(StepState.COMPLETED, StepState.FAILED)
    )
    return bool(rows.exclude(rollback="").select_for_update().values_list("id")[:1])  # R21


def settle_child(step_id: int, state: StepState, result: str | None, error: str | None) -> bool:
    """A child has ended; in the child's transaction, which has locked the parent's row. False: nobody waits for it."""
    waiting = Step.objects.using(alias()).filter(id=step_id, state__in=UNSETTLED)
    return bool(
        waiting.update(state=state, result_text=result, error_text=error, completed_at=Now(), due_at=None)
    )


def find(workflow_id: UUID, number: int) -> Recorded | None:
    """One step of a journal, or None."""
    row = _numbered(workflow_id, [number]).values_list(*COLUMNS).first()
    return None if row is None else Recorded(*row)


def update(workflow_id: UUID, step: Recorded) -> None:
    """Write what a turn changed of a step that runs inside it, or of a sleep: steps without a lease (R4)."""
    where = {"workflow_id": workflow_id, "number": step.number, "lease_owner": None}
    writing.update(Step, where, {column: getattr(step, field) for column, field in _INLINE})


def deliver(workflow_id: UUID, steps: Sequence[Recorded]) -> None:
    """Write when settled steps were delivered, in one statement. Nothing else of them changes."""
    _numbered(workflow_id, [step.number for step in steps]).update(
        seq=Case(*(When(number=step.number, then=Value(step.seq)) for step in steps)),
        delivered_at=Case(*(When(number=step.number, then=Value(step.delivered_at)) for step in steps)),
    )


def cancel(workflow_id: UUID, numbers: Sequence[int]) -> None:
    """Settle losers as canceled, unless they have settled by themselves (R17)."""
    _numbered(workflow_id, numbers).filter(state__in=UNSETTLED).update(**_CANCELED)


def drop(step_ids: Sequence[int]) -> None:
    """Delete steps, by primary key; nothing refers to them any more."""
    for at in range(0, len(step_ids), DROP_BATCH):
        Step.objects.using(alias()).filter(id__in=step_ids[at : at + DROP_BATCH])._raw_delete(alias())


def _numbered(workflow_id: UUID, numbers: Sequence[int]) -> StepQuerySet:
    return Step.objects.using(alias()).filter(workflow_id=workflow_id, number__in=numbers)


def cancel_all(workflow_id: UUID) -> None:
    """Settle all that a workflow leaves behind at its end as canceled (R18)."""
    Step.objects.using(alias()).filter(workflow_id=workflow_id, state__in=UNSETTLED).update(**_CANCELED)


_CANCELED: dict[str, Any] = {
    "state": StepState.CANCELED.value,
    "completed_at": Now(),
    "due_at": None,
    "lease_owner": None,
}


def add_attempt(
    history: str,
    attempt: int,
    started_at: datetime | None,
    ended_at: datetime,
    outcome: str,
    error: str | None = None,
) -> str:
    """The history with one more attempt that ended as `completed`, `failed` or `interrupted`."""
    entries = json.loads(history)
    entries.append(
        {
            "attempt": attempt,
            "started_at": started_at.isoformat() if started_at else None,
            "ended_at": ended_at.isoformat(),
            "outcome": outcome,
            "error": json.loads(error) if error else None,
        }
    )
    return json.dumps(entries, separators=(",", ":"))


def failures(history: str) -> int:
    """How many attempts of a history failed by themselves."""
    return sum(entry["outcome"] == "failed" for entry in json.loads(history))


def details(workflow_id: UUID, number: int) -> str | None:
    """What an attempt at a step said last by `heartbeat()`, as JSON text."""
    found = Step.objects.using(alias()).filter(workflow_id=workflow_id, number=number)
    return found.values_list("details_text", flat=True).first()


def report(workflow_id: UUID, number: int, attempt: int, text: str) -> bool:
    """Write what a running attempt says of itself. False: it is not the running attempt any more."""
    running = Step.objects.using(alias()).filter(
        workflow_id=workflow_id, number=number, attempts=attempt, state=StepState.RUNNING
    )
    return bool(running.update(details_text=text))


def interruptions(history: str) -> int:
    """How many attempts of a history were interrupted since one last ended by itself."""
    count = 0
    for entry in reversed(json.loads(history)):
        if entry["outcome"] != "interrupted":
            break
        count += 1
    return count
