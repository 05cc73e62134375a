"""How the workflows of each definition do, from the newest rows only.

Rules of this file: it only reads. What the table holds changes no number of statements: three, and one for each name.
None of them reads more than `REACH` entries of an index, so that numbers at that limit are lower bounds, and say so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_workflow.admin.filters import STATES
from django_workflow.admin.reach import REACH
from django_workflow.states import WorkflowState
from django_workflow.windows.spans import span

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from django_workflow.handler.definition import WorkflowDefinition
    from django_workflow.models import Workflow

RECENT = timedelta(hours=24)
SAMPLED = 200  # finished workflows of a name

Key = tuple[str, int]  # name and version


@dataclass(frozen=True)
class Row:
    """One definition."""

    definition: WorkflowDefinition[Any, Any]
    recent: tuple[tuple[str, Any, int], ...]  # of the last 24 hours: state, its word, how many
    opened: int  # in progress
    median: str  # of the sample; "" without one
    slow: str  # 95 of 100 took no longer

    @property
    def name(self) -> str:
        """Of the definition, which a template would call."""
        return self.definition.name

    @property
    def version(self) -> int:
        """The same."""
        return self.definition.version

    @property
    def options(self) -> list[str]:
        """What the definition says of itself, where it says anything."""
        each, manager = self.definition, self.definition.manager
        retry = each.action_retry
        said = [
            (_("timeout"), each.timeout and span(timedelta(seconds=each.timeout))),
            (_("retry"), retry and _attempts(retry.max_attempts)),
            (_("pool"), manager.max_parallelism is not None and f"{manager.name}, {manager.max_parallelism}"),
            (_("cluster"), manager.cluster),
            (_("API"), each.api and _("may be started over HTTP")),
            (_("redacted"), ", ".join(each.redact)),
        ]
        return [f"{name}: {value}" for name, value in said if value]


@dataclass(frozen=True)
class Unknown:
    """Workflows in progress that no code here can go on with."""

    name: str
    version: int
    opened: int


@dataclass(frozen=True)
class Tally:
    """All definitions."""

    rows: tuple[Row, ...]
    unknown: tuple[Unknown, ...]
    recent_cut: bool  # there are more workflows of the last 24 hours than were counted
    opened_cut: bool  # there are more in progress than were counted


def tally(
    definitions: Iterable[WorkflowDefinition[Any, Any]], seen: QuerySet[Workflow], now: datetime
) -> Tally:
    """Count what the newest of the rows that are seen say of these definitions, and find what isn't among them."""
    known = {(each.name, each.version): each for each in definitions}
    recent = _counted(seen.filter(created_at__gte=now - RECENT), "definition", "version", "state")
    opened = _counted(seen.filter(state=WorkflowState.IN_PROGRESS), "definition", "version")
    took = _durations({name for name, version in known}, seen)
    rows = [
        Row(
            definition,
            tuple(
                (state, word, recent[*key, state]) for state, word in STATES.items() if recent[*key, state]
            ),
            opened[key],
            _percentile(took.get(key, []), 50),
            _percentile(took.get(key, []), 95),
        )
        for key, definition in known.items()
    ]
    unknown = [
        Unknown(name, version, count)
        for (name, version), count in sorted(opened.items())
        if (name, version) not in known
    ]
    return Tally(tuple(rows), tuple(unknown), recent.total() >= REACH, opened.total() >= REACH)


def _attempts(count: int) -> str:
    return ngettext("%(n)s attempt", "%(n)s attempts", count) % {"n": count}


def _counted(rows: QuerySet[Workflow], *by: str) -> Counter[tuple[Any, ...]]:
    # Counted here: asked for groups, PostgreSQL may read all rows, however few of them are to be counted.
    return Counter(rows.order_by("-created_at", "-id").values_list(*by)[:REACH])


def _durations(names: Iterable[str], seen: QuerySet[Workflow]) -> dict[Key, list[timedelta]]:
    """What the newest completed workflows of each name took."""
    took: dict[Key, list[timedelta]] = {}
    for name in sorted(names):
        sample = seen.filter(definition=name, state=WorkflowState.COMPLETED).order_by("-created_at")
        columns = sample.values_list("version", "started_at", "completed_at")[:SAMPLED]
        for version, started_at, completed_at in columns:
            if started_at is not None and completed_at is not None:
                took.setdefault((name, version), []).append(completed_at - started_at)
    return took


def _percentile(durations: list[timedelta], percent: int) -> str:
    """By the nearest rank."""
    if not durations:
        return ""
    return span(sorted(durations)[math.ceil(len(durations) * percent / 100) - 1])
