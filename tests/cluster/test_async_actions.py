"""Hundreds of async actions in the workers of a real cluster, which stop, are recycled and are killed."""

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from django.db import transaction

from django_workflow import Canceled, Completed, Failed
from django_workflow.models import Step, Workflow
from tests.cluster.app.workflows import holds_async, marks
from tests.cluster.conftest import Start
from tests.cluster.qcluster import eventually
from tests.shop.models import Entry

pytestmark = pytest.mark.cluster

LEASE = 300  # far more than any test waits: whoever takes over has not waited for a lease to end
LONG = 60.0
MANY = 200


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file at which the actions wait, each until it is there."""
    path = tmp_path / "gate"
    monkeypatch.setenv("GATE", str(path))
    return path


def held() -> Counter[int]:
    """How many attempts each process has begun."""
    return Counter(Entry.objects.filter(label__endswith=":held").values_list("value", flat=True))


def start(count: int) -> list[Workflow]:
    with transaction.atomic():
        return [holds_async.start(f"{number}") for number in range(count)]


def ended(count: int) -> None:
    eventually(lambda: Workflow.objects.completed().count() == count, f"the end of all {count}", LONG)


def attempts() -> Counter[int]:
    return Counter(Step.objects.filter(kind="action").values_list("attempts", flat=True))


def test_killed_with_hundreds_in_flight_nothing_is_lost(start_cluster: Start, gate: Path) -> None:
    cluster = start_cluster(LEASE_SECONDS=LEASE)
    runs = start(MANY)
    eventually(lambda: held().total() == MANY, "all of them in flight", LONG)
    killed = cluster.workers()[0]
    in_flight = held()[killed]
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: held().total() == MANY + in_flight, "the second attempts", LONG)
    assert held()[killed] == in_flight
    gate.touch()
    ended(MANY)
    assert attempts() == Counter({1: MANY - in_flight, 2: in_flight}) + Counter()
    for run in runs:
        run.refresh_from_db()
        assert run.status() == Completed(Step.objects.get(workflow=run).attempts)


def test_killed_while_results_are_written_no_result_is_lost_and_none_written_twice(
    start_cluster: Start, gate: Path
) -> None:
    cluster = start_cluster(LEASE_SECONDS=LEASE)
    start(MANY)
    eventually(lambda: held().total() == MANY, "all of them in flight", LONG)
    gate.touch()
    eventually(Step.objects.filter(state="completed").exists, "the first result")
    settled = dict(Step.objects.filter(state="completed").values_list("id", "completed_at"))
    cluster.kill()
    settled |= dict(Step.objects.filter(state="completed").values_list("id", "completed_at"))
    at_the_end = held()
    cluster.start()
    ended(MANY)
    now = dict(Step.objects.values_list("id", "completed_at"))
    assert {each: now[each] for each in settled} == settled
    assert held().total() == at_the_end.total() + MANY - len(settled)
    assert attempts() == Counter({1: len(settled), 2: MANY - len(settled)}) + Counter()


def test_a_cluster_that_stops_ends_what_it_has_begun(start_cluster: Start, gate: Path) -> None:
    cluster = start_cluster(LEASE_SECONDS=LEASE)
    start(MANY)
    eventually(lambda: held().total() == MANY, "all of them in flight", LONG)
    os.kill(cluster.main, signal.SIGTERM)
    eventually(lambda: b"stopping cluster processes" in cluster.log.read_bytes(), "the stop")
    assert cluster.is_running()
    gate.touch()
    eventually(lambda: not cluster.is_running(), "the end of the cluster", LONG)
    assert Step.objects.filter(kind="action", state="completed").count() == MANY
    assert attempts() == Counter({1: MANY})


def test_a_canceled_workflow_ends_its_body(start_cluster: Start, gate: Path) -> None:
    start_cluster(LEASE_SECONDS=LEASE)
    run, late = holds_async.start("canceled"), holds_async.start("late", 0.5)
    eventually(lambda: held().total() == 2, "both in flight")
    eventually(Path(f"{gate}-late-1").exists, "the end of the one that took too long")
    assert not Path(f"{gate}-canceled-1").exists()
    run.cancel("not needed")
    eventually(Path(f"{gate}-canceled-1").exists, "the end of the canceled one", 5)
    eventually(Workflow.objects.failed().exists, "the failure")
    assert isinstance(late.status(), Failed)
    assert isinstance(run.status(), Canceled)


def test_a_worker_that_is_recycled_goes_on_until_what_it_has_begun_has_ended(
    start_cluster: Start, gate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECYCLE", "3")
    cluster = start_cluster(LEASE_SECONDS=LEASE)
    before = set(cluster.workers())
    start(20)
    eventually(lambda: held().total() == 20, "all of them in flight")
    labels = iter(range(1000))

    def all_are_told_to_end() -> bool:
        marks.start(f"m{next(labels)}")
        return cluster.log.read_bytes().count(b"stopped doing work") >= len(before)

    eventually(all_are_told_to_end, "the end of both workers' work", LONG)
    last = marks.start("last")
    eventually(lambda: isinstance(last.status(), Completed), "a turn by one of them")
    # One of them may have taken all, and the other is not kept by anything.
    assert set(held()) <= before & set(cluster.workers())
    gate.touch()
    ended_before = lambda: Step.objects.filter(kind="action", state="completed").count() == 20  # noqa: E731
    eventually(ended_before, "all results", LONG)
    assert attempts() == Counter({1: 20})
    eventually(lambda: not before & set(cluster.workers()), "the end of both", LONG)
    eventually(lambda: not Workflow.objects.in_progress().exists(), "the work of those in their place", LONG)
