"""W1, W2, W4 and W6: work that is given to workers, and how long they take for it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any

from benchmarks.driver import SLOW_CALL_SECONDS, Kind, Unsupported, Worked
from benchmarks.machine import LoadMeter
from benchmarks.systems import Running, System, running
from benchmarks.workloads.base import (
    Entrant,
    Options,
    Result,
    compete,
    cpu_ms,
    exponent,
    measure,
    rows_of,
    spread,
)

W1_STEPS = 10
# Statements are counted over as many workflows as a worker claims at once, twice.
COUNTED_WORKFLOWS = 32
W2_SHARES = (1 / 30, 1 / 3, 1)  # of the largest: 100, 1,000, 3,000
W2_NAP_SHARES = (1 / 10, 1 / 3, 1)

Figures = tuple[dict[str, Any], dict[str, list[float]]]


def _entrants(
    stack: ExitStack, systems: Sequence[System], kinds: Sequence[Kind], workflows: int, steps: int
) -> list[Entrant]:
    """One for each kind of step that a system tells apart."""
    entrants = []
    for system in systems:
        driver = stack.enter_context(running(system))
        for kind in kinds if system.tells_kinds_apart else kinds[-1:]:
            ask = partial(Running.batch, workflows=workflows, steps=steps, kind=kind)
            variant = kind if len(kinds) > 1 and system.tells_kinds_apart else ""
            entrants.append(Entrant(driver, ask, variant))
    return entrants


# ── W1: many workflows ──────────────────────────────────────────────────────────────────────────────────────────


def many_workflows(
    name: str, systems: Sequence[System], options: Options, *, kinds: Sequence[Kind]
) -> Result:
    """W1: N workflows of 10 sequential steps, started first, then worked off."""
    workflows = options.size
    meter = LoadMeter()
    with ExitStack() as stack:
        entrants = _entrants(stack, systems, kinds, workflows, W1_STEPS)
        done = compete(entrants, options)

        def row(entrant: Entrant, worked: list[Worked]) -> Figures:
            kind = entrant.ask.keywords["kind"]
            figures = {**_rate(worked, workflows), **_statements(entrant.driver, kind)}
            return figures, {"seconds": [each.seconds for each in worked]}

        rows = rows_of(entrants, done, row)
    return Result(
        name,
        f"{workflows} workflows of {W1_STEPS} {' and of as many '.join(kinds)}",
        "workflows_per_s",
        True,
        rows,
        meter.read(),
        {"workflows": workflows, "steps": W1_STEPS, "kind": " ".join(kinds)},
    )


def _rate(worked: Sequence[Worked], workflows: int) -> dict[str, Any]:
    seconds = [each.seconds for each in worked]
    steps = workflows * W1_STEPS
    return {
        "workflows_per_s": workflows / median(seconds),
        "spread": spread(seconds),
        "steps_per_s": steps / median(seconds),
        "cpu_ms_per_step": cpu_ms(worked, steps),
    }


def _statements(
    driver: Running, kind: Kind, workflows: int = COUNTED_WORKFLOWS, each: int = W1_STEPS
) -> dict[str, Any]:
    counted = driver.statements(workflows, each, kind)
    if counted is None:
        return {}
    steps = workflows * each
    return {
        "statements_per_step": counted.statements / steps,
        "savepoints_per_step": counted.savepoints / steps,
        "transactions_per_step": counted.commits / steps,
        "statements_by_text": {text: number / workflows for text, number in counted.by_text.items()},
    }


# ── W2: one long workflow ───────────────────────────────────────────────────────────────────────────────────────


def one_workflow(
    name: str,
    systems: Sequence[System],
    options: Options,
    *,
    kinds: Sequence[Kind],
    shares: Sequence[float] = W2_SHARES,
) -> Result:
    """W2: one workflow of so many sequential steps, in three sizes, and how its time grows with them."""
    sizes = sorted({max(1, round(options.size * share)) for share in shares})
    meter = LoadMeter()
    with ExitStack() as stack:
        entrants = _entrants(stack, systems, kinds, 1, sizes[-1])
        by_size = [
            compete(
                [Entrant(each.driver, partial(each.ask, steps=steps), each.variant) for each in entrants],
                options,
            )
            for steps in sizes
        ]
        done = [_by_size(each) for each in zip(*by_size, strict=True)]
        rows = rows_of(entrants, done, lambda _, worked: _growth(sizes, worked))
    title = f"one workflow of {', '.join(f'{steps:,}' for steps in sizes)} {' and of as many '.join(kinds)}"
    return Result(
        name,
        title,
        f"seconds_{sizes[-1]}",
        False,
        rows,
        meter.read(),
        {"steps": sizes, "kind": " ".join(kinds)},
    )


def _by_size(said: Sequence[list[Worked] | Unsupported]) -> list[Any] | Unsupported:
    for each in said:
        if isinstance(each, Unsupported):
            return each
    return list(said)


def _growth(sizes: Sequence[int], worked: Sequence[Sequence[Worked]]) -> Figures:
    seconds = [[each.seconds for each in rounds] for rounds in worked]
    medians = [median(each) for each in seconds]
    return (
        {
            **{f"seconds_{steps}": value for steps, value in zip(sizes, medians, strict=True)},
            "spread": spread(seconds[-1]),
            "exponent": exponent(sizes, medians),
            "ms_per_step": 1000 * medians[-1] / sizes[-1],
            "cpu_ms_per_step": cpu_ms(worked[-1], sizes[-1]),
        },
        {str(steps): each for steps, each in zip(sizes, seconds, strict=True)},
    )


# ── W4: fan-out; W6: many slow calls ────────────────────────────────────────────────────────────────────────────


def fan_out(name: str, systems: Sequence[System], options: Options) -> Result:
    """W4: one workflow of N parallel actions and their join."""
    steps = options.size

    def row(entrant: Entrant, worked: list[Worked]) -> Figures:
        seconds = [each.seconds for each in worked]
        return (
            {
                "seconds": median(seconds),
                "spread": spread(seconds),
                "ms_per_step": 1000 * median(seconds) / steps,
                "cpu_ms_per_step": cpu_ms(worked, steps),
                **_statements(entrant.driver, "parallel", 1, steps),
            },
            {"seconds": seconds},
        )

    rows, load = measure(
        systems, options, partial(Running.batch, workflows=1, steps=steps, kind="parallel"), row
    )
    return Result(
        name, f"one workflow of {steps} actions at once", "seconds", False, rows, load, {"steps": steps}
    )


def slow_calls(name: str, systems: Sequence[System], options: Options) -> Result:
    """W6: N workflows, started before, each of one async action that waits a second for an answer."""
    workflows = options.size

    def row(_: Entrant, worked: list[Worked]) -> Figures:
        seconds = [each.seconds for each in worked]
        return (
            {
                "seconds": median(seconds),
                "over_limit": median(seconds) / SLOW_CALL_SECONDS,
                "spread": spread(seconds),
                "cpu_ms_per_step": cpu_ms(worked, workflows),
            },
            {"seconds": seconds},
        )

    rows, load = measure(
        systems, options, partial(Running.batch, workflows=workflows, steps=1, kind="waits"), row
    )
    return Result(
        name,
        f"{workflows} workflows of 1 async action that waits {SLOW_CALL_SECONDS:g} s",
        "seconds",
        False,
        rows,
        load,
        {"workflows": workflows, "call_seconds": SLOW_CALL_SECONDS},
    )
