"""Async actions and workflows of the executor's tests. What a body does, a test says by `harness.replace`."""

import asyncio
import threading
from typing import Any

from django_workflow import Retry, StepContext, WorkflowManager, action, mutation, workflow
from django_workflow.exceptions import StepFailed
from tests.shop.models import Entry

narrow = WorkflowManager("executor.narrow", max_parallelism=2)


class Gate:
    """Bodies wait at it on their loop, until a test opens it from its own thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._is_open = False
        self.arrived = 0  # bodies that have come to it
        self.most = 0  # that stood at it at one time

    async def passed(self) -> None:
        """Wait until it is open."""
        event = asyncio.Event()
        mine = (asyncio.get_running_loop(), event)
        with self._lock:
            self.arrived += 1
            if self._is_open:
                return
            self._waiting.append(mine)
            self.most = max(self.most, len(self._waiting))
        try:
            await event.wait()
        finally:
            with self._lock:
                self._waiting.remove(mine)

    def let_one_through(self) -> None:
        """Let the one that has waited longest go on."""
        with self._lock:
            loop, event = next(each for each in self._waiting if not each[1].is_set())
            loop.call_soon_threadsafe(event.set)

    def open(self) -> None:
        """Let all go on."""
        with self._lock:
            self._is_open = True
            for loop, event in self._waiting:
                loop.call_soon_threadsafe(event.set)


@mutation
def note(label: str) -> str:
    return Entry.objects.create(label=label).label


@action
async def ask(label: str) -> Any:
    return label


@action
async def ask_also(label: str) -> Any:
    return label


@action
def call(label: str) -> Any:
    return label


@action
async def undo(error: Any, result: Any, label: str) -> None:
    await Entry.objects.acreate(label=f"{label}:undone")


@workflow.define(name="executor.asks")
async def asks(step: StepContext, label: str) -> Any:
    return await step.run_action(ask, label)


@workflow.define(name="executor.asks_also")
async def asks_also(step: StepContext, label: str) -> Any:
    return await step.run_action(ask_also, label)


@workflow.define(name="executor.calls")
async def calls(step: StepContext, label: str) -> Any:
    return await step.run_action(call, label)


@workflow.define(name="executor.asks_between")
async def asks_between(step: StepContext, label: str) -> Any:
    await step.run_mutation(note, f"{label}:before")
    answer = await step.run_action(ask, label)
    await step.run_mutation(note, f"{label}:after")
    return answer


@workflow.define(name="executor.impatient")
async def impatient(step: StepContext, label: str) -> Any:
    return await step.using(timeout=0.2).run_action(ask, label)


@workflow.define(name="executor.late", timeout=0.2)
async def late(step: StepContext, label: str) -> Any:
    return await step.run_action(ask, label)


@workflow.define(name="executor.stubborn")
async def stubborn(step: StepContext, label: str) -> Any:
    retry = Retry(max_attempts=3, initial=60, jitter=False)
    return await step.using(retry=retry).run_action(ask, label)


@workflow.define(name="executor.once")
async def once(step: StepContext, label: str) -> Any:
    try:
        return await step.using(at_most_once=True).run_action(ask, label)
    except StepFailed as error:
        return type(error).__name__


@workflow.define(name="executor.undoes")
async def undoes(step: StepContext, label: str) -> Any:
    await step.using(rollback=undo).run_action(ask, label)
    raise RuntimeError(label)


@narrow.define(name="executor.pooled")
async def pooled(step: StepContext, label: str) -> Any:
    return await step.run_action(ask, label)


@workflow.define(name="executor.gathers")
async def gathers(step: StepContext, label: str, count: int) -> list[Any]:
    return list(await asyncio.gather(*(step.run_action(ask, f"{label}{n}") for n in range(count))))


@action
async def ask_for_real(label: str) -> Any:
    await Entry.objects.acreate(label=f"{label}:asked")
    return label


@workflow.define(name="executor.asks_for_real")
async def asks_for_real(step: StepContext, label: str) -> Any:
    await step.run_mutation(note, f"{label}:before")
    answer = await step.run_action(ask_for_real, label)
    await step.run_mutation(note, f"{label}:after")
    return answer
