"""What the schedules of these tests start."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django_workflow import StepContext, WorkflowManager, mutation, workflow
from django_workflow.models import Workflow
from tests.shop.models import Entry


@mutation
def note(label: str) -> int:
    return Entry.objects.create(label=label).pk


@workflow.define(name="schedules.report")
async def report(
    step: StepContext, label: str = "report", day: date | None = None, *, price: Decimal = Decimal(0)
) -> str:
    await step.run_mutation(note, label)
    return f"{label} {day} {price * 2}"


@workflow.define(name="schedules.other")
async def other(step: StepContext, value: Any = None) -> Any:
    return value


@WorkflowManager("reports", cluster="reports").define(name="schedules.elsewhere")
async def of_reports(step: StepContext) -> None:
    await step.run_mutation(note, "elsewhere")


def ticks_of(name: str) -> list[datetime]:
    """The ticks of a schedule that started a workflow, in order of time."""
    keys = Workflow.objects.filter(key__startswith=f"schedule:{name}:").values_list("key", flat=True)
    return sorted(datetime.fromisoformat(str(key).removeprefix(f"schedule:{name}:")) for key in keys)
