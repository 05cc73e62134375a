"""Step functions and definitions that the engine's tests run."""

import asyncio
from datetime import timedelta
from typing import Any

from django_workflow import StepContext, action, mutation, query, workflow
from tests.shop.models import Entry


@query
def count_entries(label: str) -> int:
    return Entry.objects.filter(label=label).count()


@mutation
def add_entry(label: str, value: int = 0) -> int:
    Entry.objects.create(label=label, value=value)
    return Entry.objects.filter(label=label).count()


@action
def double(value: int) -> int:
    return value * 2


@workflow.define
async def steps_of_all_kinds(step: StepContext, label: str) -> list[int]:
    before = await step.run_query(count_entries, label)
    written = await step.run_mutation(add_entry, label, value=1)
    doubled = await step.run_action(double, written)
    await step.sleep(timedelta(days=30))
    after = await step.run_mutation(add_entry, label)
    return [before, written, doubled, after]


@workflow.define
async def parallel(step: StepContext, values: list[int]) -> list[int]:
    return await asyncio.gather(*(step.run_action(double, value) for value in values))


@workflow.define
async def echo(step: StepContext, value: Any) -> Any:
    return value
