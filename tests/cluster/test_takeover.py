"""Who takes over from whom, and who must not (P9, P11), by processes that die, are lost sight of, or only sleep."""

import os
import signal
from datetime import datetime

import pytest

from django_workflow import Completed, workflow
from django_workflow.models import Process, Workflow
from tests.cluster.app.workflows import holds, marks
from tests.cluster.conftest import Start
from tests.cluster.holding import assert_ended_once, held_by, holders, open_the_gate
from tests.cluster.qcluster import DEADLINE, eventually
from tests.shop.models import Entry

pytestmark = [pytest.mark.cluster, pytest.mark.postgres]

LEASE = 300  # far more than any test waits


def lease_of(run: Workflow) -> datetime:
    due_at = Workflow.objects.get(id=run.id).due_at
    assert due_at is not None
    return due_at


def test_a_worker_of_a_killed_sentinel_ends_what_it_is_at(start_cluster: Start) -> None:
    orphaned = start_cluster(LEASE_SECONDS=LEASE)
    run = holds.start("a")
    holder = held_by("a")
    os.kill(orphaned.sentinel, signal.SIGKILL)
    living = start_cluster(LEASE_SECONDS=LEASE)
    assert isinstance(workflow.join(marks.start("b"), DEADLINE), Completed)
    open_the_gate("a")
    assert_ended_once(run, "a", attempts=1)
    assert holders("a") == [holder]
    assert holder not in living.workers()


def test_the_lease_of_another_host_is_waited_for(start_cluster: Start) -> None:
    dying = start_cluster(LEASE_SECONDS=4)
    run = holds.start("a")
    killed = held_by("a")
    # As others will see it: a process of a machine that they can't ask about.
    assert Process.objects.filter(pid__in=dying.workers()).update(boot_id="another") == 2
    living = start_cluster(LEASE_SECONDS=4)
    dying.kill()
    ends_at = lease_of(run)
    assert held_by("a", times=2) in living.workers()
    assert Entry.objects.filter(label="a:held").order_by("id")[1].created >= ends_at
    open_the_gate("a")
    assert_ended_once(run, "a", attempts=2)
    assert killed not in living.workers()


def test_a_worker_that_slept_through_its_lease_writes_nothing(start_cluster: Start) -> None:
    cluster = start_cluster(LEASE_SECONDS=2)
    # The sleeper may be the one that watches, and nobody on its host looks after it as long as it lives. Others do.
    start_cluster(alt="reports")
    run = holds.start("a")
    sleeper = held_by("a")
    os.kill(sleeper, signal.SIGSTOP)
    assert held_by("a", times=2) != sleeper
    open_the_gate("a")
    assert_ended_once(run, "a", attempts=2)
    settled = list(workflow.steps(run).values())
    os.kill(sleeper, signal.SIGCONT)
    # Its body comes to its end too, and what it returns is dropped; then it works again.
    labels = iter(range(1000))

    def the_sleeper_does_another_one() -> bool:
        status = workflow.join(marks.start(f"{next(labels)}"), DEADLINE)
        return isinstance(status, Completed) and status.result == sleeper

    eventually(the_sleeper_does_another_one, "work by the one that slept")
    assert list(workflow.steps(run).values()) == settled
    assert_ended_once(run, "a", attempts=2)
    assert sleeper in cluster.workers()
