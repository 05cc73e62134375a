"""The timeline of one workflow: facts of its steps in, rows of bars out. Pure: no models, no clock, no texts.

Rules of this file: all rows share one scale of 0 to 1000, in whole units. Time in which nothing runs is cut out and
drawn as a narrow band where it is long against the time in which something does; without that a sleep of one day
hides every bar. What a bar says its row says in numbers, too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from django_workflow.states import BODY_KINDS, UNSETTLED, StepKind, StepState

WIDTH: Final = 1000
THINNEST: Final = 4  # of a bar that stands for something that happened
IDLE_PERCENT: Final = 8  # of the busy time: a longer gap is cut out
BAND: Final = 40  # how wide a gap that was cut out is drawn
BANDS: Final = 400  # how much of the whole width all of them may take

ZERO: Final = timedelta(0)
MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True)
class Attempt:
    """One attempt that ended. `ended_at` is None where nobody saw its end."""

    number: int
    started_at: datetime | None
    ended_at: datetime | None
    outcome: str  # completed, failed or interrupted
    error: str = ""


@dataclass(frozen=True)
class StepFacts:
    """What the journal knows of one step. `attempts` counts the bodies that were started."""

    number: int
    name: str
    kind: StepKind
    state: StepState
    created_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    due_at: datetime | None = None
    attempts: int = 0
    history: tuple[Attempt, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Segment:
    """A piece of a bar.

    `kind`: `run` (a body), `child`, `wait` (a sleep or an event), `delay` (not due yet), `queue` (due, and nobody has
    taken it) or `backoff` (until it is attempted again). `open`: it has not ended, and is drawn up to now.
    """

    kind: str
    x: int
    width: int
    open: bool = False


@dataclass(frozen=True)
class Row:
    """One step, or one attempt of a step that had several. Times are None where there are none."""

    number: int
    name: str
    kind: StepKind
    state: str  # of the step; of an earlier attempt its outcome
    attempt: int  # from 1; 0: it has no attempts, or one only
    start: timedelta | None  # after the workflow's own start
    waited: timedelta | None  # in the queue, or until the next attempt
    took: timedelta | None
    open: bool  # it has not ended
    error: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Timeline:
    """All rows, the bands of time that was cut out (x, width), and for how long bodies ran in all."""

    rows: tuple[Row, ...]
    bands: tuple[tuple[int, int], ...]
    executing: timedelta


@dataclass(frozen=True)
class _Span:
    kind: str
    start: datetime
    end: datetime
    open: bool = False

    @property
    def length(self) -> timedelta:
        return self.end - self.start


@dataclass(frozen=True)
class _Line:
    """A row before there is a scale."""

    step: StepFacts
    state: str
    attempt: int
    spans: tuple[_Span, ...]
    error: str = ""


# Something works there; everything else may be cut out.
BUSY: Final = frozenset({"run", "child"})
# What a row is about, in distinction to what went before it.
MAIN: Final = frozenset({"run", "child", "wait"})


def timeline(steps: Iterable[StepFacts], now: datetime, origin: datetime | None = None) -> Timeline:
    """The rows of these steps.

    Args:
        steps: by number.
        now: up to where is drawn what has not ended.
        origin: from when starts are counted; None, or later than the first of them: from the first of them.

    """
    lines = [line for step in steps for line in _lines(step, now)]
    spans = [span for line in lines for span in line.spans]
    first = min((span.start for span in spans), default=now)
    scale = _Scale(spans, first)
    since = first if origin is None else min(origin, first)
    several = {line.step.number for line in lines if line.attempt > 1}
    return Timeline(
        tuple(_row(line, scale, since, line.step.number in several) for line in lines),
        scale.bands,
        sum((span.length for span in spans if span.kind == "run"), ZERO),
    )


# ── which rows ───────────────────────────────────────────────────────────────────────────────────────────────────


def _lines(step: StepFacts, now: datetime) -> list[_Line]:
    if step.kind in BODY_KINDS:
        return _attempts(step, now)
    if step.kind is StepKind.MARKER:
        at = step.completed_at or step.created_at
        return [_line(step, str(step.state), 0, [_Span("run", at, at)])]
    kind = "child" if step.kind is StepKind.WORKFLOW else "wait"
    start = step.started_at or step.created_at
    return [_line(step, str(step.state), 0, [_until_settled(step, kind, start, now)])]


def _attempts(step: StepFacts, now: datetime) -> list[_Line]:
    lines = []
    before: datetime | None = None  # when the attempt before ended
    for position, attempt in enumerate(step.history):
        start = attempt.started_at or attempt.ended_at or before or step.created_at
        end = attempt.ended_at or _seen_gone(step, position, now)
        spans = [*_lead(step, before, start), _Span("run", start, max(start, end))]
        lines.append(_line(step, attempt.outcome, attempt.number, spans, attempt.error))
        before = max(start, end)
    last = _last_line(step, before, now)
    return lines if last is None else [*lines, last]


def _seen_gone(step: StepFacts, position: int, now: datetime) -> datetime:
    """The end of an attempt whose end nobody saw: the next one's start at the latest."""
    later = step.history[position + 1 :]
    following = next((each.started_at for each in later if each.started_at), None)
    attempted_again = step.started_at if step.attempts > step.history[-1].number else None
    return following or attempted_again or step.completed_at or now


