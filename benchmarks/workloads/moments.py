"""W3, W5 and W8: how soon something is done that is due, and what it costs to wait for it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import chain
from statistics import median
from typing import Any

from benchmarks.driver import Idle
from benchmarks.systems import Running, System
from benchmarks.workloads.base import Entrant, Options, Result, measure, quantile

SPREAD_RATE = 5000 / 60  # sleepers a second that become due in W5b

Figures = tuple[dict[str, Any], dict[str, list[float]]]


def idle_latency(name: str, systems: Sequence[System], options: Options) -> Result:
    """W3: a workflow of one action on an idle system, from its start to its end, many times."""
    a_round = max(1, options.size // options.rounds)

    def row(_: Entrant, said: list[list[float]]) -> Figures:
        seconds = list(chain(*said))
        return (
            {
                "p50_ms": 1000 * median(seconds),
                "p95_ms": 1000 * quantile(seconds, 0.95),
                "least_ms": 1000 * min(seconds),
                "most_ms": 1000 * max(seconds),
            },
            {"seconds": seconds},
        )

    rows, load = measure(systems, options, partial(Running.latency, times=a_round), row)
    times = a_round * options.rounds
    title = f"one workflow of 1 action on an idle system, {times} times"
    return Result(name, title, "p50_ms", False, rows, load, {"times": times})


def sleepers(name: str, systems: Sequence[System], options: Options, *, together: bool) -> Result:
    """W5: N workflows that sleep and then run one step: how late that is."""
    number = options.size
    over = 0.0 if together else number / SPREAD_RATE

    def row(_: Entrant, said: list[list[float]]) -> Figures:
        late = list(chain(*said))
        figures = {
            "p50_ms": 1000 * median(late),
            "p99_ms": 1000 * quantile(late, 0.99),
            "most_ms": 1000 * max(late),
        }
        if together:
            last = median(max(each) for each in said)
            figures = {"seconds": last, "wakeups_per_s": number / last, **figures}
        return figures, {"seconds": late}

    rows, load = measure(systems, options, partial(Running.sleepers, number=number, spread=over), row)
    return Result(
        name,
        f"{number:,} sleepers due " + ("at one instant" if together else f"evenly over {over:.0f} s"),
        "seconds" if together else "p99_ms",
        False,
        rows,
        load,
        {"sleepers": number, "spread_seconds": over},
    )


def idle(name: str, systems: Sequence[System], options: Options) -> Result:
    """W8: a cluster with nothing due, watched for so many seconds."""

    def row(_: Entrant, said: list[Idle]) -> Figures:
        figures = {
            "cpu_percent": _median(said, lambda each: _percent(each.cpu_seconds, each.seconds)),
            "cpu_percent_ours": _median(
                said, lambda each: _difference(each.cpu_seconds, each.cpu_seconds_without, each.seconds)
            ),
            "statements_per_s": _median(said, lambda each: _rate(each.statements, each.seconds)),
            "polls_per_s": _median(said, lambda each: _rate(each.polls, each.seconds)),
            "transactions_per_s": _median(said, lambda each: _rate(each.transactions, each.seconds)),
        }
        return figures, {"cpu_seconds": [each.cpu_seconds or 0.0 for each in said]}

    rows, load = measure(systems, options, partial(Running.idle, seconds=float(options.size)), row)
    title = f"nothing due for {options.size} s"
    return Result(name, title, "cpu_percent", False, rows, load, {"seconds": options.size})


def _median(said: Sequence[Idle], of: Any) -> float | None:
    known = [value for value in map(of, said) if value is not None]
    return median(known) if known else None


def _rate(number: int | None, seconds: float) -> float | None:
    return None if number is None else number / seconds


def _percent(cpu_seconds: float | None, seconds: float) -> float | None:
    return None if cpu_seconds is None else 100 * cpu_seconds / seconds


def _difference(all_seconds: float | None, without: float | None, seconds: float) -> float | None:
    return None if all_seconds is None or without is None else 100 * (all_seconds - without) / seconds
