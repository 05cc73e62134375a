"""Status, lists, steps, join, the model's own calls and the async twins."""

import asyncio
import threading
from dataclasses import FrozenInstanceError
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction

from django_workflow import Canceled, Completed, Failed, InProgress, StepContext, WorkflowManager, workflow
from django_workflow.exceptions import UsageError, WorkflowNotFound
from django_workflow.models import Step, Workflow
from django_workflow.testing import Harness
from tests.behaviours.bodies import act, decline, look, write
from tests.behaviours.code import deploy, deployed
from tests.behaviours.conftest import NOON
from tests.engine.committed import committed
from tests.shop.workflows import echo

HOUR = timedelta(hours=1)


async def every_ending(step: StepContext, end: str) -> str:
    await step.run_query(look, end)
    if end == "failed":
        await step.run_action(decline, "no")
    if end in ("canceled", "in_progress"):
        await step.using(name="long sleep").sleep(HOUR)
    return end


@pytest.fixture
def four(frozen: Harness) -> dict[str, Workflow]:
    """A workflow in each state."""
    deploy(every_ending)
    runs = {end: deployed.start(end) for end in ("completed", "failed", "canceled", "in_progress")}
    frozen.drain()
    workflow.cancel(runs["canceled"], "why not")
    return runs


def test_status_is_one_of_four_frozen_values(four: dict[str, Workflow]) -> None:
    statuses = {end: workflow.status(run) for end, run in four.items()}
    assert {end: status.type for end, status in statuses.items()} == {end: end for end in four}
    assert statuses["completed"] == Completed("completed")
    assert statuses["canceled"] == Canceled("why not")
    assert isinstance(statuses["failed"], Failed)
    assert statuses["failed"].error.message == "no"
    for status in statuses.values():
        assert status.custom is None
        with pytest.raises(FrozenInstanceError):
            status.custom = 1  # type: ignore[misc]


def test_status_in_progress_lists_the_running_steps(four: dict[str, Workflow]) -> None:
    status = workflow.status(four["in_progress"])
    assert isinstance(status, InProgress)
    assert (status.paused, status.canceling) == (None, False)
    (step,) = status.running
    assert (step.number, step.name, step.kind, step.state, step.attempts) == (
        2,
        "long sleep",
        "sleep",
        "pending",
        0,
    )
    assert (step.started_at, step.due_at) == (None, NOON + HOUR)


@pytest.mark.django_db
def test_status_before_the_first_turn_is_in_progress_with_nothing_running() -> None:
    assert workflow.status(echo.start(1)) == InProgress()


def test_the_model_has_the_managers_calls(four: dict[str, Workflow]) -> None:
    for run in four.values():
        assert run.status() == workflow.status(run)
        assert list(run.steps()) == list(workflow.steps(run.id))
    assert four["in_progress"].cancel("now") is True
    assert four["in_progress"].status() == Canceled("now")
    assert four["failed"].cleanup() is True
    with pytest.raises(WorkflowNotFound):
        four["failed"].status()


def test_the_model_decodes_result_error_and_arguments(four: dict[str, Workflow]) -> None:
    rows = {end: workflow.get(run) for end, run in four.items()}
    assert {end: row.result for end, row in rows.items()} == {
        "completed": "completed",
        "failed": None,
        "canceled": None,
        "in_progress": None,
    }
    assert {end: row.args for end, row in rows.items()} == {end: {"*args": [end]} for end in four}
    assert {end: row.error is not None for end, row in rows.items()} == {end: end == "failed" for end in four}
    assert {end: row.finished for end, row in rows.items()} == {end: end != "in_progress" for end in four}
    assert all((row.completed_at == NOON) == row.finished for row in rows.values())
    assert all(row.started_at == NOON for row in rows.values())


def test_list_filters_by_state_and_definition_newest_first(four: dict[str, Workflow]) -> None:
    other = echo.start(1)
    assert workflow.list().first() == other
    assert list(workflow.list(deployed)) == list(reversed(four.values()))
    assert list(workflow.list("shop.echo")) == [other]
    for end, run in four.items():
        assert list(workflow.list(deployed, state=end)) == [run]
    assert list(workflow.list(echo, "completed")) == []
    assert list(workflow.list("no.such")) == []


def test_querysets_have_the_same_named_selections(four: dict[str, Workflow]) -> None:
    objects = Workflow.objects
    assert [run.id for run in objects.in_progress()] == [four["in_progress"].id]
    assert [run.id for run in objects.completed()] == [four["completed"].id]
    assert [run.id for run in objects.failed()] == [four["failed"].id]
    assert [run.id for run in objects.canceled()] == [four["canceled"].id]
    assert objects.finished().count() == 3
    assert objects.of(deployed).failed().count() == 1
    assert objects.of("behaviours.deployed").count() == 4
    assert workflow.list().finished().of(echo).count() == 0


def test_steps_are_a_queryset_in_journal_order(four: dict[str, Workflow]) -> None:
    steps = workflow.steps(str(four["in_progress"].id))
    assert [step.number for step in steps] == [1, 2]
    assert [step.number for step in steps.unsettled()] == [2]
    assert [step.number for step in steps.settled()] == [1]
    assert steps.filter(kind="sleep").get().name == "long sleep"
    assert Step.objects.count() == 7


