"""Results as a picture: SVG, written by hand, which browsers and code hosts show in light and dark.

A panel for each workload: bars of the figure by which systems are compared; for W2 a line for each system, over
the number of steps, on logarithmic axes, where a straight line of slope 1 is linear growth.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from benchmarks.machine import Machine
from benchmarks.report import name_of
from benchmarks.workloads import Result, Row

WIDTH = 800
LABELS = 262  # what the names of systems take, left of the bars
VALUES = 70  # what the figures take, right of them
MARGIN = 16
LINE = 22
BAR = 14
LEGEND = 300  # right of a plot
PLOT = 240  # height of a plot
COLORS = ("#2a78d6", "#c2571a", "#1a7f5a", "#8250c4", "#b3406b", "#6b7280")
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600 } .small { font-size: 11px; fill: #59636e }
  .axis { stroke: #d1d9e0; stroke-width: 1 } .page { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .small { fill: #9198a1 } .axis { stroke: #3d444d } .page { fill: #0d1117 }
  }
"""


def write(path: Path, machine: Machine, results: Sequence[Result]) -> None:
    """Draw all of them, one below the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(svg(machine, results))
    print(f"written to {path}")


def svg(machine: Machine, results: Sequence[Result]) -> str:
    """The picture's text."""
    colors = _colors(results)
    parts: list[str] = []
    top = MARGIN
    for result in results:
        if not any(row.figures for row in result.rows):
            continue
        panel = list(_panel(result, top, colors))
        parts.extend(panel)
        top += _height(result)
    where = f"{machine.cpus} CPUs, Python {machine.python}, {machine.system}"
    parts.append(_text(MARGIN, top + 12, where, "small"))
    height = top + 28
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" role="img" aria-label="{escape(_description(results))}">',
            f"<style>{STYLE}</style>",
            f'<rect class="page" width="{WIDTH}" height="{height}"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _colors(results: Sequence[Result]) -> dict[str, str]:
    names = dict.fromkeys(row.system.name for result in results for row in result.rows)
    return {name: COLORS[place % len(COLORS)] for place, name in enumerate(names)}


def _description(results: Sequence[Result]) -> str:
    return "; ".join(f"{result.workload.upper()}: {result.title}" for result in results)


def _height(result: Result) -> int:
    rows = len([row for row in result.rows if row.figures])
    return 2 * LINE + LINE * rows + (PLOT if _is_growth(result) else 0) + MARGIN


def _panel(result: Result, top: int, colors: dict[str, str]) -> Iterator[str]:
    better = "more" if result.more_is_better else "less"
    yield _text(MARGIN, top + 12, f"{result.workload.upper()}  {result.title}", "title")
    yield _text(MARGIN, top + 12 + LINE - 4, f"{name_of(result.main)}; {better} is better", "small")
    top += 2 * LINE
    rows = [row for row in result.rows if row.figures]
    most = max((row.figures[result.main] or 0) for row in rows) or 1
    for row in rows:
        yield from _bar(result, row, top, most, colors[row.system.name])
        top += LINE
    if _is_growth(result):
        yield from _plot(rows, top + MARGIN, colors)


def _bar(result: Result, row: Row, top: int, most: float, color: str) -> Iterator[str]:
    value = row.figures[result.main]
    room = WIDTH - LABELS - VALUES - 2 * MARGIN
    yield _text(MARGIN + LABELS - 8, top + 12, row.label, anchor="end")
    if value is None:
        yield _text(MARGIN + LABELS, top + 12, "not known", "small")
        return
    width = max(1.0, room * max(0.0, value) / most)
    yield f'<rect x="{MARGIN + LABELS}" y="{top}" width="{width:.1f}" height="{BAR}" rx="2" fill="{color}" opacity="{_opacity(row)}"/>'
    yield _text(MARGIN + LABELS + width + 6, top + 12, f"{value:,.0f}" if value >= 100 else f"{value:.3g}")


def _opacity(row: Row) -> float:
    """SQLite is paler than the server beside it."""
    return 0.6 if row.system.database == "sqlite" else 1.0


# ── growth ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _is_growth(result: Result) -> bool:
    return len(_points(result.rows[0])) > 1


def _points(row: Row) -> list[tuple[float, float]]:
    """Steps and seconds."""
    prefix = "seconds_"
    return [
        (float(name.removeprefix(prefix)), value)
        for name, value in row.figures.items()
        if name.startswith(prefix) and value
    ]


def _plot(rows: Sequence[Row], top: int, colors: dict[str, str]) -> Iterator[str]:
    points = [point for row in rows for point in _points(row)]
    left, right, bottom = MARGIN + 60, WIDTH - MARGIN - LEGEND, top + PLOT - 2 * LINE
    x = _scale([steps for steps, _ in points], left, right)
    y = _scale([seconds for _, seconds in points], bottom, top)
    for steps in sorted({steps for steps, _ in points}):
        yield f'<line class="axis" x1="{x(steps):.1f}" y1="{top}" x2="{x(steps):.1f}" y2="{bottom}"/>'
        yield _text(x(steps), bottom + 16, f"{steps:,.0f}", "small", "middle")
    for seconds in _decades([seconds for _, seconds in points]):
        yield f'<line class="axis" x1="{left}" y1="{y(seconds):.1f}" x2="{right}" y2="{y(seconds):.1f}"/>'
        yield _text(left - 6, y(seconds) + 4, f"{seconds:g} s", "small", "end")
    names = sorted(rows, key=lambda row: -_points(row)[-1][1])
    for place, row in enumerate(names):
        color, dashed = colors[row.system.name], ' stroke-dasharray="5 3"' if row.variant == "actions" else ""
        line = " ".join(f"{x(steps):.1f},{y(seconds):.1f}" for steps, seconds in _points(row))
        yield f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"{dashed} '
        yield f'opacity="{_opacity(row)}"/>'
        slope = row.figures.get("exponent")
        grows = "" if slope is None else f"n^{slope:.2f}  "
        yield f'<rect x="{right + 14}" y="{top + 17 * place}" width="10" height="10" fill="{color}" '
        yield f'opacity="{_opacity(row)}"/>'
        yield _text(right + 30, top + 9 + 17 * place, f"{grows}{row.label}", "small")


def _scale(values: Sequence[float], low: float, high: float) -> _Scale:
    return _Scale(math.log(min(values)), math.log(max(values)), low, high)


class _Scale:
    """Where a value stands on a logarithmic axis."""

    def __init__(self, least: float, most: float, low: float, high: float) -> None:
        self._least, self._span = least, (most - least) or 1.0
        self._low, self._length = low, high - low

    def __call__(self, value: float) -> float:
        return self._low + self._length * (math.log(value) - self._least) / self._span


def _decades(values: Sequence[float]) -> list[float]:
    """The powers of ten between the least and the most."""
    first, last = math.ceil(math.log10(min(values))), math.floor(math.log10(max(values)))
    return [10.0**power for power in range(first, last + 1)]


def _text(x: float, y: float, text: str, style: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(text)}</text>'
