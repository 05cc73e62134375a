"""Tells what an SQL statement does from its text: enough to refuse a query that writes. Pure.

A function with a side effect inside a SELECT can't be seen this way; what the ORM writes can.
"""

from __future__ import annotations

import re
from typing import Any

READING = frozenset(
    {"SELECT", "WITH", "VALUES", "TABLE", "EXPLAIN", "SHOW", "DESCRIBE", "DESC", "PRAGMA", "DECLARE", "FETCH"}
    | {"CLOSE", "MOVE", "SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN", "START", "COMMIT", "SET"}
)
SCHEMA = frozenset({"CREATE", "ALTER", "DROP", "TRUNCATE", "RENAME", "GRANT", "REVOKE", "LOCK", "UNLOCK"})

_FIRST_WORD = re.compile(r"(?:\s|\(|--[^\n]*\n|/\*.*?\*/)*([A-Za-z]+)", re.DOTALL)
_WRITING_PART = re.compile(
    r"\b(INSERT\s+INTO|UPDATE\s+\S+\s+(?:AS\s+\S+\s+)?SET|DELETE\s+FROM|MERGE\s+INTO|REPLACE\s+INTO)\b",
    re.IGNORECASE,
)
_SELECT_INTO = re.compile(r"^\W*SELECT\b[^'\"]*?\bINTO\b", re.IGNORECASE | re.DOTALL)


def text(sql: Any) -> str:
    """The statement as text (psycopg also takes composed objects and bytes)."""
    if isinstance(sql, bytes):
        return sql.decode("utf-8", "replace")
    return sql if isinstance(sql, str) else str(getattr(sql, "_obj", sql))


def first_word(sql: Any) -> str:
    """The first keyword, in capitals; "" when there is none."""
    found = _FIRST_WORD.match(text(sql))
    return found.group(1).upper() if found else ""


def writing_word(sql: Any) -> str | None:
    """The keyword by which a statement writes, or None for one that only reads."""
    word = first_word(sql)
    if word not in READING:
        return word or "an unknown statement"
    if word in ("WITH", "EXPLAIN"):
        part = _WRITING_PART.search(text(sql))
        return part.group(1).split()[0].upper() if part else None
    return "SELECT INTO" if word == "SELECT" and _SELECT_INTO.match(text(sql)) else None


def changes_schema(sql: Any) -> bool:
    """True for statements that commit implicitly on MariaDB and MySQL."""
    return first_word(sql) in SCHEMA
