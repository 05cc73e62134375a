"""Spans of time and moments, as people say them. Pure but for translation and the project's formats."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import formats
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

SECOND, MINUTE, HOUR, DAY = 1, 60, 3600, 86_400
MILLISECOND = 0.001


def span(of: timedelta) -> str:
    """`400 ms`, `2.2 s`, `31 s`, `5 min`, `2 h 4 min`, `2 d 4 h`: two units at most. Below zero counts as zero."""
    seconds = max(of.total_seconds(), 0.0)
    if seconds < SECOND:
        return _("%(n)s ms") % {"n": round(seconds / MILLISECOND)}
    if seconds < 10:
        return _("%(n)s s") % {"n": formats.localize(round(seconds, 1))}
    if seconds < MINUTE:
        return _("%(n)s s") % {"n": int(seconds)}
    whole = int(seconds)
    days, hours, minutes = whole // DAY, whole % DAY // HOUR, whole % HOUR // MINUTE
    if days:
        return _joined(_("%(n)s d") % {"n": days}, _("%(n)s h") % {"n": hours} if hours else "")
    if hours:
        return _joined(_("%(n)s h") % {"n": hours}, _("%(n)s min") % {"n": minutes} if minutes else "")
    return _("%(n)s min") % {"n": minutes}


def _joined(first: str, second: str) -> str:
    return f"{first} {second}" if second else first


def ago(moment: datetime, now: datetime) -> str:
    """`5 min ago`; `in 5 min` for what is to come; within a second `just now`."""
    if abs((now - moment).total_seconds()) < SECOND:
        return _("just now")
    if moment > now:
        return _("in %(span)s") % {"span": span(moment - now)}
    return _("%(span)s ago") % {"span": span(now - moment)}


def day_or_time(moment: datetime, now: datetime) -> str:
    """The time of a moment of today, else its day: short enough for a row of a list."""
    local, today = localtime(moment), localtime(now)
    if local.date() == today.date():
        return formats.date_format(local, "H:i")
    if local.year == today.year:
        return formats.date_format(local, pgettext("format of a day of this year", "M j"))
    return formats.date_format(local, pgettext("format of a day", "M j, Y"))


def in_full(moment: datetime) -> str:
    """A moment to the second, in the project's time zone."""
    return formats.date_format(localtime(moment), "Y-m-d H:i:s")
