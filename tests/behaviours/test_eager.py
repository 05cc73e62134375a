"""`using(eager=True)`: the starting process takes the first turn itself, right after its commit."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from django_workflow import Completed, InProgress, StepContext, workflow
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.behaviours.bodies import act, calls, rows, write
from tests.behaviours.code import deploy, deployed
from tests.engine.committed import committed
from tests.engine.elsewhere import elsewhere
from tests.shop.models import Entry
from tests.shop.workflows import steps_of_all_kinds

pytestmark = committed
eager = deployed.using(eager=True)


@pytest.fixture(autouse=True)
def handler() -> None:
    @deploy
    async def handler(step: StepContext, label: str = "x") -> Any:
        await step.run_mutation(write, label)
        await step.run_action(act, label)
        return label


def test_the_first_turn_is_taken_by_the_starting_process(workflow_harness: Harness) -> None:
    run = eager.start()
    assert workflow.status(run) == Completed("x")
    assert calls == [("write", "x"), ("act", "x")]
    assert workflow_harness.drain() == 0


def test_without_it_nothing_runs_at_the_start(workflow_harness: Harness) -> None:
    run = eager.using(eager=False).start()
    assert calls == []
    assert isinstance(workflow.status(run), InProgress)


def test_in_a_transaction_it_is_taken_after_the_commit_and_not_before(workflow_harness: Harness) -> None:
    with transaction.atomic():
        run = eager.start()
        Entry.objects.create(label="the caller's")
        assert calls == []
    assert workflow.status(run) == Completed("x")


def test_rolled_back_it_is_never_taken(workflow_harness: Harness) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        eager.start()
        raise ZeroDivisionError
    with transaction.atomic(), pytest.raises(ZeroDivisionError), transaction.atomic():
        eager.start()
        raise ZeroDivisionError
    assert (calls, Workflow.objects.count()) == ([], 0)


def test_a_worker_that_was_faster_does_no_harm(workflow_harness: Harness) -> None:
    with transaction.atomic():
        transaction.on_commit(lambda: elsewhere(workflow_harness.drain) and None)
        run = eager.start()
    assert workflow.status(run) == Completed("x")
    assert (calls, rows("x")) == ([("write", "x"), ("act", "x")], 1)


def test_one_turn_is_taken_and_the_rest_is_the_workers(workflow_harness: Harness) -> None:
    run = steps_of_all_kinds.using(eager=True).start("apple")
    status = workflow.status(run)
    assert isinstance(status, InProgress)
    assert [step.name for step in status.running] == ["sleep"]
    workflow_harness.advance(timedelta(days=30))
    assert workflow_harness.result(run) == [0, 1, 2, 2]


def test_no_other_workflow_is_touched(workflow_harness: Harness) -> None:
    waiting = deployed.start("waits")
    eager.start("eager")
    assert calls == [("write", "eager"), ("act", "eager")]
    assert isinstance(workflow.status(waiting), InProgress)


def test_one_that_is_not_due_waits(workflow_harness: Harness) -> None:
    run = eager.using(run_after=60).start()
    assert calls == []
    workflow_harness.advance(timedelta(seconds=60))
    assert workflow_harness.result(run) == "x"


def test_a_pause_holds_it(workflow_harness: Harness) -> None:
    workflow.pause("maintenance")
    run = eager.start()
    assert calls == []
    workflow.resume()
    workflow_harness.drain()
    assert workflow_harness.result(run) == "x"


def test_a_known_key_begins_nothing_anew(workflow_harness: Harness) -> None:
    first, second = eager.using(key="k").start(), eager.using(key="k").start()
    assert first.id == second.id
    assert calls == [("write", "x"), ("act", "x")]


def test_a_handler_that_fails_is_no_error_of_the_caller(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        raise ZeroDivisionError

    with transaction.atomic():
        run = eager.start()
        Entry.objects.create(label="the caller's")
    assert workflow.status(run).type == "failed"
    assert rows("the caller's") == 1


def start_eagerly(label: str) -> str:
    return str(eager.start(label).id)


def test_a_mutation_may_start_eagerly(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, label: str = "outer") -> Any:
        if label == "outer":
            await step.run_mutation(start_eagerly, "inner")
        return await step.run_mutation(write, label)

    run = deployed.start()
    workflow_harness.drain()
    assert workflow_harness.result(run) == 1
    assert [each.result for each in workflow.list()] == [1, 1]
    assert (rows("outer"), rows("inner")) == (1, 1)
