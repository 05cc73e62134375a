"""Die before and after every commit of a worker with async actions: claim, start, settle, and the turns around them.

Killed for real, all threads at once, in a process of its own. Another worker goes on when the leases have run out.
"""

import json
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from django_workflow import Completed
from django_workflow.journal import wakes
from django_workflow.models import Step, Workflow
from tests.cluster.qcluster import ROOT, environment
from tests.engine.committed import committed
from tests.engine.elsewhere import PATIENCE
from tests.executor import bodies
from tests.executor.conftest import Worker, working
from tests.shop.models import Entry
from tests.simulation.sampling import sampled

pytestmark = [committed, pytest.mark.slow, pytest.mark.timeout(600)]
SETTLED = ("completed", "failed", "canceled")


def a_worker_that_dies(at: int, when: str) -> int | None:
    """Let it run; how many commits it made, None if it has died."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.executor.dying_worker", str(at), when],
        cwd=ROOT,
        env=environment() | {"DJANGO_SETTINGS_MODULE": "tests.executor.settings"},
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    if done.returncode == -9:
        return None
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def settled() -> dict[int, Any]:
    columns = ("state", "result_text", "error_text", "attempts", "completed_at", "history_text")
    return {row.pop("id"): row for row in Step.objects.filter(state__in=SETTLED).values("id", *columns)}


def begun() -> Counter[str]:
    return Counter(Entry.objects.filter(label__endswith=":asked").values_list("label", flat=True))


def start_three() -> list[Workflow]:
    Workflow.objects.all().delete()
    Entry.objects.all().delete()
    with wakes.sent_by(None):
        return [bodies.asks_for_real.start(f"{number}") for number in range(3)]


def test_p2_p3_p4_a_crash_at_any_commit_loses_nothing(transactional_db: None) -> None:
    start_three()
    commits = a_worker_that_dies(0, "never")
    assert commits is not None
    for point in sampled(range(1, commits + 1), "executor", 4):
        for when in ("before", "after"):
            crash_and_go_on(point, when)


def crash_and_go_on(point: int, when: str) -> None:
    runs = start_three()
    while a_worker_that_dies(point, when) is not None:
        point -= 1  # threads take turns as they like: this life has ended before it had so many commits
        assert point, "no life had a first commit"
        runs = start_three()
    at_the_crash, asked = settled(), begun()
    with working() as worker:
        worker.later(timedelta(seconds=31))
        worker.ended(*runs)
    assert [run.status() for run in runs] == [Completed(f"{number}") for number in range(3)]
    now = settled()
    assert {each: now[each] for each in at_the_crash} == at_the_crash, f"P3 at {point} {when}"
    for number, run in enumerate(runs):
        label = f"{number}:asked"
        step = Step.objects.get(workflow=run, kind="action")
        if step.pk in at_the_crash:
            assert begun()[label] == asked[label], "P3: a settled body ran again"
        assert begun()[label] <= step.attempts <= begun()[label] + 1, "P4"
        assert len(json.loads(step.history_text)) == step.attempts
    notes = Counter(Entry.objects.exclude(label__endswith=":asked").values_list("label", flat=True))
    assert notes == Counter(f"{n}:{at}" for n in range(3) for at in ("before", "after")), "P2"


def test_an_interrupted_body_is_not_run_again_where_once_is_the_most(worker: Worker) -> None:
    """Interrupted while the body runs: its outcome is unknown, and it isn't run again."""

    async def body(label: str) -> Any:
        raise KeyboardInterrupt

    worker.harness.replace(bodies.ask, with_=body)
    run = bodies.once.start("x")
    worker.until(lambda: Step.objects.filter(workflow=run, attempts=1).exists(), "its attempt")
    worker.later(timedelta(seconds=31))
    worker.ended(run)
    assert run.status() == Completed("StepInterrupted")
