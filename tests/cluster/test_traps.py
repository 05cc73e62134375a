"""django-q2's own traps, by the rows of the list in docs/reliability.md, met by real clusters: each must be harmless."""

import json
import os
import signal
from pathlib import Path

import pytest
from django.conf import settings
from django.db import transaction
from django.test import override_settings
from django_q.models import OrmQ

from django_workflow import Completed, Failed, workflow
from django_workflow.exceptions import StepInterrupted, StepTimedOut
from django_workflow.models import Workflow
from tests.cluster.app.workflows import holds, interrupts, kills, limited, marks
from tests.cluster.conftest import Start
from tests.cluster.holding import assert_ended_once, held_by, holders, open_the_gate
from tests.cluster.own_servers import OwnRedis
from tests.cluster.qcluster import DEADLINE, QCluster, eventually
from tests.shop.models import Entry

pytestmark = [pytest.mark.cluster, pytest.mark.postgres]

LEASE = 300  # far more than any test waits


def logged(log: Path, text: str) -> int:
    return log.read_text(errors="replace").count(text)


def test_rows_1_and_13_a_message_that_is_sent_again_and_again_and_a_time_limit_of_the_cluster(
    start_cluster: Start,
) -> None:
    short = {"timeout": 1, "retry": 2}
    cluster = start_cluster(variables={"Q_CLUSTER": json.dumps(short)}, LEASE_SECONDS=LEASE)
    run = holds.start("a")
    holder = held_by("a")
    assert logged(cluster.log, " processing ") == 1
    # The message that its holder still has is given to the other worker: nothing is due, and nobody has sent another.
    eventually(lambda: logged(cluster.log, " processing ") == 2, "the same message again")
    assert holders("a") == [holder]
    open_the_gate("a")
    assert_ended_once(run, "a", attempts=1)
    assert holder in cluster.workers()


def kill_idle_workers(cluster: QCluster) -> list[int]:
    """Kill all at once: one of them waits for a message and holds the lock, the others wait for the lock."""
    killed = cluster.workers()
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(set(cluster.workers()) - set(killed)) == len(killed), "workers in their place")
    return killed


def test_row_2_idle_workers_that_are_killed_leave_the_queue_locked_and_work_goes_on(
    start_cluster: Start,
) -> None:
    cluster = start_cluster(LEASE_SECONDS=LEASE)
    killed = kill_idle_workers(cluster)
    # Also what only a main thread can do, which waits for that lock: interrupt a body.
    late = limited.start("late", seconds=60.0, limit=0.3)
    runs = [marks.start("a"), limited.start("b", seconds=0.1, limit=30.0), marks.start("c")]
    for run in runs:
        status = workflow.join(run, DEADLINE)
        assert isinstance(status, Completed)
        assert status.result in set(cluster.workers()) - set(killed)
    assert Entry.objects.exclude(label="late").count() == 5
    failed = workflow.join(late, DEADLINE)
    assert isinstance(failed, Failed)
    assert failed.error.type.endswith(StepTimedOut.__name__)
    eventually(lambda: logged(cluster.log, "queue is stuck"), "a word about it in the log")
    assert not logged(cluster.log, "processing")  # all that while no message was taken


def test_row_2_a_locked_queue_is_told_of_and_its_workers_work_though_another_cluster_does(
    start_cluster: Start,
) -> None:
    stuck = start_cluster(LEASE_SECONDS=LEASE)
    kill_idle_workers(stuck)
    living = start_cluster(LEASE_SECONDS=LEASE)
    labels = iter(range(1000))

    def the_stuck_one_works() -> bool:
        # More than the other cluster can do, so that somebody takes work all the time.
        while Workflow.objects.in_progress().count() < 8:
            limited.start(f"{next(labels)}", seconds=0.2, limit=30.0)
        return Entry.objects.filter(value__in=stuck.workers()).exists()

    eventually(the_stuck_one_works, "work by the cluster whose queue is stuck")
    eventually(lambda: logged(stuck.log, "is stuck: it has a message"), "a word about it in its log")
    assert Entry.objects.filter(value__in=living.workers()).exists()
    assert not logged(living.log, "is stuck")
    eventually(lambda: not Workflow.objects.in_progress().exists(), "the end of all")
    assert Entry.objects.count() == Entry.objects.values("label").distinct().count()


def test_row_3_a_signal_to_all_processes_at_once(start_cluster: Start) -> None:
    cluster = start_cluster(LEASE_SECONDS=LEASE)
    run = holds.start("a")
    killed = held_by("a")
    os.killpg(cluster.main, signal.SIGTERM)
    eventually(lambda: killed not in cluster.workers(), "the end of its worker")
    # The main process may hang now, until the service manager's patience is over.
    cluster.kill()
    cluster.start()
    assert held_by("a", times=2) != killed
    open_the_gate("a")
    assert_ended_once(run, "a", attempts=2)


def test_row_5_a_body_that_kills_its_worker_each_time(start_cluster: Start) -> None:
    cluster = start_cluster(LEASE_SECONDS=LEASE, INTERRUPTED_LIMIT=3)
    run = kills.start("a")
    status = workflow.join(run, 2 * DEADLINE)
    assert isinstance(status, Failed)
    assert status.error.type.endswith(StepInterrupted.__name__)
    assert len(set(Entry.objects.values_list("value", flat=True))) == Entry.objects.count() == 3
    eventually(lambda: len(cluster.workers()) == settings.Q_CLUSTER["workers"], "workers in their place")
    assert isinstance(workflow.join(marks.start("b"), DEADLINE), Completed)


@pytest.mark.redis
def test_row_7_what_redis_and_a_killed_cluster_had_taken_is_lost_and_nothing_else(
    own_redis: OwnRedis, start_cluster: Start
) -> None:
    cluster = start_cluster(broker="redis", LEASE_SECONDS=LEASE)
    with transaction.atomic():
        runs = [marks.start(f"{number}") for number in range(50)]
    eventually(lambda: Workflow.objects.completed().exists(), "the first of them")
    cluster.kill()
    own_redis.forget_everything()
    cluster.start()
    for run in runs:
        assert isinstance(workflow.join(run, DEADLINE), Completed)
    assert Entry.objects.count() == Entry.objects.values("label").distinct().count() == 100


def test_row_8_a_new_secret_key_and_a_cluster_that_was_renamed(start_cluster: Start) -> None:
    cluster = start_cluster(queue="renamed", variables={"SECRET_KEY": "the-new-one"})
    # This process has the old key, and then the old name as well.
    with override_settings(Q_CLUSTER={**settings.Q_CLUSTER, "name": "renamed"}):
        of_old_key = marks.start("a")
    of_old_name = marks.start("b")
    for run in (of_old_key, of_old_name):
        status = workflow.join(run, DEADLINE)
        assert isinstance(status, Completed)
        assert status.result in cluster.workers()
    eventually(lambda: logged(cluster.log, "Failed to push task to queue"), "the refusal of the first")
    assert OrmQ.objects.filter(key="tests").exists()  # nobody will ever take the second


def test_row_14_an_exception_that_would_end_a_worker(start_cluster: Start) -> None:
    cluster = start_cluster(LEASE_SECONDS=2)
    before = cluster.workers()
    run = interrupts.start("a")
    assert workflow.join(run, DEADLINE) == Completed(2)
    assert cluster.workers() == before
    assert Entry.objects.filter(label="a").count() == 2
