"""When a ticker looks at the schedules: at the next tick, every five seconds, one statement while nothing happens."""

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_q.models import Schedule

from django_workflow import workflow
from django_workflow.cluster.agenda import HASTE_SECONDS, READ_SECONDS, Agenda
from django_workflow.journal.clock import monotonic
from django_workflow.testing import Harness
from tests.schedules.conftest import NOON
from tests.schedules.definitions import report, ticks_of

MINUTE = timedelta(minutes=1)


def look(agenda: Agenda, now: datetime) -> list[str]:
    """Look, and return the statements that it took."""
    with CaptureQueriesContext(connection) as captured:
        agenda.look(now)
    return [str(each["sql"]) for each in captured.captured_queries]


@pytest.mark.parametrize("schedules", [0, 1, 20])
def test_an_idle_look_is_one_statement(frozen: Harness, schedules: int) -> None:
    for number in range(schedules):
        workflow.schedule(report, name=f"{number}", cron="0 0 * * *")
    agenda = Agenda()
    look(agenda, NOON)
    for _ in range(3):
        assert len(look(agenda, NOON + MINUTE)) == 1


def test_it_looks_again_after_a_while_and_sooner_after_a_drain(frozen: Harness) -> None:
    workflow.schedule(report, name="a", cron="0 0 * * *")
    agenda = Agenda()
    before = monotonic()
    agenda.look(NOON)
    after = monotonic()
    assert before + READ_SECONDS <= agenda.due_at <= after + READ_SECONDS
    agenda.hasten()
    assert before + HASTE_SECONDS <= agenda.due_at <= after + HASTE_SECONDS
    agenda.hasten()
    assert before + HASTE_SECONDS <= agenda.due_at <= after + HASTE_SECONDS


def test_it_looks_at_the_next_tick_and_starts_it(frozen: Harness) -> None:
    workflow.schedule(report, name="a", cron="* * * * *")
    workflow.schedule(report, name="b", cron="0 0 * * *")
    agenda = Agenda()
    now = NOON + timedelta(seconds=58)
    frozen.freeze(now)
    before = monotonic()
    agenda.look(now)
    assert before + 2 <= agenda.due_at <= monotonic() + 2.1
    frozen.freeze(NOON + MINUTE)
    agenda.look(NOON + MINUTE)
    assert ticks_of("a") == [NOON + MINUTE]
    assert len(look(agenda, NOON + MINUTE)) == 1


def test_a_look_too_early_starts_nothing_and_comes_again(frozen: Harness) -> None:
    workflow.schedule(report, name="a", cron="* * * * *")
    agenda = Agenda()
    agenda.look(NOON)
    agenda.look(NOON + MINUTE)  # by the monotonic clock; the database's still says noon
    assert ticks_of("a") == []
    frozen.freeze(NOON + MINUTE)
    agenda.look(NOON + MINUTE)
    assert ticks_of("a") == [NOON + MINUTE]


def test_what_was_edited_made_or_deleted_is_seen(frozen: Harness) -> None:
    workflow.schedule(report, name="a", cron="0 0 * * *")
    agenda = Agenda()
    agenda.look(NOON)
    Schedule.objects.update(cron="* * * * *")
    agenda.look(NOON)
    workflow.schedule(report, name="b", cron="* * * * *")
    agenda.look(NOON)
    frozen.freeze(NOON + MINUTE)
    agenda.look(NOON + MINUTE)
    assert ticks_of("a") == ticks_of("b") == [NOON + MINUTE]
    Schedule.objects.get(name="a").delete()
    frozen.freeze(NOON + 2 * MINUTE)
    agenda.look(NOON + 2 * MINUTE)
    assert (len(ticks_of("a")), len(ticks_of("b"))) == (1, 2)


def test_what_django_q2_changes_by_its_own_firing_is_no_edit(frozen: Harness) -> None:
    workflow.schedule(report, name="a", cron="0 0 * * *")
    agenda = Agenda()
    agenda.look(NOON)
    Schedule.objects.update(next_run=NOON + MINUTE, task="1234")
    assert len(look(agenda, NOON)) == 1
