"""One workflow for each tick: missed ones, edited and deleted rows, clocks that are put back, django-q2's own firing."""

import logging
from datetime import UTC, datetime, timedelta

import pytest
from django.test import override_settings
from django_q.models import OrmQ, Schedule
from django_q.scheduler import scheduler

from django_workflow import workflow
from django_workflow.cluster import tasks
from django_workflow.handler import registry
from django_workflow.models import Tick, Workflow
from django_workflow.testing import Harness
from tests.schedules.conftest import NOON, CatchUp
from tests.schedules.definitions import of_reports, other, report, ticks_of
from tests.shop.models import Entry

MINUTE = timedelta(minutes=1)


def edit(name: str, **columns: object) -> None:
    """As django-q2's admin does."""
    row = Schedule.objects.get(name=name)
    for column, value in columns.items():
        setattr(row, column, value)
    row.save()


def test_each_tick_starts_one_workflow_that_runs(frozen: Harness) -> None:
    workflow.schedule(report, name="a", cron="*/2 * * * *")
    frozen.drain()
    assert ticks_of("a") == []
    for minute in range(1, 7):
        frozen.advance(MINUTE)
        frozen.drain()
        assert ticks_of("a") == [NOON + each * 2 * MINUTE for each in range(1, minute // 2 + 1)]
    assert [frozen.result(run) for run in workflow.list(report)] == ["report None 0"] * 3
    assert Entry.objects.count() == 3


def test_no_tick_comes_early(frozen: Harness) -> None:
    workflow.schedule(report, name="a", every=60)
    frozen.advance(MINUTE - timedelta(microseconds=1))
    assert ticks_of("a") == []
    frozen.advance(timedelta(microseconds=1))
    assert ticks_of("a") == [NOON + MINUTE]


def test_an_interval_keeps_its_steps_however_late_one_looks(frozen: Harness, catch_up: CatchUp) -> None:
    catch_up(False)
    workflow.schedule(report, name="a", every=timedelta(minutes=10))
    frozen.advance(timedelta(minutes=17))
    frozen.advance(timedelta(minutes=8))
    assert ticks_of("a") == [NOON + 10 * MINUTE, NOON + 20 * MINUTE]


@pytest.mark.parametrize("timing", [{"cron": "0 * * * *"}, {"every": 3600}])
@pytest.mark.parametrize(("on", "hours"), [(True, [1, 2, 3]), (False, [3])])
def test_after_three_missed_ticks_each_or_the_last_one_starts(
    frozen: Harness, catch_up: CatchUp, timing: dict[str, object], on: bool, hours: list[int]
) -> None:
    catch_up(on)
    workflow.schedule(report, name="a", **timing)  # type: ignore[arg-type]
    frozen.advance(timedelta(hours=3, minutes=30))
    assert ticks_of("a") == [NOON + timedelta(hours=each) for each in hours]
    frozen.advance(timedelta(minutes=30))
    assert ticks_of("a") == [NOON + timedelta(hours=each) for each in [*hours, 4]]


def test_the_key_is_the_tick(frozen: Harness) -> None:
    workflow.schedule(report, name="a", cron="* * * * *")
    frozen.advance(MINUTE)
    run = workflow.list(report).get()
    assert run.key == "schedule:a:2031-05-06T12:01:00+00:00"
    assert report.using(key=run.key).start() == run


def test_a_mark_that_is_set_back_starts_nothing_twice(frozen: Harness, catch_up: CatchUp) -> None:
    workflow.schedule(report, name="a", cron="* * * * *")
    frozen.advance(3 * MINUTE)
    Tick.objects.update(last_at=NOON)
    frozen.drain()
    assert len(ticks_of("a")) == 3
    # Nor does it matter that the arguments are others now: those ticks have had theirs.
    workflow.schedule(report, name="a", cron="* * * * *", args=("new",))
    Tick.objects.update(last_at=NOON)
    frozen.advance(MINUTE)
    assert len(ticks_of("a")) == 4
    assert [run.args["label"] for run in workflow.list(report).order_by("id")] == ["report"] * 3 + ["new"]


# ── rows that somebody edits ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("catch_up")
def test_an_edited_timing_counts_from_when_it_is_seen(frozen: Harness) -> None:
    workflow.schedule(report, name="a", cron="0 * * * *")
    frozen.advance(timedelta(minutes=30))
    edit("a", cron="*/10 * * * *")
    frozen.drain()
    assert ticks_of("a") == []
    frozen.advance(timedelta(minutes=20))
    assert ticks_of("a") == [NOON + 40 * MINUTE, NOON + 50 * MINUTE]
    edit("a", schedule_type=Schedule.MINUTES, minutes=7)
    frozen.drain()
    frozen.advance(timedelta(minutes=7))
    assert ticks_of("a")[2:] == [NOON + 57 * MINUTE]


@pytest.mark.parametrize(
    ("kind", "length"), [("H", timedelta(hours=1)), ("D", timedelta(days=1)), ("W", timedelta(weeks=1))]
)
def test_types_of_a_fixed_length_are_intervals(frozen: Harness, kind: str, length: timedelta) -> None:
    workflow.schedule(report, name="a", every=60)
    edit("a", schedule_type=kind, minutes=None)
    frozen.drain()
    frozen.advance(length - MINUTE)
    assert ticks_of("a") == []
    frozen.advance(MINUTE)
    assert ticks_of("a") == [NOON + length]


BROKEN: list[tuple[dict[str, object], str]] = [
    ({"schedule_type": "M"}, "workflows have no schedule of the type Monthly"),
    ({"cron": "0 0 31 2 *"}, "its cron '0 0 31 2 *' names a day that never comes"),
    ({"cron": "* * * * * *"}, "has 6 fields"),
    ({"args": ""}, "its arguments are no definition's name and a text of JSON"),
    ({"args": "'schedules.report'"}, "its arguments are no definition's name and a text of JSON"),
    ({"args": "'schedules.report', 5"}, "its arguments are no definition's name and a text of JSON"),
    ({"args": "open('x')"}, "its arguments are no definition's name and a text of JSON"),
    ({"args": "'schedules.report', 'no json'"}, "its arguments don't fit schedules.report"),
    ({"args": "'schedules.report', '[1]'"}, "its arguments don't fit schedules.report"),
    ({"args": "'schedules.report', '{\"day\": \"never\"}'"}, "its arguments don't fit schedules.report"),
    ({"args": "'schedules.report', '{}', '{\"colour\": 1}'"}, "its arguments don't fit schedules.report"),
    ({"args": "'schedules.gone', '{}'"}, "no workflow is defined as 'schedules.gone'"),
    ({"name": None}, "it has no name"),
]


@pytest.mark.parametrize(("columns", "said"), BROKEN, ids=lambda value: str(value)[:50])
def test_a_row_that_can_not_be_started_is_told_once_and_holds_no_other_up(
    frozen: Harness,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    columns: dict[str, object],
    said: str,
) -> None:
    monkeypatch.setattr("django_workflow.cluster.schedules._told", set())
    workflow.schedule(report, name="broken", cron="* * * * *")
    workflow.schedule(report, name="well", cron="* * * * *")
    Schedule.objects.filter(name="broken").update(**columns)
    with caplog.at_level(logging.WARNING, "django_workflow"):
        frozen.advance(MINUTE)
        frozen.advance(MINUTE)
    assert [said in record.getMessage() for record in caplog.records] == [True]
    assert (len(ticks_of("broken")), len(ticks_of("well"))) == (0, 2)


def test_edited_arguments_are_those_of_the_next_tick(frozen: Harness) -> None:
    workflow.schedule(report, name="a", cron="* * * * *")
    edit("a", args="""'schedules.report', '{ "label": "by hand",  "price": 2 }'""")
    frozen.advance(MINUTE)
    assert frozen.result(workflow.list(report).get()) == "by hand None 4"


@pytest.mark.usefixtures("catch_up")
def test_a_tick_of_an_unknown_definition_waits_for_who_knows_it(
    frozen: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow.schedule(other, name="a", cron="* * * * *")
    known = dict(registry._definitions)
    with monkeypatch.context() as patch:
        patch.setattr(
            registry, "_definitions", {key: each for key, each in known.items() if key[0] != other.name}
        )
        frozen.advance(2 * MINUTE)
        assert ticks_of("a") == []
    frozen.drain()
    assert ticks_of("a") == [NOON + MINUTE, NOON + 2 * MINUTE]


def test_a_deleted_row_stops_the_schedule_and_its_mark_is_dropped(frozen: Harness) -> None:
    for name in ("a", "b"):
        workflow.schedule(report, name=name, cron="* * * * *")
    frozen.advance(MINUTE)
    Schedule.objects.get(name="a").delete()
    frozen.advance(MINUTE)
    assert (len(ticks_of("a")), len(ticks_of("b"))) == (1, 2)
    assert list(Tick.objects.values_list("schedule", flat=True)) == ["b"]


@pytest.mark.usefixtures("catch_up")
def test_a_row_without_repeats_holds_the_schedule(frozen: Harness) -> None:
    workflow.schedule(report, name="a", cron="* * * * *")
    edit("a", repeats=0)
    frozen.advance(2 * MINUTE)
    edit("a", repeats=-1)
    frozen.drain()
    assert ticks_of("a") == []
    frozen.advance(MINUTE)
    assert ticks_of("a") == [NOON + 3 * MINUTE]


@pytest.mark.usefixtures("catch_up")
def test_a_row_that_was_made_by_hand_begins_when_it_is_seen(frozen: Harness) -> None:
    made = workflow.schedule(report, name="a", cron="* * * * *")
    Schedule.objects.create(name="b", func=made.func, args=made.args, schedule_type="C", cron="* * * * *")
    frozen.freeze(NOON + 5 * MINUTE)
    frozen.drain()
    assert (len(ticks_of("a")), len(ticks_of("b"))) == (5, 0)
    frozen.advance(MINUTE)
    assert (len(ticks_of("a")), len(ticks_of("b"))) == (6, 1)


def test_of_two_rows_of_one_name_one_ticks(frozen: Harness) -> None:
    row = workflow.schedule(report, name="a", cron="* * * * *")
    Schedule.objects.create(name="a", func=row.func, args=row.args, schedule_type="I", minutes=1)
    for _ in range(3):
        frozen.advance(MINUTE)
    assert len(ticks_of("a")) == 3


def test_schedules_of_other_tasks_are_no_concern_of_ours(frozen: Harness) -> None:
    Schedule.objects.create(name="theirs", func="math.sqrt", args="2", schedule_type="I", minutes=1)
    frozen.advance(5 * MINUTE)
    assert not Workflow.objects.exists()
    assert not Tick.objects.exists()


# ── clocks that are put forward and back ──────────────────────────────────────────────────────────────────────────

# Europe/Berlin: at 01:00 UTC on 30 March 2031 it goes from 02:00 to 03:00, on 26 October from 03:00 back to 02:00.
SPRING, AUTUMN = datetime(2031, 3, 29, 12, tzinfo=UTC), datetime(2031, 10, 25, 12, tzinfo=UTC)


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize(
    ("since", "cron", "ticks"),
    [
        (SPRING, "30 1 * * *", ["30 00:30", "30 23:30"]),
        (SPRING, "30 2 * * *", ["30 01:00", "31 00:30"]),  # there is no 02:30: at the end of the gap
        (SPRING, "30 3 * * *", ["30 01:30", "31 01:30"]),
        (AUTUMN, "30 1 * * *", ["25 23:30", "27 00:30"]),
        (AUTUMN, "30 2 * * *", ["26 00:30", "27 01:30"]),  # 02:30 comes twice: the first one counts
        (AUTUMN, "30 3 * * *", ["26 02:30", "27 02:30"]),
    ],
)
@override_settings(TIME_ZONE="Europe/Berlin")
def test_a_daily_tick_comes_once_on_the_days_when_clocks_change(
    workflow_harness: Harness, catch_up: CatchUp, since: datetime, cron: str, ticks: list[str], on: bool
) -> None:
    catch_up(on)
    workflow_harness.freeze(since)
    workflow.schedule(report, name="a", cron=cron)
    for _ in range(7 * 6):
        workflow_harness.advance(timedelta(minutes=60))
    assert [f"{tick:%d %H:%M}" for tick in ticks_of("a")] == ticks


@pytest.mark.parametrize(("since", "hours"), [(SPRING, 47), (AUTUMN, 49)])
@override_settings(TIME_ZONE="Europe/Berlin")
def test_an_hourly_tick_comes_every_hour_on_the_days_when_clocks_change(
    workflow_harness: Harness, catch_up: CatchUp, since: datetime, hours: int
) -> None:
    workflow_harness.freeze(since)
    workflow.schedule(report, name="a", cron="0 * * * *")
    workflow_harness.advance(timedelta(hours=hours))
    assert ticks_of("a") == [since + timedelta(hours=each) for each in range(1, hours + 1)]


# ── django-q2's own firing ────────────────────────────────────────────────────────────────────────────────────────


def fire() -> int:
    """Let django-q2's scheduler fire what is due by its own clock, and a worker do it; returns how many tasks."""
    scheduler()
    messages = list(OrmQ.objects.all())
    for message in messages:
        task = message.task
        assert task["func"] == "django_workflow.cluster.tasks.tick"
        tasks.tick(*task["args"], **task["kwargs"])
        message.delete()
    return len(messages)


@pytest.mark.django_db(transaction=True)
def test_its_own_firing_is_a_harmless_duplicate(workflow_harness: Harness) -> None:
    OrmQ.objects.all().delete()
    workflow.schedule(report, name="a", cron="* * * * *")
    Tick.objects.update(last_at=workflow_harness.now() - timedelta(minutes=5))
    Schedule.objects.update(next_run=workflow_harness.now() - timedelta(minutes=5))
    workflow_harness.drain()
    started = ticks_of("a")
    assert len(started) == 1
    assert fire() == 1
    assert ticks_of("a")[: len(started)] == started
    assert fire() == 0
    assert len(ticks_of("a")) == len(set(ticks_of("a")))


def test_its_own_firing_starts_what_no_ticker_has(frozen: Harness) -> None:
    workflow.schedule(report, name="a", cron="* * * * *")
    frozen.freeze(NOON + MINUTE)
    tasks.tick("schedules.report", "{}")
    assert ticks_of("a") == [NOON + MINUTE]


def test_its_own_firing_never_raises(
    frozen: Harness, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks.tick()
    tasks.tick(None, 5, "odd", odd=True)
    workflow.schedule(report, name="a", cron="* * * * *")
    frozen.advance(MINUTE)
    with override_settings(DJANGO_WORKFLOW={"NO_SUCH": 1}):
        tasks.tick("schedules.report", "{}")
    assert "A look at the schedules ended early" in caplog.text


def test_a_workflow_goes_to_the_cluster_of_its_definition(frozen: Harness) -> None:
    workflow.schedule(of_reports, name="a", cron="* * * * *")
    frozen.advance(MINUTE)
    assert workflow.list(of_reports).get().cluster == "reports"
