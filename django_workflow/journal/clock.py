"""The durable clock: the database's. This is the only module that may ask what time it is.

Times are compared and written in SQL (protocol R24), so that hosts whose clocks differ agree. `Now()` is the
expression for it; `read()` asks for the value. Tests put another source in place of the database's clock
with `use()`, and everything follows.
"""

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic as monotonic
from typing import Any, Protocol
from uuid import UUID

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.dateparse import parse_datetime

from django_workflow.conf import settings

ZERO = timedelta(0)


class Source(Protocol):
    """Where the time comes from."""

    def shift(self) -> timedelta:
        """How far this clock is ahead of the database's."""

    def fixed(self) -> datetime | None:
        """The time at which this clock stands still, or None while it runs."""


class DatabaseSource:
    """The database's own clock."""

    def shift(self) -> timedelta:
        return ZERO

    def fixed(self) -> datetime | None:
        return None


_source: Source = DatabaseSource()


@contextmanager
def use(source: Source) -> Iterator[None]:
    """Put `source` in place of the database's clock, for the whole process."""
    global _source
    previous, _source = _source, source
    try:
        yield
    finally:
        _source = previous


def runs() -> bool:
    """False while a test holds the clock still."""
    return _source.fixed() is None


def lease() -> timedelta:
    """How long a claim lasts."""
    return timedelta(seconds=settings.LEASE_SECONDS)


def sql(connection: BaseDatabaseWrapper, offset: timedelta = ZERO) -> str:
    """SQL for the durable clock's time plus `offset`, in the form in which the backend stores a datetime.

    For `cursor.execute()` with parameters, if only an empty list: a percent sign in it is doubled.
    """
    fixed = _source.fixed()
    if fixed is not None:
        return _literal(connection, fixed + offset)
    return _running(connection, _source.shift() + offset)


def sql_once(connection: BaseDatabaseWrapper, offset: timedelta = ZERO) -> str:
    """`sql()` for a WHERE clause: the same for all rows, so that an index can be used, and known to the planner."""
    # PostgreSQL's clock_timestamp() is volatile, and no index condition may be. A sub-select could be one, but without
    # its value the planner takes a third of all sleepers for due. When the statement came in is never too late (P6).
    return sql(connection, offset).replace("clock_timestamp()", "statement_timestamp()")


def _running(connection: BaseDatabaseWrapper, offset: timedelta) -> str:
    micros = offset // timedelta(microseconds=1)
    match connection.vendor:
        case "postgresql":
            # Not now(): that is the transaction's start, and turns are long.
            return (
                f"(clock_timestamp() + interval '{micros} microseconds')" if micros else "clock_timestamp()"
            )
        case "mysql":
            # Not NOW(): that is in the session's time zone, and Django stores UTC.
            return f"(UTC_TIMESTAMP(6) + INTERVAL {micros} MICROSECOND)" if micros else "UTC_TIMESTAMP(6)"
        case "sqlite":
            # SQLite knows milliseconds only; what it leaves out makes a timer late by less than one, never early.
            return f"strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', '{offset.total_seconds():+f} seconds')"
        case other:
            raise NotImplementedError(f"django_workflow doesn't know the clock of the database {other!r}")


def _literal(connection: BaseDatabaseWrapper, moment: datetime) -> str:
    text = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
    match connection.vendor:
        case "postgresql":
            return f"timestamptz '{text}+00'"
        case "mysql":
            return f"TIMESTAMP'{text}'"
        case _:
            return f"'{text}'"


class Uncompiled(models.Func):
    """An expression whose SQL is the same in every statement on its table, so that no compiler is needed for it."""

    def text(self, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        """Its SQL, and the parameters of that."""
        raise NotImplementedError

    def as_sql(  # type: ignore[override]  # nothing of a template is left to change
        self, compiler: Any, connection: BaseDatabaseWrapper, **extra: Any
    ) -> tuple[str, list[Any]]:
        return self.text(connection)


class Now(Uncompiled):
    """The durable clock's time plus `offset`, as an expression of a query or an assignment."""

    output_field = models.DateTimeField()

    def __init__(self, offset: timedelta = ZERO) -> None:
        super().__init__()
        self.offset = offset

    def text(self, connection: BaseDatabaseWrapper) -> tuple[str, list[Any]]:
        return sql(connection, self.offset), []


def read(connection: BaseDatabaseWrapper) -> datetime:
    """The durable clock's time now. One statement."""
    fixed = _source.fixed()
    if fixed is not None:
        return fixed
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {sql(connection)}", [])
        row = cursor.fetchone()
    moment = to_python(row[0])
    assert moment is not None
    return moment


def to_python(value: datetime | str | None) -> datetime | None:
    """A datetime as a raw cursor of any backend returns it, made aware."""
    if isinstance(value, str):
        value = parse_datetime(value)
    if value is not None and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value


def to_db(connection: BaseDatabaseWrapper, moment: datetime) -> Any:
    """`moment` as a parameter of raw SQL."""
    return connection.ops.adapt_datetimefield_value(moment)


class TurnClock:
    """The durable clock within one turn: its time at the claim, carried on by the monotonic clock.

    Made when the claim's answer has come, so it is behind the database's by that way, and never ahead: what is due
    now by this clock is found by the next claim. It says when answers were delivered; whether a row is due is decided
    in SQL.
    """

    def __init__(self, claimed_at: datetime | str) -> None:
        # SQLite's clock (which sends text) leaves out what is less than a millisecond; when it next says a later one, so
        # may this.
        self._since = monotonic() + (0.001 if isinstance(claimed_at, str) else 0)
        moment = to_python(claimed_at)
        assert moment is not None
        self._claimed_at = moment

    def now(self) -> datetime:
        """The time now (aware, UTC)."""
        if not runs():
            return self._claimed_at
        return self._claimed_at + timedelta(seconds=max(0.0, monotonic() - self._since))


_ids_lock = threading.Lock()
_last_id = 0


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562, 5.7): ids sort by time of creation, and those of one process never go back.

    Its time is this host's clock and orders pages only; nothing is decided by it.
    """
    global _last_id
    with _ids_lock:
        # 48 bits of milliseconds, then 12 of a counter within them: method 1 of RFC 9562, 6.2.
        _last_id = max(_last_id + 1, (time.time_ns() // 1_000_000) << 12)
        stamp = _last_id
    random_bits = secrets.randbits(62)
    return UUID(int=(stamp >> 12) << 80 | 0x7 << 76 | (stamp & 0xFFF) << 64 | 0b10 << 62 | random_bits)
