"""Schedules and retention in a cluster that runs."""

from datetime import timedelta

import pytest
from django.db import transaction
from django_q.models import OrmQ

from django_workflow import Completed, InProgress, workflow
from django_workflow.models import Tick, Workflow
from tests.cluster.app.workflows import marks
from tests.cluster.conftest import Start
from tests.cluster.qcluster import DEADLINE, eventually
from tests.shop.models import Entry

pytestmark = pytest.mark.cluster

HOUR = timedelta(hours=1)


def overdue(name: str) -> None:
    """A schedule whose last tick was just missed; the next one is an hour away."""
    with transaction.atomic():
        workflow.schedule(marks, name=name, every=HOUR, args=(name,))
        tick = Tick.objects.get(schedule=name)
        Tick.objects.filter(schedule=name).update(last_at=tick.last_at - HOUR - timedelta(minutes=1))


def only(name: str) -> Workflow:
    """The workflow that its tick has started."""
    eventually(lambda: workflow.list(marks).filter(key__startswith=f"schedule:{name}:").exists(), name)
    return workflow.list(marks).get(key__startswith=f"schedule:{name}:")


def test_a_cluster_starts_what_was_due_before_it_and_what_becomes_due(start_cluster: Start) -> None:
    overdue("before")
    start_cluster()
    assert isinstance(workflow.join(only("before"), DEADLINE), Completed)
    overdue("meanwhile")
    assert isinstance(workflow.join(only("meanwhile"), DEADLINE), Completed)
    assert Entry.objects.count() == 4


def test_a_tick_survives_a_broker_that_is_emptied_before_anybody_takes_it(start_cluster: Start) -> None:
    overdue("lost")
    # Another cluster's ticker starts it, and nobody is there to run it.
    of_reports = start_cluster(alt="reports")
    run = only("lost")
    eventually(lambda: OrmQ.objects.filter(key="tests").exists(), "its wake-up")
    of_reports.terminate()
    OrmQ.objects.all().delete()
    assert isinstance(workflow.status(run), InProgress)
    start_cluster()
    assert isinstance(workflow.join(run, DEADLINE), Completed)
    assert only("lost") == run


def test_two_clusters_start_one_workflow_for_each_tick(start_cluster: Start) -> None:
    start_cluster()
    start_cluster(alt="reports")
    for number in range(10):
        overdue(f"{number}")
    for number in range(10):
        assert isinstance(workflow.join(only(f"{number}"), DEADLINE), Completed)
    assert Workflow.objects.count() == 10


def test_a_cluster_deletes_what_the_retention_does_not_keep(start_cluster: Start) -> None:
    old, kept = marks.start("old"), marks.start("kept")
    start_cluster()
    for run in (old, kept):
        assert isinstance(workflow.join(run, DEADLINE), Completed)
    for run, age in ((old, 2 * HOUR), (kept, HOUR / 2)):
        row = workflow.get(run)
        assert row.completed_at is not None
        Workflow.objects.filter(id=run.id).update(completed_at=row.completed_at - age)
    start_cluster(alt="reports", RETENTION=HOUR.total_seconds())
    eventually(lambda: not Workflow.objects.filter(id=old.id).exists(), "the old one's end")
    assert workflow.list().get() == kept
    assert workflow.steps(kept).count() == 2
