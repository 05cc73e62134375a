"""Behaviours 29 and 34 together: what a family of workflows has done is undone when the one that began it fails."""

import asyncio
from typing import Any

import pytest

from django_workflow import Canceled, Failed, StepContext, mutation, workflow
from django_workflow.exceptions import ErrorInfo
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.behaviours.bodies import calls, decline, rows, write
from tests.behaviours.code import deploy, deployed

pytestmark = pytest.mark.usefixtures("either_mode")
DAY = 86_400


@mutation
def unwrite(error: ErrorInfo | None, result: int | None, label: str) -> None:
    write(f"undo {label}")


@workflow.define(name="family_rollbacks.child")
async def child(step: StepContext) -> None:
    await step.using(rollback=unwrite).run_mutation(write, "child's")
    await step.sleep(DAY)


async def by_gather(step: StepContext, undone: bool) -> None:
    await asyncio.gather(step.run_workflow(child), decline_later(step, undone))


async def by_group(step: StepContext, undone: bool) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(step.run_workflow(child))
        group.create_task(decline_later(step, undone))


async def decline_later(step: StepContext, undone: bool) -> None:
    if undone:
        await step.using(rollback=unwrite).run_mutation(write, "parent's")
    await step.sleep(60)
    await step.run_action(decline, "no")


@pytest.mark.parametrize("together", [by_gather, by_group])
@pytest.mark.parametrize("undone", [False, True])
def test_34_children_in_flight_of_a_workflow_that_fails_undo_what_they_have_done(
    workflow_harness: Harness, together: Any, undone: bool
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await together(step, undone)

    assert isinstance(workflow_harness.run(deployed), Failed)
    workflow_harness.drain()
    (ended,) = Workflow.objects.of(child)
    status = ended.status()
    assert isinstance(status, Canceled)
    assert "failed" in status.reason
    assert (rows("child's"), rows("undo child's")) == (1, 1)
    assert (rows("parent's"), rows("undo parent's")) == (undone, undone)


def test_34_a_child_that_loses_a_race_is_canceled_without_rollbacks(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> int:
        index, _ = await step.first_completed(step.run_workflow(child), step.sleep(60))
        return index

    assert workflow_harness.run(deployed).type == "completed"
    (ended,) = Workflow.objects.of(child)
    assert isinstance(ended.status(), Canceled)
    assert (rows("child's"), rows("undo child's")) == (1, 0)


def test_34_the_parent_of_a_child_that_undoes_its_steps_hears_of_it_when_that_has_ended(
    workflow_harness: Harness,
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        try:
            await step.run_workflow(failing_child)
        except Exception as error:  # noqa: BLE001  its class is what is looked at
            return type(error).__name__
        return "nothing"

    started = deployed.start()
    workflow_harness.drain()
    assert workflow_harness.result(started) == "ChildFailed[CardDeclined]"
    assert (rows("child's"), rows("undo child's")) == (1, 1)
    assert ("decline", "child") in calls


@workflow.define(name="family_rollbacks.failing_child")
async def failing_child(step: StepContext) -> None:
    await step.using(rollback=unwrite).run_mutation(write, "child's")
    await step.run_action(decline, "child")
