"""Wake-ups are sent on commit, once for each cluster, and never without one."""

from collections.abc import Iterator

import pytest
from django.db import transaction

from django_workflow.journal import wakes

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sent() -> Iterator[list[str]]:
    clusters: list[str] = []
    with wakes.sent_by(clusters.append):
        yield clusters


def test_outside_of_a_transaction_it_is_sent_at_once(sent: list[str]) -> None:
    wakes.ask("")
    wakes.ask("reports")
    assert sent == ["", "reports"]


def test_in_a_transaction_it_is_sent_on_commit(sent: list[str]) -> None:
    with transaction.atomic():
        wakes.ask("")
        assert sent == []
    assert sent == [""]


def test_a_transaction_that_rolls_back_sends_none(sent: list[str]) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        wakes.ask("")
        raise ZeroDivisionError
    assert sent == []


def test_many_of_one_transaction_are_one_for_each_cluster(sent: list[str]) -> None:
    with transaction.atomic():
        for _ in range(3):
            wakes.ask("")
            wakes.ask("reports")
            with transaction.atomic():
                wakes.ask("")
    assert sent == ["", "reports"]


def test_one_that_a_savepoint_took_back_does_not_stand_for_a_later_one(sent: list[str]) -> None:
    with transaction.atomic():
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            wakes.ask("")
            raise ZeroDivisionError
        wakes.ask("")
    assert sent == [""]


def test_a_sender_that_fails_harms_nobody() -> None:
    def fail(cluster: str) -> None:
        raise ConnectionError(cluster)

    committed = []
    with wakes.sent_by(fail), transaction.atomic():
        wakes.ask("")
        transaction.on_commit(lambda: committed.append(True))
    assert committed == [True]


def test_without_a_sender_nothing_happens() -> None:
    with wakes.sent_by(None):
        wakes.ask("")
