"""Step functions and looks at rows for the tests of restart, fork and continue_as_new.

`faults` says which labels fail; `keys` keeps the idempotency keys that bodies saw; `endings` what `on_complete` was told.
"""

from typing import Any

from django_workflow import StepContext, action, current_step, mutation, workflow
from django_workflow.models import Event, Step, Workflow
from tests.behaviours.bodies import CardDeclined, calls
from tests.shop.models import Entry

faults: set[str] = set()
keys: list[tuple[str, int, str]] = []
endings: list[Any] = []


def forget() -> None:
    """A clean slate, for each test."""
    faults.clear()
    keys.clear()
    endings.clear()


@action
def charge(label: str) -> str:
    here = current_step()
    keys.append((label, here.attempt, here.idempotency_key))
    calls.append(("charge", label))
    if label in faults:
        raise CardDeclined(label)
    return f"charged {label}"


@action
def ship(label: str) -> str:
    calls.append(("ship", label))
    if label in faults:
        raise CardDeclined(label)
    return f"shipped {label}"


@mutation
def book(label: str) -> str:
    calls.append(("book", label))
    Entry.objects.create(label=label)
    if label in faults:
        raise CardDeclined(label)
    return f"booked {label}"


@mutation
def unbook(error: Any, result: Any, label: str) -> None:
    calls.append(("unbook", label))


@mutation
def told(workflow_id: Any, result: Any, context: Any) -> None:
    endings.append((result.type, context))
    if "told" in faults:
        raise CardDeclined("told")


@workflow.define(name="lives.child")
async def child(step: StepContext, label: str) -> str:
    booked = await step.run_mutation(book, label)
    await step.run_workflow(grandchild, label)
    if label.startswith("slow"):
        await step.sleep(3600)
    return booked


@workflow.define(name="lives.grandchild")
async def grandchild(step: StepContext, label: str) -> str:
    if label.startswith("slow"):
        await step.sleep(3600)
    return await step.run_action(ship, f"{label} of the grandchild")


def states(run: Workflow) -> list[tuple[int, str, str]]:
    """Number, name and state of every step, in order."""
    rows = Step.objects.filter(workflow_id=run.id).order_by("number")
    return list(rows.values_list("number", "name", "state"))


def rows_of(run: Workflow) -> dict[str, Any]:
    """Everything that the database holds of a workflow, column by column."""
    return {
        "workflow": Workflow.objects.filter(id=run.id).values().get(),
        "steps": list(Step.objects.filter(workflow_id=run.id).order_by("number").values()),
        "events": list(Event.objects.filter(workflow_id=run.id).order_by("id").values()),
        "children": sorted(Workflow.objects.filter(parent_id=run.id).values_list("id", "state")),
    }


def row(run: Workflow) -> Workflow:
    """The workflow as it is now."""
    return Workflow.objects.get(id=run.id)