def test_ids_are_uuids_of_version_7_that_sort_by_time(frozen: Harness) -> None:
    ids = [echo.start(number).id for number in range(50)]
    assert all(isinstance(each, UUID) and each.version == 7 for each in ids)
    assert ids == sorted(ids)
    assert [run.id for run in workflow.list()] == sorted(ids, reverse=True)


def test_another_manager_is_a_pool_of_its_own_and_starts_and_asks_alike(workflow_harness: Harness) -> None:
    reports = WorkflowManager("reports", cluster="reports")

    async def report(step: StepContext, number: int) -> int:
        await step.run_mutation(write, "report")
        return number

    definition = reports.define(name="behaviours.report")(report)
    run = definition.start(4)
    assert run.cluster == "reports"
    assert reports.start(echo, 1).cluster == ""  # a workflow runs where its definition does
    workflow_harness.drain()
    assert reports.status(run) == workflow.status(run) == Completed(4)


# ── join ────────────────────────────────────────────────────────────────────────────────────────────────────


@committed
def test_join_returns_the_status_of_what_has_finished(workflow_harness: Harness) -> None:
    deploy(every_ending)
    runs = {end: deployed.start(end) for end in ("completed", "failed", "canceled")}
    workflow_harness.drain()
    workflow.cancel(runs["canceled"])
    for end, run in runs.items():
        assert workflow.join(run, timeout=0) == workflow.status(run)
        assert run.join().type == end


@committed
def test_join_waits_for_the_end(workflow_harness: Harness) -> None:
    run = echo.start("later")
    looked = threading.Event()
    statuses: list[Any] = []

    def wait() -> None:
        looked.set()
        statuses.append(workflow.join(run, timeout=30))
        connection.close()

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert looked.wait(20)
    workflow_harness.drain()
    waiter.join(30)
    assert statuses == [Completed("later")]


@committed
@pytest.mark.parametrize("timeout", [0, -1, 0.01, timedelta(milliseconds=5), timedelta(0)], ids=repr)
def test_join_raises_timeout_error_and_changes_nothing(timeout: Any) -> None:
    run = echo.start(1)
    with pytest.raises(TimeoutError, match=str(run.id)):
        workflow.join(run, timeout)
    assert workflow.status(run) == InProgress()


@committed
def test_join_inside_a_transaction_is_a_usage_error() -> None:
    run = echo.start(1)
    workflow.cancel(run)
    with transaction.atomic():
        for timeout in (None, 0, 1, timedelta(0)):
            with pytest.raises(UsageError, match="transaction"):
                workflow.join(run, timeout)
            with pytest.raises(UsageError, match="transaction"):
                run.join(timeout)


# ── async twins ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["start", "status", "cancel", "cleanup", "steps", "join"])
def test_every_blocking_call_of_the_manager_has_a_twin(name: str) -> None:
    assert callable(getattr(workflow, name))
    assert asyncio.iscoroutinefunction(getattr(workflow, f"a{name}"))


@pytest.mark.parametrize("name", ["status", "cancel", "cleanup", "steps", "join"])
def test_every_blocking_call_of_the_model_has_a_twin(name: str) -> None:
    assert callable(getattr(Workflow, name))
    assert asyncio.iscoroutinefunction(getattr(Workflow, f"a{name}", None))


def test_async_twins_do_what_the_calls_do(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, value: Any) -> Any:
        return await step.run_action(act, value)

    async def begin() -> tuple[Workflow, Workflow, Workflow]:
        first = await deployed.astart(1)
        second = await workflow.astart(deployed, 2)
        third = await workflow.astart("behaviours.deployed", 3)
        assert await workflow.astatus(first) == InProgress()
        assert await workflow.acancel(third, reason="no") is True
        assert await workflow.acancel(third) is False
        assert await workflow.astatus(third.id) == Canceled("no")
        return first, second, third

    async def end(first: Workflow, second: Workflow, third: Workflow) -> None:
        assert await workflow.astatus(str(second.id)) == await second.astatus() == Completed(2)
        assert [step.result async for step in await workflow.asteps(second)] == [2]
        assert [step.number async for step in await second.asteps()] == [1]
        assert await second.acancel("too late") is False
        assert await workflow.acleanup(first) is True
        assert await first.acleanup() is False
        with pytest.raises(WorkflowNotFound):
            await workflow.astatus(first)
        with pytest.raises(WorkflowNotFound):
            await workflow.acancel("garbage")

    runs = async_to_sync(begin)()
    workflow_harness.drain()
    async_to_sync(end)(*runs)
    assert [run.id for run in workflow.list().order_by("id")] == [runs[1].id, runs[2].id]


@committed
def test_ajoin_waits_without_a_transaction(workflow_harness: Harness) -> None:
    run = echo.start("x")
    workflow_harness.drain()
    assert async_to_sync(workflow.ajoin)(run, timeout=5) == Completed("x")
    assert async_to_sync(run.ajoin)(5) == Completed("x")
    other = echo.start("y")
    with pytest.raises(TimeoutError):
        async_to_sync(workflow.ajoin)(other, timeout=0)


@pytest.mark.django_db
def test_the_calls_refuse_to_block_an_event_loop() -> None:
    async def blocks() -> None:
        echo.start(1)

    with pytest.raises(Exception, match="async"):
        async_to_sync(blocks)()
    assert Workflow.objects.count() == 0
