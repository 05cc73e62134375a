"""Wake-ups: R8 and R9. No interleaving of an input and a turn's end loses the input."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction

from django_workflow import Completed
from django_workflow.engine.drain import drain, known
from django_workflow.journal import claims, holding, processes, workflows
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.engine import bodies
from tests.engine.committed import committed
from tests.engine.elsewhere import before_statements, elsewhere, is_fence, may_be_locked

pytestmark = committed
NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)


@pytest.fixture
def workflow_harness(transactional_db: None) -> Iterator[Harness]:
    """The harness, on a database on which other threads see what is committed."""
    with Harness() as harness:
        yield harness


# ── R8 ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_r8_an_input_makes_a_free_workflow_due_and_counts(workflow_harness: Harness) -> None:
    workflow_harness.freeze(NOON)
    run = bodies.two_sleeps.start("x")
    workflow_harness.drain()
    workflow_harness.freeze(NOON + timedelta(seconds=1))
    assert workflows.wake(run.id)
    run.refresh_from_db()
    assert (run.wakes, run.due_at) == (1, NOON + timedelta(seconds=1))


def test_r8_an_input_does_not_touch_a_live_lease(workflow_harness: Harness) -> None:
    workflow_harness.freeze(NOON)
    run = bodies.two_sleeps.start("x")
    workflow_harness.drain()
    workflow_harness.freeze(NOON + timedelta(seconds=10))
    (claimed,) = claims.claim_workflows(processes.token(), None, known(), 1)
    assert workflows.wake(run.id)
    run.refresh_from_db()
    assert (run.lease_owner, run.due_at) == (claimed.token, NOON + timedelta(seconds=40))
    assert run.wakes == claimed.wakes + 1
    assert elsewhere(lambda: drain(None)) == 0


def test_r8_an_input_does_not_start_a_workflow_before_its_time(workflow_harness: Harness) -> None:
    workflow_harness.freeze(NOON)
    run = bodies.two_sleeps.using(run_at=NOON + timedelta(days=1)).start("x")
    assert workflows.wake(run.id)
    run.refresh_from_db()
    assert (run.wakes, run.due_at) == (1, NOON + timedelta(days=1))
    assert workflow_harness.drain() == 0


def test_r8_an_input_to_a_finished_workflow_or_another_generation_is_refused(
    workflow_harness: Harness,
) -> None:
    run = bodies.two_sleeps.start("x")
    assert not workflows.wake(run.id, generation=1)
    run.cancel()
    assert not workflows.wake(run.id)
    run.refresh_from_db()
    assert (run.wakes, run.due_at) == (0, None)


# ── R9 ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_r9_a_free_workflow_is_due_at_its_nearest_timer(workflow_harness: Harness) -> None:
    workflow_harness.freeze(NOON)
    run = bodies.two_sleeps.start("x")
    workflow_harness.drain()
    run.refresh_from_db()
    assert (run.lease_owner, run.due_at) == (None, NOON + timedelta(seconds=10))
    workflow_harness.advance(timedelta(seconds=10))
    run.refresh_from_db()
    assert run.due_at == NOON + timedelta(seconds=20)


def test_r9_the_deadline_of_the_workflow_is_one_timer_among_others(workflow_harness: Harness) -> None:
    workflow_harness.freeze(NOON)
    late, early = (bodies.two_sleeps.using(timeout=timedelta(seconds=n)).start("x") for n in (3600, 5))
    workflow_harness.drain()
    due = [Workflow.objects.get(id=run.id).due_at for run in (late, early)]
    assert due == [NOON + timedelta(seconds=10), NOON + timedelta(seconds=5)]


def test_r9_a_workflow_that_waits_for_steps_only_is_not_due(workflow_harness: Harness) -> None:
    run, _ = a_running_action_and_a_turn(workflow_harness)
    workflow_harness.drain()
    run.refresh_from_db()
    assert (run.lease_owner, run.due_at) == (None, None)


def test_r9_no_interleaving_of_a_settling_step_and_a_turn_loses_the_wake_up(
    workflow_harness: Harness,
) -> None:
    points: list[str] = []
    while True:
        run, claimed = a_running_action_and_a_turn(workflow_harness)
        sent = settle_before_statement(len(points), run, claimed)
        # No clock is moved from here on: whoever is not due now never will be.
        workflow_harness.drain()
        if not sent:
            break
        assert run.status() == Completed(["settled", 0]), f"lost before {sent}"
        workflow_harness.assert_replays(run)
        points.append(sent)
    assert any(
        sql.startswith("SELECT") and "workflow_step" in sql for sql in points
    )  # claimed, not yet loaded
    assert may_be_locked("") or any(is_fence(sql) for sql in points)  # at the very end of the turn


def a_running_action_and_a_turn(harness: Harness) -> tuple[Workflow, claims.Runnable]:
    """A workflow with a turn that is due now, while its action runs elsewhere."""
    Workflow.objects.in_progress().update(due_at=None)
    start = NOON + timedelta(days=Workflow.objects.count())
    harness.freeze(start)
    run = bodies.late_action_and_sleep.start("x")
    harness.drain()
    harness.freeze(start + timedelta(seconds=10))
    claimed = claims.claim_step(processes.token(), None, known())
    assert claimed is not None
    assert holding.start_step(claimed, claimed.history)
    harness.freeze(start + timedelta(seconds=20))
    return run, claimed


def settle_before_statement(point: int, run: Workflow, claimed: claims.Runnable) -> str:
    """Drain, and let the step settle elsewhere before the drain's n-th statement outside of a transaction.

    Returns the statement; "" when there were fewer.
    """
    seen = 0
    hit = ""

    def hook(sql: str) -> None:
        nonlocal seen, hit
        if hit or may_be_locked(sql):
            return
        if seen == point:
            hit = sql
            elsewhere(lambda: settle(claimed))
        seen += 1

    with before_statements(hook):
        drain(None)
    return hit


def settle(claimed: claims.Runnable) -> Any:
    with transaction.atomic():
        assert holding.settle_step(claimed, state="completed", result_text='"settled"')


def test_r9_an_input_during_a_turn_makes_the_workflow_due_at_its_end(workflow_harness: Harness) -> None:
    run, claimed = a_running_action_and_a_turn(workflow_harness)

    def body(label: str) -> int:
        elsewhere(lambda: settle(claimed))
        return 0

    with workflow_harness.replace(bodies.look, with_=body):
        workflow_harness.drain()
    assert run.status() == Completed(["settled", 0])
