"""Behaviour 29, and the children's part of 10, 33 and 38: a child is a step of its parent, and ends with it."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings

from django_workflow import (
    Canceled,
    Completed,
    Failed,
    InProgress,
    StepContext,
    WorkflowManager,
    mutation,
    workflow,
)
from django_workflow.exceptions import (
    ChildFailed,
    InvalidArguments,
    LimitReached,
    StepCanceled,
    UsageError,
    WorkflowTimedOut,
    dotted_path,
)
from django_workflow.models import Event, Label, Step, Workflow
from django_workflow.testing import Harness
from tests.behaviours.bodies import CardDeclined, act, as_failure, calls, decline, rows, write
from tests.behaviours.code import deploy, deployed
from tests.behaviours.conftest import NOON

pytestmark = pytest.mark.usefixtures("any_mode")
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass
class Parcel:
    to: str
    weight: Decimal
    items: tuple[str, ...]


@workflow.define(name="children.pack")
async def pack(step: StepContext, to: str, items: frozenset[str]) -> Parcel:
    await step.run_mutation(write, f"packed for {to}")
    return Parcel(to, Decimal("1.50"), tuple(sorted(items)))


@workflow.define(name="children.failing")
async def failing(step: StepContext, message: str) -> None:
    await step.run_action(decline, message)


@workflow.define(name="children.raising")
async def raising(step: StepContext, message: str) -> None:
    raise CardDeclined(message)


@workflow.define(name="children.slow")
async def slow(step: StepContext, value: Any = None, hours: float = 1) -> Any:
    await step.sleep(hours * HOUR)
    await step.run_mutation(write, f"slow {value}")
    return value


@workflow.define(name="children.waits")
async def waits(step: StepContext) -> Any:
    return await step.wait_for_event("go")


@workflow.define(name="children.nested")
async def nested(step: StepContext, levels: int) -> Any:
    """So many levels of children below, and a sleep of a day in the last."""
    if levels:
        return await step.run_workflow(nested, levels - 1)
    await step.sleep(DAY)
    return "the bottom"


@workflow.define(name="children.endless")
async def endless(step: StepContext, depth: int = 0) -> int:
    try:
        return await step.run_workflow(endless, depth + 1)
    except LimitReached:
        return depth


@workflow.define(name="children.versioned", version=1)
async def versioned_1(step: StepContext) -> str:
    return "one"


@workflow.define(name="children.versioned", version=2)
async def versioned_2(step: StepContext) -> str:
    return "two"


reports = WorkflowManager("children.reports", cluster="reports")


@reports.define(name="children.report")
async def report(step: StepContext) -> str:
    return "reported"


def children_of(run: Workflow) -> list[Workflow]:
    return list(Workflow.objects.filter(parent=run).order_by("id"))


def child_of(run: Workflow) -> Workflow:
    (child,) = children_of(run)
    return child


# ── results ─────────────────────────────────────────────────────────────────────────────────────────────────

SEEN: list[Any] = []


def test_29_a_child_is_a_step_and_its_result_is_what_its_annotation_says(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        SEEN.append(await step.run_workflow(pack, "Ann", items=frozenset({"b", "a"})))
        await step.sleep(1)
        return "packed"

    SEEN.clear()
    assert workflow_harness.run(deployed) == Completed("packed")
    assert len(SEEN) >= 2  # live, and on replay
    assert all(each == Parcel("Ann", Decimal("1.50"), ("a", "b")) for each in SEEN)
    assert rows("packed for Ann") == 1
    run = workflow.list(deployed).get()
    packed, _ = workflow_harness.journal(run)
    assert (packed.kind, packed.name, packed.function) == ("workflow", "pack", "children.pack")
    assert (packed.state, packed.attempts) == ("completed", 1)
    child = child_of(run)
    assert (child.parent_id, child.parent_step_id, child.depth) == (run.id, packed.id, 1)
    assert workflow.status(child) == Completed(Parcel("Ann", Decimal("1.50"), ("a", "b")))
    for each in (run, child):
        workflow_harness.assert_replays(each)


def test_29_none_is_a_result(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return [await step.run_workflow(slow), await step.run_workflow(slow, hours=0)]

    assert workflow_harness.run(deployed) == Completed([None, None])


def test_29_the_parent_waits_and_holds_nothing(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await step.run_workflow(slow, "x")

    run = deployed.start()
    frozen.drain()
    status = workflow.status(run)
    assert isinstance(status, InProgress)
    assert [(each.number, each.name, each.kind, each.due_at) for each in status.running] == [
        (1, "slow", "workflow", None)
    ]
    row = workflow.get(run)
    assert (row.due_at, row.lease_owner) == (None, None)
    frozen.advance(HOUR)
    assert frozen.result(run) == "x"


def test_29_replay_starts_no_second_child(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        task = asyncio.create_task(step.run_workflow(slow, "x", 10))
        for number in range(5):
            await step.sleep(HOUR)
            await step.run_action(act, number)
        return await task

    run = deployed.start()
    frozen.drain()
    first = child_of(run).id
    for _ in range(12):
        frozen.advance(HOUR)
    assert frozen.result(run) == "x"
    assert child_of(run).id == first
    assert rows("slow x") == 1


def test_29_a_child_of_a_child(frozen: Harness) -> None:
    run = nested.start(3)
    assert isinstance(workflow.status(run), InProgress)
    frozen.drain()
    assert Workflow.objects.count() == 4
    assert sorted(Workflow.objects.values_list("depth", flat=True)) == [0, 1, 2, 3]
    frozen.advance(DAY)
    assert frozen.result(run) == "the bottom"


def test_9_a_gather_of_children_and_steps(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await asyncio.gather(
            step.run_workflow(slow, "a", 3),
            step.run_action(act, "b"),
            step.run_workflow(slow, "c", 1),
            step.sleep(2 * HOUR),
            *(step.run_workflow(slow, number, 0) for number in range(20)),
        )

    assert workflow_harness.run(deployed) == Completed(["a", "b", "c", None, *range(20)])
    run = workflow.list(deployed).get()
    assert len(children_of(run)) == 22
    workflow_harness.assert_replays(run)


def test_a_child_started_in_a_task_that_nobody_awaits_is_canceled_with_the_parents_end(
    workflow_harness: Harness,
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        task = asyncio.create_task(step.run_workflow(slow, "x"))
        await step.sleep(1)
        assert not task.done()
        return "ended"

    assert workflow_harness.run(deployed) == Completed("ended")
    run = workflow.list(deployed).get()
    assert isinstance(workflow.status(child_of(run)), Canceled)
    workflow_harness.advance(DAY)
    assert rows("slow x") == 0


# ── failures ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("child", [failing, raising])
def test_29_a_failing_child_raises_in_the_parent_live_and_on_replay(
    workflow_harness: Harness, child: Any
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        try:
            await step.run_workflow(child, "no money")
        except CardDeclined as declined:
            error = as_failure(declined).error
            SEEN.append(
                (
                    isinstance(declined, ChildFailed),
                    as_failure(declined).step_name,
                    as_failure(declined).number,
                    error.type,
                    error.message,
                    str(declined),
                    "raise CardDeclined(message)" in str(declined.__cause__),
                )
            )
            await step.sleep(1)
            return "caught"
        return "not raised"

    SEEN.clear()
    assert workflow_harness.run(deployed) == Completed("caught")
    assert len(SEEN) >= 2
    assert len(set(SEEN)) == 1
    is_child_failed, name, number, type_, message, text, has_traceback = SEEN[0]
    assert (is_child_failed, number, type_, message) == (True, 1, dotted_path(CardDeclined), "no money")
    assert has_traceback
    assert name in text
    run = workflow.list(deployed).get()
    assert workflow_harness.journal(run)[0].state == "failed"
    assert isinstance(workflow.status(child_of(run)), Failed)
    workflow_harness.assert_replays(run)


def test_29_a_failure_that_nobody_catches_fails_the_parent_and_its_parent(workflow_harness: Harness) -> None:
    @workflow.define(name="children.between")
    async def between(step: StepContext) -> None:
        await step.run_action(act)
        await step.run_workflow(failing, "no money")

    @deploy
    async def handler(step: StepContext) -> None:
        await step.run_workflow(between)

    status = workflow_harness.run(deployed)
    assert isinstance(status, Failed)
    assert (status.error.type, status.error.message) == (dotted_path(CardDeclined), "no money")
    assert status.error.step == 1
    middle = workflow.status(workflow.list("children.between").get())
    assert isinstance(middle, Failed)
    assert (middle.error.type, middle.error.step) == (dotted_path(CardDeclined), 2)


def test_29_a_child_that_was_canceled_raises_step_canceled(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        try:
            await step.run_workflow(slow, "x")
        except StepCanceled as canceled:
            await step.sleep(1)
            return [type(canceled).__name__, str(canceled), isinstance(canceled, ChildFailed)]

    run = deployed.start()
    frozen.drain()
    assert workflow.cancel(child_of(run), "not needed")
    frozen.drain()
    frozen.advance(SECOND)
    name, text, _ = frozen.result(run)
    assert name == "StepCanceled"
    assert "not needed" in text
    frozen.advance(DAY)
    assert rows("slow x") == 0
    frozen.assert_replays(run)


def test_29_a_child_that_timed_out_raises_what_it_failed_with(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        try:
            await step.using(timeout=MINUTE).run_workflow(slow, "x")
        except WorkflowTimedOut:
            return "timed out"

    assert workflow_harness.run(deployed) == Completed("timed out")
    assert rows("slow x") == 0


@pytest.mark.parametrize("error", ["arguments", "definition", "result"])
def test_29_what_can_not_be_started_is_refused_in_the_handler(workflow_harness: Harness, error: str) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        run_workflow: Any = step.run_workflow
        try:
            if error == "arguments":
                await run_workflow(pack, 7, itms="a")
            elif error == "definition":
                await run_workflow("children.pack", "Ann", frozenset())
            else:
                await run_workflow(pack.using(key="k"), "Ann", frozenset())
        except InvalidArguments as refused:
            return str(refused)

    status = workflow_harness.run(deployed)
    assert isinstance(status, Completed)
    told = {"arguments": ["itms", "items"], "definition": ["children.pack"], "result": ["key"]}[error]
    assert all(each in status.result for each in told)
    assert Workflow.objects.count() == 1


def test_13_so_many_levels_of_children_at_most(workflow_harness: Harness, any_mode: str) -> None:
    mode = {"suspended": {"ALWAYS_SUSPEND": True}, "checked": {"CHECK_DETERMINISM": True}}.get(any_mode, {})
    with override_settings(DJANGO_WORKFLOW={**mode, "CHILD_DEPTH_LIMIT": 3}):
        assert workflow_harness.run(endless) == Completed(3)
    assert Workflow.objects.count() == 4


def test_13_the_depth_limit_names_itself(workflow_harness: Harness) -> None:
    with override_settings(DJANGO_WORKFLOW={"CHILD_DEPTH_LIMIT": 2}):
        status = workflow_harness.run(nested, 5)
    assert isinstance(status, Failed)
    assert status.error.type == dotted_path(LimitReached)
    assert all(text in status.error.message for text in ("CHILD_DEPTH_LIMIT = 2", "step 1 (children.nested)"))
    assert Workflow.objects.count() == 3


# ── ends ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_29_canceling_the_parent_cancels_all_that_is_below(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await asyncio.gather(
            step.run_workflow(nested, 2), step.run_workflow(slow, "x"), step.run_workflow(waits)
        )

    run = deployed.start()
    frozen.drain()
    frozen.freeze(NOON + MINUTE)
    assert Workflow.objects.in_progress().count() == 6
    assert workflow.cancel(run, "enough")
    assert workflow.status(run) == Canceled("enough")
    for child in Workflow.objects.exclude(id=run.id):
        status = workflow.status(child)
        assert isinstance(status, Canceled)
        assert str(child.parent_id) in status.reason
        assert (child.completed_at, child.due_at, child.lease_owner) == (NOON + MINUTE, None, None)
    assert set(Step.objects.values_list("state", flat=True)) == {"canceled"}
    frozen.advance(2 * DAY)
    assert rows("slow x") == 0


def test_29_a_parent_that_fails_or_ends_cancels_what_it_waited_for(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext, how: str) -> Any:
        task = asyncio.create_task(step.run_workflow(nested, 1))
        await step.sleep(HOUR)
        if how == "fail":
            raise ValueError
        if how == "time out":
            await task

    runs = [
        deployed.start("fail"),
        deployed.start("return"),
        deployed.using(timeout=2 * HOUR).start("time out"),
    ]
    frozen.drain()
    frozen.advance(HOUR)
    frozen.advance(HOUR)
    assert [type(workflow.status(run)) for run in runs] == [Failed, Completed, Failed]
    assert Workflow.objects.filter(parent__isnull=False).count() == 6
    assert not Workflow.objects.in_progress().exists()


def test_29_a_child_canceled_before_its_first_turn_never_starts(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await step.using(run_after=HOUR).run_workflow(pack, "Ann", frozenset())

    run = deployed.start()
    frozen.drain()
    workflow.cancel(run)
    frozen.advance(DAY)
    assert rows("packed for Ann") == 0
    assert workflow.get(child_of(run)).started_at is None


def test_29_a_cancel_that_is_rolled_back_left_the_children_alone(frozen: Harness) -> None:
    run = nested.start(2)
    frozen.drain()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        assert workflow.cancel(run)
        raise ZeroDivisionError
    assert Workflow.objects.in_progress().count() == 3
    frozen.advance(DAY)
    assert frozen.result(run) == "the bottom"


def test_10_a_child_that_loses_against_a_sleep_is_canceled(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        winner, value = await step.first_completed(
            step.run_workflow(nested, 1), step.sleep(HOUR), step.run_workflow(slow, "late", 2)
        )
        await step.run_mutation(write, "after the race")
        await step.sleep(DAY)
        return [winner, value]

    run = deployed.start()
    frozen.drain()
    frozen.advance(HOUR)
    assert [type(workflow.status(child)) for child in children_of(run)] == [Canceled, Canceled]
    assert not Workflow.objects.in_progress().exclude(id=run.id).exists()
    for _ in range(3):
        frozen.advance(DAY)
    assert frozen.result(run) == [1, None]
    assert [step.state for step in frozen.journal(run)[:3]] == ["canceled", "completed", "canceled"]
    assert (rows("after the race"), rows("slow late")) == (1, 0)
    frozen.assert_replays(run)


def test_10_a_child_that_wins_and_a_loser_that_had_ended_keep_their_results(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        first = await step.first_completed(
            step.run_workflow(slow, "one"), step.run_workflow(slow, "two"), step.sleep(DAY)
        )
        await step.sleep(HOUR)
        return first

    run = deployed.start()
    frozen.drain()
    frozen.advance(HOUR)
    frozen.advance(HOUR)
    assert frozen.result(run) in ([0, "one"], [1, "two"])
    winner = frozen.result(run)[0]
    journal = frozen.journal(run)
    assert (journal[winner].state, journal[winner].seq) == ("completed", 1)
    loser = journal[1 - winner]
    assert loser.seq is None
    assert loser.state in ("completed", "canceled")
    states = {child.parent_step_id: child.state for child in children_of(run)}
    assert states[loser.id] == loser.state  # the step and its child say the same
    frozen.assert_replays(run)


def test_10_an_asyncio_timeout_around_a_child_cancels_it(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        try:
            async with asyncio.timeout(60):
                await step.run_workflow(slow, "x")
        except TimeoutError:
            return "gave up"

    run = deployed.start()
    frozen.drain()
    frozen.advance(MINUTE)
    assert frozen.result(run) == "gave up"
    assert isinstance(workflow.status(child_of(run)), Canceled)


def test_a_child_that_is_given_up_before_it_was_written_never_was(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        task = asyncio.create_task(step.run_workflow(slow, "x"))
        await asyncio.sleep(0)
        task.cancel()
        return await step.run_action(act, "on")

    assert workflow_harness.run(deployed) == Completed("on")
    run = workflow.list(deployed).get()
    assert [step.state for step in workflow_harness.journal(run)] == ["canceled", "completed"]
    assert children_of(run) == []
    workflow_harness.assert_replays(run)


def test_29_an_event_sent_to_a_child_is_the_childs(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await step.run_workflow(waits)

    run = deployed.start()
    workflow_harness.drain()
    workflow.send_event(run, "go", "the parent's")
    workflow.send_event(child_of(run), "go", "the child's")
    workflow_harness.drain()
    assert workflow_harness.result(run) == "the child's"
    assert Event.objects.unconsumed().get().value == "the parent's"


def test_the_harness_runs_on_while_a_child_sleeps_and_stops_where_only_an_event_helps(
    frozen: Harness,
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.run_workflow(slow, "x", 24)
        return await step.run_workflow(waits)

    assert isinstance(frozen.run(deployed), InProgress)
    assert frozen.now() == NOON + DAY
    workflow.send_event(workflow.list(waits).get(), "go", "at last")
    frozen.drain()
    assert workflow.status(workflow.list(deployed).get()) == Completed("at last")


# ── options ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["step run_after", "step run_at", "child run_after", "child run_at", "both"])
def test_38_a_childs_first_turn_comes_when_it_was_asked_for(frozen: Harness, how: str) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        context, definition = step, pack
        if how in ("step run_after", "both"):
            context = step.using(run_after=HOUR)
        if how == "step run_at":
            context = step.using(run_at=NOON + HOUR)
        if how == "child run_after":
            definition = pack.using(run_after=HOUR)
        if how in ("child run_at", "both"):
            definition = pack.using(run_at=NOON + (HOUR if how == "child run_at" else DAY))
        return (await context.run_workflow(definition, "Ann", frozenset())).to

    run = deployed.start()
    frozen.drain()
    assert workflow.get(child_of(run)).due_at == NOON + HOUR
    frozen.advance(HOUR - SECOND)
    assert rows("packed for Ann") == 0
    frozen.advance(SECOND)
    assert frozen.result(run) == "Ann"
    assert workflow.get(child_of(run)).started_at == NOON + HOUR


def test_38_a_childs_options_are_those_of_the_definition_and_of_the_step(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        definition = slow.using(
            labels={"customer": 42},
            priority=7,
            on_complete=note_end,
            context={"mail": "ann@example.com"},
            timeout=9 * HOUR,
        )
        context = step.using(name="the slow one", cluster="reports", timeout=8 * HOUR)
        return await asyncio.gather(context.run_workflow(definition, "x"), step.run_workflow(definition, "y"))

    run = deployed.using(priority=3).start()
    frozen.drain()
    one, other = children_of(run)
    assert [child.id for child in Workflow.objects.labeled({"customer": 42}).order_by("id")] == [
        one.id,
        other.id,
    ]
    assert (one.priority, one.cluster, one.timeout, one.context) == (
        7,
        "reports",
        8 * 3600,
        {"mail": "ann@example.com"},
    )
    assert (other.cluster, other.timeout) == ("", 9 * 3600)
    assert [step.name for step in frozen.journal(run)] == ["the slow one", "slow"]
    frozen.advance(HOUR)
    assert frozen.result(run) == ["x", "y"]
    assert sorted(calls) == [
        ("ended", "x", "ann@example.com"),
        ("ended", "y", "ann@example.com"),
        ("write", "slow x"),
        ("write", "slow y"),
    ]
    frozen.assert_replays(run)


@mutation
def note_end(workflow_id: Any, result: Any, context: Any) -> None:
    assert isinstance(result, Completed)
    calls.append(("ended", result.result, context["mail"]))


def test_38_a_child_takes_its_parents_priority_and_its_managers_cluster(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return [
            await step.run_workflow(report),
            await step.using(cluster="other").run_workflow(report),
            (await step.run_workflow(pack, "Ann", frozenset())).to,
        ]

    run = deployed.using(priority=3).start()
    frozen.drain()
    assert frozen.result(run) == ["reported", "reported", "Ann"]
    assert [(child.priority, child.cluster) for child in children_of(run)] == [
        (3, "reports"),
        (3, "other"),
        (3, ""),
    ]


@pytest.mark.parametrize("after", [timedelta(days=3_000_000), timedelta.max])
def test_a_child_that_would_start_past_the_calendar_is_refused(frozen: Harness, after: timedelta) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        try:
            await step.run_workflow(slow.using(run_after=after))
        except InvalidArguments as refused:
            return str(refused)

    status = frozen.run(deployed)
    assert isinstance(status, Completed)
    assert "year 9999" in status.result
    assert Workflow.objects.count() == 1


def test_a_child_keeps_the_version_that_it_was_asked_for_by(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return [await step.run_workflow(versioned_1), await step.run_workflow(versioned_2)]

    assert workflow_harness.run(deployed) == Completed(["one", "two"])
    run = workflow.list(deployed).get()
    assert [child.version for child in children_of(run)] == [1, 2]


def test_a_newer_version_of_the_child_is_no_violation_of_the_parent(frozen: Harness) -> None:
    """What was started is on record; a deploy that brings a new version of it changes nothing."""

    @deploy
    async def handler(step: StepContext) -> Any:
        return [await step.using(run_after=HOUR).run_workflow(versioned_1), await step.run_action(act, 1)]

    run = deployed.start()
    frozen.drain()

    @deploy
    async def changed(step: StepContext) -> Any:
        return [await step.using(run_after=HOUR).run_workflow(versioned_2), await step.run_action(act, 1)]

    frozen.advance(HOUR)
    assert frozen.result(run) == ["one", 1]


@pytest.mark.parametrize("change", ["definition", "arguments", "kind"])
def test_12_a_child_that_was_changed_is_a_violation(workflow_harness: Harness, change: str) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.run_workflow(slow, "x")

    run = deployed.start()
    workflow_harness.drain()

    @deploy
    async def changed(step: StepContext) -> Any:
        if change == "definition":
            await step.using(name="slow").run_workflow(waits)
        elif change == "arguments":
            await step.run_workflow(slow, "y")
        else:
            await step.using(name="slow").run_action(act, "x")

    workflow_harness.advance(HOUR)
    status = workflow.status(run)
    assert isinstance(status, Failed)
    assert status.error.type.endswith("DeterminismViolation")
    assert len(children_of(run)) == 1


# ── R19 ─────────────────────────────────────────────────────────────────────────────────────────────────────


@mutation
def meddle(verb: str, workflow_id: str) -> str:
    calls.append((verb, "called"))
    try:
        getattr(workflow, verb)(workflow_id)
    except UsageError as refused:
        return str(refused)
    return "it went through"


@workflow.define(name="children.meddling")
async def meddling(step: StepContext, levels: int, verb: str, ancestor: str) -> str:
    if levels:
        return await step.run_workflow(meddling, levels - 1, verb, ancestor or str(step.workflow_id))
    return await step.run_mutation(meddle, verb, ancestor or str(step.workflow_id))


@pytest.mark.parametrize("verb", ["cancel", "restart", "cleanup"])
@pytest.mark.parametrize("levels", [0, 1, 3])
def test_r19_no_mutation_cancels_restarts_or_deletes_its_own_workflow_or_an_ancestor(
    workflow_harness: Harness, verb: str, levels: int
) -> None:
    run = meddling.start(levels, verb, "")
    workflow_harness.drain()
    told = workflow_harness.result(run)
    assert "action" in told  # what to do instead
    assert (str(run.id) in told) is True
    assert calls == [(verb, "called")]
    assert Workflow.objects.count() == levels + 1


def test_r19_a_mutation_of_the_parent_may_cancel_its_child(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        task = asyncio.create_task(step.run_workflow(slow, "x"))
        await step.sleep(MINUTE)
        await step.run_mutation(cancel_children, str(step.workflow_id))
        try:
            return await task
        except StepCanceled:
            return "canceled it"

    run = deployed.start()
    frozen.drain()
    frozen.advance(MINUTE)
    assert frozen.result(run) == "canceled it"
    assert workflow.status(child_of(run)) == Canceled("by the parent")
    frozen.assert_replays(run)


@mutation
def cancel_children(workflow_id: str) -> None:
    for child in Workflow.objects.filter(parent__id=workflow_id):
        assert workflow.cancel(child, "by the parent")


# ── 33 ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_33_cleanup_deletes_all_that_is_below(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.run_workflow(nested.using(labels={"a": 1}), 3)
        await step.run_workflow(waits.using(labels={"a": 2}))

    other = nested.start(1)
    run = deployed.using(labels={"b": 1}).start()
    workflow_harness.drain()
    workflow_harness.advance(DAY)
    child = workflow.list(waits).get()
    for name in ("go", "left over"):
        workflow.send_event(child, name)
        workflow.send_event(run, name)
    workflow_harness.drain()
    assert workflow.status(run) == Completed(None)
    kept = Step.objects.filter(workflow__in=[other, *children_of(other)]).count()
    assert workflow.cleanup(run) is True
    assert workflow.cleanup(run) is False
    assert set(Workflow.objects.values_list("definition", flat=True)) == {"children.nested"}
    assert Workflow.objects.count() == 2
    assert (Step.objects.count(), Event.objects.count(), Label.objects.count()) == (kept, 0, 0)
