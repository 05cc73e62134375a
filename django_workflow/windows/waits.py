"""What a workflow in a list is doing, in a few words, and the mark that goes with them. Pure.

Rules of this file: it says what rows say; it shows no argument and no value, and of an error its type and message.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_workflow.states import StepKind, StepState, WorkflowState
from django_workflow.windows.spans import day_or_time

if TYPE_CHECKING:
    from django_workflow.exceptions import ErrorInfo
    from django_workflow.health import PauseHealth
    from django_workflow.models import Workflow

TEXT_LIMIT = 100


class Wait(NamedTuple):
    """The first step of a workflow that has not settled, and how many there are."""

    name: str
    kind: str
    state: str
    attempts: int
    created_at: datetime
    due_at: datetime | None
    unsettled: int


@dataclass(frozen=True)
class Doing:
    """The state as a list shows it."""

    mark: str  # completed, failed, canceled, canceling, paused, waiting or running: icon and colour
    word: str
    detail: str = ""


def doing(run: Workflow, wait: Wait | None, pauses: Iterable[PauseHealth], now: datetime) -> Doing:
    """What this workflow is doing now."""
    match WorkflowState(run.state):
        case WorkflowState.COMPLETED:
            return Doing("completed", _("completed"))
        case WorkflowState.FAILED:
            return Doing("failed", _("failed"), _told(run.error))
        case WorkflowState.CANCELED:
            return Doing("canceled", _("canceled"), cut(run.reason))
    return _in_progress(run, wait, pauses, now)


def _in_progress(run: Workflow, wait: Wait | None, pauses: Iterable[PauseHealth], now: datetime) -> Doing:
    held = run.paused if run.paused is not None else reason_to_hold(run.cluster, pauses)
    if held is not None:
        return Doing("paused", _("paused"), cut(held))
    if run.ending is not None:
        return Doing("canceling", _("canceling"), cut(run.reason))
    if run.started_at is None:
        if run.due_at is not None and run.due_at > now and run.lease_owner is None:
            return Doing("waiting", _("starts at %(moment)s") % {"moment": day_or_time(run.due_at, now)})
        return Doing("waiting", _("waiting for its first turn"))
    if wait is None:
        return Doing("running", _("running"))
    return _and_more(_waiting(wait, now), wait.unsettled - 1)


def _waiting(wait: Wait, now: datetime) -> Doing:
    name = cut(wait.name)
    match StepKind(wait.kind):
        case StepKind.EVENT:
            facts = {"name": name, "since": day_or_time(wait.created_at, now)}
            return Doing("waiting", _('waiting for event "%(name)s" since %(since)s') % facts)
        case StepKind.SLEEP if wait.due_at is not None:
            return Doing(
                "waiting", _("sleeping until %(moment)s") % {"moment": day_or_time(wait.due_at, now)}
            )
        case StepKind.WORKFLOW:
            return Doing("waiting", _('waiting for workflow "%(name)s"') % {"name": name})
    if wait.state == StepState.RUNNING:
        return Doing("running", _('running "%(name)s"') % {"name": name})
    if wait.attempts:
        facts = {"name": name, "attempt": str(wait.attempts + 1)}
        return Doing("waiting", _('waiting for attempt %(attempt)s of "%(name)s"') % facts)
    return Doing("waiting", _('waiting to run "%(name)s"') % {"name": name})


def _and_more(said: Doing, others: int) -> Doing:
    if others < 1:
        return said
    more = ngettext("and %(n)s more step", "and %(n)s more steps", others) % {"n": others}
    return Doing(said.mark, f"{said.word} {more}", said.detail)


def reason_to_hold(cluster: str, pauses: Iterable[PauseHealth]) -> str | None:
    """Why this cluster is held; None when it is not."""
    return next((pause.reason for pause in pauses if pause.cluster in (None, cluster)), None)


def _told(error: ErrorInfo | None) -> str:
    if error is None:
        return ""
    kind = error.type.rpartition(".")[2]
    return cut(f"{kind}: {error.message}" if error.message else kind)


def cut(text: str) -> str:
    """One line of a text, of a length that a row has room for."""
    line = " ".join(text[: 10 * TEXT_LIMIT].split())
    return line if len(line) <= TEXT_LIMIT else line[: TEXT_LIMIT - 1] + "…"
