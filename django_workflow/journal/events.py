"""The rows of events: sent under the workflow's lock, taken by the turn that delivers them (P5).

Rules of this file: a sender updates the workflow's row before it inserts (R20), so that ids are in the order of the
commits and a turn that holds the row sees every event there is. What is taken keeps its row: its key still tells a
repetition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db.models import Q, Subquery

from django_workflow.conf import settings
from django_workflow.exceptions import LimitReached
from django_workflow.journal import wakes, workflows
from django_workflow.journal.clock import Now
from django_workflow.journal.database import alias, atomic, retrying
from django_workflow.keys import digest
from django_workflow.models import Event, Step, Workflow


class Sent(NamedTuple):
    """An event that no step has taken yet."""

    id: int
    name: str
    value: str | None  # JSON text; null iff it carries an error
    error: str | None
    sent_at: datetime


class Wait(NamedTuple):
    """A step that waits for an event."""

    number: int
    event: str
    until: datetime | None  # null: for ever


@retrying
def send(workflow_id: UUID, name: str, value: str | None, error: str | None, key: str | None) -> Event | None:
    """Insert an event and wake its workflow, in the caller's transaction.

    Returns:
        The event; the earlier one when the key repeats; None when the workflow is not in progress.

    Raises:
        LimitReached: too many events wait already.

    """
    with atomic():
        taken = workflows.wake(workflow_id)
        sent = Event.objects.using(alias()).filter(workflow_id=workflow_id)
        key_digest = None if key is None else digest(key)
        if key_digest is not None:
            # A repetition delivers nothing, so it is accepted of a workflow that has finished meanwhile, too.
            known = sent.filter(key_digest=key_digest).select_for_update().first()  # R21
            if known is not None:
                return known
        if not taken:
            return None
        limit = settings.PENDING_EVENT_LIMIT
        if sent.unconsumed().count() >= limit:
            raise LimitReached(
                f"workflow {workflow_id} has {limit} events that it has not taken, and with event {name!r}",
                f"PENDING_EVENT_LIMIT = {limit}",
                "let its handler wait for them (step.wait_for_event), or cancel it if it never will",
            )
        event = Event(
            workflow_id=workflow_id,
            name=name,
            value_text=value,
            error_text=error,
            key=key,
            key_digest=key_digest,
            sent_at=Now(),
        )
        event.save(using=alias(), force_insert=True)
        event.__dict__.pop("sent_at", None)  # the database made it: whoever asks gets it from there
        cluster = Workflow.objects.using(alias()).values_list("cluster", flat=True).get(id=workflow_id)
        wakes.ask(cluster)
        return event


def unconsumed(workflow_id: UUID) -> list[Sent]:
    """The events that wait for a step, first sent first."""
    rows = Event.objects.using(alias()).filter(workflow_id=workflow_id).unconsumed().order_by("id")
    return [Sent(*row) for row in rows.values_list("id", "name", "value_text", "error_text", "sent_at")]


def match(waits: Iterable[Wait], sent: Iterable[Sent]) -> dict[int, Sent]:
    """Which waiting step gets which event: the first wait the first event of its name that was sent in time (R16)."""
    left = list(sent)
    matches: dict[int, Sent] = {}
    for wait in waits:
        for event in left:
            if event.name == wait.event and (wait.until is None or event.sent_at <= wait.until):
                matches[wait.number] = event
                left.remove(event)
                break
    return matches


def consume(workflow_id: UUID, number: int, event_id: int) -> bool:
    """A step takes an event, in the transaction that settles the step. False: somebody else has."""
    step = Step.objects.using(alias()).filter(workflow_id=workflow_id, number=number)
    free = Event.objects.using(alias()).filter(id=event_id, workflow_id=workflow_id).unconsumed()
    return bool(free.update(consumed_at=Now(), consumed_by=Subquery(step.values("id")[:1])))


def came_in_time(workflow_id: UUID, waits: Sequence[Wait], taken: Iterable[int]) -> bool:
    """Whether an event is there, after all, for a wait that a turn has given up for its timeout.

    Asked behind the turn's fence: whoever sends holds the row that the turn holds now, so no event is on its way.
    """
    rows = Event.objects.using(alias()).filter(workflow_id=workflow_id).unconsumed()
    rows = rows.exclude(id__in=list(taken)).select_for_update()  # R21
    # Compared here: a database may take names for equal that differ in case, and SQLite compares times as texts, of
    # which the same moment has several.
    return any(
        name == wait.event and (wait.until is None or sent_at <= wait.until)
        for name, sent_at in rows.values_list("name", "sent_at")
        for wait in waits
    )


def give_back(workflow_id: UUID, step_ids: Sequence[int]) -> None:
    """What steps that are dropped had taken is there again, in its order (R28)."""
    Event.objects.using(alias()).filter(workflow_id=workflow_id, consumed_by__in=step_ids).update(
        consumed_at=None, consumed_by=None
    )


def detach(workflow_id: UUID) -> None:
    """The steps that had taken events are dropped, and the events stay taken."""
    Event.objects.using(alias()).filter(workflow_id=workflow_id).exclude(consumed_at=None).update(
        consumed_by=None
    )


def copy(workflow_id: UUID, to: UUID, dropped: Sequence[int]) -> None:
    """For a fork: what nobody has taken, and what steps had taken that the fork doesn't have, in order (R28)."""
    rows = Event.objects.using(alias()).filter(workflow_id=workflow_id)
    rows = rows.filter(Q(consumed_at=None) | Q(consumed_by__in=dropped)).order_by("id")
    Event.objects.using(alias()).bulk_create(
        [
            Event(
                workflow_id=to,
                name=row.name,
                value_text=row.value_text,
                error_text=row.error_text,
                key=row.key,
                key_digest=row.key_digest,
                sent_at=row.sent_at,
            )
            for row in rows
        ]
    )
