"""The one handler that runs any program: what is in it comes as an argument, so that any process can replay it.

Rules of this file: a program is what `oracle.py` says it is. Bodies know their key, and leave a trace that no rollback
takes back: `bodies` counts them in this process, and how often each has failed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from django_workflow import Retry, StepContext, action, mutation, query, workflow
from django_workflow.exceptions import EventFailed, StepFailed
from tests.programs.oracle import RETRY_SECONDS, Program
from tests.shop.models import Entry

WAIT_SECONDS = 50.0  # for an event that never comes

bodies: Counter[str] = Counter()  # by tag/key
failed: Counter[str] = Counter()


class Declined(Exception):
    """What a body raises."""


def _began(tag: str, key: str, failures: int) -> None:
    name = f"{tag}/{key}"
    bodies[name] += 1
    if failed[name] < failures:
        failed[name] += 1
        raise Declined(key)


@query
def look(tag: str, key: str, failures: int = 0) -> str:
    _began(tag, key, failures)
    return key


@mutation
def write(tag: str, key: str, failures: int = 0) -> str:
    Entry.objects.create(label=f"{tag}/{key}")
    _began(tag, key, failures)
    return key


@action
def act(tag: str, key: str, failures: int = 0) -> str:
    _began(tag, key, failures)
    return key


@action
def act_on(item: list[Any]) -> str:
    """For `map`: its one argument is tag, key and how often it fails."""
    tag, key, failures = item
    return act(tag, key, failures)


@workflow.define(name="programs.program")
async def program(step: StepContext, tag: str, program: Program) -> Any:
    return await Interpreter(step, tag).run(program)


def message(error: Exception) -> str:
    """What the oracle knows a failure by."""
    if isinstance(error, StepFailed):
        return error.error.message
    return str(error) if isinstance(error, Declined | EventFailed) else repr(error)


class Interpreter:
    """Does what a program says."""

    def __init__(self, step: StepContext, tag: str) -> None:
        self.step = step
        self.tag = tag

    async def run(self, program: Program) -> Any:
        name, *parts = program
        return await getattr(self, f"do_{name}")(*parts)

    async def do_step(self, kind: str, key: str, failures: int, attempts: int, inline: bool | None) -> Any:
        retry = Retry(max_attempts=attempts, initial=RETRY_SECONDS, base=1, jitter=False)
        step = self.step.using(retry=retry, inline=inline)
        match kind:
            case "query":
                return await step.run_query(look, self.tag, key, failures)
            case "mutation":
                return await step.run_mutation(write, self.tag, key, failures)
            case _:
                return await step.run_action(act, self.tag, key, failures)

    async def do_sleep(self, seconds: float) -> Any:
        await self.step.sleep(seconds)
        return "slept"

    async def do_event(self, name: str, how: str) -> Any:
        try:
            return await self.step.wait_for_event(name, timeout=WAIT_SECONDS if how == "never" else None)
        except TimeoutError:
            raise Declined("no event") from None
        except EventFailed as error:
            raise Declined(error.error.message) from None

    async def do_status(self, value: Any) -> Any:
        self.step.set_status(value)
        return "told"

    async def do_map(self, key: str, fails: list[bool], limit: int) -> Any:
        items = [[self.tag, f"{key}/{item}", 99 * bad] for item, bad in enumerate(fails)]
        return _shown(await self.step.map(act_on, items, limit=limit, return_exceptions=True))

    async def do_seq(self, programs: list[Program]) -> Any:
        return [await self.run(each) for each in programs]

    async def do_gather(self, programs: list[Program]) -> Any:
        return _shown(await asyncio.gather(*map(self.run, programs), return_exceptions=True))

    async def do_race(self, racers: list[tuple[float, Program]]) -> Any:
        async def racer(seconds: float, program: Program) -> Any:
            await self.step.sleep(seconds)
            return await self.run(program)

        return list(await self.step.first_completed(*(racer(*each) for each in racers)))

    async def do_within(self, seconds: float, sleep: float, program: Program) -> Any:
        try:
            async with asyncio.timeout(seconds):
                await self.step.sleep(sleep)
                return await self.run(program)
        except TimeoutError:
            return "too late"

    async def do_try(self, program: Program, otherwise: Program) -> Any:
        try:
            return await self.run(program)
        except Exception as error:  # noqa: BLE001  whatever a program raises
            return ["caught", message(error), await self.run(otherwise)]

    async def do_finally(self, program: Program, last: Program) -> Any:
        try:
            result = await self.run(program)
        except BaseException:
            await self.run(last)
            raise
        return [result, await self.run(last)]

    async def do_child(self, below: Program) -> Any:
        return await self.step.run_workflow(program, self.tag, below)


def _shown(results: list[Any]) -> list[Any]:
    return [["failed", message(each)] if isinstance(each, Exception) else each for each in results]
