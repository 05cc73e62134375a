"""The journal of a workflow as the detail page shows it: a page of rows with their bars, and one step with all of it.

Rules of this file: it reads rows, in as many statements for three steps as for two hundred; the values of steps are
read on the page of a step only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.core.paginator import Page, Paginator
from django.utils.dateparse import parse_datetime
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from django_workflow.admin.addresses import Addresses
from django_workflow.admin.icons import PATHS, icon
from django_workflow.admin.timeline import Attempt, Row, StepFacts, timeline
from django_workflow.exceptions import ErrorInfo
from django_workflow.models import Process, Step, Workflow
from django_workflow.states import StepKind, StepState
from django_workflow.windows.spans import span
from django_workflow.windows.values import ShownError, Values, printable
from django_workflow.windows.waits import cut

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.utils.safestring import SafeString

    StepPage = Page[Step]
else:
    StepPage = Page

PAGE: Final = 200  # steps

# What only the page of a step shows.
HEAVY: Final = ("args_text", "result_text", "details_text")

WORDS: Final[dict[str, str | Promise]] = {
    "pending": _("pending"),
    "running": _("running"),
    "completed": _("completed"),
    "failed": _("failed"),
    "canceled": _("canceled"),
    "interrupted": _("interrupted"),
    "query": _("query"),
    "mutation": _("mutation"),
    "action": _("action"),
    "sleep": _("sleep"),
    "event": _("event"),
    "workflow": _("workflow"),
    "marker": _("marker"),
    "rollback": _("rollback"),
}
MARKS: Final = {"pending": "waiting", "interrupted": "failed"}


@dataclass(frozen=True)
class ShownRow:
    """A row of the timeline with its texts."""

    row: Row
    kind: str | Promise
    state: ShownState
    start: str
    waited: str
    took: str
    error: str
    url: str
    child_url: str | None


@dataclass(frozen=True)
class ShownState:
    """A state: an icon and a word."""

    name: str
    word: str | Promise

    @property
    def icon(self) -> SafeString:
        """The icon."""
        mark = MARKS.get(self.name, self.name)
        return icon(mark if mark in PATHS else "waiting")


@dataclass(frozen=True)
class ShownJournal:
    """One page of the journal."""

    page: StepPage
    rows: list[ShownRow]
    bands: tuple[tuple[int, int], ...]
    executing: timedelta | None  # None: this page is not all of it
    last: int  # the number of the last step of the page; 0: it has none


@dataclass(frozen=True)
class ShownAttempt:
    """One attempt that ended."""

    number: int
    state: ShownState
    started_at: datetime | None
    took: str
    error: ShownError | None


def journal(
    run: Workflow,
    values: Values,
    now: datetime,
    page: str | None,
    seen: QuerySet[Workflow],
    addresses: Addresses,
) -> ShownJournal:
    """A page of the journal. Three statements.

    Args:
        run: whose journal.
        values: how errors are shown.
        now: up to where is drawn what has not ended.
        page: its number as somebody wrote it; what is none counts as the first, or the last.
        seen: the workflows that the reader sees, for links to children.
        addresses: of the pages that rows link to.

    """
    rows = Step.objects.using(run._state.db).filter(workflow_id=run.pk).order_by("number").defer(*HEAVY)
    shown = Paginator(rows, PAGE).get_page(page)
    steps = list(shown.object_list)
    children = seen.filter(parent_step__in=[step.pk for step in steps]).order_by()
    child_of = dict(children.values_list("parent_step__number", "pk"))
    found = timeline([facts(step, values) for step in steps], now, run.started_at)
    return ShownJournal(
        page=shown,
        rows=[_shown(row, run, child_of.get(row.number), addresses) for row in found.rows],
        bands=found.bands,
        executing=found.executing if shown.paginator.num_pages == 1 else None,
        last=steps[-1].number if steps else 0,
    )


def _shown(row: Row, run: Workflow, child: UUID | None, addresses: Addresses) -> ShownRow:
    return ShownRow(
        row=row,
        kind=WORDS[row.kind],
        state=state_of(row.state),
        start="" if row.start is None else f"+{_rounded(row.start)}",
        waited="" if row.waited is None else _rounded(row.waited),
        took="" if row.took is None else _rounded(row.took),
        error=cut(row.error),
        url=addresses.step(run.pk, row.number),
        child_url=None if child is None else addresses.workflow(child),
    )


def _rounded(of: timedelta) -> str:
    # A sleep's row is written a little after the sleep began: one of 30 days is not one of 29 days and 23 hours.
    return span(of if of < timedelta(seconds=10) else timedelta(seconds=round(of.total_seconds())))


def state_of(name: str) -> ShownState:
    """How a state, or the outcome of an attempt, is shown."""
    return ShownState(name, WORDS.get(name, name))


def facts(step: Step, values: Values) -> StepFacts:
    """What the timeline is made of."""
    return StepFacts(
        number=step.number,
        name=printable(step.name),
        kind=StepKind(step.kind),
        state=StepState(step.state),
        created_at=step.created_at,
        started_at=step.started_at,
        completed_at=step.completed_at,
        due_at=step.due_at,
        attempts=step.attempts,
        history=tuple(
            Attempt(
                number=entry["attempt"],
                started_at=_moment(entry.get("started_at")),
                ended_at=_moment(entry.get("ended_at")),
                outcome=entry["outcome"],
                error=_line_of(_error_of(entry, values)),
            )
            for entry in step.history
        ),
        error=_line_of(values.error(step.error)),
    )


def attempts(step: Step, values: Values) -> list[ShownAttempt]:
    """The attempts at a step that ended."""
    found = []
    for entry in step.history:
        start, end = _moment(entry.get("started_at")), _moment(entry.get("ended_at"))
        found.append(
            ShownAttempt(
                number=entry["attempt"],
                state=state_of(entry["outcome"]),
                started_at=start,
                took=span(end - start) if start is not None and end is not None else "",
                error=_error_of(entry, values),
            )
        )
    return found


def holder(token: str | None, using: str | None) -> str | None:
    """Which process has the lease with this token, as `host:pid`; None where nobody knows. One statement."""
    try:
        found = UUID((token or "").partition(":")[0])
    except ValueError:
        return None
    process = Process.objects.using(using).filter(pk=found).first()
    return None if process is None else str(process)


def _line_of(error: ShownError | None) -> str:
    return "" if error is None else error.short


def _moment(text: str | None) -> datetime | None:
    return parse_datetime(text) if text else None


def _error_of(entry: dict[str, Any], values: Values) -> ShownError | None:
    stored = entry.get("error")
    if not stored:
        return None
    info = ErrorInfo(
        stored["type"], stored.get("message", ""), stored.get("traceback", ""), stored.get("step")
    )
    return values.error(info)
