"""R15: what kills its worker each time ends as failed, and harms nothing that was claimed with it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings

from django_workflow import Completed, Failed, InProgress, workflow
from django_workflow.journal import processes, wakes
from django_workflow.models import Step, Workflow
from django_workflow.testing import Harness, SimulatedCrash
from tests.engine import bodies
from tests.engine.committed import committed
from tests.shop.models import Entry

pytestmark = committed
LEASE = timedelta(seconds=31)


@pytest.fixture
def workflow_harness(transactional_db: None) -> Iterator[Harness]:
    """The harness, on a database on which other threads see what is committed."""
    with Harness() as harness:
        yield harness


class Deadly:
    """A body that takes its worker with it."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, label: str) -> str:
        if label != "deadly":
            Entry.objects.create(label=label)
            return label
        self.runs += 1
        Entry.objects.create(label=label)
        raise SimulatedCrash


def deaths(harness: Harness, limit: int = 30) -> int:
    """Let workers die one after the other until nothing kills them any more; how many died."""
    died = 0
    while died < limit:
        try:
            if not harness.advance(LEASE):
                return died
        except (SimulatedCrash, KeyboardInterrupt):
            died += 1
    raise AssertionError(f"still deadly after {limit} deaths")


def test_r15_p4_a_mutation_that_kills_its_worker_ends_as_failed(workflow_harness: Harness) -> None:
    body = Deadly()
    workflow_harness.replace(bodies.write, with_=body)
    mates = [bodies.one_mutation.using(priority=-1).start(f"mate {number}") for number in range(3)]
    run = bodies.one_mutation.start("deadly")
    assert deaths(workflow_harness) == 5
    assert body.runs == 5
    status = run.status()
    assert isinstance(status, Failed)
    assert status.error.type == "django_workflow.exceptions.StepInterrupted"
    assert bodies.one_mutation.name in status.error.message
    assert [mate.status() for mate in mates] == [Completed(f"mate {number}") for number in range(3)]
    assert sorted(Entry.objects.values_list("label", flat=True)) == ["mate 0", "mate 1", "mate 2"]


def test_r15_p4_an_action_that_kills_its_worker_fails_as_a_step(workflow_harness: Harness) -> None:
    body = Deadly()
    workflow_harness.replace(bodies.act, with_=body)
    run = bodies.caught_action.start("deadly")
    assert deaths(workflow_harness) == 5
    assert body.runs == 5
    assert run.status() == Completed("interrupted")
    (step,) = workflow_harness.journal(run)
    assert (step.state, step.attempts) == ("failed", 5)
    assert [entry["outcome"] for entry in step.history] == ["interrupted"] * 5 + ["failed"]


def test_r15_p4_a_parallel_step_that_kills_its_worker_fails_alone(workflow_harness: Harness) -> None:
    body = Deadly()
    workflow_harness.replace(bodies.act, with_=body)
    run = bodies.one_deadly_of_two.start("deadly")
    assert deaths(workflow_harness) == 5
    assert body.runs == 5
    assert run.status() == Completed(["interrupted", "deadly"])
    assert [(step.state, step.attempts) for step in workflow_harness.journal(run)] == [
        ("failed", 5),
        ("completed", 1),
    ]


def test_r15_a_handler_that_kills_its_worker_ends_as_failed(workflow_harness: Harness) -> None:
    run = bodies.dying_handler.start("x")
    mate = bodies.one_mutation.using(priority=-1).start("mate")
    assert deaths(workflow_harness) == 5
    status = run.status()
    assert isinstance(status, Failed)
    assert bodies.dying_handler.name in status.error.message
    assert mate.status() == Completed("mate")


def test_r15_a_step_that_settles_starts_the_count_anew(workflow_harness: Harness) -> None:
    left = {"act": 4, "write": 4}

    def body(name: str) -> Callable[[str], str]:
        def run(label: str) -> str:
            if left[name]:
                left[name] -= 1
                raise SimulatedCrash
            return label

        return run

    workflow_harness.replace(bodies.act, with_=body("act"))
    workflow_harness.replace(bodies.write, with_=body("write"))
    run = bodies.action_then_mutation.start("x")
    assert deaths(workflow_harness) == 8
    assert run.status() == Completed("x")


@override_settings(DJANGO_WORKFLOW={"INTERRUPTED_LIMIT": 2})
def test_r15_the_limit_is_the_settings(workflow_harness: Harness) -> None:
    workflow_harness.replace(bodies.write, with_=Deadly())
    run = bodies.one_mutation.start("deadly")
    assert deaths(workflow_harness) == 2
    assert isinstance(run.status(), Failed)


def test_r15_what_was_taken_over_is_claimed_alone(workflow_harness: Harness) -> None:
    """All of a batch lose their worker; the next one that dies takes nothing but the killer with it."""
    body = Deadly()
    workflow_harness.replace(bodies.write, with_=body)
    run = bodies.one_mutation.using(priority=1).start("deadly")
    mates = [bodies.one_mutation.start(f"mate {number}") for number in range(3)]
    for _ in range(2):
        with pytest.raises(SimulatedCrash):
            workflow_harness.advance(LEASE)
    leases = set(Workflow.objects.in_progress().values_list("lease_owner", flat=True))
    killers = Workflow.objects.get(id=run.id)
    assert killers.lease_owner not in set(
        Workflow.objects.filter(id__in=[mate.id for mate in mates]).values_list("lease_owner", flat=True)
    )
    assert len(leases) >= 2
    # Nobody has to wait for the killer's end.
    with pytest.raises(SimulatedCrash):
        workflow_harness.advance(LEASE)
    workflow_harness.drain()
    assert isinstance(run.status(), InProgress)
    assert [mate.status() for mate in mates] == [Completed(f"mate {number}") for number in range(3)]


KILLED = """
import os, signal, django
django.setup()
from django.conf import settings
settings.DJANGO_WORKFLOW = {"INTERRUPTED_LIMIT": 2}
from django_workflow.engine import attempts
from django_workflow.engine.drain import drain
from django_workflow.journal import wakes
from tests.shop.models import Entry

def body(label):
    Entry.objects.create(label=label)
    if label == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    return label

wakes.register(None)
attempts.stand_ins["tests.engine.bodies.write"] = body
import tests.engine.bodies
drain(None)
"""


def test_r15_p2_a_mutation_that_kills_its_process_leaves_nothing_and_ends_as_failed(
    transactional_db: None,
) -> None:
    with wakes.sent_by(None):
        run = bodies.one_mutation.using(priority=1).start("deadly")
        mates = [bodies.one_mutation.start(f"mate {number}") for number in range(2)]
    codes: list[int] = []
    while isinstance(workflow.status(run), InProgress) and len(codes) < 10:
        codes.append(_worker().returncode)
        for process in processes.dead_on_this_host():
            processes.release_dead(process)
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert isinstance(workflow.status(run), Failed)
    assert [workflow.status(mate) for mate in mates] == [Completed("mate 0"), Completed("mate 1")]
    assert sorted(Entry.objects.values_list("label", flat=True)) == ["mate 0", "mate 1"]
    assert set(Step.objects.values_list("attempts", flat=True)) == {1}


def _worker() -> subprocess.CompletedProcess[bytes]:
    """A process that drains once."""
    root = Path(__file__).parents[2]
    environment: dict[str, Any] = {
        **os.environ,
        "DATABASE_NAME": str(connection.settings_dict["NAME"]),
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": str(root),
    }
    return subprocess.run([sys.executable, "-c", KILLED], cwd=root, env=environment, check=False, timeout=60)
