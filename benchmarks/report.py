"""Results as tables for the terminal, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.machine import Load, Machine
from benchmarks.workloads import Result, Row

RATIO = "× first"
LISTED_STATEMENTS = "statements_by_text"
HEADINGS = {
    "workflows_per_s": "workflows/s",
    "steps_per_s": "steps/s",
    "cpu_ms_per_step": "worker CPU ms/step",
    "statements_per_step": "SQL/step",
    "savepoints_per_step": "savepoints/step",
    "transactions_per_step": "BEGIN+COMMIT/step",
    "ms_per_step": "ms/step",
    "over_limit": "÷ the call's 1 s",
    "p50_ms": "p50 ms",
    "p95_ms": "p95 ms",
    "least_ms": "least ms",
    "most_ms": "most ms",
}


def table(result: Result) -> str:
    """One workload: a line for each system, with its ratio to the first."""
    figures = [name for name in result.rows[0].figures if name != LISTED_STATEMENTS]
    lines = [["system", *(_heading(name) for name in figures), RATIO]]
    for row in result.rows:
        ratio = row.figures[result.main] / result.rows[0].figures[result.main]
        cells = [_cell(name, row.figures.get(name)) for name in figures]
        lines.append([row.system.label, *cells, f"{ratio:.2f}"])
    better = "more" if result.more_is_better else "less"
    title = f"{result.workload.upper()}  {result.title}"
    footer = f"{RATIO}: {_heading(result.main)}, {better} is better; {_load(result.load)}"
    return "\n".join([title, *_aligned(lines), footer])


def ratios(results: Sequence[Result]) -> str:
    """What an action costs in place of a query or mutation: each workload's b to its a."""
    lines = [["b ÷ a, time", "system", "ratio"]]
    by_name = {result.workload: result for result in results}
    for name, second in by_name.items():
        first = by_name.get(f"{name[:-1]}a")
        if name.endswith("b") and first is not None:
            lines.extend(_pairs(name[:-1], first, second))
    return "\n".join(_aligned(lines)) if len(lines) > 1 else ""


def _pairs(name: str, first: Result, second: Result) -> Iterator[list[str]]:
    for one, other in zip(first.rows, second.rows, strict=True):
        ratio = other.figures[second.main] / one.figures[first.main]
        # Of a rate the reciprocal, so that both say how much longer the actions take.
        yield [name, one.system.label, f"{1 / ratio if first.more_is_better else ratio:.2f}"]


def write_json(path: Path, machine: Machine, workers: int, rounds: int, results: Sequence[Result]) -> None:
    """Everything, samples included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": asdict(machine),
        "workers": workers,
        "rounds": rounds,
        "workloads": [_as_json(result) for result in results],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "workload": result.workload,
        "title": result.title,
        "size": result.size,
        "main_figure": result.main,
        "more_is_better": result.more_is_better,
        "load": asdict(result.load),
        "systems": [_row_as_json(row) for row in result.rows],
    }


def _row_as_json(row: Row) -> dict[str, Any]:
    system = row.system
    return {
        "system": system.name,
        "database": system.database,
        "queue": system.queue,
        "figures": row.figures,
        "samples_s": row.samples,
    }


def _heading(name: str) -> str:
    if name.startswith("seconds_"):
        return f"{int(name.removeprefix('seconds_')):,} steps s"
    return HEADINGS.get(name, name)


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name == "spread":
        return f"{value:.0%}"
    if name == "exponent":
        return f"{value:.2f}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _load(load: Load) -> str:
    busy = "" if load.busy is None else f", CPUs {load.busy:.0%} busy"
    return f"load {load.before[0]:.2f} before, {load.after[0]:.2f} after{busy}"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return ["  " + "  ".join(_padded(line, widths)) for line in lines]


def _padded(line: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    for place, (cell, width) in enumerate(zip(line, widths, strict=True)):
        yield cell.ljust(width) if place == 0 else cell.rjust(width)
