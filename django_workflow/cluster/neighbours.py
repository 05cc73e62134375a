"""The processes of this host, as the ticker sees them: who is dead, who is first, without a statement of SQL.

Their rows are read again only when a look says that some came or went; whether they live, the kernel says.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django_workflow.journal import processes
from django_workflow.models import Process


class Neighbours:
    """The registered processes of this host, of all clusters."""

    def __init__(self) -> None:
        self._rows: list[Process] = []
        self._version: tuple[int, datetime | None] | None = None
        self._buried: set[UUID] = set()

    def refresh(self, version: tuple[int, datetime | None]) -> None:
        """Read the rows if they aren't those of `version` (`Look.processes`)."""
        if version != self._version:
            self._rows = processes.on_this_host()
            self._version = version

    def bury_the_dead(self) -> int:
        """Make what dead processes leased due now, and forget them; returns how many rows became due."""
        freed = 0
        for row in [row for row in self._rows if processes.is_dead(row)]:
            freed += processes.release_dead(row)
            self._buried.add(row.id)
            self._rows.remove(row)
        return freed

    def has_died(self, process_id: UUID) -> bool:
        """True iff this process ran on this host and certainly lives no more."""
        return process_id in self._buried or any(
            row.id == process_id and processes.is_dead(row) for row in self._rows
        )

    def is_first(self, cluster: str) -> bool:
        """True iff no live worker of this cluster on this host has a lower pid than this process."""
        mine = processes.identity().pid
        return not any(
            row.cluster == cluster and row.pid < mine and not processes.is_dead(row) for row in self._rows
        )

    def who_glance(self, cluster: str) -> int:
        """How many workers of this cluster on this host watch nothing and only glance now and then; 1 at least."""
        return max(1, sum(row.cluster == cluster for row in self._rows) - 1)
