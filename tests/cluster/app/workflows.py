"""What the clusters of the tests run. The names are given, so that the tests' own process knows them as well."""

import os
from datetime import timedelta
from threading import Event

from django_workflow import StepContext, WorkflowManager, action, mutation, workflow
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
