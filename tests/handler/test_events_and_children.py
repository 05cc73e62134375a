"""Waits for events and children as a handler asks for them, without a database: what is asked, what comes back."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from django_workflow.exceptions import (
    ChildFailed,
    ErrorInfo,
    EventFailed,
    InvalidArguments,
    LimitReached,
    StepCanceled,
    StepFailed,
    dotted_path,
)
from django_workflow.handler.commands import Answer
from django_workflow.handler.context import StepContext
from django_workflow.handler.events import Event
from django_workflow.manager import workflow
from django_workflow.payloads import encode_error
from django_workflow.states import StepKind, StepState
from tests.handler.bodies import act, double, fail
from tests.handler.drive import BEGAN, Live, assert_replays, event, event_error, live, no_event, replayed

PRICE: Event[Decimal] = Event("handler.price", Decimal)


@workflow.define(name="handler.doubled", version=3)
async def doubled(step: StepContext, value: int, times: int = 1) -> Decimal:
    for _ in range(times):
        value = await step.run_action(double, value)
    return Decimal(value)


@workflow.define(name="handler.fails")
async def fails(step: StepContext) -> None:
    await step.run_action(fail, "the child's")


# ── events ──────────────────────────────────────────────────────────────────────────────────────────────────


async def waits(step: StepContext) -> Any:
    await step.run_action(act, "first")
    return [await step.wait_for_event(PRICE), await step.wait_for_event("go", timeout=timedelta(minutes=1))]


def test_a_wait_is_a_step_that_names_event_and_timeout() -> None:
    with Live(waits) as run:
        run.settle(1)
        before = run.replay.now
        run.deliver(2, event("1.50"))
        first, second = run.replay.commands[1:]
        assert (first.kind, first.name, first.function, first.due_at) == (
            StepKind.EVENT,
            "handler.price",
            "",
            None,
        )
        assert first.args == '{"event":"handler.price","timeout":null}'
        assert second.args == '{"event":"go","timeout":60.0}'
        assert second.due_at == run.replay.now + timedelta(minutes=1)  # from the last answer on
        assert run.replay.now > before
        run.deliver(3, event({"a": [None]}))
        assert run.result == [Decimal("1.50"), {"a": [None]}]
        assert_replays(run, waits)


async def catches(step: StepContext) -> Any:
    try:
        return await step.wait_for_event("go", timeout=5)
    except TimeoutError as error:
        return ["timeout", isinstance(error, StepFailed), step.now() - BEGAN]
    except EventFailed as error:
        return ["failed", error.event, error.number, error.error.type, error.error.message]


def test_a_wait_whose_time_is_over_raises_timeout_error() -> None:
    with Live(catches) as run:
        run.deliver(1, no_event(run.replay.commands[0]), at=BEGAN + timedelta(hours=1))
        assert run.result == ["timeout", True, timedelta(hours=1)]
        assert_replays(run, catches)


@pytest.mark.parametrize("error", [ValueError("no"), TimeoutError("the sender's own")])
def test_an_event_with_an_error_raises_event_failed_even_where_the_error_is_a_timeout(
    error: Exception,
) -> None:
    with Live(catches) as run:
        run.deliver(1, event_error(error))
        assert run.result == ["failed", "go", 1, dotted_path(type(error)), str(error)]
        assert_replays(run, catches)


@pytest.mark.parametrize("call", [("go", "soon"), ("go", float("inf")), ("", None), (None, 1), ("go", 1e15)])
def test_a_wait_that_is_refused_is_no_step(call: Any) -> None:
    async def handler(step: StepContext) -> str:
        with pytest.raises(InvalidArguments):
            await step.wait_for_event(*call)
        return "on"

    run = live(handler)
    assert (run.result, run.asked) == ("on", [])


def test_nothing_is_asked_before_a_wait_is_awaited() -> None:
    async def handler(step: StepContext) -> None:
        waiting = step.wait_for_event("go")
        child = step.run_workflow(doubled, 1)
        await step.run_action(act, 1)
        waiting.close()
        child.close()

    assert live(handler).asked == ['act {"value":1}']


async def race(step: StepContext) -> Any:
    first = await step.first_completed(
        step.wait_for_event("go"), step.sleep(60), step.run_workflow(doubled, 4)
    )
    return [*first, await step.run_action(act, "after")]


@pytest.mark.parametrize(
    ("winner", "result"), [(1, "go"), (2, None), (3, Decimal(8))], ids=["event", "sleep", "child"]
)
def test_10_a_race_goes_by_the_order_of_the_answers_and_cancels_the_losers(winner: int, result: Any) -> None:
    with Live(race) as run:
        assert run.waiting == [1, 2, 3]
        run.settle(winner)
        assert run.replay.canceled == {1, 2, 3} - {winner}
        run.finish()
        assert run.result == [winner - 1, result, "after"]
        assert_replays(run, race)


def test_10_a_losers_late_answer_is_not_delivered() -> None:
    with Live(race) as run:
        run.settle(2).finish()
        journal = run.journal()
    late = [
        step._replace(state=StepState.COMPLETED, result='"late"') if step.number == 1 else step
        for step in journal
    ]
    again = replayed(race, late)
    assert again.result == [1, None, "after"]
    assert [delivery.number for delivery in again.replay.delivered] == [2, 4]


# ── children ────────────────────────────────────────────────────────────────────────────────────────────────


async def has_children(step: StepContext) -> Any:
    return await asyncio.gather(
        step.run_workflow(doubled, 4),
        step.using(name="twice", run_after=60, timeout=5, cluster="reports").run_workflow(
            doubled.using(priority=2), times=2, value=1
        ),
    )


def test_a_child_is_a_step_that_says_what_to_start() -> None:
    with Live(has_children) as run:
        first, second = run.replay.commands
        assert (first.kind, first.name, first.function, first.due_at) == (
            StepKind.WORKFLOW,
            "doubled",
            "handler.doubled",
            None,
        )
        assert (first.args, second.args) == ('{"value":4,"times":1}', '{"value":1,"times":2}')
        assert (second.name, second.due_at, second.timeout, second.cluster) == (
            "twice",
            BEGAN + timedelta(minutes=1),
            5.0,
            "reports",
        )
        assert first.child is not None
        assert second.child is not None
        assert (first.child.version, second.child.options.priority) == (3, 2)
        run.settle(2, 1)
        assert run.result == [Decimal(8), Decimal(4)]
        assert_replays(run, has_children)


def test_a_childs_own_delay_counts_from_where_the_handler_asks_and_the_steps_comes_first() -> None:
    async def handler(step: StepContext) -> Any:
        late = doubled.using(run_after=60)
        await asyncio.gather(
            step.run_workflow(late, 1),
            step.using(run_after=5).run_workflow(late, 2),
            step.run_workflow(doubled.using(run_at=datetime(2030, 1, 1, tzinfo=UTC)), 3),
        )

    with Live(handler) as run:
        assert [command.due_at for command in run.replay.commands] == [
            BEGAN + timedelta(seconds=60),
            BEGAN + timedelta(seconds=5),
            None,  # a moment of the child's own needs no handler's clock
        ]


async def has_failing(step: StepContext) -> Any:
    try:
        await step.run_workflow(fails)
    except ValueError as error:
        return [isinstance(error, ChildFailed), str(error)]
    except StepCanceled as error:
        return ["canceled", str(error)]


def test_29_a_failing_child_raises_its_own_error() -> None:
    run = live(has_failing)
    is_child_failed, text = run.result
    assert is_child_failed is True
    assert "the child's" in text
    assert_replays(run, has_failing)


def test_29_a_canceled_child_raises_step_canceled() -> None:
    told = encode_error(ErrorInfo(dotted_path(StepCanceled), "it was canceled: enough", "", None))
    with Live(has_failing) as run:
        run.deliver(1, Answer(StepState.FAILED, told))
        assert run.result[0] == "canceled"
        assert "enough" in run.result[1]
        assert_replays(run, has_failing)


@pytest.mark.parametrize(("depth", "refused"), [(0, False), (19, False), (20, True), (21, True)])
def test_a_child_below_the_last_level_is_refused_and_is_no_step(depth: int, refused: bool) -> None:
    async def handler(step: StepContext) -> Any:
        try:
            return str(await step.run_workflow(doubled, 1))
        except LimitReached as error:
            return str(error)

    run = live(handler, depth=depth)
    assert ("CHILD_DEPTH_LIMIT = 20" in run.result) is refused
    assert bool(run.asked) is not refused


@pytest.mark.parametrize("wrong", ["no definition", "arguments", "key"])
def test_a_child_that_can_not_be_started_is_no_step(wrong: str) -> None:
    async def handler(step: StepContext) -> str:
        run_workflow: Any = step.run_workflow
        calls: dict[str, Any] = {
            "no definition": lambda: run_workflow(double, 1),
            "arguments": lambda: run_workflow(doubled, "many", tines=1),
            "key": lambda: run_workflow(doubled.using(key="k"), 1),
        }
        try:
            await calls[wrong]()
        except InvalidArguments as error:
            return str(error)
        return "started"

    run = live(handler)
    assert {"no definition": "definition", "arguments": "tines", "key": "key"}[wrong] in run.result
    assert run.asked == []
