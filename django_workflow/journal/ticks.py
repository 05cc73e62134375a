"""How far schedules have come.

Rules of this file: a mark goes forward by compare-and-set, in the transaction of what its tick starts, so that
whoever asks at the same time finds the tick dealt with. Who can't have a mark at once leaves it to whoever holds it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from django_workflow.journal import clock, database
from django_workflow.models import Tick


class Mark(NamedTuple):
    """The last tick of a schedule that has been dealt with, and by what timing it ticked then."""

    last_at: datetime
    timing: str


def read() -> dict[str, Mark]:
    """The marks of all schedules, by name. One statement."""
    rows = _rows().values_list("schedule", "last_at", "timing")
    return {name: Mark(last_at, timing) for name, last_at, timing in rows}


def begin(name: str, timing: str) -> None:
    """Let a schedule begin now, unless it has a mark."""
    _rows().bulk_create([Tick(schedule=name, last_at=_now(), timing=timing)], ignore_conflicts=True)


def hold(name: str) -> str:
    """Lock the mark of a schedule until the transaction ends, and return its timing; "" for a new one."""
    begin(name, "")
    timing: str = _rows().select_for_update().values_list("timing", flat=True).get(schedule=name)
    return timing


def begin_anew(name: str, timing: str) -> None:
    """Let a schedule begin now, whatever its mark says. The caller holds it."""
    # The name as well: some databases find it regardless of case.
    _rows().filter(schedule=name).update(schedule=name, last_at=_now(), timing=timing)


def change(name: str, seen: Mark, timing: str) -> bool:
    """Let a schedule that was edited begin now. False: somebody was faster, or has it."""
    return _take(name, seen) and bool(_at(name, seen).update(last_at=_now(), timing=timing))


def advance(name: str, seen: Mark, tick: datetime) -> bool:
    """Go on to `tick`, in the caller's transaction. False: somebody was faster, or has it."""
    return _take(name, seen) and bool(_at(name, seen).update(last_at=tick))


def take(name: str) -> bool:
    """Lock the mark of a schedule, without waiting. False: there is none, or somebody has it."""
    return _locked(_rows().filter(schedule=name))


def drop(name: str) -> None:
    """Forget the mark of a schedule."""
    _rows().filter(schedule=name).delete()


def _now() -> datetime:
    # A value, no expression: SQLite keeps times as texts, and compares equal what was written in one form only.
    return clock.read(database.connection())


def _take(name: str, seen: Mark) -> bool:
    # The lock first: an UPDATE would wait for a caller's long transaction, and all wake-ups with it.
    return _locked(_at(name, seen))


def _locked(rows: Any) -> bool:
    skip = database.connection().features.has_select_for_update_skip_locked
    return rows.select_for_update(skip_locked=skip).values_list("schedule", flat=True).first() is not None


def _at(name: str, seen: Mark) -> Any:
    return _rows().filter(schedule=name, last_at=seen.last_at, timing=seen.timing)


def _rows() -> Any:
    return Tick.objects.using(database.alias())
