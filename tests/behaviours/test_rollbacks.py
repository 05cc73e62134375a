"""Behaviour 34: a workflow that fails, or is canceled with `rollback=True`, undoes what its steps have done."""

import asyncio
import json
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import override_settings

from django_workflow import (
    Canceled,
    Completed,
    Failed,
    InProgress,
    Retry,
    StepContext,
    WorkflowManager,
    action,
    current_step,
    mutation,
    query,
    workflow,
)
from django_workflow.exceptions import (
    ErrorInfo,
    InvalidArguments,
    StepFailed,
    WorkflowFinished,
    WorkflowInProgress,
)
from django_workflow.models import Step, Workflow
from django_workflow.testing import Harness, SimulatedCrash
from tests.behaviours.bodies import act, calls, change, decline, look, rows, write, write_and_decline
from tests.behaviours.code import deploy, deployed
from tests.behaviours.conftest import NOON
from tests.engine.committed import committed
from tests.shop.models import Entry

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LEASE = timedelta(seconds=31)


class Gone(Exception):
    """What a rollback raises that can't undo its step."""


def undo(error: ErrorInfo | None, result: Any, *args: Any) -> None:
    """Marked as nothing, so it runs as an action."""
    calls.append(("undo", error.message if error else None, result, *args))


@mutation
def unwrite(error: ErrorInfo | None, result: int | None, label: str, value: int = 0) -> str:
    calls.append(("unwrite", label, result))
    Entry.objects.create(label=f"un{label}")
    return f"un{label}"


@query
def unlook(error: ErrorInfo | None, result: Any, value: Any) -> int:
    calls.append(("unlook", value))
    return Entry.objects.count()


@query
def unlook_by_writing(error: ErrorInfo | None, result: Any, value: Any) -> None:
    Entry.objects.create(label="a query wrote")


async def undo_async(error: ErrorInfo | None, result: Any, value: Any) -> str:
    await asyncio.sleep(0)
    calls.append(("undo_async", value))
    return "undone"


def undo_badly(error: ErrorInfo | None, result: Any, *args: Any) -> None:
    calls.append(("undo_badly", *args))
    raise Gone("can't")


def undone() -> list[Any]:
    """The first argument of each step that was undone, in the order in which that happened."""
    return [call[3] for call in calls if call[0] == "undo"]


def rollbacks(harness: Harness, run: Workflow) -> list[Step]:
    return [step for step in harness.journal(run) if step.kind == "rollback"]


def through(harness: Harness, run: Workflow) -> Any:
    """Drain, and past what is due later, until it has ended."""
    for _ in range(20):
        harness.drain()
        if workflow.get(run).finished:
            return workflow.status(run)
        harness.advance(LEASE)
    raise AssertionError(f"it has not ended: {workflow.status(run)}")


# ── which, and in which order ───────────────────────────────────────────────────────────────────────────────


