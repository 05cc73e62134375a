"""The ticker's lead: a lease of two seconds that one process of a cluster holds at a time (R26).

Rules of this file: taking, keeping and giving back are compare-and-set, in the database's time. Two leaders
at once do no harm (a wake-up is sent twice); none delays what the ticker guarantees.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db.models import Q

from django_workflow.journal import database
from django_workflow.journal.clock import Now
from django_workflow.models import Lease, Process

LEAD: Final = timedelta(seconds=2)


@dataclass(frozen=True)
class Leader:
    """Who holds a lead that has not run out; `process` is None when its row is gone."""

    owner: UUID
    process: Process | None


def lease_name(cluster: str) -> str:
    """The name of the lease for the lead of a cluster, as django-q2 names the cluster."""
    return f"ticker:{cluster}"[:100]


def try_lead(owner: UUID, cluster: str, instead_of: UUID | None = None) -> bool:
    """Take the lead or keep it, until two seconds from now; False: somebody else has it. One statement.

    Args:
        owner: the `Process` that is to lead.
        cluster: the cluster to lead, as django-q2 names it.
        instead_of: a leader that is known to be dead.
    """
    if _take(owner, cluster, instead_of):
        return True
    rows = Lease.objects.using(database.alias())
    if rows.filter(name=lease_name(cluster)).exists():
        return False
    rows.bulk_create([Lease(name=lease_name(cluster), owner=None, expires_at=Now())], ignore_conflicts=True)
    return _take(owner, cluster, instead_of)


def leader(cluster: str) -> Leader | None:
    """Who leads this cluster, or None while nobody does."""
    lease = (
        Lease.objects.using(database.alias())
        .filter(name=lease_name(cluster), owner__isnull=False, expires_at__gt=Now())
        .first()
    )
    if lease is None or lease.owner is None:
        return None
    return Leader(lease.owner, Process.objects.using(database.alias()).filter(id=lease.owner).first())


def resign(owner: UUID, cluster: str) -> bool:
    """Give the lead back; True iff `owner` had it."""
    rows = Lease.objects.using(database.alias()).filter(name=lease_name(cluster), owner=owner)
    return bool(rows.update(owner=None, expires_at=Now()))


def _take(owner: UUID, cluster: str, instead_of: UUID | None) -> bool:
    free = Q(owner=owner) | Q(owner=None) | Q(expires_at__lte=Now())
    if instead_of is not None:
        free |= Q(owner=instead_of)
    rows = Lease.objects.using(database.alias()).filter(free, name=lease_name(cluster))
    return bool(rows.update(owner=owner, expires_at=Now(LEAD)))
