"""Clusters that stop and that die: nothing is lost, nothing is done twice that must not be."""

import os
import signal

import pytest
from django.conf import settings
from django.db import connection, transaction

from django_workflow import Completed, workflow
from django_workflow.journal import wakes
from django_workflow.models import Process, Workflow
from tests.cluster.app.workflows import holds, marks
from tests.cluster.conftest import Start
from tests.cluster.holding import assert_ended_once, held_by, holders, open_the_gate
from tests.cluster.qcluster import DEADLINE, eventually
from tests.shop.models import Entry

pytestmark = pytest.mark.cluster

# Far more than any test waits: whoever takes over has not waited for a lease to end.
LEASE = 300


def test_another_worker_takes_over_from_one_that_was_killed(start_cluster: Start) -> None:
    cluster = start_cluster(LEASE_SECONDS=LEASE)
    run = holds.start("a")
    killed = held_by("a")
    os.kill(killed, signal.SIGKILL)
    assert held_by("a", times=2) != killed
    open_the_gate("a")
    assert_ended_once(run, "a", attempts=2)
    eventually(
        lambda: killed not in Process.objects.values_list("pid", flat=True), "the end of the dead one's row"
    )
    # The killed worker may have been the one that watched, or not; another takes its place in either case.
    eventually(lambda: len(cluster.workers()) == settings.Q_CLUSTER["workers"], "a worker in its place")


def test_every_worker_can_be_the_one_that_is_killed(start_cluster: Start) -> None:
    cluster = start_cluster(LEASE_SECONDS=LEASE)
    first, second = cluster.workers()
    run = holds.start("a")
    killed = held_by("a")
    other = second if killed == first else first
    os.kill(killed, signal.SIGKILL)
    assert held_by("a", times=2)
    os.kill(other, signal.SIGKILL)
    taken = eventually(lambda: holders("a")[-1] not in (killed, other) and holders("a")[-1], "a third worker")
    assert taken in cluster.workers()
    open_the_gate("a")
    assert_ended_once(run, "a", attempts=len(holders("a")))


def test_a_killed_cluster_goes_on_where_it_was_when_it_is_started_again(start_cluster: Start) -> None:
    cluster = start_cluster(LEASE_SECONDS=LEASE)
    run = holds.start("a")
    killed = held_by("a")
    cluster.kill()
    cluster.start()
    assert held_by("a", times=2) != killed
    open_the_gate("a")
    assert_ended_once(run, "a", attempts=2)


def test_a_cluster_of_the_same_host_takes_over_from_one_that_was_killed(start_cluster: Start) -> None:
    dying = start_cluster(LEASE_SECONDS=LEASE)
    run = holds.start("a")
    killed = held_by("a")
    living = start_cluster(LEASE_SECONDS=LEASE)
    dying.kill()
    assert held_by("a", times=2) in living.workers()
    open_the_gate("a")
    assert_ended_once(run, "a", attempts=2)
    assert killed not in living.workers()


def test_workers_without_a_sentinel_leave_the_work_to_the_next_cluster(start_cluster: Start) -> None:
    orphaned = start_cluster()
    orphans = orphaned.workers()
    os.kill(orphaned.sentinel, signal.SIGKILL)
    living = start_cluster()
    labels = iter(range(1000))

    def another_one_ends_elsewhere() -> bool:
        status = workflow.join(marks.start(f"{next(labels)}"), DEADLINE)
        assert isinstance(status, Completed)
        assert status.result in living.workers()
        return not set(orphans) & set(orphaned.workers())

    eventually(another_one_ends_elsewhere, "the end of the orphaned workers")


def test_a_cluster_that_is_asked_to_stop_stops_between_two_workflows(start_cluster: Start) -> None:
    cluster = start_cluster(DRAIN_SECONDS=600)
    with transaction.atomic():
        runs = [marks.start(f"{number}") for number in range(400)]
    eventually(Workflow.objects.completed().exists, "the first of many workflows")
    cluster.terminate()
    left = Workflow.objects.in_progress()
    assert left.exists()
    assert not left.exclude(lease_owner=None).exists()  # it gave back what it had claimed

    cluster.start()
    eventually(lambda: not left.exists(), "the rest of the workflows", within=60)
    assert Workflow.objects.completed().count() == len(runs)
    assert Entry.objects.count() == Entry.objects.values("label").distinct().count() == 2 * len(runs)


def test_a_stuck_queue_does_not_hold_up_the_work(start_cluster: Start) -> None:
    cluster = start_cluster()
    # From here on no message is taken from the broker, while all of django-q2's processes are alive.
    os.kill(cluster.pusher, signal.SIGSTOP)
    run = marks.start("a")
    status = workflow.join(run, DEADLINE)
    assert isinstance(status, Completed)
    assert status.result in cluster.workers()
    eventually(lambda: "queue is stuck" in cluster.log.read_text(), "a word about it in the log")


@pytest.mark.postgres
def test_connections_that_break_do_not_stop_the_ticker(start_cluster: Start) -> None:
    cluster = start_cluster()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert cursor.rowcount > 0
    with wakes.sent_by(None):
        run = marks.start("a")
    status = workflow.join(run, DEADLINE)
    assert isinstance(status, Completed)
    assert status.result in cluster.workers()
