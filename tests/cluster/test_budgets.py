"""What a cluster with nothing to do costs the database in a minute, counted without waiting for it."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_workflow.cluster import agenda, retention, ticker
from django_workflow.journal import leader, processes
from django_workflow.journal.clock import Now
from django_workflow.models import Process
from django_workflow.testing import Harness

WORKERS = 4  # as the quickstart has it
CLUSTER = "budgets"


class Minute:
    """Monotonic time that goes on while a ticker waits, and only then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for module in (agenda, processes, retention, ticker):
            monkeypatch.setattr(module, "monotonic", lambda: self.now)

    def cost(self) -> list[str]:
        """The statements of a ticker in its second minute."""
        each: Any = ticker.Ticker(CLUSTER, frozenset({CLUSTER}), stopping=lambda: False, idle=lambda: True)
        each._nudged = SimpleNamespace(is_set=lambda: False, wait=self._wait)
        self._run(each)
        with CaptureQueriesContext(connection) as captured:
            self._run(each)
        return [str(query["sql"]) for query in captured.captured_queries]

    def _run(self, each: Any) -> None:
        until = self.now + 60.0
        while self.now < until:
            each._tick()
            each._wait()

    def _wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def minute(workflow_harness: Harness, monkeypatch: pytest.MonkeyPatch) -> Iterator[Minute]:
    Process.objects.all().delete()
    processes._forked()  # this process registers itself anew
    processes.belong(CLUSTER)
    yield Minute(monkeypatch)
    processes._forked()


def neighbour(pid: int) -> Process:
    """Another worker of the cluster on this host, which lives."""
    me = processes.identity()
    start_time = processes._start_time(pid)
    assert start_time is not None
    return Process.objects.create(
        id=uuid4(),
        host=me.host,
        boot_id=me.boot_id,
        pid_namespace=me.pid_namespace,
        pid=pid,
        start_time=start_time,
        cluster=CLUSTER,
        started_at=Now(),
        seen_at=Now(),
    )


def test_an_idle_ticker_that_leads(minute: Minute) -> None:
    sent = minute.cost()
    looks = [sql for sql in sent if "UNION ALL" in sql]
    renewals = [sql for sql in sent if sql.startswith("UPDATE") and "workflow_lease" in sql]
    assert 58 <= len(looks) <= 61
    assert 38 <= len(renewals) <= 41
    # Besides: the schedules each five seconds, and its sign of life.
    assert len(sent) - len(looks) - len(renewals) <= 12 + 1 + 1


@pytest.mark.parametrize("workers", [2, WORKERS, 16])
def test_idle_tickers_that_do_not_lead_look_three_times_a_minute_together(
    minute: Minute, workers: int
) -> None:
    first = neighbour(pid=1)
    for _ in range(workers - 2):
        neighbour(pid=1)
    leader.try_lead(first.id, CLUSTER)
    sent = minute.cost()
    looks = [sql for sql in sent if "UNION ALL" in sql]
    assert (workers - 1) * len(looks) <= 3 * 2  # a look more or less, where they are far apart
    assert len(sent) - len(looks) == 1  # its sign of life


def test_an_idle_cluster_sends_at_most_two_statements_a_second(minute: Minute) -> None:
    leads = len(minute.cost())
    first = neighbour(pid=1)
    for _ in range(WORKERS - 2):
        neighbour(pid=1)
    leader.resign(processes.identity().id, CLUSTER)
    leader.try_lead(first.id, CLUSTER)
    others = len(minute.cost())
    assert leads + (WORKERS - 1) * others <= 2 * 60
