"""Workflows of every kind that leave a mark for all they do, to be counted when everything has been killed.

Rules of this file: a mutation's mark is `tag/what`, written in its transaction; an attempt's is `tag/what@attempt`,
committed at once. What a workflow has to leave follows from its tag, its shape and its ending alone, so that
`tests/cluster/ledger.py` needs nobody's word for it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from random import randrange
from threading import Event
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import Error, connection

from django_workflow import (
    Retry,
    StepContext,
    WorkflowManager,
    action,
    current_step,
    mutation,
    query,
    workflow,
)
from django_workflow.exceptions import ErrorInfo, StepInterrupted
from tests.shop.models import Entry

narrow = WorkflowManager("narrow", max_parallelism=2)


class Declined(Exception):
    """What a step or a handler raises on purpose."""


@mutation
def put(mark: str) -> str:
    Entry.objects.create(label=mark)
    return mark


@query
def count(tag: str) -> int:
    """The marks of its mutations."""
    return Entry.objects.filter(label__startswith=f"{tag}/").exclude(label__contains="@").count()


@action
def act(mark: str, seconds: float) -> str:
    _begin(mark)
    Event().wait(seconds)
    return mark


@action
async def act_async(mark: str, seconds: float) -> str:
    await sync_to_async(_begin)(mark)
    await asyncio.sleep(seconds)
    return mark


@action(retry=Retry(max_attempts=8, initial=0.2, max_delay=0.5))
def decline_first(mark: str) -> str:
    _begin(mark)
    if current_step().attempt == 1:
        raise Declined(mark)
    return mark


@mutation
def unput(error: ErrorInfo | None, result: Any, mark: str) -> None:
    put(f"{mark}-undone")


@mutation
def ended(workflow_id: UUID, result: Any, context: Any) -> None:
    put(f"{context}/end")


def _begin(mark: str) -> None:
    """Leave the mark of this attempt, for sure: an action's error would be its own, and the database may be away."""
    attempt = {"label": f"{mark}@{current_step().attempt}", "value": randrange(2**31)}
    while True:
        try:
            # Whoever has lost sight of a commit looks whether it came: it is this body's own, by its number.
            if not Entry.objects.filter(**attempt).exists():
                Entry.objects.create(**attempt)
            return
        except Error:
            connection.close()
            Event().wait(0.1)


def moments(step: StepContext, least: float, most: float) -> float:
    """Seconds: the same at each replay, others in each workflow."""
    return step.random.uniform(least, most)


@workflow.define(name="load.line")
async def line(step: StepContext, tag: str) -> int:
    await step.run_mutation(put, f"{tag}/1")
    await step.run_action(act, f"{tag}/a", moments(step, 0.02, 0.3))
    await step.run_mutation(put, f"{tag}/2")
    seen = await step.run_query(count, tag)
    await step.run_mutation(put, f"{tag}/3")
    return seen


@workflow.define(name="load.naps")
async def naps(step: StepContext, tag: str) -> None:
    for number in range(3):
        await step.run_mutation(put, f"{tag}/{number}")
        await step.sleep(timedelta(seconds=moments(step, 0.1, 1.0)))


@workflow.define(name="load.wide")
async def wide(step: StepContext, tag: str) -> list[str]:
    branches = (step.run_action(act, f"{tag}/{number}", moments(step, 0.02, 0.5)) for number in range(5))
    done = await asyncio.gather(*branches)
    await step.run_mutation(put, f"{tag}/joined")
    return done


@workflow.define(name="load.waits")
async def waits(step: StepContext, tag: str) -> list[int]:
    values = []
    for number in range(2):
        values.append(await step.wait_for_event("go"))
        await step.run_mutation(put, f"{tag}/{number}")
    return values


@workflow.define(name="load.family")
async def family(step: StepContext, tag: str) -> list[int]:
    seen = await asyncio.gather(*(step.run_workflow(line, f"{tag}.{number}") for number in range(3)))
    await step.run_mutation(put, f"{tag}/joined")
    return seen


@workflow.define(name="load.once")
async def once(step: StepContext, tag: str) -> bool:
    """True iff the action, which begins at most once, came to its end."""
    try:
        await step.using(at_most_once=True).run_action(act, f"{tag}/a", moments(step, 0.02, 0.5))
    except StepInterrupted:
        await step.run_mutation(put, f"{tag}/interrupted")
        return False
    await step.run_mutation(put, f"{tag}/sure")
    return True


