"""Small workflows of every shape, for sweeps that look at what a crash leaves behind.

Every step is told the `tag` of its workflow and a `key` of its own, so that what it did can be found again: a
mutation leaves one row `tag/key`, and every body leaves a line in `ran`, which no rollback takes back. Results don't
depend on the tag: two workflows of a shape end alike.
"""

from __future__ import annotations

import asyncio
from typing import Any

from django_workflow import StepContext, action, mutation, query, workflow
from tests.shop.models import Entry

ran: list[str] = []


class Declined(Exception):
    """A body's own failure."""


@query
def look(tag: str, key: str) -> int:
    ran.append(f"{tag}/{key}")
    return Entry.objects.filter(label__startswith=f"{tag}/").count()


@mutation
def write(tag: str, key: str, fails: bool = False) -> str:
    ran.append(f"{tag}/{key}")
    Entry.objects.create(label=f"{tag}/{key}")
    if fails:
        raise Declined(key)
    return key


@action
def act(tag: str, key: str, fails: bool = False) -> str:
    ran.append(f"{tag}/{key}")
    if fails:
        raise Declined(key)
    return key


@workflow.define(name="shapes.sequence")
async def sequence(step: StepContext, tag: str) -> Any:
    return [
        await step.run_query(look, tag, "before"),
        await step.run_mutation(write, tag, "first"),
        await step.run_action(act, tag, "charge"),
        await step.run_mutation(write, tag, "second"),
        await step.run_action(act, tag, "mail"),
        await step.run_action(act, tag, "print"),
        await step.run_query(look, tag, "after"),
    ]


@workflow.define(name="shapes.parallel")
async def parallel(step: StepContext, tag: str) -> Any:
    acted = await asyncio.gather(*(step.run_action(act, tag, key) for key in "ab"))
    written = await asyncio.gather(*(step.run_mutation(write, tag, key) for key in "xy"))
    return [*acted, *written]


@workflow.define(name="shapes.sleeps")
async def sleeps(step: StepContext, tag: str) -> Any:
    before = step.now()
    await step.run_mutation(write, tag, "begin")
    await step.sleep(60)
    acted = await step.run_action(act, tag, "wake")
    await asyncio.gather(asyncio.sleep(40), step.sleep(20), step.run_mutation(write, tag, "meanwhile"))
    return [acted, (step.now() - before).total_seconds() >= 100]


@workflow.define(name="shapes.finally")
async def with_a_finally(step: StepContext, tag: str) -> Any:
    try:
        await step.run_mutation(write, tag, "acquire")
        await step.sleep(50)
        return await step.run_action(act, tag, "use")
    finally:
        await step.run_mutation(write, tag, "release")


@workflow.define(name="shapes.failures")
async def failures(step: StepContext, tag: str) -> Any:
    caught = []
    for kind, function in ((step.run_action, act), (step.run_mutation, write)):
        try:
            await kind(function, tag, f"bad {function.__name__}", fails=True)
        except Declined as error:
            caught.append(str(error).rpartition(":")[2].strip())
    results = await asyncio.gather(
        step.run_action(act, tag, "bad, beside", fails=True),
        step.run_action(act, tag, "good, beside"),
        return_exceptions=True,
    )
    await step.run_mutation(write, tag, "last")
    return [*caught, [isinstance(result, Declined) for result in results]]


@workflow.define(name="shapes.failing")
async def failing(step: StepContext, tag: str) -> Any:
    try:
        await step.run_action(act, tag, "fine")
        await step.run_action(act, tag, "bad", fails=True)
    finally:
        await step.run_mutation(write, tag, "release")


@workflow.define(name="shapes.timeouts")
async def timeouts(step: StepContext, tag: str) -> Any:
    outcome = []
    try:
        async with asyncio.timeout(40):
            await asyncio.gather(step.sleep(10_000), step.run_action(act, tag, "in time"))
    except TimeoutError:
        outcome.append("timed out")
    async with asyncio.timeout(100_000):
        outcome.append(await step.run_action(act, tag, "within"))
        outcome.append(await step.run_mutation(write, tag, "within, written"))
    return outcome


@workflow.define(name="shapes.alone")
async def steps_of_their_own(step: StepContext, tag: str) -> Any:
    alone = step.using(inline=False)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(alone.run_mutation(write, tag, "alone")),
            group.create_task(step.run_mutation(write, tag, "inside")),
            group.create_task(step.run_action(act, tag, "beside")),
        ]
    return [task.result() for task in tasks] + [await alone.run_action(act, tag, "last")]


SHAPES = {
    definition.name.removeprefix("shapes."): definition
    for definition in (
        sequence,
        parallel,
        sleeps,
        with_a_finally,
        failures,
        failing,
        timeouts,
        steps_of_their_own,
    )
}
