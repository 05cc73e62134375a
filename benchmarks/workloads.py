"""The workloads: what is asked of each system, and which figures come of it.

Systems take their turns one after the other in every round, so that what else the machine does falls on all of
them alike. A figure is the median of the rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from statistics import median
from typing import Any

from benchmarks.driver import Kind, Worked
from benchmarks.machine import Load, LoadMeter
from benchmarks.systems import Running, System, running

W1_STEPS = 10
# Statements are counted over as many workflows as a worker claims at once, twice.
COUNTED_WORKFLOWS = 32
CALL_SECONDS = 1.0  # that each call of W6 takes: no system can be faster
W2_SHARES = (1 / 30, 1 / 3, 1)  # of the largest: 100, 1,000, 3,000


@dataclass(frozen=True)
class Options:
    """How a workload is run."""

    size: int  # W1: workflows; W2: steps of the longest; W3: times
    rounds: int
    say: Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One system's part of a workload."""

    system: System
    figures: dict[str, Any]  # by name, units in the name
    samples: dict[str, list[float]]  # seconds, in the order in which they were measured


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


# ── W1: many workflows ──────────────────────────────────────────────────────────────────────────────────────────


def many_workflows(name: str, kind: Kind, systems: Sequence[System], options: Options) -> Result:
    """W1: N workflows of 10 sequential steps, started first, then worked off."""
    workflows = options.size
    steps = workflows * W1_STEPS
    meter = LoadMeter()
    with ExitStack() as stack:
        drivers = [stack.enter_context(running(system)) for system in systems]
        done = _in_turns(drivers, options, lambda driver: driver.batch(workflows, W1_STEPS, kind))
        rows = [
            Row(
                driver.system,
                {
                    **_rate(worked, workflows, steps),
                    **_statements(driver, kind),
                },
                {"seconds": [each.seconds for each in worked]},
            )
            for driver, worked in zip(drivers, done, strict=True)
        ]
    return Result(
        name,
        f"{workflows} workflows of {W1_STEPS} {kind}",
        "workflows_per_s",
        True,
        rows,
        meter.read(),
        {"workflows": workflows, "steps": W1_STEPS, "kind": kind},
    )


def _rate(worked: Sequence[Worked], workflows: int, steps: int) -> dict[str, Any]:
    seconds = [each.seconds for each in worked]
    return {
        "workflows_per_s": workflows / median(seconds),
        "spread": _spread(seconds),
        "steps_per_s": steps / median(seconds),
        "cpu_ms_per_step": _cpu(worked, steps),
    }


def _statements(driver: Running, kind: Kind) -> dict[str, Any]:
    counted = driver.statements(COUNTED_WORKFLOWS, W1_STEPS, kind)
    if counted is None:
        return {}
    steps = COUNTED_WORKFLOWS * W1_STEPS
    return {
        "statements_per_step": counted.statements / steps,
        "savepoints_per_step": counted.savepoints / steps,
        "transactions_per_step": counted.commits / steps,
        "statements_by_text": {text: number / COUNTED_WORKFLOWS for text, number in counted.by_text.items()},
    }


# ── W2: one long workflow ───────────────────────────────────────────────────────────────────────────────────────


def one_workflow(name: str, kind: Kind, systems: Sequence[System], options: Options) -> Result:
    """W2: one workflow of so many sequential steps, in three sizes, and how its time grows with them."""
    largest = options.size
    sizes = sorted({max(1, round(largest * share)) for share in W2_SHARES})
    meter = LoadMeter()
    with ExitStack() as stack:
        drivers = [stack.enter_context(running(system)) for system in systems]
        by_size = [
            _in_turns(drivers, options, partial(_one_batch, steps=steps, kind=kind)) for steps in sizes
        ]
        rows = [
            _growth(driver.system, sizes, list(worked))
            for driver, worked in zip(drivers, zip(*by_size, strict=True), strict=True)
        ]
    return Result(
        name,
        f"one workflow of {', '.join(f'{steps:,}' for steps in sizes)} {kind}",
        f"seconds_{sizes[-1]}",
        False,
        rows,
        meter.read(),
        {"steps": sizes, "kind": kind},
    )


def _one_batch(driver: Running, *, steps: int, kind: Kind) -> Worked:
    return driver.batch(1, steps, kind)


