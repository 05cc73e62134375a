"""Families of workflows to be deleted, with rows of every table."""

from typing import Any

from django_workflow import StepContext, mutation, workflow
from django_workflow.models import Event, Label, Step, Workflow
from tests.shop.models import Entry


@mutation
def note(label: str) -> int:
    return Entry.objects.create(label=label).pk


@workflow.define(name="retention.grandchild")
async def grandchild(step: StepContext) -> None:
    await step.run_mutation(note, "grandchild")


@workflow.define(name="retention.child")
async def child(step: StepContext) -> None:
    await step.run_workflow(grandchild)


@workflow.define(name="retention.family")
async def family(step: StepContext) -> None:
    await step.run_workflow(child)
    await step.run_workflow(child)


@workflow.define(name="retention.waits")
async def waits(step: StepContext) -> Any:
    return await step.wait_for_event("go")


@workflow.define(name="retention.fails")
async def fails(step: StepContext) -> None:
    await step.run_mutation(note, "fails")
    raise ZeroDivisionError


@workflow.define(name="retention.adopts")
async def adopts(step: StepContext) -> None:
    await step.run_workflow(grandchild)
    await step.wait_for_event("go")


def rows() -> tuple[int, int, int, int]:
    """How many workflows, steps, events and labels there are."""
    return Workflow.objects.count(), Step.objects.count(), Event.objects.count(), Label.objects.count()
