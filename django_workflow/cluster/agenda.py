"""What schedules have due is worked out here, and started.

Rules of this file: a tick is dealt with in one transaction, that moves the schedule's mark on and starts its
workflow, keyed by the tick: it starts once however many look, and no lost message loses it. Django-q2's own firing
is one more look.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.db import transaction

from django_workflow.cluster import schedules
from django_workflow.cluster.schedules import Entry, Row, ours, tell
from django_workflow.cluster.timing import NoTick, due
from django_workflow.engine import starting
from django_workflow.exceptions import KeyConflict
from django_workflow.handler.options import StartOptions
from django_workflow.journal import clock, ticks
from django_workflow.journal.clock import monotonic
from django_workflow.journal.database import alias, connection, passes, retrying
from django_workflow.journal.ticks import Mark

READ_SECONDS: Final = 5.0  # between two looks at django-q2's rows, which anybody may edit
HASTE_SECONDS: Final = 1.0  # the same, after a drain, which may have made one
SLACK_SECONDS: Final = 0.002  # to come after a tick by the database's clock, not a hair before it
BUSY_SECONDS: Final = 0.3  # for which a ticker starts what is due, before it sees to wake-ups again


class Outlook(NamedTuple):
    """How things stand after a look."""

    next_at: datetime | None  # the next tick; one that is past iff time was up. None: none is known
    left: bool  # True iff something may be due that this look left to somebody else, or to a later one


def start_due(seconds: float | None = None) -> Outlook:
    """Start what is due of all schedules.

    Args:
        seconds: stop after about so many; None: when all is started.
    """
    return _start_due(schedules.read(), seconds)


def _start_due(rows: list[Row], seconds: float | None) -> Outlook:
    ends_at = None if seconds is None else monotonic() + seconds
    usable = schedules.entries(rows)
    marks = _marks(usable, {row[1] for row in rows})
    entries = [entry for entry in usable if _has_mark(entry, marks)]
    nexts: list[datetime] = []
    left = len(entries) < len(usable)
    if not entries:
        return Outlook(None, left)
    now = clock.read(connection())
    for entry in entries:
        try:
            mark = _catch_up(entry, marks[entry.name], now, ends_at)
            nexts.append(entry.timing.after(mark.last_at))
        except NoTick:
            continue
        except _LeftToOthers:
            left = True
        except Exception as error:
            if passes(error):
                raise
            left = True
            tell(entry.name, "its workflow could not be started; it is tried again", error)
    return Outlook(min(nexts, default=None), left)


class _LeftToOthers(Exception):
    """Somebody else deals with this tick."""


def _catch_up(entry: Entry, mark: Mark, now: datetime, ends_at: float | None) -> Mark:
    """Start what is due of one schedule, and return its mark."""
    each = _counts_each()
    while (tick := due(entry.timing, mark.last_at, now, each=each)) is not None:
        if ends_at is not None and monotonic() >= ends_at:
            break
        _start(entry, mark, tick)
        mark = mark._replace(last_at=tick)
    return mark


def _counts_each() -> bool:
    from django_q.conf import Conf

    return bool(Conf.CATCH_UP)


@retrying
def _start(entry: Entry, mark: Mark, tick: datetime) -> None:
    options = StartOptions(key=f"schedule:{entry.name}:{tick.isoformat()}").over(entry.options)
    with transaction.atomic(using=alias()):
        if not ticks.advance(entry.name, mark, tick):
            raise _LeftToOthers
        try:
            starting.start(entry.definition, entry.args, options)
        except KeyConflict:
            # It was started before: the mark was set back since, and the arguments edited.
            return


def _marks(entries: list[Entry], names: set[Any]) -> dict[str, Mark]:
    """The marks of these schedules: what is new or was edited begins now; those of no schedule are dropped."""
    marks = ticks.read()
    changed = False
    for entry in entries:
        mark = marks.get(entry.name)
        if mark is None:
            ticks.begin(entry.name, entry.timing.key)
            changed = True
        elif mark.timing != entry.timing.key:
            with transaction.atomic(using=alias()):
                ticks.change(entry.name, mark, entry.timing.key)
            changed = True
    for name in marks.keys() - names:
        _drop(name)
    return ticks.read() if changed else marks


def _has_mark(entry: Entry, marks: Mapping[str, Mark]) -> bool:
    mark = marks.get(entry.name)
    if mark is None:
        tell(entry.name, "the database can't tell its name from another schedule's")
    # Of another timing: it was edited just now, and somebody else has its mark.
    return mark is not None and mark.timing == entry.timing.key


@retrying
def _drop(name: str) -> None:
    """Drop the mark of a schedule that was deleted; not of one that is being made just now."""
    with transaction.atomic(using=alias()):
        if ticks.take(name) and not ours().filter(name=name).exists():
            ticks.drop(name)


# ── the ticker's part ───────────────────────────────────────────────────────────────────────────────────────


class Agenda:
    """What a ticker that leads knows of the schedules, so that it looks no more often than it must."""

    def __init__(self) -> None:
        self.due_at = 0.0  # when to look, in monotonic seconds
        self._read_at = 0.0  # when it last did
        self._rows: list[Row] | None = None  # as it found them then
        self._outlook: Outlook | None = None

    def hasten(self) -> None:
        """A drain may have made a schedule."""
        self.due_at = min(self.due_at, self._read_at + HASTE_SECONDS)

    def look(self, now: datetime) -> None:
        """Read the schedules, and start what is due of them. One statement while they don't change.

        Args:
            now: the database's time, or a little less.
        """
        self._read_at = monotonic()
        self.due_at = self._read_at + READ_SECONDS  # also if this look fails
        rows = schedules.read()
        if rows != self._rows or self._outlook is None or self._outlook.left or self._is_due(now):
            self._rows = None
            self._outlook = _start_due(rows, BUSY_SECONDS)
            self._rows = rows
        if self._outlook.next_at is not None:
            wait = (self._outlook.next_at - now).total_seconds() + SLACK_SECONDS
            self.due_at = min(self.due_at, self._read_at + max(wait, 0.0))

    def _is_due(self, now: datetime) -> bool:
        # A little early is no harm: the database's clock decides.
        next_at = self._outlook.next_at if self._outlook else None
        return next_at is not None and next_at <= now + timedelta(seconds=SLACK_SECONDS)
