"""Rows written without the ORM's compiler: it took three quarters of the time of a turn's statements.

Rules of this file: a value reaches the database as its field prepares it, and errors do to an open transaction what
they do when the ORM meets them; nothing else is the ORM's. Of expressions it takes those that need no compiler.
For statements that each turn sends; all others are better read as querysets.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_workflow.fields import PayloadField
from django_workflow.journal.clock import Uncompiled
from django_workflow.journal.database import alias, connection

# What every driver takes as it is. Not `bool`: databases differ in what they call true. Not a member of an enum.
PLAIN = frozenset({int, float, str})


class Upsert(NamedTuple):
    """What an `insert()` does with a row that is there already."""

    key: tuple[str, ...]  # the columns of a unique constraint
    columns: tuple[str, ...]  # that are replaced
    unless: str  # the column that keeps the row as it is, where it is not null


class Fence(NamedTuple):
    """A row that must match, for an `insert_behind()`; its values are by name, as in `update()`."""

    model: type[models.Model]
    where: Mapping[str, Any]
    values: Mapping[str, Any]


class AtMost(NamedTuple):
    """In a `where`: not more than this."""

    value: Any


def update(model: type[models.Model], where: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    """Set columns of the rows that match.

    Args:
        model: whose table.
        where: the values to match, by name (`attname`); None matches null, a tuple each of its members.
        values: the values to set, by name.

    Returns:
        How many rows matched.

    """
    here = connection()
    parameters: list[Any] = []
    text = _update(here, model, where, values, parameters)
    return _sent(here, text, parameters)


def insert(
    model: type[models.Model],
    names: tuple[str, ...],
    rows: Sequence[Sequence[Any]],
    *,
    returning: tuple[str, ...] = (),
    upsert: Upsert | None = None,
) -> list[tuple[Any, ...]]:
    """Insert rows, in as few statements as the backend's limits allow.

    Args:
        model: whose table.
        names: the columns by name (`attname`), all that must not be left out.
        rows: their values, in the order of `names`.
        returning: columns that are wanted back, by name.
        upsert: update rows that are there; not on MariaDB and MySQL.

    Returns:
        The columns that were wanted, of each row that was written, in no order; nothing where the database can't.

    """
    here = connection()
    by_name = _columns(here.vendor, model)
    columns = [by_name[name] for name in names]
    asks_back = bool(returning) and here.features.can_return_rows_from_bulk_insert
    head, tail = _frame(here.vendor, model, names, returning if asks_back else (), upsert)
    returned: list[tuple[Any, ...]] = []
    with transaction.mark_for_rollback_on_error(using=alias()), here.cursor() as cursor:
        for batch in _batches(here, columns, rows):
            parameters: list[Any] = []
            values = ", ".join([_row(here, columns, row, parameters) for row in batch])
            cursor.execute(f"{head}{values}{tail}", parameters)
            if asks_back:
                returned += cursor.fetchall()
    return returned


def insert_behind(
    fence: Fence,
    model: type[models.Model],
    names: tuple[str, ...],
    rows: Sequence[Sequence[Any]],
    upsert: Upsert,
) -> bool:
    """Insert rows if a row of another table matches, and update that one, all in one statement.

    Only where `can_insert_behind()` says so: on SQLite with nothing to update.

    Args:
        fence: which row, and what to write of it.
        model: whose table gets the rows.
        names: its columns by name (`attname`), all that must not be left out.
        rows: their values, in the order of `names`.
        upsert: update rows that are there.

    Returns:
        False: no row matched, and nothing was written.

    """
    here = connection()
    by_name = _columns(here.vendor, model)
    columns = [by_name[name] for name in names]
    head, tail = _frame(here.vendor, model, names, (), upsert, values=False)
    parameters: list[Any] = []
    if here.vendor == "postgresql":
        # What both branches of a WITH do is one snapshot's; the second depends on the first, so the row is locked first.
        fenced = _update(here, fence.model, fence.where, fence.values, parameters)
        # The first row says of which type each column is: behind a SELECT a literal is text.
        first, *others = (_texts(here, columns, row, parameters) for row in rows)
        typed = [f"CAST({text} AS {column.type})" for text, column in zip(first, columns, strict=True)]
        values = ", ".join(f"({', '.join(texts)})" for texts in (typed, *others))
        text = (
            f"WITH held AS ({fenced} RETURNING 1), written AS "
            f"({head}SELECT v.* FROM held, (VALUES {values}) AS v{tail}) SELECT 1 FROM held"
        )
    else:
        values = ", ".join([_row(here, columns, row, parameters) for row in rows])
        held = _matching(here, fence.model, fence.where, parameters)
        text = (
            f"{head}SELECT * FROM (VALUES {values}) "
            f"WHERE EXISTS (SELECT 1 FROM {_table(here, fence.model)} WHERE {held}){tail}"
        )
    return _sent(here, text, parameters) > 0


def can_insert_behind(fence: Fence, model: type[models.Model], names: tuple[str, ...], rows: int) -> bool:
    """True where `insert_behind()` can do that with so many rows, in the statement alone."""
    here = connection()
    if not rows or not can_upsert():
        return False
    if here.vendor == "sqlite" and fence.values:
        return False  # there an INSERT can ask for another row, and not update it
    columns = _columns(here.vendor, model)
    return rows == 1 or rows <= here.ops.bulk_batch_size([columns[name].field for name in names], [()] * rows)


def update_behind(fence: Fence, then: Fence) -> bool:
    """Update a row, and another one if that one matched, in one statement; neither if either does not match.

    Args:
        fence: the row that is locked first.
        then: the other one.

    Returns:
        False: one of them did not match. What matched when the statement began and then changed in another
        transaction's hands may leave the first one updated alone.

    """
    here = connection()
    parameters: list[Any] = []
    first = _update(here, fence.model, fence.where, fence.values, parameters)
    there = _matching(here, then.model, then.where, parameters)
    second = _update(here, then.model, then.where, then.values, parameters)
    text = (
        f"WITH held AS ({first} AND EXISTS (SELECT 1 FROM {_table(here, then.model)} WHERE {there}) RETURNING 1) "
        f"{second} AND EXISTS (SELECT 1 FROM held)"
    )
    return _sent(here, text, parameters) > 0


def can_update_behind() -> bool:
    """True where `update_behind()` is known, and a statement alone is a transaction."""
    here = connection()
    return here.vendor == "postgresql" and not here.in_atomic_block


def can_upsert() -> bool:
    """True where `insert()` knows `upsert`."""
    # InnoDB would lock the gap beside a row that is there, in an order of its own (R20).
    return connection().vendor in {"postgresql", "sqlite"}


def _sent(here: BaseDatabaseWrapper, text: str, parameters: Sequence[Any]) -> int:
    """Send a statement; how many rows it has written, or returned."""
    with transaction.mark_for_rollback_on_error(using=alias()), here.cursor() as cursor:
        cursor.execute(text, parameters)
        rows: int = cursor.rowcount
    return rows


def _update(
    here: BaseDatabaseWrapper,
    model: type[models.Model],
    where: Mapping[str, Any],
    values: Mapping[str, Any],
    parameters: list[Any],
) -> str:
    columns = _columns(here.vendor, model)
    assigned = ", ".join(
        [
            f"{columns[name].quoted} = {_value(here, columns[name], value, parameters)}"
            for name, value in values.items()
        ]
    )
    return f"UPDATE {_table(here, model)} SET {assigned} WHERE {_matching(here, model, where, parameters)}"


def _matching(
    here: BaseDatabaseWrapper, model: type[models.Model], where: Mapping[str, Any], parameters: list[Any]
) -> str:
    columns = _columns(here.vendor, model)
    return " AND ".join(
        [
            f"{columns[name].quoted} {_condition(here, columns[name], value, parameters)}"
            for name, value in where.items()
        ]
    )


@functools.cache
def _frame(
    vendor: str,
    model: type[models.Model],
    names: tuple[str, ...],
    returning: tuple[str, ...],
    upsert: Upsert | None,
    *,
    values: bool = True,
) -> tuple[str, str]:
    """What stands before and behind the values of an INSERT."""
    table, columns = _table(connection(), model), _columns(vendor, model)

    def listed(some: tuple[str, ...]) -> str:
        return ", ".join(columns[name].quoted for name in some)

    tail = ""
    if upsert:
        assigned = ", ".join(
            f"{columns[name].quoted} = excluded.{columns[name].quoted}" for name in upsert.columns
        )
        kept = f"{table}.{columns[upsert.unless].quoted} IS NULL"
        tail = f" ON CONFLICT ({listed(upsert.key)}) DO UPDATE SET {assigned} WHERE {kept}"
    if returning:
        tail += f" RETURNING {listed(returning)}"
    return f"INSERT INTO {table} ({listed(names)}) {'VALUES ' if values else ''}", tail


def _batches(
    here: BaseDatabaseWrapper, columns: Sequence[_Column], rows: Sequence[Sequence[Any]]
) -> Iterator[Sequence[Sequence[Any]]]:
    size = len(rows)
    if size > 1:
        size = max(1, here.ops.bulk_batch_size([column.field for column in columns], list(rows)))
    for at in range(0, len(rows), size or 1):
        yield rows[at : at + size]


def _row(
    here: BaseDatabaseWrapper, columns: Sequence[_Column], row: Sequence[Any], parameters: list[Any]
) -> str:
    return f"({', '.join(_texts(here, columns, row, parameters))})"


def _texts(
    here: BaseDatabaseWrapper, columns: Sequence[_Column], row: Sequence[Any], parameters: list[Any]
) -> list[str]:
    return [_value(here, column, value, parameters) for column, value in zip(columns, row, strict=True)]


def _condition(here: BaseDatabaseWrapper, column: _Column, value: Any, parameters: list[Any]) -> str:
    match value:
        case None:
            return "IS NULL"
        case AtMost(most):
            return f"<= {_value(here, column, most, parameters)}"
        case tuple():
            listed = [_value(here, column, each, parameters) for each in value]
            return f"IN ({', '.join(listed)})"
        case _:
            return f"= {_value(here, column, value, parameters)}"


def _value(here: BaseDatabaseWrapper, column: _Column, value: Any, parameters: list[Any]) -> str:
    """SQL for one value; what is a parameter is put with the others."""
    if value is None:
        return "NULL"
    if isinstance(value, Uncompiled):
        text, own = value.text(here)
        parameters += own
        return text
    if type(value) is datetime:
        value = here.ops.adapt_datetimefield_value(value)
    elif column.seals or type(value) not in PLAIN:
        value = column.field.get_db_prep_save(value, here)
    parameters.append(value)
    return "%s"


class _Column(NamedTuple):
    quoted: str
    field: models.Field[Any, Any]
    seals: bool  # stores text in a form of its own
    type: str  # by which the database casts to it


@functools.cache
def _columns(vendor: str, model: type[models.Model]) -> Mapping[str, _Column]:
    here = connection()
    return {
        field.attname: _Column(
            here.ops.quote_name(str(field.column)),
            field,
            isinstance(field, PayloadField),
            # Without a length: a cast would cut off what is longer, and an INSERT refuses it.
            str(field.cast_db_type(here)).partition("(")[0],
        )
        for field in model._meta.concrete_fields
    }


def _table(here: BaseDatabaseWrapper, model: type[models.Model]) -> str:
    return here.ops.quote_name(model._meta.db_table)
