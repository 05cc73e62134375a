"""Behaviours 28 and 30, and cleanup: an end from outside is final, at once, and leaves nothing half."""

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from django_workflow import Canceled, Completed, Failed, InProgress, StepContext, action, mutation, workflow
from django_workflow.exceptions import WorkflowInProgress
from django_workflow.models import Step, Workflow
from django_workflow.testing import Harness
from tests.behaviours.bodies import act, calls, decline, look, rows, write
from tests.behaviours.code import deploy, deployed
from tests.behaviours.conftest import NOON
from tests.engine.committed import committed

pytestmark = pytest.mark.usefixtures("either_mode")
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def assert_nothing_left(run: Any) -> None:
    row = workflow.get(run)
    assert (row.state, row.due_at, row.lease_owner, row.result) == ("canceled", None, None, None)
    assert row.completed_at is not None
    for step in workflow.steps(run):
        assert step.state in ("completed", "failed", "canceled")
        assert step.completed_at is not None
        assert (step.due_at, step.lease_owner) == (None, None)


def test_28_canceled_before_its_first_turn_it_never_starts(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.run_action(act)

    run = deployed.start()
    assert workflow.cancel(run.id, "changed my mind") is True
    assert workflow.status(run) == Canceled("changed my mind")
    workflow_harness.advance(DAY)
    assert calls == []
    assert workflow.get(run).started_at is None
    assert workflow_harness.journal(run) == []
    assert_nothing_left(run)


def test_28_canceled_while_it_sleeps_it_ends_at_once(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        try:
            await step.run_mutation(write, "before")
            await step.sleep(DAY)
            await step.run_mutation(write, "after")
        finally:
            await step.run_mutation(write, "finally")

    run = deployed.start()
    frozen.drain()
    assert workflow.cancel(str(run.id)) is True
    assert workflow.status(run) == Canceled("")
    frozen.advance(2 * DAY)
    assert (rows("before"), rows("after"), rows("finally")) == (1, 0, 0)
    before, slept = frozen.journal(run)
    assert (before.state, slept.state) == ("completed", "canceled")
    assert slept.completed_at == NOON  # when it was canceled, not when it was due
    assert_nothing_left(run)


def test_28_canceled_between_parallel_steps_the_rest_never_starts(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await asyncio.gather(
            step.run_action(act, 1),
            step.using(run_after=HOUR).run_action(act, 2),
            step.using(run_after=2 * HOUR).run_action(act, 3),
            step.sleep(3 * HOUR),
        )

    run = deployed.start()
    workflow_harness.drain()
    workflow_harness.advance(HOUR)
    assert calls == [("act", 1), ("act", 2)]
    assert workflow.cancel(run)
    workflow_harness.advance(DAY)
    assert calls == [("act", 1), ("act", 2)]
    assert [step.state for step in workflow_harness.journal(run)] == [
        "completed",
        "completed",
        "canceled",
        "canceled",
    ]
    assert_nothing_left(run)


def test_28_twice_or_after_the_end_is_no_op(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, end: str) -> str:
        if end == "failed":
            await step.run_action(decline, "no")
        if end == "canceled":
            await step.sleep(DAY)
        return "done"

    runs = {end: deployed.start(end) for end in ("completed", "failed", "canceled")}
    workflow_harness.drain()
    assert workflow.cancel(runs["canceled"], "first") is True
    before = {end: (workflow.status(run), workflow.get(run).completed_at) for end, run in runs.items()}
    for run in runs.values():
        assert workflow.cancel(run, "second") is False
        assert run.cancel("third") is False
    assert before == {
        end: (workflow.status(run), workflow.get(run).completed_at) for end, run in runs.items()
    }
    assert before["canceled"][0] == Canceled("first")
    assert before["completed"][0] == Completed("done")
    assert isinstance(before["failed"][0], Failed)


def cancel_by_id(workflow_id: str, then: str) -> str:
    calls.append("canceled itself")
    assert workflow.cancel(workflow_id, "from inside")
    if then == "raise":
        raise ValueError("too late")
    return "a late result"


@pytest.mark.parametrize("then", ["return", "raise"])
@pytest.mark.parametrize("inline", [None, False])
def test_28_canceled_while_an_action_runs_its_late_result_changes_nothing(
    workflow_harness: Harness, then: str, inline: bool | None
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.run_mutation(write, "before")
        await step.using(inline=inline).run_action(cancel_by_id, str(step.workflow_id), then)
        await step.run_mutation(write, "after")
        return "ended"

    run = deployed.start()
    workflow_harness.drain()
    workflow_harness.advance(DAY)
    assert workflow.status(run) == Canceled("from inside")
    assert calls.count("canceled itself") == 1
    assert (rows("before"), rows("after")) == (1, 0)
    late = workflow_harness.journal(run)[1]
    assert (late.state, late.result, late.error) == ("canceled", None, None)
    assert_nothing_left(run)


@action
def wait_for(gate: str) -> str:
    calls.append("begun")
    BEGUN.set()
    assert GATES[gate].wait(20)
    return "a late result"


BEGUN = threading.Event()
GATES: dict[str, threading.Event] = {}


@committed
@pytest.mark.parametrize("inline", [None, False])
def test_28_canceled_while_an_action_runs_in_another_thread_it_ends_at_once(
    workflow_harness: Harness, inline: bool | None
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.using(inline=inline).run_action(wait_for, "here")
        await step.run_mutation(write, "after")
        return "ended"

    BEGUN.clear()
    GATES["here"] = threading.Event()
    run = deployed.start()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            workflow_harness.drain()
        except BaseException as error:  # noqa: BLE001  handed over to the test's own thread
            errors.append(error)
        finally:
            connection.close()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        assert BEGUN.wait(20)
        assert workflow.cancel(run, "by another") is True
        assert workflow.status(run) == Canceled("by another")  # at once: the body is still running
        (step,) = workflow_harness.journal(run)
        assert (step.state, step.attempts) == ("canceled", 1)
    finally:
        GATES["here"].set()
        worker.join(20)
    assert not worker.is_alive()
    assert errors == []
    workflow_harness.advance(DAY)
    assert workflow.status(run) == Canceled("by another")
    assert calls == ["begun"]
    assert rows("after") == 0
    assert workflow_harness.journal(run)[0].result is None
    assert_nothing_left(run)


@mutation
def cancel_in_a_mutation(workflow_id: str, label: str) -> None:
    write(label)
    workflow.cancel(workflow_id, "from a mutation")


@pytest.mark.slow
def test_28_a_mutation_that_cancels_its_own_workflow_does_not_go_round_for_ever(
    workflow_harness: Harness,
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.run_mutation(cancel_in_a_mutation, str(step.workflow_id), "both or neither")
        return "ended"

    run = deployed.start()
    for _ in range(12):
        workflow_harness.drain()
        workflow_harness.advance(timedelta(seconds=31))
    status = workflow.status(run)
    assert not isinstance(status, InProgress)
    # P8: once canceled, no mutation of it commits.
    assert not (isinstance(status, Canceled) and rows("both or neither"))
    assert len(calls) <= 6


def test_28_a_mutation_may_cancel_another_workflow(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, other: str) -> str:
        if other:
            await step.run_mutation(cancel_in_a_mutation, other, "mine")
            return "canceled it"
        await step.sleep(DAY)
        return "never"

    other = deployed.start("")
    workflow_harness.drain()
    run = deployed.start(str(other.id))
    workflow_harness.drain()
    assert workflow_harness.result(run) == "canceled it"
    assert workflow.status(other) == Canceled("from a mutation")
    assert rows("mine") == 1


def test_28_a_cancel_that_is_rolled_back_never_was(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.sleep(HOUR)
        return "ended"

    run = deployed.start()
    workflow_harness.drain()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        assert workflow.cancel(run) is True
        raise ZeroDivisionError
    assert isinstance(workflow.status(run), InProgress)
    workflow_harness.advance(HOUR)
    assert workflow_harness.result(run) == "ended"


def test_30_pending_steps_of_a_canceled_workflow_show_as_canceled_with_a_time(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        later = step.using(run_after=DAY)
        return await asyncio.gather(
            step.run_query(look, "settled"),
            step.sleep(DAY),
            later.run_action(act),
            later.run_mutation(write, "never"),
            later.run_query(look, "never"),
            asyncio.sleep(7200),
        )

    run = deployed.start()
    frozen.drain()
    pending = [step.number for step in frozen.journal(run) if step.state == "pending"]
    assert pending == [2, 3, 4, 5, 6]
    frozen.freeze(NOON + HOUR)
    workflow.cancel(run, "enough")
    canceled = frozen.journal(run)[1:]
    assert {step.state for step in canceled} == {"canceled"}
    assert {step.completed_at for step in canceled} == {NOON + HOUR}
    assert {step.due_at for step in canceled} == {None}
    assert frozen.journal(run)[0].state == "completed"
    assert workflow.status(run) == Canceled("enough")
    frozen.advance(2 * DAY)
    assert rows("never") == 0


# ── cleanup ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_cleanup_deletes_the_workflow_and_its_steps_and_nothing_else(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, end: str) -> None:
        await step.run_mutation(write, "the application's own")
        if end == "failed":
            await step.run_action(decline, "no")
        if end == "canceled":
            await step.sleep(DAY)

    for end in ("completed", "failed", "canceled"):
        run, other = deployed.start(end), deployed.start("completed")
        workflow_harness.drain()
        workflow.cancel(run)
        before = rows("the application's own")
        assert workflow.cleanup(run.id) is True
        assert not Workflow.objects.filter(id=run.id).exists()
        assert not Step.objects.filter(workflow_id=run.id).exists()
        assert Step.objects.filter(workflow_id=other.id).count() == 1
        assert rows("the application's own") == before
        assert workflow.cleanup(run.id) is False  # gone already
        assert run.cleanup() is False


def test_cleanup_of_one_in_progress_is_refused_and_changes_nothing(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.sleep(HOUR)
        return "ended"

    run = deployed.start()
    for _ in range(2):
        with pytest.raises(WorkflowInProgress, match=str(run.id)):
            workflow.cleanup(run)
        workflow_harness.drain()
    workflow_harness.advance(HOUR)
    assert workflow_harness.result(run) == "ended"


@pytest.mark.slow
def test_cleanup_of_a_workflow_with_thousands_of_steps_leaves_nothing(
    workflow_harness: Harness, either_mode: str
) -> None:
    many = 2100 if either_mode == "live" else 20

    @deploy
    async def handler(step: StepContext) -> None:
        await asyncio.gather(*(step.using(run_after=DAY).run_action(act, number) for number in range(many)))

    run = deployed.start()
    workflow_harness.drain()
    assert Step.objects.filter(workflow_id=run.id).count() == many
    workflow.cancel(run)
    assert workflow.cleanup(run) is True
    assert Step.objects.count() == 0
    assert Workflow.objects.count() == 0


def test_cleanup_that_is_rolled_back_never_was(workflow_harness: Harness) -> None:
    run = deployed.start()
    workflow_harness.drain()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        assert workflow.cleanup(run) is True
        raise ZeroDivisionError
    assert workflow.status(run) == Completed(None)
