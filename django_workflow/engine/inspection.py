"""Workflows of the database held against the code of this process, one or all of them.

Rules of this file: it reads, in pages by primary key and in batches of journals, so that memory stays flat however many
there are. Workers go on meanwhile: what seems to break is read once more, and counts if its row is the same still.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from uuid import UUID

from django_workflow.engine import golden
from django_workflow.engine.rehearsal import Life, verdict
from django_workflow.handler.commands import Recorded
from django_workflow.journal import steps
from django_workflow.journal.database import alias
from django_workflow.models import Workflow
from django_workflow.states import WorkflowState
from django_workflow.verdict import Breaks, Verdict

# Ids in one page. Few pages: a database that sorts all workflows in progress for each of them does it seldom.
PAGE = 10_000
BATCH = 100  # journals in memory at once
AGAIN = 5  # how often one is read again that changes while it is looked at


def check(workflow_id: UUID) -> Verdict | None:
    """Whether the code fits this workflow. None: there is no such workflow."""
    found = lives([workflow_id])
    return _confirmed(found[0], steps.load([workflow_id])) if found else None


def check_all(definition: str | None, limit: int | None) -> Iterator[Verdict]:
    """The same for workflows in progress, the oldest first; of one definition, at most so many."""
    ids = _in_progress(definition)
    if limit is not None:
        ids = islice(ids, limit)
    while batch := list(islice(ids, BATCH)):
        journals = steps.load(batch)
        for life in lives(batch):
            if not life.finished and (found := _confirmed(life, journals)) is not None:
                yield found


def export(workflow_id: UUID, *, with_secrets: bool) -> str | None:
    """The golden journal of a workflow, as text. None: there is no such workflow."""
    found = lives([workflow_id])
    journal: Sequence[Recorded] = ()
    for _ in range(AGAIN):
        journal = steps.load([workflow_id]).get(workflow_id, [])
        before, found = found, lives([workflow_id])
        if before == found:
            break
    return golden.write(found[0], journal, with_secrets=with_secrets) if found else None


def lives(workflow_ids: Iterable[UUID]) -> list[Life]:
    """What a replay has to know of these workflows, by their ids."""
    rows = Workflow.objects.using(alias()).filter(id__in=list(workflow_ids)).order_by("id")
    return [Life(*columns) for columns in rows.values_list(*Life._fields)]


def _in_progress(definition: str | None) -> Iterator[UUID]:
    rows = Workflow.objects.using(alias()).filter(state=WorkflowState.IN_PROGRESS)
    if definition is not None:
        rows = rows.filter(definition=definition)
    ids = rows.order_by("id").values_list("id", flat=True)
    page = list(ids[:PAGE])
    while page:
        yield from page
        page = list(ids.filter(id__gt=page[-1])[:PAGE])


def _confirmed(life: Life, journals: Mapping[UUID, Sequence[Recorded]]) -> Verdict | None:
    """A break that is none of a row and a journal of different moments. None: it is gone, or has finished meanwhile."""
    found = verdict(life, journals.get(life.id, ()))
    for _ in range(AGAIN):
        if not isinstance(found, Breaks):
            break
        now = lives([life.id])
        if now == [life]:
            break
        if not now or (now[0].finished and not life.finished):
            return None
        life = now[0]
        found = verdict(life, steps.load([life.id]).get(life.id, ()))
    return found
