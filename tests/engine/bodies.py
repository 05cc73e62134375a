"""Step functions and definitions of the tests of the rules. What a body does, a test says by `harness.replace`."""

import asyncio
from datetime import timedelta
from typing import Any

from django.db import IntegrityError

from django_workflow import StepContext, action, mutation, query, workflow
from django_workflow.exceptions import StepInterrupted
from tests.shop.models import Entry, Line


@query
def look(label: str) -> Any:
    return Entry.objects.filter(label=label).count()


@mutation
def write(label: str) -> Any:
    Entry.objects.create(label=label)
    return label


@mutation
def write_also(label: str) -> Any:
    Entry.objects.create(label=label)
    return label


@mutation
def write_dangling_line(entry: int) -> int:
    return int(Line.objects.create(entry_id=entry).pk)


@action
def act(label: str) -> Any:
    return label


@action
def act_also(label: str) -> Any:
    return label


@workflow.define(name="rules.action")
async def one_action(step: StepContext, label: str) -> Any:
    return await step.run_action(act, label)


@workflow.define(name="rules.mutation")
async def one_mutation(step: StepContext, label: str) -> Any:
    return await step.run_mutation(write, label)


@workflow.define(name="rules.alone", version=1)
async def one_mutation_alone(step: StepContext, label: str) -> Any:
    return await step.using(inline=False).run_mutation(write, label)


@workflow.define(name="rules.query_mutation")
async def query_then_mutation(step: StepContext, label: str) -> Any:
    await step.run_query(look, label)
    return await step.run_mutation(write, label)


@workflow.define(name="rules.action_mutation")
async def action_then_mutation(step: StepContext, label: str) -> Any:
    got = await step.run_action(act, label)
    step.logger.info("acted")
    await step.run_mutation(write, label)
    return got


@workflow.define(name="rules.mutations")
async def two_mutations(step: StepContext, label: str) -> Any:
    first = await step.run_mutation(write, label)
    return [first, await step.run_mutation(write_also, label)]


@workflow.define(name="rules.gather")
async def two_actions(step: StepContext, label: str) -> Any:
    return await asyncio.gather(step.run_action(act, label), step.run_action(act_also, label))


@workflow.define(name="rules.late")
async def late_action_and_sleep(step: StepContext, label: str) -> Any:
    """An action that is due in 10 s beside a sleep of 20 s, and a query when the sleep is over."""

    async def rest() -> Any:
        await step.sleep(20)
        return await step.run_query(look, label)

    late = step.using(run_after=10)
    return await asyncio.gather(late.run_action(act, label), rest())


@workflow.define(name="rules.race")
async def race(step: StepContext, label: str) -> Any:
    """An action that is due in 10 s, given up after 20 s; then a mutation and a sleep."""
    try:
        async with asyncio.timeout(20):
            outcome = await step.using(run_after=10).run_action(act, label)
    except TimeoutError:
        outcome = "too late"
    await step.run_mutation(write, label)
    await step.sleep(3600)
    return outcome


@workflow.define(name="rules.three")
async def three_and_sleeps(step: StepContext, label: str) -> Any:
    """Three actions due in 10 s and a sleep of 22 s: tells in which order it heard of them."""
    order: list[str] = []

    async def hear(name: str, awaitable: Any) -> None:
        await awaitable
        order.append(name)

    late = step.using(run_after=10)
    await asyncio.gather(
        hear("a", late.run_action(act, "a")),
        hear("b", late.run_action(act, "b")),
        hear("c", late.run_action(act, "c")),
        hear("sleep", step.sleep(timedelta(seconds=22))),
    )
    return order


@workflow.define(name="rules.sleeps")
async def two_sleeps(step: StepContext, label: str) -> Any:
    await asyncio.gather(step.sleep(20), step.sleep(10))
    return label


@workflow.define(name="rules.dangling")
async def dangling(step: StepContext, label: str, inline: bool = True) -> Any:
    """A mutation that the commit refuses (a deferred foreign key) between two that are fine."""
    step.logger.info("begun")
    await step.run_action(act, label)
    step.logger.info("acted")
    await step.run_mutation(write, label)
    bad = step if inline else step.using(inline=False)
    try:
        await bad.run_mutation(write_dangling_line, 10**6)
    except IntegrityError:
        caught = "IntegrityError"
    else:
        caught = "nothing"
    await step.run_mutation(write_also, label)
    return caught


@workflow.define(name="rules.dying")
async def dying_handler(step: StepContext, label: str) -> Any:
    raise KeyboardInterrupt  # what ends the worker's process, as far as one process can show it


@workflow.define(name="rules.action_query")
async def action_then_query(step: StepContext, label: str) -> Any:
    got = await step.run_action(act, label)
    await step.run_query(look, label)
    return got


@workflow.define(name="rules.actions")
async def actions_in_a_row(step: StepContext, count: int) -> int:
    for number in range(count):
        await step.run_action(act, str(number))
    return count


@workflow.define(name="rules.mutation_actions")
async def mutation_and_two_actions(step: StepContext, label: str) -> Any:
    await step.run_mutation(write, label)
    await step.run_action(act, label)
    return await step.run_action(act_also, label)


@workflow.define(name="rules.caught")
async def caught_action(step: StepContext, label: str) -> Any:
    try:
        return await step.run_action(act, label)
    except StepInterrupted:
        return "interrupted"


@workflow.define(name="rules.deadly")
async def one_deadly_of_two(step: StepContext, label: str) -> Any:
    results = await asyncio.gather(
        step.run_action(act, label), step.run_action(act_also, label), return_exceptions=True
    )
    return ["interrupted" if isinstance(result, StepInterrupted) else result for result in results]


@workflow.define(name="rules.mutation_sleep")
async def mutation_and_sleep(step: StepContext, label: str) -> Any:
    await step.run_mutation(write, label)
    await step.sleep(60)
    return label


@workflow.define(name="engine.two_once_at_once")
async def two_once_at_once(step: StepContext, label: str) -> Any:
    once = step.using(at_most_once=True, retry=None)
    return await asyncio.gather(once.run_action(act, f"{label} 1"), once.run_action(act, f"{label} 2"))
