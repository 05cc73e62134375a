"""What a workload is, what comes of it, and how systems take their turns.

Systems take their turns one after the other in every round, so that what else the machine does falls on all of
them alike. A figure is the median of the rounds. A system that can't do a workload is in its table with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

from benchmarks.driver import Unsupported, Worked
from benchmarks.machine import Load, LoadMeter
from benchmarks.systems import Running, System, running


@dataclass(frozen=True)
class Options:
    """How a workload is run."""

    size: int  # what it counts is said by `Workload.counts`
    rounds: int
    say: Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One system's part of a workload."""

    system: System
    figures: dict[str, Any]  # by name, units in the name; empty: it could not be measured
    samples: dict[str, list[float]] = field(
        default_factory=dict
    )  # seconds, in the order in which they were measured
    variant: str = ""  # what tells it from another row of the same system
    note: str = ""  # why it could not be measured

    @property
    def label(self) -> str:
        """How tables, charts and JSON name it."""
        return ", ".join(part for part in (self.system.label, self.variant) if part)


@dataclass(frozen=True)
class Result:
    """A workload's outcome."""

    workload: str
    title: str
    main: str  # the figure by which systems are compared
    more_is_better: bool
    rows: list[Row]
    load: Load
    size: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sizes:
    """What `--size` is by default."""

    alone: int  # when the workload is asked for by name
    full: int  # in `--full`
    small: int  # when all are run


@dataclass(frozen=True)
class Workload:
    """One of the commands."""

    run: Callable[[str, Sequence[System], Options], Result]
    counts: str  # what its size is the number of
    sizes: Sizes
    queue: bool = False  # True: a cluster is part of it, so each broker is measured
    peers: bool = True  # False: only we are measured
    one_round: bool = False  # True: it has enough samples in itself
    usual: bool = True  # False: only when it is asked for by name


@dataclass(frozen=True)
class Entrant:
    """What is measured of a driver."""

    driver: Running
    ask: partial[Any]  # of a call of `Running`, which needs the driver alone
    variant: str = ""


def compete(entrants: Sequence[Entrant], options: Options) -> list[list[Any] | Unsupported]:
    """What each said, round by round; each round in another order. Who can't do it is asked no more."""
    done: list[list[Any] | Unsupported] = [[] for _ in entrants]
    for turn in range(options.rounds):
        for place in _rotated(len(entrants), turn):
            said = done[place]
            if isinstance(said, Unsupported):
                continue
            entrant = entrants[place]
            label = ", ".join(part for part in (entrant.driver.system.label, entrant.variant) if part)
            options.say(f"round {turn + 1} of {options.rounds}: {label}")
            try:
                said.append(entrant.ask(entrant.driver))
            except Unsupported as error:
                done[place] = error
    return done


def rows_of(
    entrants: Sequence[Entrant],
    done: Sequence[list[Any] | Unsupported],
    row: Callable[[Entrant, list[Any]], tuple[dict[str, Any], dict[str, list[float]]]],
) -> list[Row]:
    """A row for each: `row` makes figures and samples of what was measured."""
    rows = []
    for entrant, said in zip(entrants, done, strict=True):
        if isinstance(said, Unsupported):
            rows.append(Row(entrant.driver.system, {}, {}, entrant.variant, str(said)))
        else:
            figures, samples = row(entrant, said)
            rows.append(Row(entrant.driver.system, figures, samples, entrant.variant))
    return rows


def measure(
    systems: Sequence[System],
    options: Options,
    ask: partial[Any],
    row: Callable[[Entrant, list[Any]], tuple[dict[str, Any], dict[str, list[float]]]],
) -> tuple[list[Row], Load]:
    """All of it, where each system is asked the same."""
    meter = LoadMeter()
    with ExitStack() as stack:
        entrants = [Entrant(stack.enter_context(running(system)), ask) for system in systems]
        rows = rows_of(entrants, compete(entrants, options), row)
    return rows, meter.read()


def _rotated(number: int, by: int) -> Iterator[int]:
    return ((place + by) % number for place in range(number))


# ── figures ─────────────────────────────────────────────────────────────────────────────────────────────────────


def spread(seconds: Sequence[float]) -> float | None:
    """How far apart the rounds were: (most - least) / median; None for a single one."""
    return (max(seconds) - min(seconds)) / median(seconds) if len(seconds) > 1 else None


def cpu_ms(worked: Sequence[Worked], steps: int) -> float | None:
    """CPU milliseconds of the workers for each step; None: not known."""
    known = [each.cpu_seconds for each in worked if each.cpu_seconds is not None]
    return 1000 * median(known) / steps if known else None


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that so large a share of them doesn't exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """The slope of a line through the points (log size, log value), by least squares; None for a single size."""
    if len(sizes) < 2:
        return None
    x, y = [math.log(size) for size in sizes], [math.log(value) for value in values]
    x_mean, y_mean = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - x_mean) ** 2 for a in x)
