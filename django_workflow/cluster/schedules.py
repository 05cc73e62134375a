"""Schedules: django-q2's row says what is to start and when; what is due is worked out and started here.

Rules of this file: a tick is dealt with in one transaction, that moves the schedule's mark on and starts the
workflow, so that it starts once however many look, and is lost with no message. django-q2's own firing only looks.
What can't be started is told once and left where it is.
"""

from __future__ import annotations

import ast
import json
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.apps import apps
from django.db import router, transaction

from django_workflow.cluster.timing import (
    Cron,
    Every,
    NoTick,
    Timing,
    cron_problem,
    due,
    minutes_of,
)
from django_workflow.conf import settings
from django_workflow.engine import starting
from django_workflow.exceptions import (
    InvalidArguments,
    KeyConflict,
    UnknownDefinition,
    UsageError,
)
from django_workflow.fields import seal, unseal
from django_workflow.handler import registry
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.handler.options import StartOptions
from django_workflow.journal import clock, ticks
from django_workflow.journal.clock import monotonic
from django_workflow.journal.database import alias, connection, passes, retrying
from django_workflow.journal.ticks import Mark

logger = logging.getLogger("django_workflow.cluster")

TASK: Final = "django_workflow.cluster.tasks.tick"
# For django-q2's firing, which does nothing that is worth a row.
Q_OPTIONS: Final = "{'q_options': {'save': False, 'ack_failure': True}}"
NAME_LIMIT: Final = 100
READ_SECONDS: Final = 5.0  # between two looks at django-q2's rows, which anybody may edit
HASTE_SECONDS: Final = 1.0  # the same, after a drain, which may have made one
SLACK_SECONDS: Final = 0.002  # to come after a tick by the database's clock, not a hair before it
BUSY_SECONDS: Final = 0.3  # for which a ticker starts what is due, before it sees to wake-ups again

Row = tuple[Any, ...]


# ── making one ──────────────────────────────────────────────────────────────────────────────────────────────


@retrying
def put(
    definition: WorkflowDefinition[Any, Any],
    name: str,
    cron: str | None,
    every: timedelta | float | None,
    args_text: str,
) -> Any:
    """Make the schedule of that name, or change it; in the caller's transaction. Returns django-q2's row.

    One whose timing stays the same goes on as it was; any other begins now.

    Raises:
        InvalidArguments: with all problems.
        UsageError: the name is that of a schedule that is not ours.

    """
    timing = _checked(definition, name, cron, every)
    model = _model()
    using = router.db_for_write(model)
    with ExitStack() as stack:
        for each in dict.fromkeys((alias(), using)):
            stack.enter_context(transaction.atomic(using=each))
        held = ticks.hold(name)  # first: of two that make it at once the second one finds it
        rows = list(model.objects.using(using).filter(name=name).order_by("id"))
        if any(row.func != TASK for row in rows):
            raise UsageError(
                f"schedule(name={name!r}): django-q2 has a schedule of that name that isn't ours"
            )
        row = rows[0] if rows else model(name=name)
        if not rows or held != timing.key:
            ticks.begin_anew(row.name, timing.key)
            next_run = timing.after(clock.read(connection()))
        else:
            next_run = row.next_run
        _fill(row, definition, timing, args_text)
        row.save(using=using)
        model.objects.using(using).filter(pk=row.pk).update(next_run=next_run)  # save() makes one of its own
        row.next_run = next_run
    return row


