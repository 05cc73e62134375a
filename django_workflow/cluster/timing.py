"""When a schedule ticks: by cron in the project's time zone, or every so many minutes.

Rules of this file: it computes and asks nobody for the time. Ticks are aware, in UTC, and each comes after the one
before it whatever the clocks of the time zone do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from croniter import CroniterBadDateError, croniter
from django.utils import timezone

CRON_LIMIT: Final = 100  # characters, as django-q2's column has it
MINUTES_LIMIT: Final = 32_767  # the same

# Croniter's own: a field that is drawn anew each time, or made of a name that nobody gives it.
_DRAWN = re.compile(r"(^|[\s,])[rh]([\s,(/]|$)", re.IGNORECASE)


class NoTick(Exception):
    """There is no tick: the cron names a day that never comes."""


class Timing(Protocol):
    """When a schedule ticks."""

    @property
    def key(self) -> str:
        """What tells one timing from another, for people too."""

    def after(self, moment: datetime) -> datetime:
        """The first tick after `moment`. Raises `NoTick`."""

    def last(self, since: datetime, now: datetime) -> datetime | None:
        """The last tick after `since`, up to `now`; None when there is none."""


def due(timing: Timing, since: datetime, now: datetime, *, each: bool) -> datetime | None:
    """The tick that is to be dealt with next, of those after `since` and up to `now`.

    Args:
        timing: whose ticks.
        since: the last tick that was dealt with.
        now: the time.
        each: True: the first one, every missed tick counts; False: the last one, it stands for all of them.
    """
    try:
        first = timing.after(since)
    except NoTick:
        return None
    if first > now:
        return None
    return first if each else timing.last(since, now)


@dataclass(frozen=True)
class Every:
    """Every so many minutes, counted from the last tick."""

    minutes: int

    @property
    def key(self) -> str:
        return f"every {self.minutes} min"

    def after(self, moment: datetime) -> datetime:
        try:
            return moment + timedelta(minutes=self.minutes)
        except OverflowError:
            raise NoTick from None

    def last(self, since: datetime, now: datetime) -> datetime | None:
        step = timedelta(minutes=self.minutes)
        count = (now - since) // step
        return since + count * step if count > 0 else None


@dataclass(frozen=True)
class Cron:
    """Five fields: minute, hour, day of the month, month, day of the week.

    Where clocks go forward, a tick in the hour that is left out comes at its end. Where they go back, an hour
    comes twice: who asks for every hour (`*`) gets both, any other tick comes once, as cron(8) has it.
    """

    text: str

    @property
    def key(self) -> str:
        return f"cron {self.text}"

    def after(self, moment: datetime) -> datetime:
        return self._walk(moment, lambda cron: cron.get_next)

    def last(self, since: datetime, now: datetime) -> datetime | None:
        try:
            tick = self._walk(now, lambda cron: cron.get_prev)
            while (following := self.after(tick)) <= now:
                tick = following
        except NoTick:
            return None
        return tick if tick > since else None

    def _walk(self, moment: datetime, way: Callable[[croniter], Callable[..., datetime]]) -> datetime:
        while True:
            local = timezone.localtime(moment, timezone.get_default_timezone())
            try:
                tick = way(croniter(self.text, local))(datetime).astimezone(UTC)
            except (CroniterBadDateError, OverflowError):
                raise NoTick from None
            if tick == moment:
                raise NoTick
            if not self._comes_again(tick):
                return tick
            moment = tick

    def _comes_again(self, tick: datetime) -> bool:
        every_hour = self.text.split()[1].startswith("*")
        return not every_hour and timezone.localtime(tick, timezone.get_default_timezone()).fold == 1


def cron_problem(cron: object) -> str | None:
    """What is wrong with a cron; None when nothing is."""
    if not isinstance(cron, str):
        return f"{cron!r} is no text"
    if len(cron.split()) != 5:
        return (
            f"{cron!r} has {len(cron.split())} fields; give five: minute, hour, day, month, day of the week"
        )
    if len(cron) > CRON_LIMIT:
        return f"{cron!r} has more than {CRON_LIMIT} characters"
    if _DRAWN.search(cron) or not croniter.is_valid(cron):
        return f"{cron!r} is no cron that can be read; one is '30 7 * * mon-fri'"
    try:
        Cron(cron).after(datetime(2000, 1, 1, tzinfo=UTC))
    except NoTick:
        return f"{cron!r} names a day that never comes"
    return None


def minutes_of(every: timedelta | float) -> int | str:
    """The whole minutes of an interval; a text says what is wrong with it."""
    if isinstance(every, bool) or not isinstance(every, timedelta | int | float):
        return f"{every!r} is no interval; give seconds, or a timedelta"
    try:
        delta = every if isinstance(every, timedelta) else timedelta(seconds=every)
    except (ValueError, OverflowError):
        return f"{every!r} is no interval; give seconds, or a timedelta"
    minutes, rest = divmod(delta, timedelta(minutes=1))
    if minutes < 1:
        return f"{every!r} is below one minute"
    if rest:
        return f"{every!r} is not in whole minutes"
    if minutes > MINUTES_LIMIT:
        return f"{every!r} is more than {MINUTES_LIMIT} minutes; give a cron"
    return minutes
