"""Results as tables: for the terminal, and for a page. Drawn they are by `chart`, kept by `saved`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.machine import Load, Machine
from benchmarks.workloads import Result, Row

RATIO = "× first"
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"  # in a page
LEFT_OUT_OF_PAGES = ("least_ms", "steps_per_s", "savepoints_per_step", "transactions_per_step")
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
    "p99_ms": "p99 ms",
    "wakeups_per_s": "wake-ups/s",
    "over_empty": "÷ empty",
    "cpu_percent": "CPU, % of a core",
    "cpu_percent_ours": "of it not the queue's",
    "statements_per_s": "SQL/s",
    "polls_per_s": "queue's SQL/s",
    "transactions_per_s": "transactions/s",
    "least_ms": "least ms",
    "most_ms": "most ms",
}


def table(result: Result) -> str:
    """One workload: a line for each system, with its ratio to the first on the same database."""
    figures = list(
        dict.fromkeys(name for row in result.rows for name in row.figures if _is_shown(result, name))
    )
    lines = [["system", *(name_of(name) for name in figures), RATIO]]
    for row in result.rows:
        cells = [_cell(name, row.figures.get(name)) for name in figures]
        lines.append([row.label, *cells, _ratio(result, row)])
    better = "more" if result.more_is_better else "less"
    footer = f"{RATIO} of its database: {name_of(result.main)}, {better} is better; {_load(result.load)}"
    missing = [f"{row.label}: not measured: {row.note}" for row in result.rows if row.note]
    return "\n".join([heading(result), *_aligned(lines), footer, *missing])


def markdown(machine: Machine, workers: int, results: Sequence[Result]) -> str:
    """The same for a page of the documentation: fewer columns, and what differs below."""
    parts = [f"{machine.cpus} CPUs, Python {machine.python}, {machine.system}, {workers} workers."]
    for result in results:
        figures = [
            name
            for name in dict.fromkeys(name for row in result.rows for name in row.figures)
            if _is_shown(result, name) and name not in LEFT_OUT_OF_PAGES
        ]
        head = ["", *(name_of(name) for name in figures), RATIO]
        lines = [head, ["---", *["--:"] * (len(head) - 1)]]
        for row in result.rows:
            cells = [_cell(name, row.figures.get(name)) for name in figures]
            lines.append([row.label, *cells, _ratio(result, row)])
        rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        missing = [f"{row.label}: not measured, {row.note}." for row in result.rows if row.note]
        said = " ".join([f"Compared by {name_of(result.main)}; {_load(result.load)}.", *missing])
        parts.append(f"**{result.workload.upper()}**: {result.title}.\n\n{rows}\n\n{said}")
    return "\n\n".join([*parts, *(f"*{line}*" for line in notes(results).splitlines())])


def write_page(path: Path, text: str) -> None:
    """Put it between the two marks of a page, in place of what was there."""
    page = path.read_text()
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path} has no {BEGIN} and {END}, between which figures go")
    path.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
    print(f"written to {path}")


def tables(results: Sequence[Result]) -> str:
    """All of it."""
    return "\n\n".join(filter(None, [*map(table, results), ratios(results), notes(results)]))


def heading(result: Result) -> str:
    """The workload in one line."""
    return f"{result.workload.upper()}  {result.title}"


def _is_shown(result: Result, name: str) -> bool:
    """Not the listed statements, and nothing that is unknown of everybody."""
    return name != LISTED_STATEMENTS and any(row.figures.get(name) is not None for row in result.rows)


def _ratio(result: Result, row: Row) -> str:
    ratio = ratio_to_first(result, row)
    return "–" if ratio is None else f"{ratio:.2f}"


def ratio_to_first(result: Result, row: Row) -> float | None:
    """The main figure of a row ÷ that of the first row of its database, or of the first at all; None: not known."""
    beside = [each for each in result.rows if each.system.database == row.system.database]
    first = beside[0] if not beside[0].system.is_peer else result.rows[0]
    own, other = row.figures.get(result.main), first.figures.get(result.main)
    return own / other if own is not None and other else None


def notes(results: Sequence[Result]) -> str:
    """In what the peers' work differs from ours: a figure alone doesn't say."""
    differing = {row.system.name: row.system.notes for result in results for row in result.rows}
    return "\n".join(f"{name}: {'; '.join(texts)}." for name, texts in differing.items() if texts)


def ratios(results: Sequence[Result]) -> str:
    """What an action costs in place of a query or mutation: each workload's b to its a."""
    lines = [["b ÷ a, time", "system", "ratio"]]
    by_name = {result.workload: result for result in results}
    for name, second in by_name.items():
        first = by_name.get(f"{name[:-1]}a")
        if name in ("w1b", "w2b") and first is not None:
            lines.extend(_pairs(name[:-1], first, second))
    return "\n".join(_aligned(lines)) if len(lines) > 1 else ""


def _pairs(name: str, first: Result, second: Result) -> Iterator[list[str]]:
    for one, other in zip(first.rows, second.rows, strict=True):
        if not one.system.tells_kinds_apart or not one.figures or not other.figures:
            continue
        ratio = other.figures[second.main] / one.figures[first.main]
        # Of a rate the reciprocal, so that both say how much longer the actions take.
        yield [name, one.system.label, f"{1 / ratio if first.more_is_better else ratio:.2f}"]


def write_text(path: Path, machine: Machine, workers: int, rounds: int, text: str) -> None:
    """The tables, as the terminal shows them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    where = f"{machine.cpus} CPUs, Python {machine.python}, {machine.system}"
    path.write_text(f"{where}; {workers} workers, {rounds} rounds\n\n{text}\n")
    print(f"written to {path}")


def name_of(name: str) -> str:
    """How a figure is headed."""
    if name.startswith("seconds_"):
        return f"s for {int(name.removeprefix('seconds_')):,}"
    return HEADINGS.get(name, name)


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name == "spread":
        return f"{value:.0%}"
    if name == "exponent":
        return f"{value:.2f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _load(load: Load) -> str:
    busy = "" if load.busy is None else f", CPUs {load.busy:.0%} busy"
    return f"load {load.before[0]:.2f} before, {load.after[0]:.2f} after{busy}"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return ["  " + "  ".join(_padded(line, widths)) for line in lines]


def _padded(line: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    for place, (cell, width) in enumerate(zip(line, widths, strict=True)):
        yield cell.ljust(width) if place == 0 else cell.rjust(width)
