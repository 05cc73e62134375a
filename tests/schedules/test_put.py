"""`schedule()`: what it stores, what it refuses, and what the same name again does."""

import ast
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.test import override_settings
from django_q.models import Schedule

from django_workflow import workflow
from django_workflow.exceptions import InvalidArguments, NotStorable, UnknownDefinition, UsageError
from django_workflow.models import Tick
from django_workflow.testing import Harness
from tests.schedules.conftest import NOON
from tests.schedules.definitions import of_reports, other, report, ticks_of


def test_a_schedule_is_a_row_of_django_q2(frozen: Harness) -> None:
    row = workflow.schedule(report, name="nightly", cron="30 2 * * *", args=("a",), kwargs={"price": 3})
    assert row == Schedule.objects.get()
    assert (row.name, row.schedule_type, row.cron, row.minutes) == ("nightly", "C", "30 2 * * *", None)
    assert (row.repeats, row.cluster) == (-1, None)
    assert row.next_run == Schedule.objects.get().next_run == datetime(2031, 5, 7, 2, 30, tzinfo=UTC)
    assert ast.literal_eval(row.args) == ("schedules.report", '{"label":"a","day":null,"price":"3"}')


def test_an_interval_is_counted_from_now(frozen: Harness) -> None:
    row = workflow.schedule("schedules.elsewhere", name="often", every=timedelta(minutes=5))
    assert (row.schedule_type, row.cron, row.minutes, row.cluster) == ("I", None, 5, "reports")
    assert row.next_run == NOON + timedelta(minutes=5)
    assert workflow.schedule(of_reports, name="seldom", every=3600.0).minutes == 60


CRON = {"cron": "0 0 * * *"}
REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["cron and every: neither of them is given"]),
    ({**CRON, "every": 60}, ["cron and every: give one of them, not both"]),
    ({"cron": "0 0 * *"}, ["cron: '0 0 * *' has 4 fields; give five"]),
    ({"cron": "0 0 * * * *"}, ["has 6 fields"]),
    ({"cron": "@daily"}, ["'@daily' has 1 fields"]),
    ({"cron": "61 * * * *"}, ["cron: '61 * * * *' is no cron that can be read"]),
    ({"cron": "R R * * *"}, ["is no cron that can be read"]),
    ({"cron": "0 0 30 2 *"}, ["names a day that never comes"]),
    ({"cron": "0,0 " * 40 + "* * * *"}, ["fields"]),
    ({"cron": ",".join(["0"] * 60) + " 0 * * *"}, ["has more than 100 characters"]),
    ({"cron": 5}, ["cron: 5 is no text"]),
    ({"every": 59}, ["every: 59 is below one minute"]),
    ({"every": timedelta(0)}, ["every: datetime.timedelta(0) is below one minute"]),
    ({"every": timedelta(days=-1)}, ["is below one minute"]),
    ({"every": 90}, ["every: 90 is not in whole minutes"]),
    ({"every": timedelta(days=60)}, ["is more than 32767 minutes"]),
    ({"every": True}, ["every: True is no interval"]),
    ({"every": "1h"}, ["every: '1h' is no interval"]),
    ({"every": float("nan")}, ["every: nan is no interval"]),
    ({"every": 1e300}, ["is no interval"]),
    ({**CRON, "name": ""}, ["name: '' is no name"]),
    ({**CRON, "name": "x" * 101}, ["is no name; give 1 to 100 printable characters"]),
    ({**CRON, "name": "a\nb"}, ["is no name"]),
    ({**CRON, "name": " a"}, ["is no name"]),
    ({**CRON, "name": 5}, ["name: 5 is no name"]),
    ({"name": "", "cron": "x", "every": None}, ["name: ''", "cron: 'x' has 1 fields"]),
]


