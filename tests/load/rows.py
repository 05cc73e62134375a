"""How many rows a piece of work reads, by the database's own count.

Rules of this file: it is not an estimate and no time. PostgreSQL counts entries of indexes and rows of whole scans,
MariaDB each read of a handler, sorts included; SQLite only counts instructions of its machine, of which a row takes ten
at the least.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.db import connection

TABLES: Final = (
    "django_workflow_workflow",
    "django_workflow_step",
    "django_workflow_event",
    "django_workflow_label",
)
INSTRUCTIONS: Final = 10  # of SQLite for a row


def rows_read(call: Callable[[], Any]) -> int:
    """Rows that `call` reads on this thread's connection; on PostgreSQL in a transaction, which its count is of."""
    connection.ensure_connection()
    if connection.vendor == "sqlite":
        return _instructions(call) // INSTRUCTIONS
    before = _count()
    call()
    return _count() - before


def _instructions(call: Callable[[], Any]) -> int:
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1

    connection.connection.set_progress_handler(tick, 100)
    try:
        call()
    finally:
        connection.connection.set_progress_handler(None, 0)
    return 100 * ticks


def _count() -> int:
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
            return sum(int(value) for _name, value in cursor.fetchall())
        assert connection.in_atomic_block
        cursor.execute(
            "SELECT coalesce(sum(pg_stat_get_xact_tuples_returned(c.oid)), 0) FROM pg_class c"
            " LEFT JOIN pg_index i ON i.indexrelid = c.oid"
            " WHERE coalesce(i.indrelid, c.oid) = ANY(%s::regclass[])",
            [list(TABLES)],
        )
        (read,) = cursor.fetchone()
        return int(read)
