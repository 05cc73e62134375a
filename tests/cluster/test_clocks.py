"""Behaviour 24: hosts whose clocks are off by an hour. Every time is the database's (P6, R24), so nothing changes."""

from datetime import datetime, timedelta

import pytest

from django_workflow import Completed, workflow
from tests.cluster.app.workflows import naps
from tests.cluster.conftest import Start
from tests.cluster.ledger import Load, settle, unfinished
from tests.cluster.qcluster import DEADLINE, QCluster, clock_off_by, eventually

pytestmark = [pytest.mark.cluster, pytest.mark.postgres]

HOUR = 3600.0
LATE = timedelta(seconds=1.5)
NAP = timedelta(seconds=0.5)


def told_by(cluster: QCluster) -> datetime:
    """The time at which it began, by its own clock."""
    lines = cluster.log.read_text().splitlines()
    return datetime.fromisoformat(next(line for line in lines if "starting" in line)[:19])


def test_one_cluster_is_an_hour_ahead_and_one_an_hour_behind(start_cluster: Start) -> None:
    ahead, behind = (start_cluster(variables=clock_off_by(shift), LEASE_SECONDS=5) for shift in (HOUR, -HOUR))
    assert abs(told_by(ahead) - told_by(behind) - timedelta(hours=2)) < timedelta(minutes=5)
    late = [naps.using(run_after=LATE).start(f"{number}", NAP.total_seconds()) for number in range(8)]
    load = Load(seed=2)
    load.start(12)
    load.finish()
    for number, run in enumerate(late):
        assert workflow.join(run, DEADLINE) == Completed(f"{number}")
        row = workflow.get(run)
        assert row.started_at is not None
        assert row.started_at >= row.created_at + LATE
        sleep = workflow.steps(run).get(kind="sleep")
        assert sleep.delivered_at is not None
        assert sleep.delivered_at >= sleep.created_at + NAP
    eventually(lambda: not unfinished(), "the end of all")
    assert settle(load).problems == []


def test_the_only_cluster_is_an_hour_behind(start_cluster: Start) -> None:
    """django-q2 gives it none of our messages before its own clock says so, in an hour."""
    start_cluster(variables=clock_off_by(-HOUR))
    runs = [naps.start(f"{number}", seconds=0.3) for number in range(3)]
    for number, run in enumerate(runs):
        assert workflow.join(run, DEADLINE) == Completed(f"{number}")
