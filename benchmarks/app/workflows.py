"""What is measured: steps that do next to nothing and return a small dict, so that the engine is what costs."""

import asyncio
import time
from datetime import UTC, datetime

from benchmarks import slow_server
from benchmarks.driver import NAP_SECONDS
from django_workflow import StepContext, action, mutation, query, workflow


@query
def look(number: int) -> dict[str, int | str]:
    return {"number": number, "answer": "seen"}


@mutation
def change(number: int) -> dict[str, int | str]:
    return {"number": number, "answer": "changed"}


@action
def act(number: int) -> dict[str, int | str]:
    return {"number": number, "answer": "done"}


@workflow.define(name="benchmarks.mutations")
async def mutations(step: StepContext, steps: int) -> int:
    """Queries and mutations by turns: steps that share the turn's transaction."""
    for number in range(steps):
        if number % 2:
            await step.run_mutation(change, number)
        else:
            await step.run_query(look, number)
    return steps


@workflow.define(name="benchmarks.actions")
async def actions(step: StepContext, steps: int) -> int:
    """Actions, one after the other: steps whose attempt is committed before it begins."""
    for number in range(steps):
        await step.run_action(act, number)
    return steps


@action
async def wait(number: int) -> dict[str, int | str]:
    """A call to somewhere that takes a second."""
    return {"number": await slow_server.call(number), "answer": "waited"}


@workflow.define(name="benchmarks.waits")
async def waits(step: StepContext, steps: int) -> int:
    """Async actions, one after the other, each of which waits for a second."""
    for number in range(steps):
        await step.run_action(wait, number)
    return steps


@workflow.define(name="benchmarks.naps")
async def naps(step: StepContext, steps: int) -> int:
    """Mutations with a sleep after each, so that each is reached by a replay of all before it."""
    for number in range(steps):
        await step.run_mutation(change, number)
        await step.sleep(NAP_SECONDS)
    return steps


@workflow.define(name="benchmarks.parallel")
async def parallel(step: StepContext, steps: int) -> int:
    """Actions, all at once."""
    return len(await asyncio.gather(*(step.run_action(act, number) for number in range(steps))))


@mutation
def tell_the_time() -> float:
    return time.time()


@workflow.define(name="benchmarks.sleeper")
async def sleeper(step: StepContext, due_at: float) -> float:
    """Sleeps until then (seconds since 1970), and returns when the step after that ran."""
    await step.sleep_until(datetime.fromtimestamp(due_at, UTC))
    return await step.run_mutation(tell_the_time)
