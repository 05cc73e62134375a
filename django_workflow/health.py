"""What `WorkflowManager.health()` returns: whether work gets done, and what stands in its way. Frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class ClusterHealth:
    """A cluster with at least one live worker."""

    name: str  # as django-q2 names it
    workers: int  # processes that gave a sign of life lately
    busy: int  # of them, those that hold a lease now


@dataclass(frozen=True)
class PauseHealth:
    """A pause that holds."""

    cluster: str | None  # None: all clusters
    reason: str


@dataclass(frozen=True)
class Health:
    """How things stand, by the database's clock."""

    oldest_due: timedelta | None  # for how long the oldest due work has waited; None: nothing is due
    ticker_seen: timedelta | None  # since a ticker last renewed its lead; None: no ticker leads
    clusters: tuple[ClusterHealth, ...] = ()
    unknown: tuple[tuple[str, int], ...] = ()  # (definition, version) of due work that no live worker knows
    pauses: tuple[PauseHealth, ...] = ()
    patience: timedelta = timedelta(minutes=1)  # due work that waits longer is a problem

    @property
    def ok(self) -> bool:
        """True iff nothing due has waited too long (of what is not paused) and a ticker leads."""
        return not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, a sentence each."""
        found = []
        if self.ticker_seen is None:
            found.append("no ticker leads: is a cluster running?")
        if self.oldest_due is not None and self.oldest_due > self.patience and not self.pauses:
            found.append(f"due work has waited for {round(self.oldest_due.total_seconds())} s")
        found += [
            f"no live worker knows {definition!r} v{version}: restart qcluster?"
            for definition, version in self.unknown
        ]
        return tuple(found)
