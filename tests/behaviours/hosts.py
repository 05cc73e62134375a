"""Definitions and steps that several processes of a test know."""

import time
from datetime import datetime, timedelta
from typing import Any

from django_workflow import StepContext, action, workflow
from tests.behaviours.bodies import act, write

HOUR = timedelta(hours=1)


@action
def what_time_is_it() -> float:
    """The host's clock, as a body of this process sees it."""
    return time.time()


@workflow.define(name="behaviours.naps")
async def naps(step: StepContext, minutes: float) -> list[Any]:
    before = step.now()
    await step.run_mutation(write, "napping")
    host = await step.run_action(what_time_is_it)
    await step.sleep(timedelta(minutes=minutes))
    await step.run_mutation(write, "awake")
    return [before.isoformat(), host, step.now().isoformat()]


@action
def sizes(names: set[str]) -> int:
    return len(names)


@action
def names_of(names: frozenset[str]) -> set[str]:
    return {*names, "more"}


@workflow.define(name="behaviours.sets")
async def sets(step: StepContext, names: frozenset[str]) -> int:
    more = await step.run_action(names_of, names)
    await step.run_action(act, len(more))
    total = await step.run_action(sizes, more)
    for _ in range(3):
        await step.sleep(HOUR)
        total += await step.run_action(sizes, set(names))
    return total


def as_moment(text: str) -> datetime:
    """The moment of an ISO text."""
    return datetime.fromisoformat(text)
