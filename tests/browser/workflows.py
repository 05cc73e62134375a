"""What the pages are about: workflows of every shape that a page shows, named as a shop would name them."""

import asyncio
from datetime import timedelta
from threading import Event as Wait
from typing import Any

from django_workflow import Event, Retry, StepContext, action, mutation, query, workflow
from django_workflow.exceptions import ErrorInfo
from tests.shop.models import Entry

delivered = Event("delivered", bool)


class CardDeclined(Exception):
    """The bank has said no."""


@mutation
def reserve_stock(order: int, items: list[str]) -> int:
    """Put the goods aside."""
    return Entry.objects.create(label=f"order {order}", value=len(items)).pk


@mutation
def release_stock(error: ErrorInfo | None, reserved: int | None, order: int, items: list[str]) -> None:
    """Undo `reserve_stock`."""
    Entry.objects.filter(label=f"order {order}").delete()


@action(retry=Retry(max_attempts=3, initial=0.3, jitter=False, on=ConnectionError))
def charge_card(order: int, card_number: str) -> str:
    """Ask the bank; it is busy at first, and a card that ends with 0 has to be topped up."""
    asked = Entry.objects.filter(label=f"charge {order}").count()
    Entry.objects.create(label=f"charge {order}")
    if not asked:
        raise ConnectionError("the bank is busy")
    if card_number.endswith("0") and not Entry.objects.filter(label=f"top-up {order}").exists():
        raise CardDeclined("insufficient funds")
    return f"payment-{order}"


def top_up(order: int) -> None:
    """Put money on the card that pays an order."""
    Entry.objects.create(label=f"top-up {order}")


@query
def address_of(order: int) -> str:
    """Where it goes."""
    return f"{order} Garden Lane"


@action
def print_label(address: str) -> str:
    """A label for the parcel."""
    return f"<b>To:</b> {address}"


@workflow.define(name="shop.notify")
async def notify(step: StepContext, order: int, channel: str) -> str:
    """A child: tell somebody."""
    return await step.run_query(address_of, order)


@workflow.define(name="shop.checkout")
async def checkout(
    step: StepContext, order: int, items: list[str], card_number: str, cooling_off: timedelta
) -> dict[str, Any]:
    """An order from its payment to its delivery."""
    step.set_status({"done": 0, "of": 4})
    await step.using(rollback=release_stock).run_mutation(reserve_stock, order, items)
    payment = await step.run_action(charge_card, order, card_number)
    step.set_status({"done": 1, "of": 4})
    address = await step.run_query(address_of, order)
    await asyncio.gather(
        step.run_action(print_label, address), step.run_workflow(notify, order=order, channel="mail")
    )
    step.set_status({"done": 2, "of": 4})
    await step.sleep(cooling_off)
    step.set_status({"done": 3, "of": 4})
    arrived = await step.wait_for_event(delivered, timeout=timedelta(days=7))
    step.set_status({"done": 4, "of": 4})
    return {"payment": payment, "arrived": arrived}


@action
def hold(label: str) -> None:
    """Wait until somebody opens the gate."""
    while not Entry.objects.filter(label=f"{label}:open").exists():
        Wait().wait(0.05)


@mutation
def note(label: str) -> None:
    """Leave a mark."""
    Entry.objects.create(label=label)


@workflow.define(name="shop.gates")
async def gates(step: StepContext, label: str, number: int) -> str:
    """One step after the other, each when the test opens its gate."""
    for each in range(number):
        step.set_status({"done": each, "of": number})
        await step.run_mutation(note, f"{label}:{each}:before")
        await step.run_action(hold, f"{label}:{each}")
    return label


def open_gate(label: str, number: int) -> None:
    """Let `gates` go on."""
    Entry.objects.create(label=f"{label}:{number}:open")
