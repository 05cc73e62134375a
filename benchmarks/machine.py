"""The machine that a figure comes from, and how busy it was with other things meanwhile."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """What does not change during a run."""

    cpus: int
    python: str
    system: str


@dataclass(frozen=True)
class Load:
    """How busy the machine was while something was measured."""

    before: tuple[float, float, float]  # os.getloadavg()
    after: tuple[float, float, float]
    busy: (
        float | None
    )  # share of all CPUs that was not idle, ours included; None where the kernel doesn't say


def describe() -> Machine:
    """This machine."""
    return Machine(
        os.cpu_count() or 1, platform.python_version(), f"{platform.system()} {platform.machine()}"
    )


class LoadMeter:
    """Reads the load from when it is made until `read()`."""

    def __init__(self) -> None:
        self._before = os.getloadavg()
        self._ticks = _ticks()

    def read(self) -> Load:
        """The load since this meter was made."""
        busy = None
        now = _ticks()
        if self._ticks and now and now[0] > self._ticks[0]:
            total, idle = (after - before for after, before in zip(now, self._ticks, strict=True))
            busy = round(1 - idle / total, 2)
        return Load(self._before, os.getloadavg(), busy)


def _ticks() -> tuple[int, int] | None:
    """All and idle CPU ticks since boot (proc(5), /proc/stat)."""
    try:
        first_line = Path("/proc/stat").read_text().splitlines()[0]
    except OSError:
        return None
    # Guest time (fields 9 and 10) is part of user time already.
    ticks = [int(field) for field in first_line.split()[1:9]]
    return sum(ticks), ticks[3] + ticks[4]
