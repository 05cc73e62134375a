"""The timeline's rows, with exact numbers: which rows there are, what they say, and where their bars stand. No database."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_workflow.admin.timeline import Attempt, Row, Segment, StepFacts, Timeline, timeline
from django_workflow.states import StepKind, StepState

BEGIN = datetime(2025, 11, 20, 9, 0, tzinfo=UTC)
DAY = 86_400.0


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def secs(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def ran(number: int, start: float, end: float, **more: Any) -> StepFacts:
    """An action of one attempt that completed, taken at once."""
    facts: dict[str, Any] = {
        "created_at": at(start),
        "started_at": at(start),
        "completed_at": at(end),
        "attempts": 1,
        "history": (Attempt(1, at(start), at(end), "completed"),),
        **more,
    }
    return StepFacts(number, f"step_{number}", StepKind.ACTION, StepState.COMPLETED, **facts)


def slept(number: int, start: float, end: float) -> StepFacts:
    return StepFacts(
        number, "sleep", StepKind.SLEEP, StepState.COMPLETED, at(start), completed_at=at(end), due_at=None
    )


def bars(found: Timeline) -> list[list[tuple[str, int, int]]]:
    return [[(piece.kind, piece.x, piece.width) for piece in row.segments] for row in found.rows]


def only(found: Timeline) -> Row:
    (row,) = found.rows
    return row


# ── the scale ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_runs_is_drawn_to_scale() -> None:
    found = timeline([ran(1, 0, 1), ran(2, 1, 4), ran(3, 4, 10)], at(10))
    assert bars(found) == [[("run", 0, 100)], [("run", 100, 300)], [("run", 400, 600)]]
    assert found.bands == ()
    assert found.executing == secs(10)
    assert [(row.start, row.took) for row in found.rows] == [
        (secs(0), secs(1)),
        (secs(1), secs(3)),
        (secs(4), secs(6)),
    ]


def test_a_sleep_of_a_day_becomes_a_band() -> None:
    found = timeline([ran(1, 0, 1), slept(2, 1, 1 + DAY), ran(3, 1 + DAY, 2 + DAY)], at(2 + DAY))
    assert bars(found) == [[("run", 0, 480)], [("wait", 480, 40)], [("run", 520, 480)]]
    assert found.bands == ((480, 40),)
    assert found.rows[1].took == timedelta(days=1)
    assert found.executing == secs(2)


@pytest.mark.parametrize(
    ("gap", "bands"),
    [(8.0, 0), (8.000001, 1)],
)
def test_a_gap_is_cut_out_over_eight_percent_of_the_busy_time(gap: float, bands: int) -> None:
    found = timeline([ran(1, 0, 50), ran(2, 50 + gap, 100 + gap)], at(100 + gap))
    assert len(found.bands) == bands


def test_time_before_the_first_and_after_the_last_run_is_cut_out_too() -> None:
    waits = StepFacts(2, "approved", StepKind.EVENT, StepState.PENDING, at(60))
    found = timeline([ran(1, 50, 60, created_at=at(0)), waits], at(1000))
    assert found.bands == ((0, 40), (960, 40))
    assert bars(found) == [[("queue", 0, 40), ("run", 40, 920)], [("wait", 960, 40)]]


def test_many_gaps_share_four_tenths_of_the_width() -> None:
    steps = [ran(n, n * 100, n * 100 + 1) for n in range(21)]
    found = timeline(steps, at(2001))
    assert len(found.bands) == 20
    assert {width for _, width in found.bands} == {20}
    last = found.rows[-1].segments[0]
    assert last.x + last.width == 1000


def test_bars_are_four_units_wide_at_least_and_end_inside() -> None:
    found = timeline([ran(1, 0, 0.001), ran(2, 0.001, 100), ran(3, 100, 100)], at(100))
    assert bars(found) == [[("run", 0, 4)], [("run", 0, 1000)], [("run", 996, 4)]]


def test_a_clock_that_stands_still() -> None:
    found = timeline([ran(1, 0, 0), slept(2, 0, 0), ran(3, 0, 0)], at(0))
    assert bars(found) == [[("run", 0, 4)], [("wait", 0, 4)], [("run", 0, 4)]]
    assert found.bands == ()
    assert [row.took for row in found.rows] == [secs(0)] * 3


def test_where_no_step_takes_time_sleeps_are_to_scale() -> None:
    found = timeline([ran(1, 0, 0), slept(2, 0, DAY), slept(3, DAY, 4 * DAY)], at(4 * DAY))
    assert bars(found) == [[("run", 0, 4)], [("wait", 0, 250)], [("wait", 250, 750)]]


def test_no_steps_no_rows() -> None:
    assert timeline([], at(0)) == Timeline((), (), timedelta(0))


def test_two_hundred_parallel_steps() -> None:
    steps = [ran(n, n / 100, 10, created_at=at(0)) for n in range(1, 201)]
    found = timeline(steps, at(10))
    assert len(found.rows) == 200
    assert bars(found)[99] == [("queue", 0, 100), ("run", 100, 900)]
    assert bars(found)[199] == [("queue", 0, 200), ("run", 200, 800)]
    assert found.bands == ()


def test_all_numbers_are_whole_and_inside() -> None:
    steps = [ran(n, n * 1.37, n * 1.37 + 0.41 * (n % 3)) for n in range(1, 60)]
    for row in timeline(steps, at(100)).rows:
        for piece in row.segments:
            assert type(piece.x) is int
            assert type(piece.width) is int
            assert 0 <= piece.x < piece.x + piece.width <= 1000


# ── attempts ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_attempt_is_a_row_with_its_backoff_before_it() -> None:
    history = (
        Attempt(1, at(0), at(4), "failed", "ValueError: no"),
        Attempt(2, at(4.5), at(10), "completed"),
    )
    found = timeline([ran(1, 4.5, 10, created_at=at(0), attempts=2, history=history)], at(10))
    assert [(row.state, row.attempt, row.error) for row in found.rows] == [
        ("failed", 1, "ValueError: no"),
        ("completed", 2, ""),
    ]
    assert bars(found) == [[("run", 0, 400)], [("backoff", 400, 50), ("run", 450, 550)]]
    assert (found.rows[1].waited, found.rows[1].start, found.rows[1].took) == (
        secs(0.5),
        secs(4.5),
        secs(5.5),
    )
    assert found.executing == secs(9.5)


def test_an_attempt_to_come_backs_off_up_to_now() -> None:
    facts = StepFacts(
        1,
        "charge",
        StepKind.ACTION,
        StepState.PENDING,
        at(0),
        started_at=at(0),
        due_at=at(100),
        attempts=1,
        history=(Attempt(1, at(0), at(50), "failed"),),
    )
    found = timeline([facts], at(54))
    first, second = found.rows
    assert first.segments == (Segment("run", 0, 925),)
    assert (second.state, second.attempt, second.start, second.waited) == ("pending", 2, None, secs(4))
    assert second.segments == (Segment("backoff", 925, 75, open=True),)


def test_an_attempt_that_is_overdue_is_in_the_queue() -> None:
    facts = StepFacts(
        1,
        "charge",
        StepKind.ACTION,
        StepState.PENDING,
        at(0),
        started_at=at(0),
        due_at=at(104),
        attempts=1,
        history=(Attempt(1, at(0), at(100), "failed"),),
    )
    _, second = timeline([facts], at(108)).rows
    assert [(piece.kind, piece.open) for piece in second.segments] == [("backoff", False), ("queue", True)]
    assert second.waited == secs(8)


def test_an_interrupted_attempt_whose_end_nobody_saw_ends_where_the_next_began() -> None:
    history = (Attempt(1, at(0), None, "interrupted"), Attempt(2, at(6), at(10), "completed"))
    found = timeline([ran(1, 6, 10, created_at=at(0), attempts=2, history=history)], at(10))
    assert [(row.state, row.took) for row in found.rows] == [("interrupted", secs(6)), ("completed", secs(4))]
    assert bars(found) == [[("run", 0, 600)], [("run", 600, 400)]]


def test_an_interrupted_attempt_whose_successor_runs() -> None:
    facts = StepFacts(
        1,
        "charge",
        StepKind.ACTION,
        StepState.RUNNING,
        at(0),
        started_at=at(5),
        attempts=2,
        history=(Attempt(1, at(0), None, "interrupted"),),
    )
    found = timeline([facts], at(10))
    assert [(row.state, row.attempt, row.open, row.took) for row in found.rows] == [
        ("interrupted", 1, False, secs(5)),
        ("running", 2, True, secs(5)),
    ]


def test_a_running_step_is_open_up_to_now() -> None:
    facts = StepFacts(
        1, "charge", StepKind.ACTION, StepState.RUNNING, at(0), started_at=at(2), due_at=at(30), attempts=1
    )
    row = only(timeline([facts], at(42)))
    assert (row.state, row.open, row.attempt, row.took, row.waited) == ("running", True, 0, secs(40), secs(2))
    assert row.segments == (Segment("queue", 0, 47), Segment("run", 47, 953, open=True))


def test_a_step_that_is_not_due_yet_is_no_queue() -> None:
    facts = StepFacts(1, "later", StepKind.ACTION, StepState.PENDING, at(0), due_at=at(100))
    assert only(timeline([facts], at(50))).segments == (Segment("delay", 0, 1000, open=True),)
    assert [(piece.kind, piece.width) for piece in only(timeline([facts], at(400))).segments] == [
        ("delay", 250),
        ("queue", 750),
    ]


def test_a_canceled_step_that_never_began() -> None:
    facts = StepFacts(1, "later", StepKind.ACTION, StepState.CANCELED, at(0), completed_at=at(5))
    row = only(timeline([facts], at(50)))
    assert (row.state, row.start, row.took, row.waited, row.open) == ("canceled", None, None, secs(5), False)


def test_a_canceled_step_that_ran() -> None:
    facts = StepFacts(
        1,
        "charge",
        StepKind.ACTION,
        StepState.CANCELED,
        at(0),
        started_at=at(0),
        completed_at=at(5),
        attempts=1,
    )
    row = only(timeline([facts], at(50)))
    assert (row.state, row.took, row.open) == ("canceled", secs(5), False)


def test_a_row_that_was_written_after_its_body_ran_was_in_no_queue() -> None:
    row = only(timeline([ran(1, 0, 1, created_at=at(1.1))], at(2)))
    assert row.waited is None
    assert [piece.kind for piece in row.segments] == ["run"]


# ── what has no body ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_child_counts_as_busy() -> None:
    child = StepFacts(
        1,
        "ship",
        StepKind.WORKFLOW,
        StepState.COMPLETED,
        at(0),
        started_at=at(0),
        completed_at=at(9),
        attempts=1,
    )
    found = timeline([child, ran(2, 9, 10)], at(10))
    assert bars(found) == [[("child", 0, 900)], [("run", 900, 100)]]
    assert found.executing == secs(1)
    assert found.bands == ()


def test_a_running_child_is_open() -> None:
    child = StepFacts(1, "ship", StepKind.WORKFLOW, StepState.PENDING, at(0), started_at=at(0), attempts=1)
    row = only(timeline([child], at(7)))
    assert row.segments == (Segment("child", 0, 1000, open=True),)
    assert (row.attempt, row.took) == (0, secs(7))


def test_an_event_that_is_waited_for_is_open() -> None:
    waits = StepFacts(2, "delivered", StepKind.EVENT, StepState.PENDING, at(1), due_at=at(9 * DAY))
    found = timeline([ran(1, 0, 1), waits], at(DAY))
    assert bars(found) == [[("run", 0, 960)], [("wait", 960, 40)]]
    assert found.rows[1].segments[0].open


def test_a_marker_is_a_moment() -> None:
    marker = StepFacts(2, "patch", StepKind.MARKER, StepState.COMPLETED, at(5), completed_at=at(5))
    found = timeline([ran(1, 0, 10), marker], at(10))
    assert bars(found)[1] == [("run", 500, 4)]


def test_starts_are_counted_from_the_workflows_own() -> None:
    assert only(timeline([ran(1, 5, 6)], at(6), origin=at(2))).start == secs(3)
    # The journal of a fork is older than the fork.
    assert only(timeline([ran(1, 5, 6)], at(6), origin=at(20))).start == secs(0)


def test_a_clock_behind_a_rows_start_takes_nothing_away() -> None:
    facts = StepFacts(1, "charge", StepKind.ACTION, StepState.RUNNING, at(10), started_at=at(10), attempts=1)
    row = only(timeline([facts], at(3)))
    assert row.took == secs(0)
    assert row.segments == (Segment("run", 0, 4, open=True),)
