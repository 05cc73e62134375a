"""When a wake-up is sent, sent again, and given up for an attempt of one's own. Pure: no database, no clock."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from django_workflow.cluster.heads import FIRST_PROBE, LAST_PROBE, Call, Head
from django_workflow.journal.due import Due

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(seconds=1)


def test_what_became_due_is_announced_once() -> None:
    head = Head()
    assert head.take_in(Due(fresh=NOON), now=100.0) is Call.WAKE
    assert head.take_in(Due(), now=100.1) is Call.NOTHING


def test_what_will_be_due_is_not_announced_before() -> None:
    assert Head().take_in(Due(coming=LATER), now=100.0) is Call.NOTHING


def test_what_nobody_takes_is_announced_again_at_growing_distances() -> None:
    head, now, sent = Head(), 100.0, []
    while now < 130.0:
        if head.take_in(Due(overdue=NOON), now) is Call.WAKE_AGAIN:
            sent.append(now)
        now += 0.1
    gaps = [later - earlier for earlier, later in itertools.pairwise(sent)]
    assert sent[0] == pytest.approx(100.1, abs=0.11)
    assert gaps == sorted(gaps)
    assert gaps[-1] == pytest.approx(5.0, abs=0.11)


def test_while_somebody_takes_work_nothing_is_announced_again() -> None:
    head = Head()
    for second in range(60):
        due = Due(overdue=NOON + timedelta(seconds=second))
        assert head.take_in(due, 100.0 + second) is Call.NOTHING


def test_what_is_stuck_does_not_hide_what_becomes_due() -> None:
    head = Head()
    head.take_in(Due(overdue=NOON), now=100.0)
    head.take_in(Due(overdue=NOON), now=101.0)
    assert head.take_in(Due(overdue=NOON, fresh=LATER), now=101.1) is Call.WAKE


def test_after_everything_was_taken_it_begins_anew() -> None:
    head = Head()
    for second in range(30):
        head.take_in(Due(overdue=NOON), now=100.0 + second)
    head.take_in(Due(), now=130.0)
    head.take_in(Due(overdue=LATER), now=131.0)
    assert head.take_in(Due(overdue=LATER), now=131.2) is Call.WAKE_AGAIN


def test_only_a_head_that_stays_is_neglected() -> None:
    head = Head()
    head.take_in(Due(overdue=NOON), now=100.0)
    assert not head.is_neglected(now=101.0, patience=1.5)
    assert head.is_neglected(now=101.5, patience=1.5)
    head.take_in(Due(overdue=LATER), now=101.6)
    assert not head.is_neglected(now=101.7, patience=1.5)
    head.take_in(Due(), now=102.0)
    assert not head.is_neglected(now=200.0, patience=1.5)


def test_attempts_that_find_nothing_to_do_become_seldom() -> None:
    head, now, attempts = Head(), 100.0, []
    while now < 400.0:
        head.take_in(Due(overdue=NOON), now)
        if head.is_neglected(now, patience=1.5):
            attempts.append(now)
            head.probed(now, done=0)
        now += 0.1
    gaps = [later - earlier for earlier, later in itertools.pairwise(attempts)]
    assert gaps[0] == pytest.approx(2 * FIRST_PROBE, abs=0.11)
    assert gaps[-1] == pytest.approx(LAST_PROBE, abs=0.11)
    head.probed(now, done=3)
    assert head.is_neglected(now + FIRST_PROBE, patience=1.5)
