"""What is refused where it would do harm: the database in a handler, a step that ends its own workflow (R19)."""

import os
from typing import Any
from unittest import mock

import pytest

from django_workflow import Canceled, Completed, Failed, StepContext, action, mutation, workflow
from django_workflow.exceptions import UsageError
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.shop.models import Entry


@workflow.define(name="guards.reads")
async def reads(step: StepContext) -> str:
    try:
        Entry.objects.count()
    except Exception:  # noqa: BLE001  what a careless author writes
        return "swallowed"
    return "read"


@pytest.mark.parametrize("environment", [{}, {"DJANGO_ALLOW_ASYNC_UNSAFE": "1"}])
def test_13_the_database_in_a_handler_is_refused_and_no_except_hides_it(
    workflow_harness: Harness, environment: dict[str, str]
) -> None:
    with mock.patch.dict(os.environ, environment):
        status = workflow_harness.run(reads)
    assert isinstance(status, Failed)
    assert status.error.type == "django_workflow.exceptions.NotDeterministic"
    assert "move this into a step" in status.error.message
    assert Entry.objects.count() == 0  # the connection is as before


@mutation
def end_itself(verb: str, workflow_id: str) -> str:
    try:
        getattr(workflow, verb)(workflow_id)
    except UsageError as refused:
        return str(refused)
    return "not refused"


@workflow.define(name="guards.self_reference")
async def self_reference(step: StepContext, verb: str) -> str:
    return await step.run_mutation(end_itself, verb, str(step.workflow_id))


@pytest.mark.parametrize(("verb", "named"), [("cancel", "can't cancel"), ("cleanup", "can't clean up")])
def test_r19_a_mutation_does_not_end_its_own_workflow(
    workflow_harness: Harness, verb: str, named: str
) -> None:
    status: Any = workflow_harness.run(self_reference, verb)
    assert isinstance(status, Completed)
    assert named in status.result
    assert Workflow.objects.completed().count() == 1


@action
def cancel_itself(workflow_id: str) -> bool:
    return workflow.cancel(workflow_id, reason="enough")


@workflow.define(name="guards.cancels_itself")
async def cancels_itself(step: StepContext) -> bool:
    return await step.run_action(cancel_itself, str(step.workflow_id))


def test_an_action_may_cancel_its_own_workflow(workflow_harness: Harness) -> None:
    assert workflow_harness.run(cancels_itself) == Canceled("enough")
