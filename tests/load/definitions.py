"""What the workflows in the tables are of, and what runs beside them."""

from datetime import timedelta
from typing import Any

from django_workflow import StepContext, WorkflowManager, mutation, query, workflow

elsewhere = WorkflowManager("load elsewhere", cluster="load's other cluster")


@mutation
def note(value: int) -> int:
    """A body without a statement of its own."""
    return value


@query
def look(value: int) -> int:
    """The same."""
    return value


@workflow.define(name="load.common", api=True)
async def common(step: StepContext, value: int = 0) -> int:
    return await step.run_mutation(note, value)


@workflow.define(name="load.rare", api=True)
async def rare(step: StepContext, value: int = 0) -> int:
    return await step.run_mutation(note, value)


@workflow.define(name="load.retired", api=True)
async def retired(step: StepContext, value: int = 0) -> int:
    """All of these are old."""
    return await step.run_mutation(note, value)


@workflow.define(name="load.sleeps", api=True)
async def sleeps(step: StepContext, value: int = 0) -> int:
    await step.run_mutation(note, value)
    await step.sleep(timedelta(days=3650))
    return value


@workflow.define(name="load.turns")
async def turns(step: StepContext, count: int) -> int:
    """So many turns and one more: each sleep ends one."""
    total = 0
    for _ in range(count):
        total += await step.run_query(look, 1)
        await step.sleep(timedelta(seconds=1))
    return total


@elsewhere.define(name="load.elsewhere", api=True)
async def runs_elsewhere(step: StepContext) -> Any:
    return None