def _growth(system: System, sizes: Sequence[int], worked: Sequence[Sequence[Worked]]) -> Row:
    seconds = [[each.seconds for each in rounds] for rounds in worked]
    medians = [median(each) for each in seconds]
    return Row(
        system,
        {
            **{f"seconds_{steps}": value for steps, value in zip(sizes, medians, strict=True)},
            "spread": _spread(seconds[-1]),
            "exponent": exponent(sizes, medians),
            "ms_per_step": 1000 * medians[-1] / sizes[-1],
            "cpu_ms_per_step": _cpu(worked[-1], sizes[-1]),
        },
        {str(steps): each for steps, each in zip(sizes, seconds, strict=True)},
    )


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """The slope of a line through the points (log size, log value), by least squares; None for a single size."""
    if len(sizes) < 2:
        return None
    x, y = [math.log(size) for size in sizes], [math.log(value) for value in values]
    x_mean, y_mean = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True))
    return covariance / sum((a - x_mean) ** 2 for a in x)


# ── W3: one short workflow ──────────────────────────────────────────────────────────────────────────────────────


def idle_latency(name: str, systems: Sequence[System], options: Options) -> Result:
    """W3: a workflow of one action on an idle system, from its start to its end, many times."""
    times = options.size
    a_round = max(1, times // options.rounds)
    meter = LoadMeter()
    with ExitStack() as stack:
        drivers = [stack.enter_context(running(system)) for system in systems]
        done = _in_turns(drivers, options, lambda driver: driver.latency(a_round))
    rows = [
        Row(system, _latencies(seconds), {"seconds": seconds})
        for system, seconds in zip(systems, (list(chain(*rounds)) for rounds in done), strict=True)
    ]
    return Result(
        name,
        f"one workflow of 1 action on an idle system, {a_round * options.rounds} times",
        "p50_ms",
        False,
        rows,
        meter.read(),
        {"times": a_round * options.rounds},
    )


def _latencies(seconds: Sequence[float]) -> dict[str, Any]:
    ordered = sorted(seconds)
    return {
        "p50_ms": 1000 * median(ordered),
        "p95_ms": 1000 * ordered[math.ceil(0.95 * len(ordered)) - 1],
        "least_ms": 1000 * ordered[0],
        "most_ms": 1000 * ordered[-1],
    }


# ── W6: many slow calls ─────────────────────────────────────────────────────────────────────────────────────────


def slow_calls(name: str, systems: Sequence[System], options: Options) -> Result:
    """W6: N workflows, started before, each of one async action that waits a second for an answer."""
    workflows = options.size
    meter = LoadMeter()
    with ExitStack() as stack:
        drivers = [stack.enter_context(running(system)) for system in systems]
        done = _in_turns(drivers, options, lambda driver: driver.batch(workflows, 1, "waits"))
    rows = [
        Row(
            system,
            {
                "seconds": median(each.seconds for each in worked),
                "over_limit": median(each.seconds for each in worked) / CALL_SECONDS,
                "spread": _spread([each.seconds for each in worked]),
                "cpu_ms_per_step": _cpu(worked, workflows),
            },
            {"seconds": [each.seconds for each in worked]},
        )
        for system, worked in zip(systems, done, strict=True)
    ]
    return Result(
        name,
        f"{workflows} workflows of 1 async action that waits {CALL_SECONDS:g} s",
        "seconds",
        False,
        rows,
        meter.read(),
        {"workflows": workflows, "call_seconds": CALL_SECONDS},
    )


# ── all ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _in_turns(
    drivers: Sequence[Running], options: Options, measure: Callable[[Running], Any]
) -> list[list[Any]]:
    """What was measured, by driver and round. The drivers take turns, each round in another order."""
    done: list[list[Any]] = [[] for _ in drivers]
    for turn in range(options.rounds):
        for place in _rotated(len(drivers), turn):
            done[place].append(measure(drivers[place]))
            options.say(f"round {turn + 1} of {options.rounds}, {drivers[place].system.label}")
    return done


def _rotated(number: int, by: int) -> Iterator[int]:
    return ((place + by) % number for place in range(number))


def _spread(seconds: Sequence[float]) -> float | None:
    """How far apart the rounds were: (most - least) / median; None for a single one."""
    return (max(seconds) - min(seconds)) / median(seconds) if len(seconds) > 1 else None


def _cpu(worked: Sequence[Worked], steps: int) -> float | None:
    known = [each.cpu_seconds for each in worked if each.cpu_seconds is not None]
    return 1000 * median(known) / steps if known else None
