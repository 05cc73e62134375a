"""Behaviour 24, and what else must not depend on the process: hosts whose clocks differ, hashes that differ."""

import os
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from django.db import connection

from django_workflow import Completed, InProgress, workflow
from django_workflow.journal.clock import read
from django_workflow.models import Step, Workflow
from tests.behaviours.bodies import rows
from tests.behaviours.hosts import as_moment, naps, sets
from tests.engine.committed import committed

HOUR = timedelta(hours=1)


def work(*, ahead: timedelta = timedelta(0), **environment: str) -> None:
    """Let a worker in another process, whose clock may be wrong, do what is due."""
    name = connection.settings_dict["NAME"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.behaviours.worker", str(ahead.total_seconds())],
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "DATABASE_NAME": str(name),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr


def let_its_sleep_be_over(run: Workflow) -> None:
    """The clock that a test can move is one of this process; what other processes see is the row."""
    past = read(connection) - HOUR
    Step.objects.filter(workflow_id=run.id, kind="sleep", state="pending").update(due_at=past)
    Workflow.objects.filter(id=run.id, state="in_progress").update(due_at=past)


@committed
@pytest.mark.parametrize("ahead", [HOUR, -HOUR], ids=["an hour ahead", "an hour behind"])
def test_24_hosts_whose_clocks_are_off_by_an_hour_change_nothing(ahead: timedelta) -> None:
    began = read(connection)
    sleeper, napper, tomorrow = naps.start(30), naps.start(0), naps.using(run_after=HOUR / 2).start(0)

    work(ahead=ahead)
    # The sleeper of half an hour is not woken by the host that is ahead, the short nap is not missed by the one behind.
    assert isinstance(workflow.status(sleeper), InProgress)
    status = workflow.status(napper)
    assert isinstance(status, Completed)
    before, host, after = status.result
    assert abs(host - time.time() - ahead.total_seconds()) < 60  # the host's clock really was off
    work(ahead=-ahead)
    ended = read(connection)

    assert isinstance(workflow.status(sleeper), InProgress)
    assert workflow.get(tomorrow).started_at is None
    assert (rows("napping"), rows("awake")) == (2, 1)
    moments = [as_moment(before), as_moment(after)]
    for row in Workflow.objects.filter(id__in=[sleeper.id, napper.id]):
        moments += [moment for moment in (row.created_at, row.started_at, row.completed_at) if moment]
        for step in row.steps():
            moments += [moment for moment in (step.created_at, step.started_at, step.completed_at) if moment]
            moments += [step.delivered_at] if step.delivered_at else []
    slack = timedelta(milliseconds=5)  # SQLite's clock has milliseconds
    assert all(began - slack <= moment <= ended + slack for moment in moments), (began, moments, ended)
    due_at = workflow.get(sleeper).due_at
    assert due_at is not None
    assert began + HOUR / 2 - slack <= due_at <= ended + HOUR / 2 + slack


@committed
def test_24_a_lease_of_a_host_behind_is_not_taken_by_one_ahead() -> None:
    run = naps.start(0)
    owner = "someone-who-is-at-work"
    Workflow.objects.filter(id=run.id).update(
        lease_owner=owner, due_at=read(connection) + timedelta(minutes=5)
    )
    work(ahead=HOUR)
    row = workflow.get(run)
    assert (row.lease_owner, row.started_at) == (owner, None)


@committed
def test_a_set_as_argument_replays_in_another_process() -> None:
    # P10. Python orders a set of texts by hashes that are different in every process.
    run = sets.start(frozenset({"apple", "pear", "plum", "cherry", "quince", "fig"}))
    for seed in ("1", "2", "3", "4"):
        work(PYTHONHASHSEED=seed)
        let_its_sleep_be_over(run)
    assert workflow.status(run) == Completed(7 + 3 * 6)
