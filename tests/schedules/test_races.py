"""One workflow for each tick, whoever looks at the same time and wherever a process dies."""

from datetime import timedelta
from threading import Event

import pytest
from django.db import connection, transaction
from django_q.models import Schedule

from django_workflow import workflow
from django_workflow.cluster import agenda
from django_workflow.models import Tick
from django_workflow.testing import Harness, SimulatedCrash
from tests.engine.elsewhere import Elsewhere, before_statements, elsewhere, wait
from tests.schedules.conftest import NOON, CatchUp
from tests.schedules.definitions import other, report, ticks_of
from tests.shop.models import Entry

pytestmark = pytest.mark.django_db(
    transaction=True, available_apps=["django_workflow", "django_q", "tests.shop"]
)
MINUTE = timedelta(minutes=1)
THREE = [NOON + each * MINUTE for each in (1, 2, 3)]


def would_wait() -> bool:
    """True where another thread could do nothing but wait for this one: SQLite has one lock for all."""
    return connection.vendor == "sqlite" and connection.in_atomic_block


def missed(frozen: Harness, name: str) -> None:
    """The only schedule, which has missed three ticks."""
    Schedule.objects.all().delete()
    Tick.objects.all().delete()
    frozen.freeze(NOON)
    workflow.schedule(report, name=name, cron="* * * * *", args=(name,))
    frozen.freeze(NOON + 3 * MINUTE)


@pytest.mark.parametrize("on", [True, False])
def test_two_tickers_at_once_start_one_workflow_for_each_tick(
    frozen: Harness, catch_up: CatchUp, on: bool
) -> None:
    """The other one looks between any two statements of this one."""
    catch_up(on)
    alone = look_disturbed(frozen, f"{on}", 0)
    assert alone >= 6
    for at in range(1, alone + 1):
        look_disturbed(frozen, f"{on}{at}", at)
        agenda.start_due()
        assert ticks_of(f"{on}{at}") == (THREE if on else THREE[-1:])


def look_disturbed(frozen: Harness, name: str, at: int) -> int:
    """Look after three missed ticks, another ticker before the statement `at`; how many statements there were."""
    missed(frozen, name)
    statements = 0

    def look_too(sql: str) -> None:
        nonlocal statements
        statements += 1
        if statements == at and not would_wait():
            elsewhere(agenda.start_due)

    with before_statements(look_too):
        agenda.start_due()
    return statements


def test_two_tickers_that_begin_together(frozen: Harness, catch_up: CatchUp) -> None:
    workflow.schedule(report, name="a", cron="* * * * *")
    frozen.freeze(NOON + 50 * MINUTE)
    others = [Elsewhere(agenda.start_due) for _ in range(3)]
    agenda.start_due()
    for each in others:
        each.result()
    agenda.start_due()
    assert ticks_of("a") == [NOON + each * MINUTE for each in range(1, 51)]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("on", [False, True])
def test_a_crash_at_any_commit_loses_no_tick_and_doubles_none(
    frozen: Harness, catch_up: CatchUp, after: bool, on: bool
) -> None:
    catch_up(on)
    crashes = 0
    while True:
        name = f"{on}{after}{crashes}"
        missed(frozen, name)
        frozen.crash_at(crashes + 1, after=after)
        try:
            frozen.drain()
        except SimulatedCrash:
            crashes += 1
        else:
            break
        frozen.crash_at(0)
        frozen.advance(timedelta(seconds=31))
        frozen.drain()
        assert ticks_of(name) == (THREE if on else THREE[-1:])
        assert Entry.objects.filter(label=name).count() == (3 if on else 1)
    frozen.crash_at(0)
    assert crashes >= (6 if on else 2)


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_while_a_schedule_is_made_leaves_all_of_it_or_nothing(frozen: Harness, after: bool) -> None:
    frozen.crash_at(1, after=after)
    with pytest.raises(SimulatedCrash):
        workflow.schedule(report, name="a", cron="* * * * *")
    assert Schedule.objects.count() == Tick.objects.count() == int(after)
    workflow.schedule(report, name="a", cron="* * * * *")
    assert Schedule.objects.count() == Tick.objects.count() == 1
    frozen.advance(MINUTE)
    assert ticks_of("a") == THREE[:1]


def test_a_schedule_that_two_make_at_once_is_one(frozen: Harness) -> None:
    begun = Event()

    def make() -> None:
        with before_statements(lambda _: begun.set()):
            workflow.schedule(other, name="a", cron="*/2 * * * *")

    with transaction.atomic():
        workflow.schedule(report, name="a", cron="* * * * *")
        second = Elsewhere(make)
        wait(begun)
    second.result()
    assert Schedule.objects.get().cron == "*/2 * * * *"
    assert Tick.objects.get().timing == "cron */2 * * * *"


def test_a_ticker_waits_for_no_transaction_that_changes_a_schedule(frozen: Harness) -> None:
    for name in ("a", "b"):
        workflow.schedule(report, name=name, cron="* * * * *")
    frozen.freeze(NOON + MINUTE)
    with transaction.atomic():
        workflow.schedule(report, name="a", cron="* * * * *", args=("new",))
        if not would_wait():
            assert elsewhere(agenda.start_due).left
            assert (ticks_of("a"), ticks_of("b")) == ([], THREE[:1])
    agenda.start_due()
    assert (ticks_of("a"), ticks_of("b")) == (THREE[:1], THREE[:1])
    assert {run.args["label"] for run in workflow.list(report)} == {"new", "report"}


def test_a_schedule_that_is_being_made_keeps_its_mark(frozen: Harness) -> None:
    """A ticker that has read the rows before it was made, and the marks after, doesn't take its mark for a stray."""
    rows_read = False

    def make(sql: str) -> None:
        nonlocal rows_read
        if rows_read and not Schedule.objects.filter(name="late").exists():
            elsewhere(lambda: workflow.schedule(report, name="late", cron="* * * * *"))
        rows_read = rows_read or "django_q_schedule" in sql

    with before_statements(make):
        agenda.start_due()
    assert Tick.objects.get().schedule == "late"


def test_a_look_that_runs_out_of_time_goes_on_at_the_next(frozen: Harness, catch_up: CatchUp) -> None:
    workflow.schedule(report, name="a", cron="* * * * *")
    frozen.freeze(NOON + 3 * MINUTE)
    outlook = agenda.start_due(0)
    assert (outlook.next_at, outlook.left, ticks_of("a")) == (THREE[0], False, [])
    assert agenda.start_due().next_at == NOON + 4 * MINUTE
    assert ticks_of("a") == THREE
