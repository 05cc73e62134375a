"""Times as they come in: ISO 8601 with an offset, within the years that a database can hold; and times as bounds.

Rules of this file: SQLite compares times as texts, and one moment has several: its own clock writes milliseconds,
Django microseconds, or none where there are none. Whoever compares takes the bound that is on the safe side of all.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from django.db.models import DateTimeField, Value
from django.utils.dateparse import parse_datetime

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper
    from django.db.models.sql.compiler import SQLCompiler

EXAMPLE = "2026-11-26T12:00:00Z"


def moment_of(text: Any) -> datetime | None:
    """The moment, in UTC; None for what is none, or has no offset."""
    if not isinstance(text, str) or not text.isprintable():  # Python reads on to a NUL
        return None
    try:
        found = parse_datetime(text)
        return None if found is None or found.utcoffset() is None else found.astimezone(UTC)
    except (ValueError, OverflowError):  # no such day; past the ends of the calendar
        return None


class _Bound(Value):
    def __init__(self, moment: datetime) -> None:
        self.moment = moment.astimezone(UTC)
        super().__init__(self.moment, output_field=DateTimeField())


class First(_Bound):
    """A moment, as what is older is less than."""

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra_context: Any
    ) -> tuple[str, tuple[str, ...]]:
        """The first of its texts: the shortest."""
        micros = self.moment.microsecond
        digits = "microseconds" if micros % 1000 else "milliseconds" if micros else "seconds"
        return "%s", (_text(self.moment, digits),)


class Last(_Bound):
    """A moment, as what is newer is greater than."""

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra_context: Any
    ) -> tuple[str, tuple[str, ...]]:
        """The last of its texts: the longest."""
        return "%s", (_text(self.moment, "microseconds"),)


def _text(moment: datetime, digits: str) -> str:
    return moment.replace(tzinfo=None).isoformat(" ", digits)
