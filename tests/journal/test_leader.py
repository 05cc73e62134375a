"""The ticker's lead (R26): one has it, until it gives it back, dies or falls silent."""

import uuid
from datetime import timedelta

import pytest

from django_workflow.journal import leader, processes
from django_workflow.models import Lease
from django_workflow.testing import Harness

ONE, OTHER = uuid.uuid4(), uuid.uuid4()


@pytest.mark.django_db
def test_one_leads_and_keeps_the_lead() -> None:
    assert leader.leader("tests") is None
    assert leader.try_lead(ONE, "tests")
    assert not leader.try_lead(OTHER, "tests")
    assert leader.try_lead(ONE, "tests")
    held = leader.leader("tests")
    assert held is not None
    assert (held.owner, held.process) == (ONE, None)


@pytest.mark.django_db
def test_the_leader_can_be_asked_for_its_process() -> None:
    processes._forked()
    processes.register()
    me = processes.identity()
    assert leader.try_lead(me.id, "tests")
    held = leader.leader("tests")
    assert held is not None
    assert held.process is not None
    assert held.process.pid == me.pid
    processes._forked()


@pytest.mark.django_db
def test_each_cluster_has_a_leader_of_its_own() -> None:
    assert leader.try_lead(ONE, "tests")
    assert leader.try_lead(OTHER, "reports")


def test_a_silent_leader_is_replaced_and_learns_of_it(workflow_harness: Harness) -> None:
    assert leader.try_lead(ONE, "tests")
    workflow_harness.advance(timedelta(seconds=1.5))
    assert not leader.try_lead(OTHER, "tests")
    workflow_harness.advance(timedelta(seconds=1))
    assert leader.leader("tests") is None
    assert leader.try_lead(OTHER, "tests")
    assert not leader.try_lead(ONE, "tests")


@pytest.mark.django_db
def test_a_dead_leader_is_replaced_at_once_and_by_nobody_twice() -> None:
    third = uuid.uuid4()
    assert leader.try_lead(ONE, "tests")
    assert leader.try_lead(OTHER, "tests", instead_of=ONE)
    assert not leader.try_lead(third, "tests", instead_of=ONE)


@pytest.mark.django_db
def test_a_lead_that_is_given_back_is_free_and_only_its_owner_gives_it_back() -> None:
    assert leader.try_lead(ONE, "tests")
    assert not leader.resign(OTHER, "tests")
    assert leader.resign(ONE, "tests")
    assert leader.leader("tests") is None
    assert leader.try_lead(OTHER, "tests")
    assert Lease.objects.count() == 1
