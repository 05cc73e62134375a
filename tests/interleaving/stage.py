"""The workflows whose workers get into each other's way, and what every scenario does with them.

Rules of this file: every step is told the tag of its workflow and a key of its own. A mutation leaves one row
`tag/key`; an action says so in `ran`, and looks up whether it may begin at all (P3, P8).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Any

from django_workflow import StepContext, WorkflowManager, action, current_step, mutation, workflow
from django_workflow.engine.drain import drain
from django_workflow.engine.leases import heartbeat
from django_workflow.models import Event, Slot, Step, Workflow
from django_workflow.testing import Harness
from tests.interleaving.crew import Crew, Job, stop, unwatched
from tests.shop.models import Entry
from tests.simulation import invariants

PAST_A_LEASE = 31  # seconds
ROUNDS = 8

ran: list[str] = []
wrong: list[str] = []  # what bodies found that must not be
inside: list[str] = []  # bodies of the limited pool, while they run

single = WorkflowManager("interleaving, one at a time", max_parallelism=1)


class Declined(Exception):
    """A body's own failure."""


# ── step functions ──────────────────────────────────────────────────────────────────────────────────────────


@mutation
def write(tag: str, key: str) -> str:
    Entry.objects.create(label=f"{tag}/{key}")
    return key


@action
def act(tag: str, key: str, fails: bool = False) -> str:
    ran.append(f"{tag}/{key}")
    me = current_step()
    with unwatched():
        rows = Step.objects.filter(workflow=me.workflow_id, number=me.number)
        found = list(rows.values_list("state", "attempts"))
        # A cancel may come between the commit that counts the attempt and the body; nothing can exclude that.
        if found not in ([("running", me.attempt)], [("canceled", me.attempt)]):
            wrong.append(f"attempt {me.attempt} of {tag}/{key} begins, and its step is {found}")
    stop(f"the body of {key}")
    if fails:
        raise Declined(key)
    return key


@action
def act_alone(tag: str, key: str) -> str:
    """For the pool that has room for one."""
    inside.append(key)
    if len(inside) > 1:
        wrong.append(f"R23: {inside} are in a pool of one together")
    try:
        return act(tag, key)
    finally:
        inside.remove(key)


@mutation
def unwrite(error: Any, result: Any, tag: str, key: str) -> None:
    Entry.objects.create(label=f"{tag}/undo {key}")


@action
def unact(error: Any, result: Any, tag: str, key: str, fails: bool = False) -> None:
    ran.append(f"{tag}/undo {key}")


@mutation
def note_the_end(workflow_id: Any, result: Any, context: Any) -> None:
    tag = Workflow.objects.get(id=workflow_id).args["tag"]
    Entry.objects.create(label=f"{tag}/the end")


# ── handlers ────────────────────────────────────────────────────────────────────────────────────────────────


@workflow.define(name="interleaving.row", on_complete=note_the_end)
async def in_a_row(step: StepContext, tag: str) -> Any:
    return [
        await step.run_mutation(write, tag, "a"),
        await step.run_action(act, tag, "b"),
        await step.run_mutation(write, tag, "c"),
        await step.run_action(act, tag, "d"),
    ]


@workflow.define(name="interleaving.fan", on_complete=note_the_end)
async def fan(step: StepContext, tag: str) -> Any:
    got = await asyncio.gather(
        step.run_action(act, tag, "b"),
        step.run_action(act, tag, "c"),
        step.using(inline=False).run_mutation(write, tag, "d"),
    )
    return [*got, await step.run_mutation(write, tag, "e"), await step.run_action(act, tag, "f")]


@workflow.define(name="interleaving.events", on_complete=note_the_end)
async def two_events(step: StepContext, tag: str) -> Any:
    first = await step.wait_for_event("go")
    await step.run_mutation(write, tag, "between")
    await step.run_action(act, tag, "beside")
    return [first, await step.wait_for_event("go")]


@workflow.define(name="interleaving.patient", on_complete=note_the_end)
async def patient(step: StepContext, tag: str) -> Any:
    try:
        got = await step.wait_for_event("go", timeout=20)
    except TimeoutError:
        got = "none"
    await step.run_mutation(write, tag, "after")
    return got


@workflow.define(name="interleaving.child", on_complete=note_the_end)
async def child(step: StepContext, tag: str) -> Any:
    await step.run_mutation(write, tag, "in the child")
    return await step.run_action(act, tag, "by the child")


@workflow.define(name="interleaving.parent", on_complete=note_the_end)
async def parent(step: StepContext, tag: str) -> Any:
    got = await step.run_workflow(child, f"{tag} child")
    return [got, await step.run_mutation(write, tag, "after the child")]


