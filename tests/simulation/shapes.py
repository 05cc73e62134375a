"""Small workflows of every shape, for sweeps that look at what a crash leaves behind.

Every step is told the `tag` of its workflow and a `key` of its own, so that what it did can be found again: a
mutation leaves one row `tag/key`, and every body leaves a line in `ran`, which no rollback takes back. Results don't
depend on the tag: two workflows of a shape end alike. `corpus.py` lists them all.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from django_workflow import Retry, StepContext, WorkflowManager, action, mutation, query, workflow
from django_workflow.exceptions import ErrorInfo, StepTimedOut
from django_workflow.models import Workflow
from tests.shop.models import Entry

ran: list[str] = []
single = WorkflowManager("shapes, one at a time", max_parallelism=1)
BACKOFF = Retry(max_attempts=4, initial=5, base=2, jitter=False)


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


@action
def act_on(label: str) -> str:
    """For `map`: the item is all that it gets."""
    ran.append(label)
    return label.partition("/")[2]


@action
def act_at_third(tag: str, key: str) -> str:
    ran.append(f"{tag}/{key}")
    if ran.count(f"{tag}/{key}") < 3:
        raise Declined(key)
    return key


@mutation
def write_at_second(tag: str, key: str) -> str:
    ran.append(f"{tag}/{key}")
    Entry.objects.create(label=f"{tag}/{key}")
    if ran.count(f"{tag}/{key}") < 2:
        raise Declined(key)
    return key


@action(timeout=0.02)
def never_ends(tag: str, key: str) -> str:
    ran.append(f"{tag}/{key}")
    while True:
        pass


@mutation
async def write_async(tag: str, key: str) -> str:
    ran.append(f"{tag}/{key}")
    await Entry.objects.acreate(label=f"{tag}/{key}")
    return key


@action
async def act_async(tag: str, key: str) -> str:
    ran.append(f"{tag}/{key}")
    await asyncio.sleep(0)
    return key


@mutation
def tell(tag: str, key: str, workflow_id: str, event: str) -> str:
    ran.append(f"{tag}/{key}")
    Entry.objects.create(label=f"{tag}/{key}")
    workflow.send_event(workflow_id, event, key)
    return key


@mutation
def unwrite(error: ErrorInfo | None, result: str | None, tag: str, key: str, fails: bool = False) -> None:
    ran.append(f"{tag}/undo {key}")
    Entry.objects.create(label=f"{tag}/undo {key} {error is not None} {result}")


@action
def unact(error: ErrorInfo | None, result: str | None, tag: str, key: str, fails: bool = False) -> None:
    ran.append(f"{tag}/undo {key}")


@mutation
def note_the_end(workflow_id: Any, result: Any, context: Any) -> None:
    tag = Workflow.objects.get(id=workflow_id).args["tag"]
    Entry.objects.create(label=f"{tag}/the end: {result.type}")


@mutation
def note_badly(workflow_id: Any, result: Any, context: Any) -> None:
    note_the_end(workflow_id, result, context)
    raise Declined("the end")


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


@workflow.define(name="shapes.events", on_complete=note_the_end)
async def events(step: StepContext, tag: str) -> Any:
    """Events sent before the wait and during it, and one that never comes."""
    me = str(step.workflow_id)
    await step.run_mutation(tell, tag, "early", me, "go")
    got = [await step.wait_for_event("go")]

    async def later() -> str:
        await step.sleep(30)
        return await step.run_mutation(tell, tag, "late", me, "go")

    got += await asyncio.gather(step.wait_for_event("go", timeout=10_000), later())
    try:
        await step.wait_for_event("never", timeout=40)
    except TimeoutError:
        got.append("none")
    await step.run_action(act, tag, "last")
    return got


@workflow.define(name="shapes.part", on_complete=note_the_end)
async def part(step: StepContext, tag: str, key: str) -> str:
    if key == "slow":
        await step.sleep(10_000)
    await step.run_mutation(write, tag, f"{key}, written")
    await step.run_action(act, tag, f"{key}, acted")
    if key == "bad":
        raise Declined(key)
    return key


@workflow.define(name="shapes.children", on_complete=note_the_end)
async def children(step: StepContext, tag: str) -> Any:
    """A child beside an action, one that fails, and one that loses a race."""
    got = list(await asyncio.gather(step.run_workflow(part, tag, "one"), step.run_action(act, tag, "beside")))
    try:
        await step.run_workflow(part, tag, "bad")
    except Declined:
        got.append("declined")
    slow: Any = step.run_workflow(part, tag, "slow")
    index, _ = await step.first_completed(slow, step.sleep(40))
    return [*got, index]


@workflow.define(name="shapes.saga", on_complete=note_the_end)
async def saga(step: StepContext, tag: str) -> Any:
    """Two mutations, parallel actions and a failure, all of them undone."""
    undone, acted = step.using(rollback=unwrite), step.using(rollback=unact)
    await undone.run_mutation(write, tag, "reserve")
    await asyncio.gather(*(acted.run_action(act, tag, key) for key in "ab"))
    await step.run_mutation(write, tag, "not undone")
    await undone.run_mutation(write, tag, "refused", fails=True)


@workflow.define(name="shapes.renewed", on_complete=note_the_end)
async def renewed(step: StepContext, tag: str, life: int = 1) -> Any:
    """Goes on as new, twice, with a child and a sleep in flight."""
    await step.run_mutation(write, tag, f"life {life}")
    if life < 3:
        index, _ = await step.first_completed(
            step.run_action(act, tag, f"act {life}"), step.run_workflow(part, tag, "slow")
        )
        await step.run_mutation(write, tag, f"first of life {life}: {index}")
        step.continue_as_new(tag, life + 1)
    return life


@workflow.define(name="shapes.mapped")
async def mapped(step: StepContext, tag: str) -> Any:
    return await step.map(act_on, [f"{tag}/{key}" for key in "abcd"], limit=2)


@workflow.define(name="shapes.retried")
async def retried(step: StepContext, tag: str) -> Any:
    again = step.using(retry=BACKOFF)
    return [
        await again.run_action(act_at_third, tag, "third time"),
        await again.run_mutation(write_at_second, tag, "second time"),
        await again.using(inline=False).run_mutation(write_at_second, tag, "second time, alone"),
    ]


@workflow.define(name="shapes.bodies_time_out")
async def bodies_time_out(step: StepContext, tag: str) -> Any:
    outcome: list[str] = []
    for context in (step, step.using(inline=False)):
        try:
            await context.run_action(never_ends, tag, f"{len(outcome)} spins")
        except StepTimedOut:
            outcome.append("timed out")
        await step.run_mutation(write, tag, f"after {len(outcome)}")
    return outcome


@workflow.define(name="shapes.out_of_time", timeout=timedelta(seconds=200), on_complete=note_the_end)
async def out_of_time(step: StepContext, tag: str) -> Any:
    """The workflow's own timeout, with a child and a wait in flight."""
    await step.run_mutation(write, tag, "begin")
    try:
        await asyncio.gather(step.run_workflow(part, tag, "slow"), step.wait_for_event("never"))
    finally:
        await step.run_mutation(write, tag, "too late")


