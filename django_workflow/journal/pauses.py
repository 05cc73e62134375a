"""Pauses: all turns and steps of one cluster, or of all, are held; starts and events are still taken.

What is held is never claimed: it stands in the WHERE of every claim (R7). A turn that is under way looks between
two bodies, at once when this process has changed a pause, else every so often.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q

from django_workflow.journal.clock import Now, monotonic
from django_workflow.journal.database import alias, atomic, retrying
from django_workflow.models import Pause

LOOK_SECONDS = 0.25  # between two looks of a turn that runs long

_changes = 0  # made by this process


@retrying
def pause(reason: str, clusters: Iterable[str | None]) -> None:
    """Hold clusters, or all (None)."""
    global _changes
    with atomic():
        for cluster in clusters:
            Pause.objects.using(alias()).update_or_create(
                name=_name(cluster), defaults={"cluster": cluster, "reason": reason, "since": Now()}
            )
    _changes += 1


@retrying
def resume(clusters: Iterable[str | None]) -> bool:
    """Let them go on. True iff one was held."""
    global _changes
    _changes += 1
    names = [_name(cluster) for cluster in clusters]
    return bool(Pause.objects.using(alias()).filter(name__in=names).delete()[0])


def reason(cluster: str) -> str | None:
    """Why this cluster is held; None when it is not."""
    found = Pause.objects.using(alias()).filter(Q(cluster=None) | Q(cluster=cluster))
    return next((row.reason for row in found if row.cluster in (None, cluster)), None)


def changes() -> int:
    """A number that is another one when this process has paused or resumed something since."""
    return _changes


def condition(here: BaseDatabaseWrapper, column: str) -> str:
    """SQL that is true for rows whose cluster (in `column`) is not held."""
    table = here.ops.quote_name(Pause._meta.db_table)
    return f"NOT EXISTS (SELECT 1 FROM {table} p WHERE p.cluster IS NULL OR p.cluster = {column})"


def _name(cluster: str | None) -> str:
    return "all" if cluster is None else f"cluster:{cluster}"


class Watch:
    """Whether a turn of `cluster` is to stop before its next body."""

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster
        self._seen = _changes
        self._look_at = monotonic() + LOOK_SECONDS

    def holds(self) -> bool:
        """True once the cluster is held."""
        if self._seen == _changes and monotonic() < self._look_at:
            return False
        self._seen, self._look_at = _changes, monotonic() + LOOK_SECONDS
        return reason(self._cluster) is not None