@pytest.mark.parametrize(("given", "said"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_bad_schedule_is_refused_with_all_problems_and_nothing_is_stored(
    frozen: Harness, given: dict[str, Any], said: list[str]
) -> None:
    with transaction.atomic():
        with pytest.raises(InvalidArguments) as refused:
            workflow.schedule(report, **{"name": "bad", **given})
        assert len(refused.value.problems) == len(said)
        for part in said:
            assert part in str(refused.value)
        assert not Schedule.objects.exists()
        assert not Tick.objects.exists()


def test_options_of_one_start_are_refused(frozen: Harness) -> None:
    odd = report.using(key="k", run_at=NOON, eager=True)
    with pytest.raises(InvalidArguments) as refused:
        workflow.schedule(odd, name="odd", cron="* * * * *")
    assert [problem.split("=")[0] for problem in refused.value.problems] == [
        "definition: using(key",
        "definition: using(run_at",
        "definition: using(eager",
    ]


def test_arguments_are_checked_by_annotation(frozen: Harness) -> None:
    with pytest.raises(InvalidArguments, match="day"):
        workflow.schedule(report, name="bad", cron="* * * * *", args=("a", "no day"))
    with pytest.raises(InvalidArguments, match="unexpected argument"):
        workflow.schedule(report, name="bad", cron="* * * * *", kwargs={"prize": 1})
    with pytest.raises(NotStorable):
        workflow.schedule(other, name="bad", cron="* * * * *", args=(object(),))
    with pytest.raises(UnknownDefinition):
        workflow.schedule("schedules.nothing", name="bad", cron="* * * * *")
    assert not Schedule.objects.exists()


def test_arguments_go_by_annotation_to_each_workflow(frozen: Harness) -> None:
    workflow.schedule(
        report,
        name="typed",
        cron="* * * * *",
        args=("it's", date(2031, 1, 2)),
        kwargs={"price": Decimal("1.10")},
    )
    frozen.advance(timedelta(minutes=1))
    (run,) = workflow.list(report)
    assert frozen.result(run) == "it's 2031-01-02 2.20"


@pytest.mark.parametrize("text", ["\\", "'\"", "\x00\ud800", "{'a': 1}", "a, b", "🎉"])
def test_any_text_goes_through_the_row(frozen: Harness, text: str) -> None:
    workflow.schedule(other, name="odd", cron="* * * * *", args=(text,))
    frozen.advance(timedelta(minutes=1))
    (run,) = workflow.list(other)
    assert frozen.result(run) == text


def test_options_of_the_definition_go_to_each_workflow(frozen: Harness) -> None:
    urgent = other.using(priority=5, labels={"customer": 42}, run_after=90, timeout=600, context={"a": 1})
    workflow.schedule(urgent, name="urgent", cron="* * * * *")
    frozen.advance(timedelta(minutes=1))
    (run,) = workflow.list(labels={"customer": 42})
    assert (run.priority, run.context, run.timeout) == (5, {"a": 1}, 600.0)
    assert run.due_at == NOON + timedelta(seconds=60 + 90)


def test_a_foreign_schedule_of_that_name_is_left_alone(frozen: Harness) -> None:
    theirs = Schedule.objects.create(name="theirs", func="math.sqrt", args="2", schedule_type="O")
    with transaction.atomic(), pytest.raises(UsageError, match=r"'theirs'.*isn't ours"):
        workflow.schedule(report, name="theirs", cron="* * * * *")
    row = Schedule.objects.get()
    assert (row.pk, row.func, row.schedule_type) == (theirs.pk, "math.sqrt", "O")
    assert not Tick.objects.exists()


def change_nothing() -> None:
    workflow.schedule(report, name="a", cron="*/10 * * * *")


def change_arguments() -> None:
    workflow.schedule(report, name="a", cron="*/10 * * * *", args=("new",))


def change_cron() -> None:
    workflow.schedule(report, name="a", cron="*/4 * * * *")


def change_to_interval() -> None:
    workflow.schedule(report, name="a", every=60)


@pytest.mark.parametrize(
    ("again", "minutes"),
    # Noon is where it began; at 12:25 it is changed, at 12:30 we look. What stays the same has missed 12:10 and 12:20.
    [
        (change_nothing, [10, 20, 30]),
        (change_arguments, [10, 20, 30]),
        (change_cron, [28]),
        (change_to_interval, [26, 27, 28, 29, 30]),
    ],
)
@pytest.mark.usefixtures("catch_up")
def test_the_same_name_again_changes_it_and_only_another_timing_begins_anew(
    frozen: Harness, again: Callable[[], None], minutes: list[int]
) -> None:
    first = workflow.schedule(report, name="a", cron="*/10 * * * *")
    frozen.freeze(NOON + timedelta(minutes=25))
    again()
    assert Schedule.objects.get().pk == first.pk
    frozen.freeze(NOON + timedelta(minutes=30))
    frozen.drain()
    assert ticks_of("a") == [NOON + timedelta(minutes=each) for each in minutes]
    labels = {run.args["label"] for run in workflow.list(report)}
    assert labels == ({"new"} if again is change_arguments else {"report"})


def test_a_schedule_that_was_deleted_and_made_again_begins_anew(frozen: Harness) -> None:
    workflow.schedule(report, name="a", cron="0 * * * *").delete()
    frozen.freeze(NOON + timedelta(hours=5, minutes=1))
    workflow.schedule(report, name="a", cron="0 * * * *")
    frozen.drain()
    assert ticks_of("a") == []


def test_rolled_back_there_is_no_schedule(frozen: Harness) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        workflow.schedule(report, name="a", cron="* * * * *")
        raise ZeroDivisionError
    frozen.advance(timedelta(minutes=2))
    assert not Schedule.objects.exists()
    assert not workflow.list(report).exists()


@pytest.mark.django_db(transaction=True)
def test_for_async_code() -> None:
    row = async_to_sync(workflow.aschedule)(report, name="async", every=60)
    assert Schedule.objects.get(name="async") == row


class Reverse:
    """A codec that a reader can't mistake for plain text."""

    def encode(self, text: str) -> str:
        return text[::-1]

    def decode(self, text: str) -> str:
        return text[::-1]


@override_settings(DJANGO_WORKFLOW={"CODEC": f"{__name__}.Reverse"})
def test_arguments_and_context_are_sealed_by_the_codec(frozen: Harness) -> None:
    row = workflow.schedule(other.using(context="c0ntext"), name="a", cron="* * * * *", args=("s3cret",))
    assert "s3cret" not in row.args
    assert "c0ntext" not in row.args
    frozen.advance(timedelta(minutes=1))
    (run,) = workflow.list(other)
    assert (frozen.result(run), run.context) == ("s3cret", "c0ntext")
