"""What the clusters of the tests run. The names are given, so that the tests' own process knows them as well."""

import asyncio
import os
import signal
from datetime import timedelta
from pathlib import Path
from threading import Event

from django_workflow import StepContext, WorkflowManager, action, current_step, mutation, workflow
from tests.cluster.app import load as load  # its definitions are registered by this import
from tests.shop.models import Entry

reports = WorkflowManager("reports", cluster="reports")


@mutation
def note(label: str) -> int:
    """Leave a mark; the value is the process that did it."""
    return Entry.objects.create(label=label, value=os.getpid()).value


@action
def hold(label: str) -> int:
    """Leave a mark, then wait until somebody opens the gate."""
    Entry.objects.create(label=f"{label}:held", value=os.getpid())
    while not Entry.objects.filter(label=f"{label}:open").exists():
        Event().wait(0.05)
    return os.getpid()


@workflow.define(name="cluster.marks")
async def marks(step: StepContext, label: str) -> int:
    await step.run_mutation(note, f"{label}:1")
    return await step.run_mutation(note, f"{label}:2")


@workflow.define(name="cluster.naps")
async def naps(step: StepContext, label: str, seconds: float) -> str:
    await step.run_mutation(note, f"{label}:before")
    await step.sleep(timedelta(seconds=seconds))
    await step.run_mutation(note, f"{label}:after")
    return label


@workflow.define(name="cluster.holds")
async def holds(step: StepContext, label: str) -> str:
    await step.run_mutation(note, f"{label}:before")
    await step.run_action(hold, label)
    await step.run_mutation(note, f"{label}:after")
    return label


@action
def kill_its_worker(label: str) -> None:
    """Leave a mark, then die."""
    Entry.objects.create(label=label, value=os.getpid())
    os.kill(os.getpid(), signal.SIGKILL)


@workflow.define(name="cluster.kills")
async def kills(step: StepContext, label: str) -> None:
    await step.run_action(kill_its_worker, label)


@action
def sleep_for(label: str, seconds: float) -> int:
    """Leave a mark; the value is the process that slept."""
    Entry.objects.create(label=label, value=os.getpid())
    Event().wait(seconds)
    return os.getpid()


@workflow.define(name="cluster.limited")
async def limited(step: StepContext, label: str, seconds: float, limit: float) -> int:
    return await step.using(timeout=limit).run_action(sleep_for, label, seconds)


@action
def interrupt_itself(label: str) -> int:
    """Leave a mark, and raise what no `except Exception` catches."""
    Entry.objects.create(label=label, value=os.getpid())
    if current_step().attempt == 1:
        raise KeyboardInterrupt
    return current_step().attempt


@workflow.define(name="cluster.interrupts")
async def interrupts(step: StepContext, label: str) -> int:
    return await step.run_action(interrupt_itself, label)


@reports.define(name="cluster.reported")
async def reported(step: StepContext, label: str) -> int:
    return await step.run_mutation(note, label)


@mutation
def start_the_next(label: str, more: int) -> None:
    Entry.objects.create(label=label)
    if more > 1:
        hands_on.start(f"{label}+", more - 1)


@workflow.define(name="cluster.hands_on")
async def hands_on(step: StepContext, label: str, more: int) -> None:
    await step.run_mutation(start_the_next, label, more)


@action
async def hold_async(label: str) -> int:
    """The same, beside hundreds of others; says so when it ends, however that is."""
    attempt = current_step().attempt
    await Entry.objects.acreate(label=f"{label}:held", value=os.getpid())
    try:
        while not Path(os.environ["GATE"]).exists():  # noqa: ASYNC110, ASYNC240  another process opens it
            await asyncio.sleep(0.05)
    finally:
        Path(f"{os.environ['GATE']}-{label.replace('/', '-')}-{attempt}").touch()  # noqa: ASYNC240  as above
    return attempt


@workflow.define(name="cluster.holds_async")
async def holds_async(step: StepContext, label: str, seconds: float | None = None) -> int:
    return await step.using(timeout=seconds).run_action(hold_async, label)
