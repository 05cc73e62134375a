"""Places in limited pools: a body of one begins only with a place that its worker's token leases (R23).

Rules of this file: rows, not counts, hold the limit. A place is taken by compare-and-set, kept alive by the
heartbeat along with what else the token leases, and free again when it is given back or its lease has run out.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.db.models import Q, QuerySet

from django_workflow.journal.clock import Now, lease
from django_workflow.journal.database import alias, atomic
from django_workflow.models import Slot

_taken = False  # True once this process has taken a place
TRIES = 10  # at places that others take first, before a body waits for its turn


def take(pool: str, limit: int, token: str, instead_of: str | None = None) -> bool:
    """Lease a place of a pool. False: all are taken.

    Args:
        pool: the pool's name.
        limit: how many places it has.
        token: for whom.
        instead_of: the token of a worker whose step is taken over: its place comes first.

    """
    global _taken
    _taken = True
    mine = Slot.objects.using(alias()).filter(pool=pool, n__lte=limit)
    if instead_of is not None and _lease_one(mine.filter(lease_owner=instead_of), token):
        return True
    for _ in range(TRIES):
        if _lease_one(mine.filter(_free()), token):
            return True
        if mine.filter(_free()).exists():
            continue  # somebody else was faster with the one that was tried
        if mine.count() >= limit:
            return False
        _make(pool, limit)
    return False


def _free() -> Q:
    return Q(lease_owner=None) | Q(due_at__lte=Now())


def _lease_one(rows: QuerySet[Slot], token: str) -> bool:
    for slot_id in rows.order_by("n").values_list("id", flat=True)[:4]:
        # Asked again in the UPDATE: of several that saw it free, one gets it.
        if rows.filter(id=slot_id).update(lease_owner=token, due_at=Now(lease())):
            return True
    return False


def _make(pool: str, limit: int) -> None:
    with atomic():
        Slot.objects.using(alias()).bulk_create(
            [Slot(pool=pool, n=n) for n in range(1, limit + 1)], ignore_conflicts=True
        )


def give_back(token: str) -> int:
    """Free what a token leases. How many places."""
    return Slot.objects.using(alias()).filter(lease_owner=token).update(lease_owner=None, due_at=None)


def extend(*tokens: str) -> int:
    """Renew what tokens lease, where this process has ever taken a place. How many."""
    if not _taken:
        return 0
    return Slot.objects.using(alias()).filter(lease_owner__in=tokens).update(due_at=Now(lease()))


def full(limits: Mapping[str, int]) -> list[str]:
    """The pools, of these, in which no place is free."""
    if not limits:
        return []
    taken: dict[str, int] = dict.fromkeys(limits, 0)
    rows = Slot.objects.using(alias()).filter(pool__in=list(limits)).exclude(_free())
    for pool, n in rows.values_list("pool", "n"):
        if pool in limits and n <= limits[pool]:
            taken[pool] += 1
    return [pool for pool, count in taken.items() if count >= limits[pool]]
