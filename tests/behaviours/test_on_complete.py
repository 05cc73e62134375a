"""Behaviour 35 and P7: `on_complete` takes effect once for each ending, with it, and never changes it."""

import asyncio
import sys
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction

from django_workflow import Canceled, Completed, Failed, InProgress, StepContext, mutation, query, workflow
from django_workflow.exceptions import (
    InvalidArguments,
    NotStorable,
    StepKindMismatch,
    WorkflowInProgress,
    WorkflowNotFound,
)
from django_workflow.models import Workflow
from django_workflow.testing import Harness, SimulatedCrash
from tests.behaviours.bodies import act, calls, decline, rows, write
from tests.behaviours.code import deploy, deployed
from tests.behaviours.conftest import NOON
from tests.engine.committed import committed
from tests.shop.models import Entry, Line
from tests.shop.workflows import echo

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LEASE = timedelta(seconds=31)


def notify(workflow_id: UUID, result: Any, context: Any) -> None:
    calls.append((workflow_id, result, context))
    Entry.objects.create(label=f"notified of {result.type}")


@mutation
def notify_as_a_mutation(workflow_id: UUID, result: Any, context: Any) -> None:
    notify(workflow_id, result, context)


async def notify_async(workflow_id: UUID, result: Any, context: Any) -> None:
    calls.append((workflow_id, result, context))
    await Entry.objects.acreate(label=f"notified of {result.type}")


@query
def ask(workflow_id: UUID, result: Any, context: Any) -> None:
    """Marked as a query, so it is no mutation."""


class Unreachable(Exception):
    """What the one to be notified raises."""


def fail_to_notify(workflow_id: UUID, result: Any, context: Any) -> None:
    notify(workflow_id, result, context)
    if len(calls) <= context:
        raise Unreachable(f"attempt {len(calls)}")


@workflow.define(name="on_complete.defined", on_complete=notify)
async def defined(step: StepContext, end: str = "completed") -> date:
    step.set_status({"at": end})
    if end == "failed":
        await step.run_action(decline, "no")
    if end == "canceled":
        await step.sleep(DAY)
    return date(2031, 1, 2)


def end_as(harness: Harness, end: str, definition: Any = defined) -> Workflow:
    run: Workflow = definition.start(end)
    harness.drain()
    if end == "canceled":
        workflow.cancel(run, "enough")
    assert workflow.status(run).type == end
    return run


# ── what it is told ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("end", ["completed", "failed", "canceled"])
def test_35_it_is_told_how_the_workflow_ended(workflow_harness: Harness, end: str, any_mode: str) -> None:
    run = end_as(workflow_harness, end, defined.using(context={"order": 7}))
    ((workflow_id, result, context),) = [call for call in calls if isinstance(call[0], UUID)]
    assert workflow_id == run.id
    assert context == {"order": 7}
    assert result == workflow.status(run)
    assert result.custom == {"at": end}
    match result:
        case Completed():
            assert result.result == date(2031, 1, 2)  # by the annotation
        case Failed():
            assert (result.error.message, result.error.step) == ("no", 1)
        case Canceled():
            assert result.reason == "enough"
    assert rows(f"notified of {end}") == 1
    assert workflow.get(run).on_complete_error is None


@pytest.mark.parametrize("function", [notify, notify_as_a_mutation, notify_async])
@pytest.mark.parametrize("end", ["completed", "canceled"])
def test_35_given_at_the_start_it_takes_the_place_of_the_definitions(
    workflow_harness: Harness, function: Any, end: str
) -> None:
    run = end_as(workflow_harness, end, defined.using(on_complete=function))
    assert [call[0] for call in calls] == [run.id]
    assert calls[0][2] is None
    assert rows(f"notified of {end}") == 1


def test_35_without_one_nothing_is_called(workflow_harness: Harness) -> None:
    deployed.start()
    workflow_harness.drain()
    assert calls == []


