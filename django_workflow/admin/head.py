"""The head of a workflow's page: what it is, what it is doing, how far it is, and which buttons it has.

Rules of this file: it reads and words; whether a verb is possible is for its deed to say, who may do it for the
permissions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_workflow.admin.addresses import Addresses
from django_workflow.admin.buttons import Button, buttons
from django_workflow.admin.icons import icon
from django_workflow.admin.steps import HEAVY, holder
from django_workflow.health import PauseHealth
from django_workflow.models import Pause, Step, Workflow
from django_workflow.states import StepKind
from django_workflow.windows.spans import ago, in_full, span
from django_workflow.windows.values import Values, printable
from django_workflow.windows.waits import Doing, Wait, doing

if TYPE_CHECKING:
    from django.utils.safestring import SafeString

CHILDREN: Final = 20  # of the children, the newest so many
NUMBER_LIMIT: Final = 10**15  # of a progress bar

STATES: Final[dict[str, str | Promise]] = {
    "in_progress": gettext_lazy("in progress"),
    "completed": gettext_lazy("completed"),
    "failed": gettext_lazy("failed"),
    "canceled": gettext_lazy("canceled"),
}


@dataclass(frozen=True)
class Fact:
    """A line of the head."""

    name: str
    text: str
    url: str | None = None


@dataclass(frozen=True)
class Progress:
    """A custom status that says how far it is; as texts that HTML takes."""

    done: str
    of: str


@dataclass(frozen=True)
class Child:
    """A child of the workflow."""

    id: str
    definition: str
    state: str | Promise
    icon: SafeString
    created_at: datetime
    url: str


@dataclass(frozen=True)
class Head:
    """What stands above the timeline."""

    state: Doing
    icon: SafeString
    until: str  # when the event that it waits for times out
    facts: list[Fact]
    progress: Progress | None
    buttons: list[Button]


def head(
    request: HttpRequest,
    run: Workflow,
    values: Values,
    now: datetime,
    executing: timedelta | None,
    children: int,
    parent: UUID | None,
    addresses: Addresses,
) -> Head:
    """The head of a workflow's page. No statement for one that has ended, four at most for one that has not.

    Args:
        request: of whom the page is for.
        run: the workflow.
        values: how values are shown.
        now: for what is told as an age.
        executing: how long its steps ran, where that is known.
        children: how many of them the reader sees.
        parent: its parent, where the reader sees it.
        addresses: of the pages that it links to.

    """
    wait, token = (None, None) if run.finished else _first_wait(run)
    pauses = [] if run.finished else _pauses(run)
    state = doing(run, wait, pauses, now)
    return Head(
        state=state,
        icon=icon(state.mark),
        until=_until(wait, now),
        facts=[
            *_identity(run, values),
            *_times(run, now, executing),
            *_whereabouts(run, token or run.lease_owner, now),
            *_family(parent, children, addresses),
        ],
        progress=progress(values.masked(run.custom)),
        buttons=buttons(request.user, run, addresses),
    )


def _first_wait(run: Workflow) -> tuple[Wait | None, str | None]:
    """The first step that has not settled, and who runs it."""
    rows = Step.objects.using(run._state.db).filter(workflow_id=run.pk).unsettled()
    first = rows.order_by("number").defer(*HEAVY).first()
    if first is None:
        return None, None
    about = (first.name, first.kind, first.state, first.attempts, first.created_at, first.due_at)
    return Wait(*about, rows.count()), first.lease_owner


def _pauses(run: Workflow) -> list[PauseHealth]:
    return [PauseHealth(row.cluster, row.reason) for row in Pause.objects.using(run._state.db).all()]


def _until(wait: Wait | None, now: datetime) -> str:
    if wait is None or wait.kind != StepKind.EVENT or wait.due_at is None:
        return ""
    return _("times out %(moment)s") % {"moment": ago(wait.due_at, now)}


# ── facts ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _identity(run: Workflow, values: Values) -> list[Fact]:
    found = [Fact(_("ID"), str(run.pk))]
    if run.key is not None:
        found.append(Fact(_("Key"), printable(run.key)))
    if run.labels:
        found.append(Fact(_("Labels"), ", ".join(values.labels(run.labels))))
    found.append(Fact(_("Version"), str(run.version)))
    found.append(Fact(_("Cluster"), run.cluster or _("default")))
    found.append(Fact(_("Priority"), str(run.priority)))
    return found


def _times(run: Workflow, now: datetime, executing: timedelta | None) -> list[Fact]:
    found = [Fact(_("Created"), _moment(run.created_at, now))]
    if run.started_at is not None:
        found.append(Fact(_("Started"), _moment(run.started_at, now)))
        took = span((run.completed_at or now) - run.started_at)
        if executing is not None:
            facts = {"took": took, "executing": span(executing)}
            took = _("%(took)s (%(executing)s executing)") % facts
        found.append(Fact(_("Took") if run.finished else _("Runs for"), took))
    if run.completed_at is not None:
        found.append(Fact(_("Ended"), _moment(run.completed_at, now)))
    return found


def _whereabouts(run: Workflow, token: str | None, now: datetime) -> list[Fact]:
    found = []
    if run.finished:
        if run.reason:
            found.append(Fact(_("Reason"), printable(run.reason)))
        return found
    if run.ending is not None:
        found.append(Fact(_("Canceling"), _("Its rollbacks run; then it is %s.") % STATES[run.ending]))
    if run.reason:
        found.append(Fact(_("Reason"), printable(run.reason)))
    if token is not None:
        found.append(Fact(_("Worker"), holder(token, run._state.db) or _("unknown")))
    elif run.due_at is not None:
        found.append(Fact(_("Due"), _moment(run.due_at, now)))
    if run.deadline_at is not None:
        found.append(Fact(_("Deadline"), _moment(run.deadline_at, now)))
    return found


def _family(parent: UUID | None, children: int, addresses: Addresses) -> list[Fact]:
    found = []
    if parent is not None:
        found.append(Fact(_("Parent"), str(parent), addresses.workflow(parent)))
    if children:
        counted = ngettext("%(n)s child", "%(n)s children", children) % {"n": children}
        found.append(Fact(_("Children"), counted, "#children"))
    return found


def _moment(moment: datetime, now: datetime) -> str:
    return f"{in_full(moment)} ({ago(moment, now)})"


# ── progress, children ──────────────────────────────────────────────────────────────────────────────────


def progress(custom: Any) -> Progress | None:
    """The bar of a custom status that has `done` and `of`; None where these are no numbers that make one."""
    if not isinstance(custom, dict):
        return None
    done, of = _number(custom.get("done")), _number(custom.get("of"))
    if done is None or of is None or of <= 0:
        return None
    return Progress(str(min(max(done, 0), of)), str(of))


def _number(value: Any) -> int | float | None:
    """A number that HTML takes, or None."""
    fits = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < NUMBER_LIMIT
    return value if fits else None  # infinity and NaN are no JSON, and don't fit


def children_of(run: Workflow, seen: QuerySet[Workflow]) -> QuerySet[Workflow]:
    """The children of a workflow among those that the reader sees, newest first, without their payloads."""
    columns = ("id", "definition", "state", "created_at")
    return seen.filter(parent_id=run.pk).order_by("-id").only(*columns)


def shown_child(child: Workflow, addresses: Addresses) -> Child:
    """A child as the page shows it."""
    mark = "running" if child.state == "in_progress" else child.state
    return Child(
        str(child.pk),
        child.definition,
        STATES[child.state],
        icon(mark),
        child.created_at,
        addresses.workflow(child.pk),
    )
