"""The clock of a host that is wrong by ``CLOCK_SHIFT`` seconds, for one process and all that it forks.

Python imports this module before any other where its folder is on ``PYTHONPATH``, so that whoever asks `time` or
`datetime` for the time is told the wrong one. What the kernel and the database say is as right as ever.
"""

import datetime
import os
import time
from datetime import datetime as _datetime
from typing import Any

SHIFT = float(os.environ.get("CLOCK_SHIFT", "0"))

_time, _time_ns = time.time, time.time_ns


def shifted_time() -> float:
    return _time() + SHIFT


def shifted_time_ns() -> int:
    return _time_ns() + int(SHIFT * 1_000_000_000)


class _Meta(type):
    """What C code makes is still a `datetime`."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _datetime) if cls is Shifted else super().__instancecheck__(instance)

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, _datetime) if cls is Shifted else super().__subclasscheck__(other)


class Shifted(_datetime, metaclass=_Meta):
    """`datetime` with a clock that is wrong."""

    __slots__ = ()  # C code asks for its size

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return cls.fromtimestamp(shifted_time(), tz)

    @classmethod
    def today(cls) -> Any:
        return cls.now()

    @classmethod
    def utcnow(cls) -> Any:
        return cls.now(datetime.UTC).replace(tzinfo=None)


# Pickled, it is the one that the reader knows by that name.
Shifted.__module__, Shifted.__name__, Shifted.__qualname__ = "datetime", "datetime", "datetime"

if SHIFT:
    time.time, time.time_ns = shifted_time, shifted_time_ns
    datetime.datetime = Shifted  # type: ignore[misc]
