"""Times as they come in: ISO 8601 with an offset, within the years that a database can hold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.utils.dateparse import parse_datetime

EXAMPLE = "2026-11-26T12:00:00Z"


def moment_of(text: Any) -> datetime | None:
    """The moment, in UTC; None for what is none, or has no offset."""
    if not isinstance(text, str):
        return None
    try:
        found = parse_datetime(text)
        return None if found is None or found.utcoffset() is None else found.astimezone(UTC)
    except (ValueError, OverflowError):  # no such day; past the ends of the calendar
        return None