@pytest.mark.parametrize(
    ("wrong", "text"),
    [(lambda *_: None, "is a lambda"), ("notify", "is a str"), (defined, "workflow definition")],
    ids=["lambda", "text", "definition"],
)
def test_35_what_no_worker_could_import_is_refused_where_it_is_given(wrong: Any, text: str) -> None:
    with pytest.raises(InvalidArguments, match=text):
        workflow.define(name="on_complete.refused", on_complete=wrong)(defined.handler)
    with pytest.raises(InvalidArguments, match=text):
        defined.using(on_complete=wrong)


def test_35_a_function_inside_of_another_is_refused() -> None:
    def nested(workflow_id: UUID, result: Any, context: Any) -> None: ...

    with pytest.raises(InvalidArguments, match="inside another function"):
        defined.using(on_complete=nested)


def test_35_what_is_marked_as_no_mutation_is_refused() -> None:
    with pytest.raises(StepKindMismatch):
        defined.using(on_complete=ask)
    with pytest.raises(StepKindMismatch):
        defined.using(on_complete=act)


def test_35_a_context_that_can_not_be_stored_is_refused() -> None:
    with pytest.raises(NotStorable):
        defined.using(context=object())


# ── once for each ending ────────────────────────────────────────────────────────────────────────────────────


