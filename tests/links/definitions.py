"""Workflows that wait for what links send."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Literal

from django_workflow import Event, StepContext, workflow


class Size(Enum):
    SMALL = 1
    LARGE = 2


@dataclass
class Offer:
    price: Decimal
    by: str


HOSTILE = '<script>alert("1")</script>'

approved: Event[bool] = Event("links.approved", bool)
maybe: Event[bool | None] = Event("links.maybe", bool | None)
counted: Event[int] = Event("links.counted", int)
named: Event[str] = Event("links.named", str)
sized: Event[Size] = Event("links.sized", Size)
picked: Event[Literal["red", "blue"]] = Event("links.picked", Literal["red", "blue"])
offered: Event[Offer] = Event("links.offered", Offer)
done: Event[None] = Event("links.done", type(None))


@workflow.define(name="links.waits")
async def waits(step: StepContext, event: str, times: int = 1) -> list[str]:
    """Return what came, as Python writes it."""
    return [repr(await step.wait_for_event(event)) for _ in range(times)]
