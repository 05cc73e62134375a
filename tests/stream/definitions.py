"""Workflows whose progress is streamed."""

from __future__ import annotations

import asyncio
from typing import Any

from django_workflow import StepContext, action, workflow

SECRETS = ("pin-0000", "password-1111", "token-2222")  # under names that are redacted
PAYLOADS = ("argument-3333", "result-4444", "outcome-5555")  # for who may see payloads


@action
def part(round: int, half: int, argument: str = "argument-3333") -> dict[str, str]:
    return {"part": "result-4444", "token": "-".join(["token", "2222"])}


@action
def declined() -> None:
    raise ValueError("the card was declined")


@workflow.define(name="stream.work", redact=("pin",))
async def work(step: StepContext, rounds: int) -> dict[str, str]:
    """Two steps at once and an event in each round."""
    for round in range(rounds):
        step.set_status({"done": round, "of": rounds, "pin": "pin-0000", "password": "password-1111"})
        await asyncio.gather(*(step.run_action(part, round, half) for half in range(2)))
        await step.wait_for_event("go")
    return {"outcome": "outcome-5555", "pin": "pin-0000"}


@workflow.define(name="stream.wide")
async def wide(step: StepContext, width: int) -> list[Any]:
    """Many steps at once, of which the first takes longest."""
    first = step.wait_for_event("go")
    return await asyncio.gather(first, *(step.run_action(part, 0, half) for half in range(width)))


@workflow.define(name="stream.fails")
async def fails(step: StepContext) -> None:
    await step.run_action(declined)


@workflow.define(name="stream.anew")
async def anew(step: StepContext, life: int) -> int:
    """Go on in a fresh journal, once."""
    step.set_status({"life": life})
    await step.run_action(part, life, 0)
    await step.wait_for_event("go")
    if life == 1:
        step.continue_as_new(2)
    return life
