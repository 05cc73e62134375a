"""What happens to a release: a day is reserved, each document gets an identifier, somebody decides; all, or nothing.

Whatever a step leaves behind has a rollback: when the release is refused, or fails, or nobody decides in time, the
rollbacks run, the last step's first.
"""

import asyncio
import itertools
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError
from django.utils import timezone

from django_workflow import Canceled, Completed, Event, Failed, Retry, StepContext, action, mutation, workflow
from django_workflow.exceptions import ErrorInfo
from example_project.documents.models import Document
from example_project.publishing import agency
from example_project.publishing.models import Entry, Release

approved = Event("approved", bool)


class Refused(Exception):
    """Somebody has said no."""


# ── a day of its own ──────────────────────────────────────────────────────────────────────────────────────────────


@mutation(retry=Retry(on=IntegrityError))
def reserve_day(release_id: int) -> date:
    """Reserve the next free day. Of two releases that reach for it at once, one tries again and gets the day after."""
    taken = set(Release.objects.filter(day__isnull=False).values_list("day", flat=True))
    days = (timezone.localdate() + timedelta(days=ahead) for ahead in itertools.count(1))
    day = next(day for day in days if day not in taken)
    Release.objects.filter(pk=release_id).update(day=day)
    return day


@mutation
def give_back_day(error: ErrorInfo | None, day: date | None, release_id: int) -> None:
    """Undo `reserve_day`."""
    Release.objects.filter(pk=release_id).update(day=None)


# ── an identifier for each document ───────────────────────────────────────────────────────────────────────────────


@action(retry=Retry(max_attempts=20, max_delay=10, on=agency.Busy))
def register(release_id: int, document_id: int) -> str:
    """Have the agency register the document; return its identifier."""
    return agency.register(reference(release_id, document_id), Document.objects.get(pk=document_id).title)


@action(retry=Retry(max_attempts=20, max_delay=10, on=agency.Busy))
def withdraw(error: ErrorInfo | None, identifier: str | None, release_id: int, document_id: int) -> None:
    """Undo `register`, and `prepare` as a whole. It may come twice, and before there is anything to undo."""
    Entry.objects.filter(release=release_id, document=document_id).delete()
    agency.withdraw(reference(release_id, document_id))


def reference(release_id: int, document_id: int) -> str:
    """What the agency knows a document of a release by. It is known before the agency has answered."""
    return f"{release_id}-{document_id}"


@mutation
def add_entry(release_id: int, document_id: int, identifier: str) -> None:
    """Take the document into the release."""
    Entry.objects.create(release_id=release_id, document_id=document_id, identifier=identifier)


@workflow.define
async def prepare(step: StepContext, release_id: int, document_id: int) -> str:
    """Prepare one document of a release; return its identifier."""
    identifier = await step.using(rollback=withdraw).run_action(register, release_id, document_id)
    await step.run_mutation(add_entry, release_id, document_id, identifier)
    return identifier


# ── the release ───────────────────────────────────────────────────────────────────────────────────────────────────


@mutation
def publish(release_id: int) -> None:
    """Let the release appear."""
    Release.objects.filter(pk=release_id).update(released_at=timezone.now())


@mutation
def keep_outcome(workflow_id: UUID, result: Completed | Failed | Canceled, context: Any) -> None:
    """Say in the release what came of it: once, since the transaction is that of the ending."""
    if isinstance(result, Completed):
        outcome = f"appears on {result.result}"
    elif isinstance(result, Failed):
        outcome = f"{result.error.type.rpartition('.')[2]}: {result.error.message}"
    else:
        outcome = f"canceled: {result.reason}"
    Release.objects.filter(workflow_id=workflow_id).update(outcome=outcome)


@workflow.define(on_complete=keep_outcome)
async def release_documents(
    step: StepContext, release_id: int, document_ids: list[int], decide_within: timedelta
) -> date:
    """Take a release to its approval and its publication; return the day on which it appears."""
    day = await step.using(rollback=give_back_day).run_mutation(reserve_day, release_id)

    step.set_status("prepares the documents")
    undoing = step.using(rollback=withdraw)
    children = [undoing.run_workflow(prepare, release_id, pk) for pk in document_ids]
    # Let all of them end, also when one fails: what is canceled in the middle has no rollback.
    for outcome in await asyncio.gather(*children, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome

    step.set_status("waits for approval")
    if not await step.wait_for_event(approved, timeout=decide_within):
        raise Refused("somebody has said no")

    await step.run_mutation(publish, release_id)
    step.set_status("released")
    return day
