"""What is due, and what soon will be: all that the ticker has to know, in one statement.

Rules of this file: it only reads, it compares in the database's time (R24), and what it costs doesn't grow
with the rows that are finished, asleep or piled up: every part reads a short stretch of an index.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper

from django_workflow.journal import clock, database
from django_workflow.journal.leader import lease_name
from django_workflow.models import Lease, Process, Step, Workflow
from django_workflow.states import BODY_KINDS

# Rows that one part of a look reads at most. Past that it is incomplete, and says so (`Look.crowded`).
LIMIT: Final = 1000
BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Due:
    """What is due in one cluster. Each is the earliest of its kind, or None."""

    overdue: datetime | None = None  # due when the look before was taken, and still is
    fresh: datetime | None = None  # became due since then
    coming: datetime | None = None  # will be due within the horizon


@dataclass
class Look:
    """One look at the journal."""

    now: datetime  # by the database's clock
    clusters: dict[str, Due] = field(default_factory=dict)  # by name as rows have it
    crowded: bool = False  # True iff so much is due that clusters may be missing
    leader: UUID | None = None  # who holds the lease for the lead, or held it last
    led: bool = False  # True iff that lease has not run out
    # Changes whenever a process was registered or dropped.
    processes: tuple[int, datetime | None] = (0, None)


def look(cluster: str, since: datetime | None = None, within: timedelta = clock.ZERO) -> Look:
    """Look at what is due in all clusters, and at who leads this one. One statement.

    Args:
        cluster: the cluster whose lead is of interest, as django-q2 names it.
        since: the `now` of the look before; None: there was none, and all that is due is fresh.
        within: the horizon: how far ahead to look for what is coming.
    """
    connection = database.connection()
    mark = clock.to_db(connection, since or BEGINNING)
    sql, params = _statement(connection, mark, within, lease_name(cluster))
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return _read(cursor.fetchall())


def oldest_due_age() -> timedelta | None:
    """For how long the oldest due work has been waiting; None when nothing is due. One statement."""
    connection = database.connection()
    until = f"due_at <= {clock.sql_once(connection)}"
    first = f"(SELECT due_at FROM {{}} WHERE {until}{{}} ORDER BY due_at LIMIT 1)"
    workflow, step = _table(connection, Workflow), _table(connection, Step)
    sql = f"SELECT {clock.sql(connection)}, {first.format(workflow, '')}, {first.format(step, _CLAIMABLE)}"
    with connection.cursor() as cursor:
        cursor.execute(sql, [])
        now, *dues = (clock.to_python(value) for value in cursor.fetchone())
    assert now is not None
    overdue = [due for due in dues if due is not None]
    return max(now - min(overdue), clock.ZERO) if overdue else None


# A sleeping step needs nobody: its workflow is due when it is.
_CLAIMABLE: Final = " AND kind IN ({})".format(", ".join(f"'{kind}'" for kind in sorted(BODY_KINDS)))

_FRESH, _LEAD, _OVERDUE, _PROCESSES = range(4)


def _statement(
    connection: BaseDatabaseWrapper, mark: Any, within: timedelta, lease: str
) -> tuple[str, list[Any]]:
    now, horizon = clock.sql(connection), clock.sql(connection, within)
    prefix = ""
    if connection.vendor == "postgresql":
        # Its clock goes on within a statement; all parts have to mean the same moment.
        prefix = f"WITH moment AS MATERIALIZED (SELECT {now} AS now, {horizon} AS horizon) "
        now, horizon = "(SELECT now FROM moment)", "(SELECT horizon FROM moment)"
    fresh = (
        f"SELECT {_FRESH}, cluster, COUNT(*), MIN(CASE WHEN due_at <= {now} THEN due_at END),"
        f" MIN(CASE WHEN due_at > {now} THEN due_at END), NULL FROM"
        f" (SELECT cluster, due_at FROM {{}} WHERE due_at > %s AND due_at <= {horizon}{{}}"
        f" ORDER BY due_at LIMIT {LIMIT}) a GROUP BY cluster"
    )
    lead = (
        f"SELECT {_LEAD}, '', CASE WHEN expires_at > {now} THEN 1 ELSE 0 END, expires_at, expires_at, owner"
        f" FROM {_table(connection, Lease)} WHERE name = %s"
    )
    overdue = (
        f"SELECT {_OVERDUE}, cluster, COUNT(*), MIN(due_at), NULL, NULL FROM"
        f" (SELECT cluster, due_at FROM {{}} WHERE due_at <= %s{{}} ORDER BY due_at LIMIT {LIMIT}) a"
        f" GROUP BY cluster"
    )
    processes = (
        f"SELECT {_PROCESSES}, '', COUNT(*), {now}, MAX(started_at), NULL FROM {_table(connection, Process)}"
    )
    workflow, step = _table(connection, Workflow), _table(connection, Step)
    # The order matters to PostgreSQL, which gives a column of nulls its type from the first two parts.
    parts = [
        (fresh.format(workflow, ""), mark),
        (lead, lease),
        (fresh.format(step, _CLAIMABLE), mark),
        (overdue.format(workflow, ""), mark),
        (overdue.format(step, _CLAIMABLE), mark),
    ]
    union = " UNION ALL ".join([*(sql for sql, _ in parts), processes])
    return prefix + union, [parameter for _, parameter in parts]


def _read(rows: list[tuple[Any, ...]]) -> Look:
    seen = Look(now=BEGINNING)
    for part, cluster, count, first, second, owner in rows:
        earliest, later = clock.to_python(first), clock.to_python(second)
        if part == _PROCESSES:
            assert earliest is not None
            seen.now, seen.processes = earliest, (count, later)
        elif part == _LEAD:
            seen.led = bool(count) and owner is not None
            seen.leader = UUID(str(owner)) if owner is not None else None
        else:
            due = seen.clusters.setdefault(cluster, Due())
            seen.crowded |= count >= LIMIT
            if part == _OVERDUE:
                due.overdue = _earlier(due.overdue, earliest)
            else:
                due.fresh, due.coming = _earlier(due.fresh, earliest), _earlier(due.coming, later)
    return seen


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    known = [moment for moment in (one, other) if moment is not None]
    return min(known, default=None)


def _table(connection: BaseDatabaseWrapper, model: type[Any]) -> str:
    return connection.ops.quote_name(model._meta.db_table)
