"""How a database goes about a statement: its plan, and the parts of it that read a whole big table.

Rules of this file: the very statements that the code sends are explained, with their parameters in place.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_workflow.models import Event, Label, Slot, Step, Workflow

BIG: Final = tuple(model._meta.db_table for model in (Workflow, Step, Label, Event))


def analyze() -> None:
    """Let the database count what is in its tables."""
    tables = [*BIG, Slot._meta.db_table]
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"ANALYZE {'TABLE ' if connection.vendor == 'mysql' else ''}{table}")
            if connection.vendor == "mysql":
                cursor.fetchall()


def explained(sql: str) -> list[str]:
    """The plan of a statement, a line for each of its parts."""
    with connection.cursor() as cursor:
        match connection.vendor:
            case "sqlite":
                cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
                return [str(row[-1]) for row in cursor.fetchall()]
            case "postgresql":
                cursor.execute(f"EXPLAIN {sql}")
                return [str(row[0]) for row in cursor.fetchall()]
            case _:
                cursor.execute(f"EXPLAIN {sql}")
                names = [column[0] for column in cursor.description]
                rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
                return [
                    f"{row['table']} type={row['type']} key={row['key']} rows={row['rows']}" for row in rows
                ]


def full_scans(plan: list[str]) -> list[str]:
    """The parts of a plan that read a whole big table."""
    match connection.vendor:
        case "sqlite":
            # "SCAN x USING INDEX" in an order that a LIMIT cuts short is a short stretch of the index.
            return [
                line
                for line in plan
                if re.match(r"SCAN (?!CONSTANT|\(|p\b|h\b|a\b|moment)", line)
                and "USING" not in line
                and _names_big(line)
            ]
        case "postgresql":
            return [
                line for line in plan if "Seq Scan on" in line and any(f"on {table}" in line for table in BIG)
            ]
        case _:
            return [line for line in plan if "type=ALL" in line and _names_big(line)]


def _names_big(line: str) -> bool:
    # Aliases of raw statements: w is a workflow, s a step.
    return any(re.search(rf"\b{name}\b", line) for name in [*BIG, "w", "s"])


def sent_by(call: Callable[[], Any]) -> list[str]:
    """The statements of a call that read or change big tables, with their parameters in place."""
    with CaptureQueriesContext(connection) as captured:
        call()
    sent = [str(each["sql"]) for each in captured.captured_queries]
    reading = [sql for sql in sent if re.match(r"\s*(SELECT|UPDATE|DELETE|WITH|\()", sql)]
    return [sql for sql in reading if any(table in sql for table in BIG)]
