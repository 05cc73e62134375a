"""Looks at the tables for signs of life: a handful of statements, each over a short stretch of an index."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from typing import Final

from django_workflow.health import ClusterHealth, Health, PauseHealth
from django_workflow.journal import clock, due
from django_workflow.journal.clock import Now
from django_workflow.journal.database import alias, connection
from django_workflow.journal.leader import LEAD
from django_workflow.models import Lease, Pause, Process, Step, Workflow

ALIVE: Final = timedelta(minutes=3)  # without a sign of life, before a worker is no longer counted
PATIENCE: Final = timedelta(minutes=1)
LIMIT: Final = 1000  # overdue workflows that are looked at for definitions that nobody knows


def look() -> Health:
    """How things stand now."""
    now = clock.read(connection())
    workers = list(Process.objects.using(alias()).exclude(cluster="").filter(seen_at__gt=Now(-ALIVE)))
    leads = Lease.objects.using(alias()).filter(name__startswith="ticker:", owner__isnull=False)
    latest = max((lease.expires_at for lease in leads), default=None)
    seen = None if latest is None or latest <= now else max(now - (latest - LEAD), clock.ZERO)
    return Health(
        oldest_due=due.oldest_due_age(),
        ticker_seen=seen,
        clusters=_clusters(workers),
        unknown=_unknown(workers, now),
        pauses=tuple(
            PauseHealth(pause.cluster, pause.reason)
            for pause in Pause.objects.using(alias()).order_by("name")
        ),
        patience=PATIENCE,
    )


def _clusters(workers: list[Process]) -> tuple[ClusterHealth, ...]:
    busy = set()
    for model in (Workflow, Step):
        leased = model._default_manager.using(alias()).filter(lease_owner__isnull=False)
        owners = leased.order_by().values_list("lease_owner", flat=True)[:LIMIT]
        busy |= {owner.partition(":")[0] for owner in owners if owner}
    of = Counter(worker.cluster for worker in workers)
    working = Counter(worker.cluster for worker in workers if worker.id.hex in busy)
    return tuple(ClusterHealth(name, count, working[name]) for name, count in sorted(of.items()))


def _unknown(workers: list[Process], now: datetime) -> tuple[tuple[str, int], ...]:
    known = {(name, version) for worker in workers for name, version in json.loads(worker.definitions_text)}
    # A value, no expression: PostgreSQL uses no index for one that changes while it is computed.
    overdue = Workflow.objects.using(alias()).filter(due_at__lt=now - PATIENCE, lease_owner=None)
    due_ones = set(overdue.order_by("due_at").values_list("definition", "version")[:LIMIT])
    return tuple(sorted(due_ones - known))
