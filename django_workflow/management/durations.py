"""Durations as people write them on a command line. Pure."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

_NUMBER: Final = r"(\d{1,15}(?:\.\d{1,9})?)"
_SHORT: Final = re.compile(
    rf"(?:{_NUMBER}w)?(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m)?(?:{_NUMBER}s)?", re.ASCII
)
_ISO: Final = re.compile(
    rf"P(?:{_NUMBER}W)?(?:{_NUMBER}D)?(?:T(?=\d)(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?", re.ASCII
)
_UNITS: Final = ("weeks", "days", "hours", "minutes", "seconds")
REMEDY: Final = "write 90s, 15m, 12h, 30d, 2w, 1d12h, or as ISO 8601 has it: PT90S, P30D"


def duration(text: str) -> timedelta:
    """The duration that `text` says: `90s`, `1d12h`, `P1DT12H`; larger units first, each once, always with its unit.

    Raises:
        ValueError: it is none; the text names the value and the remedy. Months and years are none: they differ.

    """
    found = _SHORT.fullmatch(text) or _ISO.fullmatch(text.upper())
    given = {} if found is None else dict(zip(_UNITS, found.groups(), strict=True))
    numbers = {unit: float(number) for unit, number in given.items() if number is not None}
    if not numbers:
        raise ValueError(f"{text!r} is no duration; {REMEDY}")
    try:
        return timedelta(**numbers)
    except OverflowError:
        raise ValueError(f"{text!r} is longer than any calendar; {REMEDY}") from None
