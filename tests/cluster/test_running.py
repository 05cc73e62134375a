"""A cluster that runs: wake-ups, timers, lost messages, pools, definitions that it doesn't know."""

import secrets
from datetime import timedelta

import pytest
from django.db import transaction
from django_q.models import OrmQ, Task

from django_workflow import Completed, InProgress, StepContext, workflow
from django_workflow.journal import wakes
from django_workflow.models import Workflow
from tests.cluster.app.workflows import marks, naps, reported
from tests.cluster.conftest import Start
from tests.cluster.qcluster import DEADLINE, QCluster, eventually, python
from tests.shop.models import Entry

pytestmark = pytest.mark.cluster


@workflow.define(name="cluster.of_another_deploy")
async def of_another_deploy(step: StepContext) -> None:
    await step.sleep(timedelta(seconds=1))


def test_a_started_workflow_runs_in_a_worker(start_cluster: Start) -> None:
    cluster = start_cluster()
    run = marks.start("a")
    status = workflow.join(run, DEADLINE)
    assert isinstance(status, Completed)
    assert status.result in cluster.workers()
    eventually(lambda: not OrmQ.objects.exists(), "an empty queue")
    assert not Task.objects.exists()  # django-q2 is given nothing to store


def test_workflows_of_one_transaction_run_when_it_has_committed(start_cluster: Start) -> None:
    start_cluster()
    with transaction.atomic():
        runs = [marks.start(f"{number}") for number in range(20)]
        assert not OrmQ.objects.exists()
    for run in runs:
        assert isinstance(workflow.join(run, DEADLINE), Completed)
    assert Entry.objects.count() == 40


@pytest.mark.redis
def test_redis_as_the_broker(start_cluster: Start) -> None:
    cluster = start_cluster(broker="redis", queue=f"tests-{secrets.token_hex(4)}")
    started = python(
        "from tests.cluster.app.workflows import marks; print(marks.start('a').id)", cluster.environment
    )
    status = workflow.join(started, DEADLINE)
    assert isinstance(status, Completed)
    assert status.result in cluster.workers()
    with wakes.sent_by(None):
        lost = naps.start("b", seconds=0.3)
    assert workflow.join(lost, DEADLINE) == Completed("b")


def announced(cluster: QCluster) -> bool:
    """True iff its ticker has sent a wake-up: the log names the thread."""
    return "django_workflow ticker INFO Enqueued" in cluster.log.read_text()


def test_a_sleep_ends_on_time_and_has_no_message_in_the_queue(start_cluster: Start) -> None:
    cluster = start_cluster()
    run = naps.start("a", seconds=2.0)
    eventually(lambda: Entry.objects.filter(label="a:before").exists(), "the sleep's beginning")
    eventually(lambda: not OrmQ.objects.exists(), "an empty queue")
    assert isinstance(workflow.status(run), InProgress)
    assert workflow.join(run, DEADLINE) == Completed("a")
    assert announced(cluster)
    sleep = workflow.steps(run).get(kind="sleep")
    assert sleep.delivered_at is not None
    assert sleep.delivered_at >= sleep.created_at + timedelta(seconds=2)


def test_a_start_whose_message_was_lost_runs_all_the_same(start_cluster: Start) -> None:
    cluster = start_cluster()
    with wakes.sent_by(None):
        runs = [marks.start("a"), marks.start("b")]
    for run in runs:
        assert isinstance(workflow.join(run, DEADLINE), Completed)
    assert announced(cluster)


def test_what_was_due_before_the_cluster_started(start_cluster: Start) -> None:
    run = marks.start("a")
    OrmQ.objects.all().delete()
    start_cluster()
    assert isinstance(workflow.join(run, DEADLINE), Completed)


def test_a_definition_that_the_cluster_does_not_know_is_left_alone(start_cluster: Start) -> None:
    start_cluster()
    unknown = of_another_deploy.start()
    known = naps.start("a", seconds=1.0)
    assert workflow.join(known, DEADLINE) == Completed("a")
    row = Workflow.objects.get(id=unknown.id)
    assert row.state == "in_progress"
    assert (row.started_at, row.lease_owner, row.interruptions, row.setbacks) == (None, None, 0, 0)


def test_each_cluster_runs_its_own_workflows(start_cluster: Start) -> None:
    start_cluster()
    report = reported.start("report")
    assert isinstance(workflow.join(marks.start("a"), DEADLINE), Completed)
    assert isinstance(workflow.status(report), InProgress)

    of_reports = start_cluster(alt="reports")
    status = workflow.join(report, DEADLINE)
    assert isinstance(status, Completed)
    assert status.result in of_reports.workers()
    assert isinstance(workflow.join(marks.start("b"), DEADLINE), Completed)


def test_an_alternative_cluster_sends_no_wake_up_of_the_default_one_to_itself(start_cluster: Start) -> None:
    of_reports = start_cluster(alt="reports")
    with wakes.sent_by(None):
        run = marks.start("a")
    # Nobody else is there, so its ticker announces what is overdue in the default cluster: in that one's queue.
    eventually(lambda: OrmQ.objects.filter(key="tests").exists(), "a wake-up in the default cluster's queue")
    assert isinstance(workflow.status(run), InProgress)
    of_reports.terminate()
    start_cluster()
    assert isinstance(workflow.join(run, DEADLINE), Completed)


def test_two_clusters_of_one_name_share_the_work(start_cluster: Start) -> None:
    clusters = [start_cluster(), start_cluster()]
    assert not set(clusters[0].workers()) & set(clusters[1].workers())
    runs = [marks.start(f"{number}") for number in range(60)]
    for run in runs:
        assert isinstance(workflow.join(run, DEADLINE), Completed)
    assert Entry.objects.count() == 120
    assert Entry.objects.values("label").distinct().count() == 120