def _last_line(step: StepFacts, before: datetime | None, now: datetime) -> _Line | None:
    """The attempt that is not in the history: it runs, it is to come, or the step was canceled before it began."""
    known = step.history[-1].number if step.history else 0
    if step.started_at is not None and step.attempts > known and step.state is not StepState.PENDING:
        run = _until_settled(step, "run", step.started_at, now)
        return _line(step, str(step.state), step.attempts, [*_lead(step, before, step.started_at), run])
    if step.state in UNSETTLED or step.state is StepState.CANCELED:
        spans = _ahead(step, before, step.completed_at or now)
        return _line(step, str(step.state), step.attempts + 1, spans)
    if step.history:
        return None
    at = step.completed_at or step.created_at  # it could not even begin
    return _line(step, str(step.state), 1, [_Span("run", at, at)])


def _lead(step: StepFacts, before: datetime | None, start: datetime) -> list[_Span]:
    """What went before a start: a wait in the queue, or between two attempts."""
    if before is not None:
        return [_Span("backoff", before, start)] if before < start else []
    return [_Span("queue", step.created_at, start)] if step.created_at < start else []


def _ahead(step: StepFacts, before: datetime | None, end: datetime) -> list[_Span]:
    """What a step waits for that is to be started: first until it is due, then until somebody takes it."""
    start = before or step.created_at
    end = max(start, end)
    waits = step.state is StepState.PENDING
    due = start if step.due_at is None else min(max(step.due_at, start), end)
    spans = []
    if due > start:
        spans.append(_Span("delay" if before is None else "backoff", start, due, waits and due == end))
    if due < end or not spans:
        kind = "queue" if before is None or waits else "backoff"
        spans.append(_Span(kind, due, end, waits))
    return spans


def _until_settled(step: StepFacts, kind: str, start: datetime, now: datetime) -> _Span:
    unsettled = step.state in UNSETTLED
    end = now if unsettled else step.completed_at or start
    return _Span(kind, start, max(start, end), unsettled)


def _line(step: StepFacts, state: str, attempt: int, spans: Sequence[_Span], error: str = "") -> _Line:
    return _Line(step, state, attempt, tuple(spans), error or (step.error if state == step.state else ""))


# ── where on the scale ───────────────────────────────────────────────────────────────────────────────────────────


class _Scale:
    """Moments → whole units: to scale where something runs, and across bands where nothing does for long."""

    def __init__(self, spans: Sequence[_Span], first: datetime) -> None:
        self._first = first
        total = max((self._micros(span.end) for span in spans), default=0)
        busy = _merged(
            (self._micros(span.start), self._micros(span.end)) for span in spans if span.kind in BUSY
        )
        idle = _idle(busy, total)
        band = min(BAND, max(BANDS // len(idle), 1)) if idle else 0
        room = WIDTH - band * len(idle)
        shown = total - sum(end - start for start, end in idle)
        # The scale is straight between these points: (time, units).
        self._points = [(0, 0)]
        cut = 0
        for position, (start, end) in enumerate(idle):
            x = (start - cut) * room // shown + position * band
            self._points += [(start, x), (end, x + band)]
            cut += end - start
        self._points.append((total, WIDTH))
        self.bands = tuple((self._at(start), band) for start, _ in idle)

    def segment(self, span: _Span) -> Segment | None:
        """The piece of a bar for a span; None for what is too short to be seen and says nothing."""
        start, end = self._at(self._micros(span.start)), self._at(self._micros(span.end))
        if span.kind not in MAIN and not span.open:
            return Segment(span.kind, start, end - start) if end > start else None
        x = min(start, WIDTH - THINNEST)
        return Segment(span.kind, x, max(end - x, THINNEST), span.open)

    def _micros(self, moment: datetime) -> int:
        return (moment - self._first) // MICROSECOND

    def _at(self, moment: int) -> int:
        position = bisect_right(self._points, (moment, WIDTH + 1))
        if position == len(self._points):
            return self._points[-1][1] if moment > 0 else 0
        (start, low), (end, high) = self._points[position - 1], self._points[position]
        return low + (high - low) * (moment - start) // (end - start)


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans that touch made into one, in order."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _idle(busy: Sequence[tuple[int, int]], total: int) -> list[tuple[int, int]]:
    """The gaps that are cut out; none where nothing ever takes any time."""
    length = sum(end - start for start, end in busy)
    if not length:
        return []
    edges = [(0, 0), *busy, (total, total)]
    gaps = [(before[1], after[0]) for before, after in pairwise(edges)]
    return [(start, end) for start, end in gaps if (end - start) * 100 > length * IDLE_PERCENT]


# ── what a row says ──────────────────────────────────────────────────────────────────────────────────────────────


def _row(line: _Line, scale: _Scale, since: datetime, several: bool) -> Row:
    main = next((span for span in line.spans if span.kind in MAIN), None)
    waits = [span.length for span in line.spans if span.kind not in MAIN]
    return Row(
        number=line.step.number,
        name=line.step.name,
        kind=line.step.kind,
        state=line.state,
        attempt=line.attempt if several else 0,
        start=main.start - since if main else None,
        waited=sum(waits, ZERO) if waits else None,
        took=main.length if main else None,
        open=any(span.open for span in line.spans),
        error=line.error,
        segments=tuple(piece for span in line.spans if (piece := scale.segment(span)) is not None),
    )