def test_35_it_is_called_for_a_child_and_for_its_parent(workflow_harness: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        ended = await step.run_workflow(defined.using(context="child"), "completed")
        return str(ended)

    run = deployed.using(on_complete=notify, context="parent").start()
    workflow_harness.drain()
    workflow_harness.drain()
    assert workflow.status(run).type == "completed"
    assert [call[2] for call in calls] == ["child", "parent"]


def test_35_it_is_called_for_a_child_that_is_canceled_with_its_parent(
    workflow_harness: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await step.run_workflow(defined.using(context="child"), "canceled")

    run = deployed.using(on_complete=notify, context="parent").start()
    workflow_harness.drain()
    assert workflow.cancel(run, "enough")
    assert sorted((call[2], call[1].type) for call in calls) == [
        ("child", "canceled"),
        ("parent", "canceled"),
    ]
    workflow.cancel(run, "again")
    workflow_harness.advance(DAY)
    assert len(calls) == 2


def test_35_a_restart_leads_to_another_ending_and_another_call(
    workflow_harness: Harness, any_mode: str
) -> None:
    run = end_as(workflow_harness, "completed")
    workflow.restart(run)
    assert len(calls) == 1
    workflow_harness.drain()
    assert [call[1].type for call in calls] == ["completed"] * 2
    assert rows("notified of completed") == 2


@pytest.mark.parametrize("cancels", [False, True])
def test_35_after_rollbacks_it_is_called_once_they_have_ended(
    workflow_harness: Harness, cancels: bool, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=undo).run_action(act, 1)
        if cancels:
            await step.sleep(DAY)
        await step.run_action(decline, "no")

    run = deployed.using(on_complete=notify, context="ended").start()
    workflow_harness.drain()
    if cancels:
        workflow.cancel(run, "enough", rollback=True)
        assert not [call for call in calls if call[-1] == "ended"]
        workflow_harness.drain()
    assert [call[0] for call in calls[-2:]] == ["undone", run.id]
    assert calls[-1][1] == workflow.status(run)
    assert workflow.status(run).type == ("canceled" if cancels else "failed")


def undo(error: Any, result: Any, value: Any) -> None:
    calls.append(("undone", value))


def test_35_of_a_violation_and_of_a_timeout_it_is_told_too(frozen: Harness) -> None:
    @deploy
    async def before(step: StepContext) -> None:
        await step.sleep(HOUR)

    changed = deployed.using(on_complete=notify).start()
    late = deployed.using(on_complete=notify, timeout=60).start()
    frozen.drain()
    frozen.advance(timedelta(seconds=60))
    assert calls[0][:2] == (late.id, workflow.status(late))
    assert calls[0][1].error.type.endswith("WorkflowTimedOut")

    @deploy
    async def after(step: StepContext) -> None:
        await step.run_action(act)

    frozen.advance(HOUR)
    assert calls[1][0] == changed.id
    assert calls[1][1].error.type.endswith("DeterminismViolation")


def test_35_p7_in_a_cancel_it_runs_in_the_callers_transaction(workflow_harness: Harness) -> None:
    run = defined.start("canceled")
    workflow_harness.drain()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        assert workflow.cancel(run) is True
        assert rows("notified of canceled") == 1
        raise ZeroDivisionError
    assert isinstance(workflow.status(run), InProgress)
    assert rows("notified of canceled") == 0
    with transaction.atomic():
        assert workflow.cancel(run) is True
    assert rows("notified of canceled") == 1
    assert len(calls) == 2  # called twice, of which one counts


# ── when it fails ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("end", ["completed", "failed", "canceled"])
def test_35_what_it_raises_is_stored_and_can_be_run_again_and_the_ending_stands(
    workflow_harness: Harness, end: str, any_mode: str
) -> None:
    definition = defined.using(on_complete=fail_to_notify, context=99)
    run = end_as(workflow_harness, end, definition)
    ended = workflow.status(run)
    error = workflow.get(run).on_complete_error
    assert error is not None
    assert error.type == "tests.behaviours.test_on_complete.Unreachable"
    assert rows(f"notified of {end}") == 0  # what it wrote is gone
    completed_at = workflow.get(run).completed_at

    count = len(calls)
    assert workflow.retry_on_complete(run) is False
    error = workflow.get(run).on_complete_error
    assert error is not None
    assert error.message == f"attempt {count + 1}"
    assert rows(f"notified of {end}") == 0

    Workflow.objects.filter(id=run.id).update(context_text="0")
    assert run.retry_on_complete() is True
    assert workflow.get(run).on_complete_error is None
    assert rows(f"notified of {end}") == 1
    assert calls[-1][1] == ended == workflow.status(run)
    assert workflow.get(run).completed_at == completed_at

    assert workflow.retry_on_complete(run) is False  # nothing to run again
    assert rows(f"notified of {end}") == 1
    assert len([call for call in calls if isinstance(call[0], UUID)]) == 3


def test_35_after_rollbacks_what_it_raises_is_stored_too(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=undo).run_action(act, 1)
        await step.run_action(decline, "no")

    run = deployed.using(on_complete=fail_to_notify, context=99).start()
    workflow_harness.drain()
    assert isinstance(workflow.status(run), Failed)
    error = workflow.get(run).on_complete_error
    assert error is not None
    assert error.type.endswith("Unreachable")
    assert rows("notified of failed") == 0


def test_35_retry_is_refused_while_it_runs_and_for_nobody(workflow_harness: Harness) -> None:
    run = defined.start("canceled")
    with pytest.raises(WorkflowInProgress):
        workflow.retry_on_complete(run)
    with pytest.raises(WorkflowNotFound):
        workflow.retry_on_complete("0190163d-8694-739b-aea5-966c26f8ad91")
    assert calls == []


def test_35_a_restart_forgets_the_error(workflow_harness: Harness) -> None:
    run = end_as(workflow_harness, "completed", defined.using(on_complete=fail_to_notify, context=1))
    assert workflow.get(run).on_complete_error is not None
    workflow.restart(run)
    assert workflow.get(run).on_complete_error is None
    workflow_harness.drain()
    assert workflow.get(run).on_complete_error is None
    assert rows("notified of completed") == 1


def for_a_while(workflow_id: UUID, result: Any, context: Any) -> None:
    calls.append("for a while")


@pytest.mark.parametrize("end", ["completed", "canceled"])
def test_35_one_that_can_not_be_imported_any_more_is_its_own_error(
    workflow_harness: Harness, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = defined.using(on_complete=for_a_while).start(end)
    with monkeypatch.context() as patch:
        patch.delattr(sys.modules[__name__], "for_a_while")
        workflow_harness.drain()
        if end == "canceled":
            workflow.cancel(run)
    assert workflow.status(run).type == end
    error = workflow.get(run).on_complete_error
    assert error is not None
    assert error.type == "builtins.ImportError"
    assert "for_a_while" in error.message
    assert workflow.retry_on_complete(run) is True
    assert calls == ["for a while"]


def swallow(workflow_id: UUID, result: Any, context: Any) -> None:
    Entry.objects.create(label="swallowed")
    try:
        Entry.objects.create(id=Entry.objects.get(label="swallowed").pk)
    except Exception:  # noqa: BLE001  that is what this function is there for
        calls.append("swallowed")


def test_35_13_an_error_of_the_database_that_it_swallows_takes_its_writes_with_it(
    workflow_harness: Harness,
) -> None:
    run = defined.using(on_complete=swallow).start()
    workflow_harness.drain()
    assert isinstance(workflow.status(run), Completed)
    assert calls == ["swallowed"]
    error = workflow.get(run).on_complete_error
    assert error is not None
    assert "caught an error of the database" in error.message
    assert rows("swallowed") == 0


def dangle(workflow_id: UUID, result: Any, context: Any) -> None:
    calls.append("dangled")
    Entry.objects.create(label="dangled")
    Line.objects.create(entry_id=10**6 if context == "dangle" else Entry.objects.create(label="other").pk)


@committed
@pytest.mark.parametrize("end", ["completed", "failed", "canceled", "rolled back"])
def test_35_r14_a_commit_that_is_refused_for_what_it_wrote_is_its_own_error(
    workflow_harness: Harness, end: str, either_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.run_mutation(write, "before")
        await step.using(rollback=undo if end == "rolled back" else None).run_action(act, "acted")
        if end == "canceled":
            await step.sleep(DAY)
        if end != "completed":
            await step.run_action(decline, "no")

    run = deployed.using(on_complete=dangle, context="dangle").start()
    for _ in range(3):
        workflow_harness.drain()
    if end == "canceled":
        assert workflow.cancel(run, "enough") is True
    assert workflow.status(run).type == {"rolled back": "failed"}.get(end, end)
    error = workflow.get(run).on_complete_error
    assert error is not None
    assert error.type == "django.db.utils.IntegrityError"
    assert (rows("before"), rows("dangled"), Line.objects.count()) == (1, 0, 0)
    assert calls.count(("act", "acted")) == 1  # R11: what came before did not run again

    assert workflow.retry_on_complete(run) is False
    assert workflow.get(run).on_complete_error is not None
    Workflow.objects.filter(id=run.id).update(context_text='"fine"')
    assert workflow.retry_on_complete(run) is True
    assert (rows("dangled"), Line.objects.count()) == (1, 1)


@committed
@pytest.mark.parametrize("how", ["cancel", "failure", "given up"])
def test_35_r14_a_childs_that_is_refused_with_its_parents_commit_keeps_nobody_from_ending(
    workflow_harness: Harness, how: str
) -> None:
    dangling = defined.using(on_complete=dangle, context="dangle")

    @deploy
    async def handler(step: StepContext) -> str:
        child = step.run_workflow(dangling, "canceled")
        if how == "given up":
            index, _ = await step.first_completed(step.sleep(60), child)
            await step.sleep(60)
            return f"branch {index}"
        await asyncio.gather(child, step.using(run_after=60).run_action(decline, "no"))
        return "never"

    run = deployed.using(on_complete=notify, context="parent").start()
    for _ in range(3):
        workflow_harness.drain()
    if how == "cancel":
        assert workflow.cancel(run, "enough") is True
    for _ in range(4):
        workflow_harness.advance(timedelta(seconds=60))
    assert (
        workflow.status(run).type == {"cancel": "canceled", "failure": "failed", "given up": "completed"}[how]
    )
    (child,) = Workflow.objects.filter(parent=run)
    assert workflow.status(child).type == "canceled"
    error = child.on_complete_error
    assert error is not None
    assert error.type == "django.db.utils.IntegrityError"
    assert rows("dangled") == 0


# ── what it may do ──────────────────────────────────────────────────────────────────────────────────────────


def go_on(workflow_id: UUID, result: Any, context: Any) -> None:
    echo.using(key=f"after {workflow_id}").start(7)
    workflow.send_event(context, "ended", str(workflow_id))


@pytest.mark.parametrize("end", ["completed", "failed", "canceled"])
def test_35_it_may_start_workflows_and_send_events(
    workflow_harness: Harness, end: str, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await step.wait_for_event("ended")

    waiting = deployed.start()
    workflow_harness.drain()
    run = end_as(workflow_harness, end, defined.using(on_complete=go_on, context=str(waiting.id)))
    workflow_harness.drain()
    assert workflow.get(run).on_complete_error is None
    assert workflow_harness.result(waiting) == str(run.id)
    assert workflow_harness.result(workflow.list("shop.echo").get()) == 7


def turn_back(workflow_id: UUID, result: Any, context: Any) -> None:
    calls.append("tried")
    getattr(workflow, context)(workflow_id)


@pytest.mark.parametrize("end", ["completed", "failed", "canceled"])
@pytest.mark.parametrize("verb", ["cancel", "restart", "cleanup"])
def test_35_r19_it_can_not_turn_its_own_ending_back(workflow_harness: Harness, end: str, verb: str) -> None:
    run = end_as(workflow_harness, end, defined.using(on_complete=turn_back, context=verb))
    error = workflow.get(run).on_complete_error
    assert error is not None
    assert error.type == "django_workflow.exceptions.UsageError"
    assert f"on_complete of workflow {run.id} can't" in error.message
    assert calls.count("tried") == 1


def cancel_the_other(workflow_id: UUID, result: Any, context: Any) -> None:
    calls.append(workflow_id)
    others = Workflow.objects.in_progress().exclude(id=workflow_id)
    for other in others:
        workflow.cancel(other, "one of us")


def test_35_r19_two_that_cancel_each_other_both_end(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, ends: bool) -> None:
        if not ends:
            await step.sleep(DAY)

    quick = deployed.using(on_complete=cancel_the_other, priority=-1).start(True)
    other = deployed.using(on_complete=cancel_the_other).start(False)
    workflow_harness.drain()
    workflow_harness.advance(LEASE)
    assert workflow.status(other) == Canceled("one of us")
    assert workflow.status(quick) == Completed(None)
    # The other's was refused what it tried: to cancel the one within whose ending it ran.
    assert workflow.get(quick).on_complete_error is None
    error = workflow.get(other).on_complete_error
    assert error is not None
    assert error.type == "django_workflow.exceptions.UsageError"


# ── crashes ─────────────────────────────────────────────────────────────────────────────────────────────────


@committed
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("end", ["completed", "failed"])
def test_35_p7_a_crash_at_any_commit_leaves_one_ending_and_one_effect(
    workflow_harness: Harness, end: str, after: bool, either_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.run_mutation(write, "a")
        await step.run_action(act, "b")
        if end == "failed":
            raise Unreachable
        return "ended"

    workflow_harness.freeze(NOON)
    past, point, crashed = timedelta(0), 0, True
    while crashed:
        point += 1
        crashed = False
        Entry.objects.all().delete()
        run = deployed.using(on_complete=notify).start()
        workflow_harness.crash_at(point, after=after)
        for _ in range(4):
            try:
                workflow_harness.drain()
            except SimulatedCrash:
                crashed = True
            past += LEASE
            workflow_harness.freeze(NOON + past)
        workflow_harness.crash_at(0)
        assert workflow.status(run).type == end
        assert (rows("a"), rows(f"notified of {end}")) == (1, 1)
    assert point > 3


@committed
def test_35_p7_a_crash_at_any_commit_of_a_cancel_leaves_both_or_neither(workflow_harness: Harness) -> None:
    for after in (False, True):
        run = defined.start("canceled")
        workflow_harness.drain()
        workflow_harness.crash_at(1, after=after)
        with pytest.raises(SimulatedCrash):
            workflow.cancel(run)
        workflow_harness.crash_at(0)
        assert (workflow.status(run).type == "canceled") is after
        assert rows("notified of canceled") == after
