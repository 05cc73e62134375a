"""What the tests of commands start. `faults` says which labels fail."""

from __future__ import annotations

from typing import Any

from django_workflow import Event, StepContext, action, workflow
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.shop.models import Entry

faults: set[str] = set()
approved = Event("commands.approved", bool)


@action
def prepare(label: str) -> str:
    return f"prepared {label}"


@action
def unprepare(error: Any, result: Any, label: str) -> None:
    Entry.objects.create(label=f"undone {label[:20]}")


@action
def deliver(label: str) -> str:
    if label in faults:
        raise ValueError(f"no {label}")
    return f"delivered {label}"


@workflow.define(name="commands.order")
async def order(step: StepContext, label: str, count: int = 1) -> str:
    """1 an action, 2 a wait, 3 an action that may fail."""
    await step.using(rollback=unprepare).run_action(prepare, label)
    step.set_status({"done": 1, "of": 2})
    await step.wait_for_event(approved)
    return await step.run_action(deliver, label)


@workflow.define(name="commands.nested")
async def nested(step: StepContext, label: str) -> Any:
    return await step.run_workflow(order, label)


@workflow.define(name="commands.note", redact=["pin"])
async def note(step: StepContext, order: dict[str, int], password: int = 0, *, pin: int = 0) -> Any:
    return order


def waiting(harness: Harness, label: str = "apple") -> Workflow:
    """In progress: it waits for approval."""
    run = order.start(label)
    harness.drain()
    return run


def finished(harness: Harness, label: str = "apple") -> Workflow:
    """Completed."""
    run = waiting(harness, label)
    run.send_event(approved, True)
    harness.drain()
    assert workflow.status(run).type == "completed"
    return run


def failed(harness: Harness, label: str = "pear") -> Workflow:
    """Failed at its third step."""
    faults.add(label)
    run = waiting(harness, label)
    run.send_event(approved, True)
    harness.drain()
    assert workflow.status(run).type == "failed"
    return run