def test_34_rollbacks_run_in_reverse_start_order_and_only_for_steps_that_asked(
    workflow_harness: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        undoing = step.using(rollback=undo)
        await undoing.run_mutation(write, "first")
        await step.run_mutation(write, "not asked")
        await undoing.run_action(act, "second")
        await undoing.run_query(look, "third")
        await step.run_action(decline, "no")

    run = deployed.start()
    status = through(workflow_harness, run)
    assert isinstance(status, Failed)
    assert status.error.type == "tests.behaviours.bodies.CardDeclined"
    assert status.error.message == "no"
    assert undone() == ["third", "second", "first"]
    shown = [(step.number, step.name, step.state, step.args) for step in rollbacks(workflow_harness, run)]
    assert shown == [
        (6, "undo", "completed", {"step": 4}),
        (7, "undo", "completed", {"step": 3}),
        (8, "undo", "completed", {"step": 1}),
    ]
    workflow_harness.assert_replays(run)


def test_34_a_workflow_that_completes_undoes_nothing(workflow_harness: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.using(rollback=undo).run_mutation(write, "kept")
        try:
            await step.using(rollback=undo).run_action(decline, "caught")
        except StepFailed:
            return "ended"
        return "never"

    run = deployed.start()
    workflow_harness.drain()
    assert workflow_harness.result(run) == "ended"
    assert undone() == []


def test_34_the_failed_step_is_undone_too_with_its_error_and_no_result(
    workflow_harness: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=undo).run_action(act, "done")
        await step.using(rollback=undo).run_action(decline, "no")

    run = deployed.start()
    assert isinstance(through(workflow_harness, run), Failed)
    assert [call for call in calls if call[0] == "undo"] == [
        ("undo", "no", None, "no"),
        ("undo", None, "done", "done"),
    ]


def undo_by_number(error: ErrorInfo | None, result: Any, *args: Any) -> None:
    calls.append(("failed step", error.step if error else None))


def test_34_the_error_names_the_step_that_it_came_from(workflow_harness: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=undo_by_number).run_action(act, "done")
        await step.using(rollback=undo_by_number).run_action(decline, "no")

    assert isinstance(through(workflow_harness, deployed.start()), Failed)
    assert [call for call in calls if call[0] == "failed step"] == [("failed step", 2), ("failed step", None)]


def test_34_parallel_steps_are_undone_by_when_they_began_not_by_when_they_were_asked_for(
    frozen: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        undoing = step.using(rollback=undo)
        await asyncio.gather(
            undoing.using(run_after=2 * HOUR).run_action(act, "last"),
            undoing.run_action(act, "first"),
            undoing.using(run_after=HOUR).run_action(act, "middle"),
        )
        raise Gone("at last")

    run = deployed.start()
    for _ in range(3):
        frozen.advance(HOUR)
    assert isinstance(through(frozen, run), Failed)
    assert undone() == ["last", "middle", "first"]


@action
def fail_first(value: str) -> str:
    if current_step().attempt == 1:
        raise ConnectionError
    return value


def test_34_a_step_that_was_retried_began_with_its_first_attempt(frozen: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        undoing = step.using(rollback=undo)
        retried = undoing.using(retry=Retry(initial=7200, max_delay=7200, jitter=False))
        await asyncio.gather(
            retried.run_action(fail_first, "began first"),
            undoing.using(run_after=HOUR).run_action(act, "began later"),
        )
        raise Gone("at last")

    run = deployed.start()
    for _ in range(3):
        frozen.advance(HOUR)
    assert isinstance(through(frozen, run), Failed)
    assert undone() == ["began later", "began first"]


def test_34_canceled_steps_are_not_undone(frozen: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        undoing = step.using(rollback=undo)
        await undoing.run_action(act, "settled")
        await asyncio.gather(
            undoing.using(run_after=DAY).run_action(act, "pending"),
            step.using(run_after=HOUR).run_action(decline, "no"),
        )

    run = deployed.start()
    frozen.drain()
    frozen.advance(HOUR)
    assert isinstance(through(frozen, run), Failed)
    assert undone() == ["settled"]
    assert [step.state for step in frozen.journal(run)][:3] == ["completed", "canceled", "failed"]


def test_34_steps_that_never_began_leave_nothing_to_undo(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=undo).run_action(act)

    run = deployed.start()
    assert workflow.cancel(run, "at once", rollback=True) is True
    assert workflow.status(run) == Canceled("at once")
    workflow_harness.advance(DAY)
    assert workflow_harness.journal(run) == []
    assert calls == []


# ── as what, and with what ──────────────────────────────────────────────────────────────────────────────────


def test_34_a_mutation_undoes_in_a_transaction_with_its_row(workflow_harness: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=unwrite).run_mutation(write, "it", value=3)
        raise Gone("at last")

    run = deployed.start()
    through(workflow_harness, run)
    assert calls == [("write", "it"), ("unwrite", "it", 1)]
    assert rows("unit") == 1
    (undoing,) = rollbacks(workflow_harness, run)
    assert (undoing.result, undoing.attempts, undoing.history[0]["outcome"]) == ("unit", 1, "completed")


def test_34_a_query_undoes_as_a_query_and_may_not_write(workflow_harness: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=unlook_by_writing).run_query(look, 1)
        await step.using(rollback=unlook).run_query(look, 2)
        raise Gone("at last")

    run = deployed.start()
    through(workflow_harness, run)
    assert ("unlook", 2) in calls
    fine, wrote = rollbacks(workflow_harness, run)
    assert (fine.state, fine.result) == ("completed", 0)
    assert wrote.state == "failed"
    assert wrote.error is not None
    assert wrote.error.type == "django_workflow.exceptions.QueryWrote"
    assert rows("a query wrote") == 0


def test_34_an_async_function_undoes(workflow_harness: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=undo_async).run_action(act, 1)
        raise Gone("at last")

    run = deployed.start()
    through(workflow_harness, run)
    assert ("undo_async", 1) in calls
    assert rollbacks(workflow_harness, run)[0].result == "undone"


@action
def price(amount: Decimal, *, on: date, tags: tuple[str, ...] = ()) -> Decimal:
    return amount * 2


def unprice(
    error: ErrorInfo | None, result: Decimal | None, amount: Decimal, *, on: date, tags: tuple[str, ...] = ()
) -> None:
    calls.append((error, result, amount, on, tags))


def test_34_arguments_and_result_come_by_the_annotations_of_the_step(
    workflow_harness: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=unprice).run_action(
            price, Decimal("1.50"), on=date(2031, 1, 2), tags=("a", "b")
        )
        await step.using(rollback=unprice).run_action(price, Decimal(1), on=date(2031, 1, 3))
        raise Gone("at last")

    through(workflow_harness, deployed.start())
    assert calls == [
        (None, Decimal(2), Decimal(1), date(2031, 1, 3), ()),
        (None, Decimal("3.00"), Decimal("1.50"), date(2031, 1, 2), ("a", "b")),
    ]
    assert [str(call[1]) for call in calls] == ["2", "3.00"]


@action
def give_nothing(value: str) -> None:
    calls.append(("nothing", value))


def test_34_a_result_of_none_is_a_result_like_any_other(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=undo).run_action(give_nothing, "x")
        raise Gone("at last")

    through(workflow_harness, deployed.start())
    assert calls[-1] == ("undo", None, None, "x")


EXACT = Retry(max_attempts=3, initial=10, base=2, jitter=False)


@action(retry=EXACT)
def undo_at_third(error: ErrorInfo | None, result: Any, value: Any) -> str:
    calls.append(("undo_at_third", current_step().attempt))
    if current_step().attempt < 3:
        raise ConnectionError("not yet")
    return current_step().idempotency_key


def test_34_its_own_retries_hold(frozen: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=undo).run_action(act, "before")
        await step.using(rollback=undo_at_third).run_action(act, "x")
        raise Gone("at last")

    run = deployed.start()
    frozen.drain()
    for seconds in (10, 20):
        frozen.advance(timedelta(seconds=seconds - 0.001))
        assert workflow.get(run).due_at is None  # a backing-off rollback holds no worker
        assert isinstance(workflow.status(run), InProgress)
        assert undone() == []
        frozen.advance(timedelta(seconds=0.001))
    assert isinstance(workflow.status(run), Failed)
    assert [call[1] for call in calls if call[0] == "undo_at_third"] == [1, 2, 3]
    assert undone() == ["before"]
    first, second = rollbacks(frozen, run)
    assert (first.attempts, first.state) == (3, "completed")
    assert first.result != ""
    assert second.created_at >= first.completed_at  # type: ignore[operator]


@action(retry=True)
def undo_with_the_default(error: ErrorInfo | None, result: Any, value: Any) -> None:
    calls.append(("tried", current_step().attempt))
    raise ConnectionError


@override_settings(
    DJANGO_WORKFLOW={"RETRY": Retry(max_attempts=2, initial=1, jitter=False), "RETRY_ACTIONS": True}
)
@pytest.mark.parametrize("rollback", [undo_with_the_default, undo_badly])
def test_34_the_defaults_for_actions_hold_for_it_too(frozen: Harness, rollback: Any) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=rollback).run_action(act, "x")
        raise Gone("at last")

    run = deployed.start()
    frozen.drain()
    frozen.advance(timedelta(seconds=1))
    assert isinstance(workflow.status(run), Failed)
    (step,) = rollbacks(frozen, run)
    assert (step.attempts, step.state) == (2, "failed")


@action(timeout=0.05)
def undo_for_ever(error: ErrorInfo | None, result: Any, value: Any) -> None:
    asyncio.run(asyncio.sleep(60))


def test_34_its_own_timeout_holds(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=undo_for_ever).run_action(act, "x")
        raise Gone("at last")

    run = deployed.start()
    assert isinstance(through(workflow_harness, run), Failed)
    (step,) = rollbacks(workflow_harness, run)
    assert step.error is not None
    assert step.error.type == "django_workflow.exceptions.StepTimedOut"


@workflow.define(name="rollbacks.child")
async def child(step: StepContext, amount: Decimal, fails: bool = False) -> Decimal:
    await step.using(rollback=undo).run_action(act, f"in the child of {amount}")
    if fails:
        await step.run_action(decline, "the child")
    return amount * 2


def undo_child(error: ErrorInfo | None, result: Decimal | None, amount: Decimal, fails: bool = False) -> None:
    calls.append(("undo", error.message if error else None, result, amount))


def test_34_a_step_that_ran_a_child_is_undone_with_the_childs_arguments_and_result(
    workflow_harness: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        undoing = step.using(rollback=undo_child)
        await undoing.run_workflow(child, Decimal("1.5"))
        await undoing.run_workflow(child, Decimal("2.5"), fails=True)

    run = deployed.start()
    status = through(workflow_harness, run)
    assert isinstance(status, Failed)
    assert status.error.message == "the child"
    assert [call for call in calls if call[0] == "undo"] == [
        # The failed child has undone itself before its parent heard of it; the one that completed has not.
        ("undo", None, "in the child of 2.5", "in the child of 2.5"),
        ("undo", "the child", None, Decimal("2.5")),
        ("undo", None, Decimal("3.0"), Decimal("1.5")),
    ]


def test_34_what_is_no_importable_function_is_refused_where_it_is_given(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, which: str) -> str:
        wrong: Any = {"lambda": lambda error, result: None, "text": "undo", "workflow": child}[which]
        try:
            step.using(rollback=wrong)
        except InvalidArguments as refused:
            return str(refused)
        return "taken"

    for which, text in [
        ("lambda", "is a lambda"),
        ("text", "is a str"),
        ("workflow", "is a workflow definition"),
    ]:
        run = deployed.start(which)
        workflow_harness.drain()
        assert text in workflow_harness.result(run)


# ── when one fails ──────────────────────────────────────────────────────────────────────────────────────────


def test_34_a_failing_rollback_stops_the_chain_and_is_shown_and_the_ending_stands(
    workflow_harness: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=undo).run_action(act, 1)
        await step.using(rollback=undo_badly).run_action(act, 2)
        await step.using(rollback=undo).run_action(act, 3)
        raise Gone("the handler's own")

    run = deployed.start()
    status = through(workflow_harness, run)
    assert isinstance(status, Failed)
    assert status.error.message == "the handler's own"
    assert undone() == [3]
    assert calls.count(("undo_badly", 2)) == 1
    done, failed = rollbacks(workflow_harness, run)
    assert (done.state, failed.state, failed.name) == ("completed", "failed", "undo_badly")
    assert failed.error is not None
    assert failed.error.type.endswith("Gone")
    workflow_harness.assert_replays(run)


def test_34_a_failing_rollback_of_a_cancel_ends_it_as_canceled(
    workflow_harness: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=undo_badly).run_action(act, 1)
        await step.sleep(DAY)

    run = deployed.start()
    workflow_harness.drain()
    assert workflow.cancel(run, "enough", rollback=True)
    assert through(workflow_harness, run) == Canceled("enough")
    assert rollbacks(workflow_harness, run)[0].state == "failed"


# ── cancel ──────────────────────────────────────────────────────────────────────────────────────────────────


def deploy_two_and_a_sleep(with_finally: bool = True) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        calls.append("handler")
        try:
            await step.using(rollback=undo).run_action(act, 1)
            await step.using(rollback=undo_at_third).run_action(act, 2)
            await step.wait_for_event("go")
        finally:
            if with_finally:
                await step.run_mutation(write, "finally")
        return "ended"


def test_34_cancel_with_rollback_stays_in_progress_until_all_is_undone(
    frozen: Harness, any_mode: str
) -> None:
    deploy_two_and_a_sleep()
    run = deployed.start()
    frozen.drain()
    assert workflow.cancel(run, "changed my mind", rollback=True) is True
    status = workflow.status(run)
    assert isinstance(status, InProgress)
    assert status.canceling is True
    seen = calls.count("handler")
    frozen.drain()
    assert workflow.cancel(run, "again", rollback=True) is False
    status = workflow.status(run)
    assert isinstance(status, InProgress)
    assert status.canceling is True
    assert [(step.kind, step.name) for step in status.running] == [("rollback", "undo_at_third")]
    frozen.advance(timedelta(seconds=10))
    frozen.advance(timedelta(seconds=20))
    assert workflow.status(run) == Canceled("changed my mind")
    assert undone() == [1]
    assert calls.count("handler") == seen  # its handler never ran again
    assert rows("finally") == 0
    assert workflow.cancel(run, "late", rollback=True) is False
    frozen.assert_replays(run)


def test_34_cancel_with_rollback_of_what_asked_for_none_ends_at_once(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.run_action(act, 1)
        await step.sleep(DAY)

    run = deployed.start()
    workflow_harness.drain()
    assert workflow.cancel(run, "enough", rollback=True) is True
    assert workflow.status(run) == Canceled("enough")
    assert workflow.get(run).due_at is None


@pytest.mark.parametrize("ends", ["canceling", "failing"])
def test_34_a_plain_cancel_ends_it_while_it_unwinds(frozen: Harness, ends: str) -> None:
    deploy_two_and_a_sleep(with_finally=False)
    run = deployed.start()
    frozen.drain()
    if ends == "canceling":
        workflow.cancel(run, "first", rollback=True)
    else:
        workflow.send_event(run, "go", error="no")
    frozen.drain()
    status = workflow.status(run)
    assert isinstance(status, InProgress)
    assert status.canceling is True
    assert workflow.cancel(run, "stop that") is True
    assert workflow.status(run) == Canceled("stop that")
    frozen.advance(DAY)
    assert undone() == []
    assert [step.state for step in rollbacks(frozen, run)] == ["canceled"]
    row = workflow.get(run)
    assert (row.due_at, row.lease_owner, row.error, row.ending) == (None, None, None, None)


def test_34_cancel_with_rollback_while_a_failure_unwinds_changes_nothing(frozen: Harness) -> None:
    deploy_two_and_a_sleep(with_finally=False)
    run = deployed.start()
    frozen.drain()
    workflow.send_event(run, "go", error="no")
    frozen.drain()
    assert workflow.cancel(run, "too late", rollback=True) is False
    frozen.advance(timedelta(seconds=10))
    frozen.advance(timedelta(seconds=20))
    status = workflow.status(run)
    assert isinstance(status, Failed)
    assert status.error.message == "the event 'go' carries an error: no"
    assert undone() == [1]


def test_34_children_in_progress_are_canceled_with_rollback_too(
    workflow_harness: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext, levels: int) -> None:
        await step.using(rollback=undo).run_action(act, f"level {levels}")
        if levels:
            await step.run_workflow(deployed, levels - 1)
        await step.sleep(DAY)

    run = deployed.start(2)
    for _ in range(4):
        workflow_harness.drain()
    family = list(Workflow.objects.order_by("depth"))
    assert [each.depth for each in family] == [0, 1, 2]
    assert workflow.cancel(run, "all of it", rollback=True)
    for each in family:
        through(workflow_harness, each)
    assert [each.status().type for each in Workflow.objects.order_by("depth")] == ["canceled"] * 3
    assert sorted(undone()) == ["level 0", "level 1", "level 2"]
    assert len(undone()) == 3


def test_34_the_action_that_runs_at_the_cancel_is_canceled_and_its_late_result_dropped(
    workflow_harness: Harness,
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=undo).run_action(act, "before")
        await step.using(rollback=undo).run_action(cancel_with_rollback, str(step.workflow_id))
        await step.using(rollback=undo).run_action(act, "after")

    run = deployed.start()
    workflow_harness.drain()
    assert through(workflow_harness, run) == Canceled("from inside")
    assert undone() == ["before"]
    assert [step.state for step in workflow_harness.journal(run)] == ["completed", "canceled", "completed"]


@action
def cancel_with_rollback(workflow_id: str) -> str:
    assert workflow.cancel(workflow_id, "from inside", rollback=True)
    return "a late result"


def test_34_events_to_one_that_unwinds_are_kept_and_refused_when_it_has_ended(frozen: Harness) -> None:
    deploy_two_and_a_sleep(with_finally=False)
    run = deployed.start()
    frozen.drain()
    workflow.cancel(run, "enough", rollback=True)
    frozen.drain()
    workflow.send_event(
        run, "go", "still"
    )  # in progress, so it is taken in: a restart could still wait for it
    seen = calls.count("handler")
    frozen.drain()
    frozen.advance(timedelta(seconds=10))
    frozen.advance(timedelta(seconds=20))
    assert workflow.status(run) == Canceled("enough")
    assert calls.count("handler") == seen
    with pytest.raises(WorkflowFinished):
        workflow.send_event(run, "go")
    workflow.restart(run)
    frozen.drain()
    assert frozen.result(run) == "ended"


def test_34_it_can_neither_be_restarted_nor_cleaned_up_while_it_unwinds(frozen: Harness) -> None:
    deploy_two_and_a_sleep(with_finally=False)
    run = deployed.start()
    frozen.drain()
    workflow.cancel(run, rollback=True)
    frozen.drain()
    with pytest.raises(WorkflowInProgress):
        workflow.restart(run)
    with pytest.raises(WorkflowInProgress):
        workflow.cleanup(run)
    with pytest.raises(WorkflowInProgress):
        workflow.retry_on_complete(run)


@pytest.mark.parametrize("rollback", ["yes", 1, None])
def test_34_cancel_refuses_what_is_neither_true_nor_false(workflow_harness: Harness, rollback: Any) -> None:
    run = deployed.start()
    with pytest.raises(InvalidArguments, match="rollback"):
        workflow.cancel(run, rollback=rollback)
    assert isinstance(workflow.status(run), InProgress)


# ── other ends ──────────────────────────────────────────────────────────────────────────────────────────────


def test_34_a_determinism_violation_unwinds(workflow_harness: Harness, any_mode: str) -> None:
    @deploy
    async def before(step: StepContext) -> None:
        await step.using(rollback=undo).run_action(act, "before")
        await step.sleep(HOUR)

    run = deployed.start()
    workflow_harness.drain()

    @deploy
    async def after(step: StepContext) -> None:
        await step.run_mutation(change, "something else")

    workflow_harness.advance(HOUR)
    status = through(workflow_harness, run)
    assert isinstance(status, Failed)
    assert status.error.type == "django_workflow.exceptions.DeterminismViolation"
    assert undone() == ["before"]


def test_34_a_timeout_of_the_workflow_unwinds_and_no_longer_applies_then(
    frozen: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=undo).run_action(act, "before")
        await step.using(rollback=undo_at_third).run_action(act, "slowly")
        await step.sleep(DAY)

    run = deployed.using(timeout=HOUR).start()
    frozen.drain()
    frozen.advance(HOUR)
    assert isinstance(workflow.status(run), InProgress)
    frozen.advance(timedelta(seconds=10))
    frozen.advance(timedelta(seconds=20))
    status = workflow.status(run)
    assert isinstance(status, Failed)
    assert status.error.type == "django_workflow.exceptions.WorkflowTimedOut"
    assert undone() == ["before"]
    assert rollbacks(frozen, run)[0].history[0]["outcome"] == "failed"
    frozen.assert_replays(run)


def test_34_a_restart_after_a_failure_that_was_undone_can_fail_and_undo_again(
    workflow_harness: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.using(rollback=undo).run_action(act, "first")
        if len(undone()) < 2:
            raise Gone("once more")
        return "ended"

    run = deployed.start()
    assert isinstance(through(workflow_harness, run), Failed)
    assert undone() == ["first"]
    workflow.restart(run, 1)
    assert [step.kind for step in workflow_harness.journal(run)] == []
    assert isinstance(through(workflow_harness, run), Failed)
    assert undone() == ["first", "first"]
    assert [(step.number, step.kind) for step in workflow_harness.journal(run)] == [
        (1, "action"),
        (2, "rollback"),
    ]
    workflow.restart(run, act)
    assert through(workflow_harness, run) == Completed("ended")
    assert [step.kind for step in workflow_harness.journal(run)] == ["action"]


limited = WorkflowManager("rollbacks limited", max_parallelism=1)


@limited.define(name="rollbacks.limited")
async def limited_saga(step: StepContext) -> None:
    await step.using(rollback=unwrite).run_mutation(write, "a")
    await step.using(rollback=unwrite).run_mutation(write, "b")
    raise Gone("at last")


def test_34_rollbacks_take_a_place_in_their_limited_pool_and_give_it_back(
    workflow_harness: Harness, any_mode: str
) -> None:
    runs = [limited_saga.start() for _ in range(3)]
    for run in runs:
        assert isinstance(through(workflow_harness, run), Failed)
    assert (rows("una"), rows("unb")) == (3, 3)
    pools = {step.pool for run in runs for step in rollbacks(workflow_harness, run)}
    assert pools == {"rollbacks limited"}
    from django_workflow.models import Slot

    assert Slot.objects.exclude(lease_owner=None).count() == 0


# ── crashes ─────────────────────────────────────────────────────────────────────────────────────────────────


def count_ending(workflow_id: Any, result: Any, context: Any) -> None:
    Entry.objects.create(label=f"{context} {result.type}")


def deploy_saga(fails: bool) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=unwrite).run_mutation(write, "a")
        await step.using(rollback=undo).run_action(act, "b")
        await step.using(rollback=unwrite).run_mutation(write, "c")
        if fails:
            raise Gone("at last")
        await step.sleep(DAY)


@committed
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("ends", ["failed", "canceled"])
def test_34_p7_a_crash_at_any_commit_of_the_chain_repeats_no_mutation_and_keeps_the_order(
    workflow_harness: Harness, ends: str, after: bool, either_mode: str
) -> None:
    deploy_saga(fails=ends == "failed")
    crashed = True
    point = 0
    past = timedelta(0)
    workflow_harness.freeze(NOON)
    while crashed:
        point += 1
        calls.clear()
        Entry.objects.all().delete()
        run = deployed.using(on_complete=count_ending, context="ended").start()
        if ends == "canceled":
            workflow_harness.drain()
            workflow.cancel(run, "enough", rollback=True)
        workflow_harness.crash_at(point, after=after)
        crashed = False
        for _ in range(12):
            try:
                workflow_harness.drain()
            except SimulatedCrash:
                assert not crashed
                crashed = True
            if workflow.get(run).finished:
                break
            past += LEASE
            workflow_harness.freeze(NOON + past)
        workflow_harness.crash_at(0)
        assert workflow.status(run).type == ends
        assert (rows("a"), rows("c"), rows("una"), rows("unc")) == (1, 1, 1, 1)
        assert rows(f"ended {ends}") == 1
        journal = workflow_harness.journal(run)
        undoing = [json.loads(step.args_text)["step"] for step in journal if step.kind == "rollback"]
        assert undoing == [3, 2, 1]
        order = [call for call in calls if call[0] in ("unwrite", "undo")]
        assert list(dict.fromkeys(call[0] + str(call[1] or call[3]) for call in order)) == [
            "unwritec",
            "undob",
            "unwritea",
        ]
        assert len(order) - 3 <= crashed  # a body that was interrupted ran once more, no other one
    assert point > 5


class Dying:
    """Kills its worker at its first attempt, or at each."""

    def __init__(self, times: int = 1) -> None:
        self.left = times

    def __call__(self, error: Any, result: Any, *args: Any) -> None:
        calls.append(("undo", None, None, *args))
        if self.left:
            self.left -= 1
            raise SimulatedCrash


@action(at_most_once=True)
def undo_once(error: ErrorInfo | None, result: Any, value: Any) -> None:
    raise AssertionError("a stand-in runs in its place")


@committed
@pytest.mark.parametrize(
    ("rollback", "times", "bodies", "outcome"),
    [(undo, 1, 2, "completed"), (undo, 99, 5, "failed"), (undo_once, 1, 1, "failed")],
    ids=["attempted again", "given up", "at most once"],
)
def test_34_18_a_worker_that_dies_in_a_rollback_is_an_interrupted_attempt(
    workflow_harness: Harness, rollback: Any, times: int, bodies: int, outcome: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=rollback).run_action(act, "x")
        raise Gone("at last")

    run = deployed.start()
    with workflow_harness.replace(rollback, with_=Dying(times)):
        for _ in range(12):
            try:
                workflow_harness.advance(LEASE)
            except SimulatedCrash:
                continue
    status = workflow.status(run)
    assert isinstance(status, Failed)
    assert status.error.message == "at last"
    (step,) = rollbacks(workflow_harness, run)
    assert (step.state, step.attempts, len(undone())) == (outcome, bodies, bodies)
    if outcome == "failed":
        assert step.error is not None
        assert step.error.type == "django_workflow.exceptions.StepInterrupted"


def test_34_times_of_a_rollback_are_on_record(frozen: Harness) -> None:
    deploy_saga(fails=True)
    run = deployed.start()
    frozen.advance(HOUR)
    for step in rollbacks(frozen, run):
        assert (step.started_at, step.completed_at) == (NOON + HOUR, NOON + HOUR)
        assert (step.due_at, step.lease_owner) == (None, None)


def test_34_a_loser_that_settled_before_it_was_given_up_is_undone(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        undoing = step.using(rollback=undo)
        await step.first_completed(
            undoing.using(run_after=HOUR).run_action(act, "winner"),
            undoing.using(run_after=DAY).run_action(act, "never began"),
        )
        raise Gone("at last")

    run = deployed.start()
    frozen.drain()
    frozen.advance(HOUR)
    assert isinstance(through(frozen, run), Failed)
    assert undone() == ["winner"]


def test_34_a_failed_mutation_left_nothing_and_is_undone_all_the_same(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=unwrite).run_mutation(write_and_decline, "x")

    run = deployed.start()
    assert isinstance(through(workflow_harness, run), Failed)
    assert (rows("x"), rows("unx")) == (0, 1)
    assert ("unwrite", "x", None) in calls
