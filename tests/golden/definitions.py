"""The definitions of the golden journals.

NOTHING IN HERE MAY EVER BE CHANGED. Files beside this one were written by earlier versions of the package, and have to
be replayed by it for ever; the code that they belong to is this. New shapes go to the end, under new names.
"""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django_workflow import Event, Retry, StepContext, action, mutation, query, workflow
from django_workflow.exceptions import ErrorInfo, StepFailed

approved = Event("golden.approved", bool)
failures: list[str] = []  # of the attempts that are meant to fail, while a journal is written


class Declined(Exception):
    """A body's own failure."""


@dataclasses.dataclass
class Offer:
    price: Decimal
    until: date
    tags: tuple[str, ...] = ()


@query
def look(value: int) -> int:
    return value


@mutation
def change(value: int) -> dict[str, int]:
    return {"z": value, "a": -value}


@action
def act(value: Any = None) -> Any:
    return value


@action(retry=Retry(max_attempts=3, initial=1, jitter=False))
def act_at_the_second_attempt(value: str) -> str:
    if value not in failures:
        failures.append(value)
        raise Declined(value)
    return value


@action
def decline(value: str) -> None:
    raise Declined(value)


@action
def make_offer(price: Decimal, at: datetime) -> Offer:
    return Offer(price * 2, at.date(), ("new", "é"))


@mutation
def accept(offer: Offer, at: datetime) -> Decimal:
    return offer.price


@mutation
def undo(error: ErrorInfo | None, result: Any, value: Any = None) -> None:
    return None


@action
def log_in(token: str, header: str) -> dict[str, str]:
    return {"token": token, "user": "ann"}


@workflow.define(name="golden.sequence")
async def sequence(step: StepContext, start: int, factor: float = 1.5) -> list[Any]:
    looked = await step.run_query(look, start)
    changed = await step.run_mutation(change, looked)
    acted = await step.run_action(act, {"keys": list(changed), "factor": factor})
    await step.sleep(timedelta(days=30))
    return [looked, changed, acted, str(step.uuid4()), step.random.randint(1, 10**9)]


@workflow.define(name="golden.failures")
async def failing(step: StepContext, label: str) -> str:
    await step.run_action(act_at_the_second_attempt, label)
    try:
        await step.run_action(decline, "caught")
    except Declined as error:
        assert isinstance(error, StepFailed)  # noqa: PT017  for type checkers
        await step.run_action(act, [error.error.message, error.attempts])
    await step.run_action(decline, "not caught")
    return "never"


@workflow.define(name="golden.parallel")
async def parallel(step: StepContext, values: list[int]) -> list[Any]:
    async def chain(value: int) -> Any:
        await step.sleep(60 * (10 - value))
        return await step.run_action(act, value)

    gathered = await asyncio.gather(*(chain(value) for value in values))
    mapped = await step.map(act, gathered, limit=2)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(step.run_mutation(change, value)) for value in values]
    return [mapped, *(task.result() for task in tasks)]


@workflow.define(name="golden.race")
async def race(step: StepContext) -> list[Any]:
    async def late() -> str:
        await step.sleep(3600)
        return "late"

    wait: Any = step.wait_for_event(approved)
    index, first = await step.first_completed(wait, late())
    got: list[Any] = [index, first]
    try:
        async with asyncio.timeout(100):
            await step.wait_for_event(approved)
    except TimeoutError:
        got.append(step.now().isoformat())
    return got


@workflow.define(name="golden.child")
async def child(step: StepContext, value: int) -> int:
    await step.sleep(10)
    if value < 0:
        raise Declined(str(value))
    return value + 1


@workflow.define(name="golden.family")
async def family(step: StepContext, value: int) -> list[Any]:
    good = await step.run_workflow(child, value)
    try:
        await step.run_workflow(child, -value)
    except Declined:
        return [good, "declined"]
    return [good]


@workflow.define(name="golden.continued")
async def continued(step: StepContext, rounds: int, seen: tuple[str, ...] = ()) -> list[str]:
    await step.sleep(60)
    seen = (*seen, str(step.uuid4()))
    if rounds > 1:
        step.continue_as_new(rounds - 1, seen)
    return list(seen)


@workflow.define(name="golden.patched")
async def patched(step: StepContext) -> str:
    if step.patched("first"):
        await step.run_action(act, "new")
    await step.sleep(60)
    if step.patched("second"):
        return "patched twice"
    return "patched once"


@workflow.define(name="golden.values")
async def values(step: StepContext, price: Decimal, at: datetime) -> Offer:
    offer = await step.run_action(make_offer, price, at)
    paid = await step.run_mutation(accept, offer, step.now())
    await step.sleep_until(at + timedelta(days=1))
    return dataclasses.replace(offer, price=paid)


@workflow.define(name="golden.waiting")
async def waiting(step: StepContext) -> None:
    await asyncio.gather(step.using(rollback=undo).run_action(act, 1), step.wait_for_event(approved))


@workflow.define(name="golden.secrets")
async def secrets(step: StepContext, token: str, pin: int) -> str:
    session = await step.run_action(log_in, token, f"Bearer {token}")
    return f"{session['user']} by {session['token']}"
