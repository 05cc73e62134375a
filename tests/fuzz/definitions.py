"""What strangers may start here, and what they may not."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django_workflow import Event, StepContext, action, workflow

go: Event[Any] = Event("fuzz.go", Any)
approved: Event[bool] = Event("fuzz.approved", bool)


@action
def same(value: Any) -> Any:
    return value


@action
def fails(value: Any) -> None:
    raise ValueError(f"no good: {str(value)[:50]}")


@workflow.define(name="fuzz.keeps", api=True)
async def keeps(step: StepContext, value: Any = None) -> Any:
    """Return the value, after having it in every place that a value can have."""
    step.set_status(value)
    return await step.run_action(same, value)


@workflow.define(name="fuzz.waits", api=True)
async def waits(step: StepContext, value: Any = None) -> Any:
    step.set_status({"value": value})
    await step.run_action(same, value)
    return await step.wait_for_event(go)


@workflow.define(name="fuzz.asks", api=True)
async def asks(step: StepContext) -> bool:
    return await step.wait_for_event(approved)


@workflow.define(name="fuzz.breaks", api=True)
async def breaks(step: StepContext, value: Any = None) -> None:
    await step.run_action(same, value)
    await step.run_action(fails, value)


@workflow.define(name="fuzz.particular", api=True)
async def particular(
    step: StepContext,
    number: int,
    text: str,
    at: datetime | None = None,
    price: Decimal = Decimal(0),
    *more: int,
) -> str:
    return f"{number} {text} {at} {price} {more}"


@workflow.define(name="fuzz.inside")
async def inside(step: StepContext, value: Any = None) -> Any:
    """Not for strangers."""
    return value