def _checked(definition: WorkflowDefinition[Any, Any], name: Any, cron: Any, every: Any) -> Timing:
    problems = []
    if not isinstance(name, str) or not 1 <= len(name) <= NAME_LIMIT or not _is_plain(name):
        problems.append(
            f"name: {name!r} is no name; give 1 to {NAME_LIMIT} printable characters, no blank at either end"
        )
    problems += [
        f"definition: using({option}=…) is for one start, and a schedule starts many"
        for option in ("key", "run_at", "eager")
        if getattr(definition.start_options, option) is not None
    ]
    timing: Timing = Every(1)
    if (cron is None) == (every is None):
        given = "neither of them is given" if cron is None else "give one of them, not both"
        problems.append(f"cron and every: {given}")
    elif cron is not None:
        problem = cron_problem(cron)
        timing = Cron(" ".join(cron.split())) if problem is None else timing
        problems += [] if problem is None else [f"cron: {problem}"]
    else:
        minutes = minutes_of(every)
        timing = Every(minutes) if isinstance(minutes, int) else timing
        problems += [] if isinstance(minutes, int) else [f"every: {minutes}"]
    if problems:
        raise InvalidArguments("schedule()", problems)
    return timing


def _is_plain(name: str) -> bool:
    return name.isprintable() and name == name.strip()


def _fill(row: Any, definition: WorkflowDefinition[Any, Any], timing: Timing, args_text: str) -> None:
    cron = timing.text if isinstance(timing, Cron) else None
    row.func, row.kwargs, row.repeats = TASK, Q_OPTIONS, -1
    row.schedule_type = row.CRON if cron is not None else row.MINUTES
    row.cron, row.minutes = cron, timing.minutes if isinstance(timing, Every) else None
    row.cluster = definition.manager.cluster or None
    texts = [definition.name, seal(args_text)]
    options = _options_text(definition.start_options)
    row.args = ", ".join(repr(text) for text in [*texts, *([seal(options)] if options else [])])


def _options_text(options: StartOptions) -> str:
    given = {name: value for name, value in asdict(options).items() if value is not None}
    if "run_after" in given:
        given["run_after"] = given["run_after"].total_seconds()
    return json.dumps(given) if given else ""


def _options_of(text: str) -> StartOptions:
    given = json.loads(text)
    if "run_after" in given:
        given["run_after"] = timedelta(seconds=given["run_after"])
    return StartOptions(**given)


# ── starting what is due ────────────────────────────────────────────────────────────────────────────────────


class Outlook(NamedTuple):
    """How things stand after a look."""

    next_at: datetime | None  # the next tick; one that is past iff time was up. None: none is known
    left: bool  # True iff something may be due that this look left to somebody else, or to a later one


@dataclass(frozen=True)
class Entry:
    """A schedule that can be started here."""

    name: str
    definition: WorkflowDefinition[Any, Any]
    args: str
    options: StartOptions
    timing: Timing


def start_due(seconds: float | None = None) -> Outlook:
    """Start what is due of all schedules.

    Args:
        seconds: stop after about so many; None: when all is started.
    """
    return _start_due(read(), seconds)


def read() -> list[Row]:
    """The schedules as django-q2 has them, without what its own firing changes. One statement."""
    # Without repeats left django-q2 doesn't fire either: the admin's way to hold a schedule.
    fields = ("id", "name", "args", "schedule_type", "minutes", "cron")
    return list(_ours().values_list(*fields)) if apps.is_installed("django_q") else []


def _start_due(rows: list[Row], seconds: float | None) -> Outlook:
    ends_at = None if seconds is None else monotonic() + seconds
    usable = _entries(rows)
    marks = _marks(usable, {row[1] for row in rows})
    entries = [entry for entry in usable if _has_mark(entry, marks)]
    nexts: list[datetime] = []
    left = len(entries) < len(usable)
    now = clock.read(connection()) if entries else None
    for entry in entries:
        assert now is not None
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
            _tell(entry.name, "its workflow could not be started; it is tried again", error)
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


@retrying
def _start(entry: Entry, mark: Mark, tick: datetime) -> None:
    options = StartOptions(key=f"schedule:{entry.name}:{tick.isoformat()}").over(entry.options)
    with transaction.atomic(using=alias()):
        if not ticks.advance(entry.name, mark, tick):
            raise _LeftToOthers
        try:
            starting.start(entry.definition, entry.args, options)
        except KeyConflict:
            # It was started, by a mark that was set back since and with arguments that were edited since.
            logger.info("The tick %s of the schedule %r was dealt with before.", tick, entry.name)


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
        _tell(entry.name, "the database can't tell its name from another schedule's")
    # Of another timing: it was edited just now, and somebody else has its mark.
    return mark is not None and mark.timing == entry.timing.key