@workflow.define(name="interleaving.fickle", on_complete=note_the_end)
async def fickle_parent(step: StepContext, tag: str) -> Any:
    """Gives its child up as soon as an action is done."""
    index, _ = await step.first_completed(
        step.run_workflow(child, f"{tag} child"), step.run_action(act, tag, "beside")
    )
    await step.run_mutation(write, tag, "last")
    return index


@workflow.define(name="interleaving.failing", on_complete=note_the_end)
async def failing(step: StepContext, tag: str) -> Any:
    await step.run_mutation(write, tag, "a")
    await step.run_action(act, tag, "bad", fails=True)


@workflow.define(name="interleaving.saga", on_complete=note_the_end)
async def saga(step: StepContext, tag: str) -> Any:
    await step.using(rollback=unwrite).run_mutation(write, tag, "reserve")
    await step.using(rollback=unact).run_action(act, tag, "book")
    await step.wait_for_event("never")


@workflow.define(name="interleaving.renewed", on_complete=note_the_end)
async def renewed(step: StepContext, tag: str, got: list[Any]) -> Any:
    """Takes one event in each of three lives."""
    got = [*got, await step.wait_for_event("go")]
    await step.run_mutation(write, tag, f"life {len(got)}")
    if len(got) < 3:
        step.continue_as_new(tag, got)
    return got


@single.define(name="interleaving.pooled", on_complete=note_the_end)
async def pooled(step: StepContext, tag: str) -> Any:
    await step.run_action(act_alone, tag, "a")
    got = await asyncio.gather(*(step.run_action(act_alone, tag, key) for key in "bc"))
    await step.run_mutation(write, tag, "d")
    return got


# ── what scenarios do ───────────────────────────────────────────────────────────────────────────────────────

_tags = count(1)


class Stage:
    """One schedule of one scenario.

    Args:
        harness: holds the durable clock, which stands still.
        crew: does the jobs.
        move: passes time, for the durable clock and for the workers' own alike.

    """

    def __init__(self, harness: Harness, crew: Crew, move: Callable[[float], None]) -> None:
        self.harness = harness
        self.crew = crew
        self._move = move
        self.tag = f"tag {next(_tags)}"
        self.time_passed = False

    # ── jobs

    def drain(self) -> int:
        """A worker that was woken."""
        return drain(None)

    def time(self, *seconds: float) -> Job:
        """Time that passes, so many seconds at once; each time a worker is woken, for what has become due by it."""
        self.time_passed = True

        def job() -> None:
            for each in seconds:
                stop(f"{each} s pass")
                self._move(each)
                drain(None)

        return job

    def beats(self, number: int) -> Job:
        """The heartbeat of this process, so many times."""

        def job() -> None:
            for _ in range(number):
                stop("the heart beats")
                heartbeat.beat()

        return job

    # ── afterwards

    def finish(self) -> None:
        """Work off what is due. Where time has passed, leases may have been left behind: let them run out."""
        for _ in range(ROUNDS):
            drain(None)
            if not self.time_passed or not Workflow.objects.in_progress().exists():
                return
            self._move(PAST_A_LEASE)

    def check(self, *runs: Workflow) -> None:
        """All that has to hold, whatever the order was: every workflow has ended, once, with all that it owed."""
        family = [run for given in runs for run in [given, *Workflow.objects.filter(parent=given)]]
        invariants.check(family, self.harness, lambda step: f"{step.args['tag']}/{step.args['key']}")
        assert not wrong, wrong
        assert not self.crew.deadlocks, f"deadlocks: {self.crew.deadlocks}"
        assert not Workflow.objects.exclude(lease_owner=None).exists(), "a lease is left"
        assert not Step.objects.exclude(lease_owner=None).exists(), "a step's lease is left"
        assert not Slot.objects.exclude(lease_owner=None).exists(), "a place in a pool is left"
        assert not Event.objects.exclude(workflow__in=Workflow.objects.all()).exists()
        bodies = Counter(ran)
        for run in family:
            for step in Step.objects.filter(workflow=run, kind="action"):
                runs_of_it = bodies[f"{step.args['tag']}/{step.args['key']}"]
                most = step.attempts if self.time_passed else 1
                assert runs_of_it <= most, (
                    f"P3, P4: {step} ran {runs_of_it} times in {step.attempts} attempts"
                )
                assert runs_of_it or step.state != "completed", f"{step} has completed without its body"

    def rows(self, key: str, tag: str = "") -> int:
        """How many rows there are under a key."""
        return Entry.objects.filter(label=f"{tag or self.tag}/{key}").count()

    def now(self) -> Any:
        return self.harness.now()


def state(run: Workflow) -> str:
    """The state as the database has it."""
    return Workflow.objects.values_list("state", flat=True).get(id=run.id)


def result(run: Workflow) -> Any:
    """What the workflow returned; its state where it didn't."""
    fresh = Workflow.objects.get(id=run.id)
    return fresh.result if fresh.state == "completed" else fresh.state


def later(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)