@workflow.define(name="load.fails")
async def fails(step: StepContext, tag: str) -> None:
    undoing = step.using(rollback=unput)
    await undoing.run_mutation(put, f"{tag}/1")
    await step.run_action(act, f"{tag}/a", moments(step, 0.02, 0.3))
    await undoing.run_mutation(put, f"{tag}/2")
    raise Declined(tag)


@workflow.define(name="load.retries")
async def retries(step: StepContext, tag: str) -> str:
    mark = await step.run_action(decline_first, f"{tag}/a")
    return await step.run_mutation(put, f"{mark}-accepted")


@workflow.define(name="load.races")
async def races(step: StepContext, tag: str) -> int:
    first, _ = await step.first_completed(
        step.sleep(timedelta(seconds=moments(step, 0.1, 0.6))),
        step.run_action(act, f"{tag}/a", moments(step, 0.05, 0.6)),
    )
    await step.run_mutation(put, f"{tag}/{first}")
    return first


@workflow.define(name="load.begins_anew")
async def begins_anew(step: StepContext, tag: str, life: int = 0) -> int:
    await step.run_mutation(put, f"{tag}/{life}")
    await step.run_action(act, f"{tag}/a{life}", 0.05)
    if life < 2:
        step.continue_as_new(tag, life + 1)
    return life


@workflow.define(name="load.many_async")
async def many_async(step: StepContext, tag: str) -> None:
    branches = (step.run_action(act_async, f"{tag}/{number}", moments(step, 0.1, 1.0)) for number in range(8))
    await asyncio.gather(*branches)
    await step.run_mutation(put, f"{tag}/joined")


@narrow.define(name="load.narrow")
async def narrowed(step: StepContext, tag: str) -> None:
    await step.run_mutation(put, f"{tag}/1")
    await step.run_action(act, f"{tag}/a", moments(step, 0.02, 0.2))
    await step.run_mutation(put, f"{tag}/2")


@workflow.define(name="load.long")
async def long(step: StepContext, tag: str) -> None:
    """Its action outlives some leases."""
    await step.run_action(act, f"{tag}/a", moments(step, 1.0, 2.5))
    await step.run_mutation(put, f"{tag}/1")


@workflow.define(name="load.canceled")
async def canceled(step: StepContext, tag: str) -> None:
    """Somebody cancels it before it comes to its end."""
    for number in range(300):
        await step.run_mutation(put, f"{tag}/{number}")
        await step.run_action(act, f"{tag}/a{number}", 0.1)
        await step.run_workflow(line, f"{tag}.{number}")
        await step.sleep(timedelta(seconds=moments(step, 0.0, 1.0)))


# ── what each has to leave ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Shape:
    """One kind of workflow: its definition, and what it leaves, by its result."""

    definition: Any
    marks: Callable[[Any], set[str]]  # of its mutations, without the tag
    result: Callable[[Any], bool] = lambda result: result is None
    actions: int = 1  # that have begun; a race's may not have
    weight: int = 2
    ends: str = "completed"  # canceled: its marks depend on when that was


LINE = {"/1", "/2", "/3"}
SHAPES = {
    "line": Shape(line, lambda _: LINE, lambda seen: seen == 2, weight=4),
    "naps": Shape(naps, lambda _: {"/0", "/1", "/2"}, actions=0, weight=4),
    "wide": Shape(wide, lambda _: {"/joined"}, lambda done: len(done) == 5, actions=5),
    "waits": Shape(waits, lambda _: {"/0", "/1"}, lambda values: values == [0, 1], actions=0),
    "family": Shape(
        family,
        lambda _: {f".{number}{mark}" for number in range(3) for mark in LINE} | {"/joined"},
        lambda seen: seen == [2, 2, 2],
        actions=3,
    ),
    "once": Shape(
        once, lambda sure: {"/sure" if sure else "/interrupted"}, lambda sure: sure in (True, False)
    ),
    "fails": Shape(fails, lambda _: {"/1", "/2", "/1-undone", "/2-undone"}, ends="failed"),
    "retries": Shape(retries, lambda _: {"/a-accepted"}, lambda mark: mark.endswith("/a-accepted")),
    "races": Shape(races, lambda first: {f"/{first}"}, lambda first: first in (0, 1)),
    "begins_anew": Shape(begins_anew, lambda _: {"/0", "/1", "/2"}, lambda life: life == 2, actions=3),
    "many_async": Shape(many_async, lambda _: {"/joined"}, actions=8),
    "narrow": Shape(narrowed, lambda _: {"/1", "/2"}),
    "canceled": Shape(canceled, lambda _: set(), actions=0, ends="canceled"),
    "long": Shape(long, lambda _: {"/1"}, weight=1),
}
