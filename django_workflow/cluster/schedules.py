"""Schedules as django-q2 has them: its row says what is to start, and when; its admin shows it.

Rules of this file: anybody may have edited a row, so nothing of it is believed; what can't be started here is told
once, without its values, and left as it is.
"""

from __future__ import annotations

import ast
import json
import logging
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Final

from django.apps import apps
from django.db import router, transaction

from django_workflow.cluster.timing import (
    Cron,
    Every,
    Timing,
    cron_problem,
    minutes_of,
)
from django_workflow.conf import settings
from django_workflow.exceptions import (
    InvalidArguments,
    UnknownDefinition,
    UsageError,
)
from django_workflow.fields import seal, unseal
from django_workflow.handler import registry
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.handler.options import StartOptions
from django_workflow.journal import clock, ticks
from django_workflow.journal.database import alias, connection, retrying

logger = logging.getLogger("django_workflow.cluster")

TASK: Final = "django_workflow.cluster.tasks.tick"
# For django-q2's firing, which does nothing that is worth a row.
Q_OPTIONS: Final = "{'q_options': {'save': False, 'ack_failure': True}}"
NAME_LIMIT: Final = 100

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


# ── reading them ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Entry:
    """A schedule that can be started here."""

    name: str
    definition: WorkflowDefinition[Any, Any]
    args: str
    options: StartOptions
    timing: Timing


def read() -> list[Row]:
    """The schedules as django-q2 has them, without what its own firing changes. One statement."""
    # Without repeats left django-q2 doesn't fire either: the admin's way to hold a schedule.
    fields = ("id", "name", "args", "schedule_type", "minutes", "cron")
    return list(ours().values_list(*fields)) if apps.is_installed("django_q") else []


def _model() -> Any:
    if not apps.is_installed("django_q"):
        raise UsageError("schedule() needs django-q2: add 'django_q' to INSTALLED_APPS")
    from django_q.models import Schedule

    return Schedule


def ours() -> Any:
    """Django-q2's rows of schedules that start workflows."""
    model = _model()
    rows = model.objects.using(router.db_for_write(model)).filter(func=TASK)
    return rows.exclude(repeats=0).order_by("id")


def entries(rows: list[Row]) -> list[Entry]:
    """The schedules that can be started here; of the others it is told why not."""
    found: dict[str, Entry] = {}
    for row in rows:
        name = row[1]
        try:
            if not name or name in found:
                raise _Unfit("it has no name" if not name else "another schedule has the same name")
            found[name] = _entry(row)
        except _Unfit as problem:
            tell(name or f"#{row[0]}", str(problem))
    return list(found.values())


class _Unfit(Exception):
    """Why a row can't be started here."""


def _entry(row: Row) -> Entry:
    _, name, args, schedule_type, minutes, cron = row
    definition_name, *texts = _texts(args)
    try:
        definition = registry.newest(definition_name)
    except UnknownDefinition as error:
        raise _Unfit(f"{error}. Its ticks wait for a process that knows it") from None
    try:
        # As `schedule()` would have made it: an admin may have edited it.
        args_text, options_text = (unseal(text) or "" for text in texts)
        called = definition.signature.decode_arguments(args_text)
        what = f"the arguments of {definition.name}"
        text = definition.signature.encode_arguments(
            *called, what=what, limit=settings.VALUE_LIMIT, defaults=True
        )
        options = _options_of(options_text) if options_text else StartOptions()
    except Exception as error:  # noqa: BLE001  a codec and foreign types may raise anything
        # Names, no values: this goes to the log.
        problems = error.problems if isinstance(error, InvalidArguments) else [type(error).__name__]
        said = ", ".join(problem.partition(":")[0] for problem in problems)
        raise _Unfit(f"its arguments don't fit {definition.name}: {said}") from None
    return Entry(name, definition, text, options, _timing(schedule_type, minutes, cron))


def _texts(args: Any) -> tuple[str, str, str]:
    """The name of the definition, its arguments, its options or ""."""
    try:
        found = ast.literal_eval(args)
        if not isinstance(found, tuple):
            raise TypeError
        definition, text, *more = found
        options = more[0] if more else ""
        if not all(isinstance(each, str) for each in (definition, text, options)):
            raise TypeError
        return definition, text, options
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise _Unfit("its arguments are no definition's name and a text of JSON, in quotes both") from None


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


def tell(name: str, problem: str, error: Exception | None = None) -> None:
    """One word about a schedule's problem, not one at each look."""
    if (name, problem) not in _told:
        _told.add((name, problem))
        logger.warning("The schedule %r starts nothing: %s.", name, problem, exc_info=error)
