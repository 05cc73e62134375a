"""W7: W1 on empty tables, and on tables that hold what years have left in them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any

from benchmarks.driver import Unsupported, Worked
from benchmarks.machine import LoadMeter
from benchmarks.systems import Running, System, running
from benchmarks.workloads.base import Entrant, Options, Result, compete, cpu_ms, rows_of, spread
from benchmarks.workloads.batches import W1_STEPS

SLEEPING_SHARE = 0.1  # sleeping workflows for each finished one
WORKFLOWS = 200
EMPTY, FULL = "empty tables", "full tables"


def full_tables(name: str, systems: Sequence[System], options: Options) -> Result:
    """W7: the time of a batch with N finished workflows in the tables, and without."""
    finished, sleeping = options.size, round(options.size * SLEEPING_SHARE)
    workflows = min(WORKFLOWS, max(1, finished // 100))
    ask = partial(Running.batch, workflows=workflows, steps=W1_STEPS, kind="mutations")
    meter = LoadMeter()
    with ExitStack() as stack:
        entrants: list[Entrant] = []
        for system in systems:
            entrants.append(Entrant(stack.enter_context(running(system)), ask, EMPTY))
            filled = stack.enter_context(running(system))
            options.say(f"filling the tables: {system.label}")
            filled.fill(finished, sleeping)
            entrants.append(Entrant(filled, ask, FULL))
        done = compete(entrants, options)

    def row(entrant: Entrant, worked: list[Worked]) -> tuple[dict[str, Any], dict[str, list[float]]]:
        seconds = [each.seconds for each in worked]
        before = done[entrants.index(entrant) - 1] if entrant.variant == FULL else worked
        assert not isinstance(before, Unsupported)
        return (
            {
                "seconds": median(seconds),
                "spread": spread(seconds),
                "cpu_ms_per_step": cpu_ms(worked, workflows * W1_STEPS),
                "over_empty": median(seconds) / median(each.seconds for each in before),
            },
            {"seconds": seconds},
        )

    return Result(
        name,
        f"{workflows} workflows of {W1_STEPS} mutations beside {finished:,} finished and {sleeping:,} sleeping ones",
        "seconds",
        False,
        rows_of(entrants, done, row),
        meter.read(),
        {"workflows": workflows, "steps": W1_STEPS, "finished": finished, "sleeping": sleeping},
    )
