"""Workflows that something happens to from outside, while they are in flight or after their end.

Rules of this file: an act is what another process does, once, when the workflow has come to the point that `when`
names; it may die like any other, and then does the same again, so each is written as a careful caller would write
it. What it comes to must not depend on when a crash lets it happen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from django.db import transaction

from django_workflow import StepContext, action, workflow
from django_workflow.exceptions import StepCanceled, WorkflowInProgress
from django_workflow.models import Label, Step, Workflow
from tests.engine.elsewhere import elsewhere
from tests.shop.models import Entry
from tests.simulation.shapes import Declined, act, note_the_end, part, ran, unact, unwrite, write


class Act(NamedTuple):
    """Something from outside."""

    when: Callable[[Workflow], bool]
    does: Callable[[Workflow], None]


# ── when ────────────────────────────────────────────────────────────────────────────────────────────────────


def at_once(run: Workflow) -> bool:
    return True


def waits(kind: str, *, nth: int = 1) -> Callable[[Workflow], bool]:
    """Its nth step of this kind is pending."""

    def when(run: Workflow) -> bool:
        states = (
            Step.objects.filter(workflow=run, kind=kind).order_by("number").values_list("state", flat=True)
        )
        return len(states) >= nth and states[nth - 1] == "pending"

    return when


def is_settled_in(run: Workflow) -> bool:
    """All that `busy` has in flight has come to where it stays: its action is done, and its child sleeps."""
    charged = Step.objects.filter(workflow=run, kind="action", state="completed").exists()
    return charged and Step.objects.filter(workflow__parent=run, kind="sleep", state="pending").exists()


def has_ended(run: Workflow) -> bool:
    return Workflow.objects.exclude(state="in_progress").filter(id=run.id).exists()


# ── what ────────────────────────────────────────────────────────────────────────────────────────────────────


def sends(name: str, *values: Any) -> Callable[[Workflow], None]:
    def does(run: Workflow) -> None:
        for value in values:
            workflow.send_event(run, name, value, key=f"{name} {value}")

    return does


def cancels(run: Workflow) -> None:
    workflow.cancel(run, "enough")


def cancels_with_rollback(run: Workflow) -> None:
    workflow.cancel(run, "enough", rollback=True)


def cancels_the_child(run: Workflow) -> None:
    workflow.cancel(Workflow.objects.get(parent=run), "enough of it")


def mends_and_restarts(run: Workflow) -> None:
    with transaction.atomic():
        tag = run.args["tag"]
        if Entry.objects.filter(label=f"{tag}/mended").exists():
            return
        Entry.objects.create(label=f"{tag}/mended")
        workflow.restart(run, from_failure=True)


def parts_and_restarts(run: Workflow) -> None:
    """A restart of what has ended well, from the middle."""
    with transaction.atomic():
        if Workflow.objects.get(id=run.id).generation == 0:
            workflow.restart(run, 2)


def forks(run: Workflow) -> None:
    with transaction.atomic():
        if Label.objects.exclude(workflow=run).filter(digest__in=_labels(run)).exists():
            return  # a fork has its original's labels
        workflow.fork(run, 2)


def _labels(run: Workflow) -> list[str]:
    return list(Label.objects.filter(workflow=run).values_list("digest", flat=True))


def cleans_up(run: Workflow) -> None:
    try:
        workflow.cleanup(run)
    except WorkflowInProgress:
        raise AssertionError(f"{run} has not ended") from None


# ── the workflows ───────────────────────────────────────────────────────────────────────────────────────────


@workflow.define(name="shapes.told", on_complete=note_the_end)
async def told(step: StepContext, tag: str) -> Any:
    """Events that are sent before its first turn, while it waits, and when it waits no more."""
    got = [await step.wait_for_event("go"), await step.wait_for_event("go")]
    await step.run_mutation(write, tag, "told")
    got.append(await step.wait_for_event("stop"))
    await step.sleep(200)
    return [*got, await step.run_action(act, tag, "last")]


@workflow.define(name="shapes.busy", on_complete=note_the_end)
async def busy(step: StepContext, tag: str) -> Any:
    """Has a bit of everything in flight when it is canceled, and is shielded by nothing."""
    undone, acted = step.using(rollback=unwrite), step.using(rollback=unact)
    await undone.run_mutation(write, tag, "reserve")
    try:
        await asyncio.gather(
            acted.run_action(act, tag, "charge"),
            step.using(run_after=100_000).run_action(act, tag, "never"),
            step.run_workflow(part, tag, "slow"),
            step.wait_for_event("go", timeout=200_000),
            step.sleep(100_000),
        )
    finally:
        await step.run_mutation(write, tag, "never written")


@action
def cancel_from_elsewhere(tag: str, key: str, workflow_id: str) -> str:
    """Another process cancels the workflow while this body runs in its turn."""
    ran.append(f"{tag}/{key}")
    elsewhere(lambda: workflow.cancel(workflow_id, "in the middle"))
    return key


@workflow.define(name="shapes.canceled_in_a_turn", on_complete=note_the_end)
async def canceled_in_a_turn(step: StepContext, tag: str) -> Any:
    await step.run_mutation(write, tag, "before")
    await step.run_action(cancel_from_elsewhere, tag, "middle", str(step.workflow_id))
    await step.run_mutation(write, tag, "never written")


@workflow.define(name="shapes.bereft", on_complete=note_the_end)
async def bereft(step: StepContext, tag: str) -> Any:
    """Its child is canceled by somebody else."""
    try:
        await step.run_workflow(part, tag, "slow")
    except StepCanceled:
        return await step.run_mutation(write, tag, "without it")


@action
def act_when_mended(tag: str, key: str) -> str:
    ran.append(f"{tag}/{key}")
    if not Entry.objects.filter(label=f"{tag}/mended").exists():
        raise Declined(key)
    return key


@workflow.define(name="shapes.mended", on_complete=note_the_end)
async def mended(step: StepContext, tag: str) -> Any:
    """Fails, with an event that it has taken; is restarted, and then completes."""
    got = [await step.run_mutation(write, tag, "once")]
    got.append(await step.run_action(act_when_mended, tag, "mended?"))
    got.append(await step.wait_for_event("go"))
    return [*got, await step.run_workflow(part, tag, "one")]


@workflow.define(name="shapes.again", on_complete=note_the_end)
async def again(step: StepContext, tag: str) -> Any:
    """Its journal is cut off below its second step, and it goes on from there: restarted, or as a copy."""
    got: list[Any] = [await step.run_mutation(write, tag, "once")]
    got.append(await step.wait_for_event("go"))
    got.extend(await asyncio.gather(step.run_action(act, tag, "a"), step.sleep(30)))
    return [*got, await step.run_mutation(write, tag, "again")]


@workflow.define(name="shapes.cleaned", on_complete=note_the_end)
async def cleaned(step: StepContext, tag: str) -> Any:
    """Nothing of it is left, its child and its events included."""
    await step.run_workflow(part, tag, "one")
    return await step.wait_for_event("go")
