"""What somebody ought to look at: four selections of workflows, each by a short stretch of an index, and their counts.

Rules of this file: it only reads, and no count reads more than `COUNTED` rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from django_workflow.models import Attention
from django_workflow.states import WorkflowState

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from django_workflow.models import Workflow

    Rows = QuerySet[Workflow]

COUNTED = 100
RECENT = timedelta(hours=24)
PATIENCE = timedelta(minutes=1)


@dataclass(frozen=True)
class Concern:
    """A reason to look at workflows."""

    slug: str  # in addresses
    label: str | Promise
    select: Callable[[Rows, datetime], Rows]  # by the time now


@dataclass(frozen=True)
class Counted:
    """How many workflows a concern is about."""

    concern: Concern
    count: int  # `COUNTED` + 1 stands for more

    @property
    def shown(self) -> str:
        """The number as text."""
        return str(self.count) if self.count <= COUNTED else f"{COUNTED}+"


def _failed(rows: Rows, now: datetime) -> Rows:
    return rows.filter(state=WorkflowState.FAILED, completed_at__gte=now - RECENT)


def _paused(rows: Rows, now: datetime) -> Rows:
    return rows.filter(attention=Attention.PAUSED)


def _due(rows: Rows, now: datetime) -> Rows:
    return rows.filter(due_at__lt=now - PATIENCE)


def _on_complete(rows: Rows, now: datetime) -> Rows:
    return rows.filter(attention=Attention.ON_COMPLETE)


CONCERNS = (
    Concern("failed", _("failed (24 h)"), _failed),
    Concern("paused", Attention.PAUSED.label, _paused),
    Concern("due", _("due for > 1 min"), _due),
    Concern("on_complete", Attention.ON_COMPLETE.label, _on_complete),
)


def concern(slug: str) -> Concern | None:
    """The concern with this slug, or None."""
    return next((each for each in CONCERNS if each.slug == slug), None)


def counts(rows: Rows, now: datetime) -> list[Counted]:
    """The concerns that are about any workflow. One statement each."""
    found = [
        Counted(each, each.select(rows, now).order_by().values("pk")[: COUNTED + 1].count())
        for each in CONCERNS
    ]
    return [each for each in found if each.count]