@workflow.define(name="shapes.patched")
async def with_patches(step: StepContext, tag: str) -> Any:
    got = [await step.run_action(act, tag, "new" if step.patched("p") else "old")]
    step.deprecate_patch("q")
    await step.sleep(40)
    got.append(await step.run_mutation(write, tag, "new, written" if step.patched("p") else "old, written"))
    step.set_status({"done": len(got)})
    return got


@workflow.define(name="shapes.races")
async def races(step: StepContext, tag: str) -> Any:
    index, won = await step.first_completed(
        step.sleep(10_000), step.run_action(act, tag, "first"), step.wait_for_event("never")
    )
    got = [index, won]
    tasks = [step.sleep(300), step.run_action(act, tag, "soon"), step.sleep(200)]
    got += [await task async for task in step.as_completed(*tasks)]
    await step.run_mutation(write, tag, "last")
    return got


@workflow.define(name="shapes.middle", on_complete=note_the_end)
async def middle(step: StepContext, tag: str, key: str) -> Any:
    got = await step.run_workflow(part, tag, f"below {key}")
    await step.run_mutation(write, tag, f"{key}, after its child")
    return [key, got]


@workflow.define(name="shapes.nested", on_complete=note_the_end)
async def nested(step: StepContext, tag: str) -> Any:
    """Children with a child of their own, one of them given up with what is below it."""
    got = [await step.run_workflow(middle, tag, "one")]
    slow: Any = step.run_workflow(upper, tag, "slow")
    index, _ = await step.first_completed(slow, step.sleep(40))
    return [*got, index]


@workflow.define(name="shapes.upper", on_complete=note_the_end)
async def upper(step: StepContext, tag: str, key: str) -> Any:
    return await step.run_workflow(part, tag, key)


@single.define(name="shapes.one_at_a_time")
async def one_at_a_time(step: StepContext, tag: str) -> Any:
    await step.run_mutation(write, tag, "inside")
    got = await asyncio.gather(*(step.run_action(act, tag, key) for key in "abc"))
    return [*got, await step.run_action(act, tag, "inline")]


@workflow.define(name="shapes.bad_end", on_complete=note_badly)
async def bad_end(step: StepContext, tag: str) -> Any:
    """What `on_complete` does is undone when it fails; the ending stands."""
    return await step.run_mutation(write, tag, "only")


@workflow.define(name="shapes.asynchronous")
async def asynchronous(step: StepContext, tag: str) -> Any:
    return [
        await step.run_mutation(write_async, tag, "written"),
        await step.run_action(act_async, tag, "acted"),
        *await asyncio.gather(
            step.run_action(act_async, tag, "beside"),
            step.using(inline=False).run_mutation(write_async, tag, "alone"),
        ),
    ]


@workflow.define(name="shapes.one_fails")
async def one_of_a_group_fails(step: StepContext, tag: str) -> Any:
    """A group whose first failure cancels the rest, which then is undone by nobody."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(step.sleep(10_000))
            group.create_task(step.run_action(act, tag, "bad", fails=True))
            group.create_task(step.wait_for_event("never"))
    except* Declined:
        await step.run_mutation(write, tag, "cleaned up")
    return "one failed"


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
        events,
        children,
        saga,
        renewed,
        mapped,
        retried,
        bodies_time_out,
        out_of_time,
        with_patches,
        races,
        nested,
        one_at_a_time,
        bad_end,
        asynchronous,
        one_of_a_group_fails,
    )
}