@retrying
def _drop(name: str) -> None:
    """Drop the mark of a schedule that was deleted; not of one that is being made just now."""
    with transaction.atomic(using=alias()):
        if ticks.take(name) and not _ours().filter(name=name).exists():
            ticks.drop(name)


# ── django-q2's rows ────────────────────────────────────────────────────────────────────────────────────────


def _model() -> Any:
    if not apps.is_installed("django_q"):
        raise UsageError("schedule() needs django-q2: add 'django_q' to INSTALLED_APPS")
    from django_q.models import Schedule

    return Schedule


def _ours() -> Any:
    model = _model()
    rows = model.objects.using(router.db_for_write(model)).filter(func=TASK)
    return rows.exclude(repeats=0).order_by("id")


def _counts_each() -> bool:
    from django_q.conf import Conf

    return bool(Conf.CATCH_UP)


def _entries(rows: list[Row]) -> list[Entry]:
    """The schedules that can be started here; of the others it is told why not."""
    found: dict[str, Entry] = {}
    for row in rows:
        name = row[1]
        try:
            if not name or name in found:
                raise _Unfit("it has no name" if not name else "another schedule has the same name")
            found[name] = _entry(row)
        except _Unfit as problem:
            _tell(name or f"#{row[0]}", str(problem))
    return list(found.values())


class _Unfit(Exception):
    """Why a row can't be started here."""


def _entry(row: Row) -> Entry:
    _, name, args, schedule_type, minutes, cron = row
    definition_name, args_text, options_text = _texts(args)
    try:
        definition = registry.newest(definition_name)
    except UnknownDefinition as error:
        raise _Unfit(f"{error}. Its ticks wait for a process that knows it") from None
    try:
        # As `schedule()` would have made it: an admin may have edited it.
        called = definition.signature.decode_arguments(args_text)
        what = f"the arguments of {definition.name}"
        text = definition.signature.encode_arguments(
            *called, what=what, limit=settings.VALUE_LIMIT, defaults=True
        )
        options = _options_of(options_text) if options_text else StartOptions()
    except Exception as error:
        raise _Unfit(f"its arguments can't be used: {error}") from error
    return Entry(name, definition, text, options, _timing(schedule_type, minutes, cron))


def _texts(args: Any) -> tuple[str, str, str]:
    try:
        found = ast.literal_eval(args)
        if not isinstance(found, tuple):
            raise TypeError
        definition, text, *more = found
        options = more[0] if more else ""
        if not all(isinstance(each, str) for each in (definition, text, options)):
            raise TypeError
        return definition, unseal(text) or "", unseal(options) or ""
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise _Unfit(f"its arguments are no definition's name and a text of JSON: {args!r:.200}") from None


def _timing(schedule_type: str, minutes: int | None, cron: str | None) -> Timing:
    model = _model()
    lengths = {
        model.MINUTES: minutes or 1,
        model.HOURLY: 60,
        model.DAILY: 24 * 60,
        model.WEEKLY: 7 * 24 * 60,
    }
    if schedule_type in lengths:
        return Every(lengths[schedule_type])
    if schedule_type != model.CRON:
        kind = dict(model.TYPE).get(schedule_type, schedule_type)
        raise _Unfit(f"workflows have no schedule of the type {kind}; make it a cron")
    if (problem := cron_problem(cron or "")) is not None:
        raise _Unfit(f"its cron {problem}")
    return Cron(cron or "")


_told: set[tuple[str, str]] = set()


def _tell(name: str, problem: str, error: Exception | None = None) -> None:
    """One word about a schedule's problem, not one at each look."""
    if (name, problem) not in _told:
        _told.add((name, problem))
        logger.warning("The schedule %r starts nothing: %s.", name, problem, exc_info=error)


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
        rows = read()
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
