"""Behaviour 24: hosts whose clocks are off by an hour. Every time is the database's (P6, R24), so nothing changes."""

from datetime import UTC, datetime, timedelta

import pytest

from django_workflow import Completed, workflow
from tests.cluster.app.workflows import naps
from tests.cluster.conftest import Start
from tests.cluster.ledger import Load, settle, unfinished
from tests.cluster.qcluster import DEADLINE, QCluster, clock_off_by, eventually, python

pytestmark = [pytest.mark.cluster, pytest.mark.postgres]

HOUR = 3600.0
LATE = timedelta(seconds=1.5)
START = (
    "from django.utils import timezone\n"
    "from tests.cluster.app.workflows import naps\n"
    "run = naps.using(run_after={seconds}).start('{label}', seconds=0.5)\n"
    "print(run.id, timezone.now().isoformat())"
)


def start_late(cluster: QCluster, label: str, shift: float) -> str:
    """Start a workflow from a process whose clock is as wrong as the cluster's; returns its id."""
    code = START.format(seconds=LATE.total_seconds(), label=label)
    run, told = python(code, cluster.environment).split()
    off = datetime.fromisoformat(told) - datetime.now(UTC) - timedelta(seconds=shift)
    assert abs(off) < timedelta(seconds=DEADLINE)  # it is as wrong as it should be
    return run


def test_one_cluster_is_an_hour_ahead_and_one_an_hour_behind(start_cluster: Start) -> None:
    shifts = {"ahead": HOUR, "behind": -HOUR}
    clusters = {
        label: start_cluster(variables=clock_off_by(shift), LEASE_SECONDS=5)
        for label, shift in shifts.items()
    }
    late = {label: start_late(clusters[label], label, shift) for label, shift in shifts.items()}
    load = Load(seed=2)
    load.start(12)
    load.finish()
    for label, run in late.items():
        assert workflow.join(run, DEADLINE) == Completed(label)
        row = workflow.get(run)
        assert row.started_at is not None
        assert row.started_at >= row.created_at + LATE
        sleep = workflow.steps(run).get(kind="sleep")
        assert sleep.delivered_at is not None
        assert sleep.delivered_at >= sleep.created_at + timedelta(seconds=0.5)
    eventually(lambda: not unfinished(), "the end of all")
    assert settle(load).problems == []


def test_the_only_cluster_is_an_hour_behind(start_cluster: Start) -> None:
    """django-q2 gives it none of our messages before its own clock says so, in an hour."""
    start_cluster(variables=clock_off_by(-HOUR))
    runs = [naps.start(f"{number}", seconds=0.3) for number in range(3)]
    for number, run in enumerate(runs):
        assert workflow.join(run, DEADLINE) == Completed(f"{number}")
