"""Issue 3, item 13: each limit at its boundary and one past it: early, by name, and the journal stays as it was."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from django_workflow import Completed, Failed, StepContext, workflow
from django_workflow.exceptions import (
    LimitReached,
    PayloadTooLarge,
    StepFailed,
    dotted_path,
)
from django_workflow.models import Event, Workflow
from django_workflow.testing import Harness
from tests.behaviours.bodies import act, calls, change, rows, write
from tests.behaviours.code import deploy, deployed
from tests.shop.workflows import echo

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("either_mode")]


@contextmanager
def limit(**limits: Any) -> Iterator[None]:
    """These limits, beside what the mode of the test has set."""
    with override_settings(DJANGO_WORKFLOW={**settings.DJANGO_WORKFLOW, **limits}):
        yield


def of_size(size: int) -> str:
    """A text whose JSON has so many bytes."""
    return "x" * (size - 2)


def failure(run: Any) -> tuple[str, str]:
    status = workflow.status(run)
    assert isinstance(status, Failed), status
    return status.error.type, status.error.message


def journal(run: Any) -> list[tuple[int, str, str]]:
    return [(step.number, step.name, step.state) for step in workflow.steps(run)]


# ── VALUE_LIMIT ─────────────────────────────────────────────────────────────────────────────────────────────


def test_value_limit_of_the_arguments_of_a_start() -> None:
    size = len('{"value":""}')
    with limit(VALUE_LIMIT=400):
        echo.start("x" * (400 - size))
        with pytest.raises(PayloadTooLarge) as refused:
            echo.start("x" * (401 - size))
    assert Workflow.objects.count() == 1
    for part in ("the arguments of shop.echo", "401", "400"):
        assert part in str(refused.value)


def produce(size: int) -> str:
    calls.append(size)
    return of_size(size)


@pytest.mark.parametrize("how", ["caught", "uncaught"])
@pytest.mark.parametrize("kind", ["action", "mutation", "query"])
def test_value_limit_of_a_steps_result(workflow_harness: Harness, how: str, kind: str) -> None:
    @deploy
    async def handler(step: StepContext, size: int) -> Any:
        run = {"action": step.run_action, "mutation": step.run_mutation, "query": step.run_query}[kind]
        try:
            return len(await run(produce, size))
        except PayloadTooLarge as error:
            if how == "uncaught":
                raise
            return str(error)

    with limit(VALUE_LIMIT=400):
        fits, exceeds = deployed.start(400), deployed.start(401)
        workflow_harness.drain()
    assert workflow_harness.result(fits) == 398
    assert journal(exceeds) == [(1, "produce", "failed")]
    said = workflow_harness.result(exceeds) if how == "caught" else failure(exceeds)[1]
    for part in ("step 1 (produce)", "401", "400"):
        assert part in said


def test_value_limit_of_a_steps_arguments_leaves_no_step(workflow_harness: Harness) -> None:
    size = len('{"value":""}')

    @deploy
    async def handler(step: StepContext) -> Any:
        await step.run_action(act, "x" * (400 - size))
        try:
            await step.run_action(act, "x" * (401 - size))
        except PayloadTooLarge as error:
            return str(error)

    with limit(VALUE_LIMIT=400):
        run = deployed.start()
        workflow_harness.drain()
        assert "the arguments of step 2 (act)" in workflow_harness.result(run)
        assert journal(run) == [(1, "act", "completed")]
        workflow_harness.assert_replays(run)


def test_value_limit_of_a_workflows_result(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, size: int) -> str:
        return of_size(size)

    with limit(VALUE_LIMIT=400):
        fits, exceeds = deployed.start(400), deployed.start(401)
        workflow_harness.drain()
    assert len(workflow_harness.result(fits)) == 398
    kind, said = failure(exceeds)
    assert kind == dotted_path(PayloadTooLarge)
    assert "the result of behaviours.deployed" in said


def test_value_limit_of_a_custom_status(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        step.set_status(of_size(400))
        try:
            step.set_status(of_size(401))
        except PayloadTooLarge as error:
            return str(error)
        return "?"

    with limit(VALUE_LIMIT=400):
        run = deployed.start()
        workflow_harness.drain()
    assert "the custom status" in workflow_harness.result(run)
    assert workflow.status(run).custom == of_size(400)


def test_value_limit_of_an_event_and_of_a_context() -> None:
    run = deployed.start()
    with limit(VALUE_LIMIT=400):
        run.send_event("e", of_size(400))
        with pytest.raises(PayloadTooLarge, match="value of event 'e'"):
            run.send_event("e", of_size(401))
        deployed.using(context=of_size(400))
        with pytest.raises(PayloadTooLarge, match="context"):
            deployed.using(context=of_size(401))
    assert Event.objects.count() == 1


def test_value_limit_of_continue_as_new(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, text: str) -> str:
        try:
            step.continue_as_new("x" * 500)
        except PayloadTooLarge as error:
            return str(error)

    with limit(VALUE_LIMIT=400):
        run = deployed.start("x")
        workflow_harness.drain()
    assert "continue_as_new" in workflow_harness.result(run)


# ── STEP_LIMIT ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["caught", "uncaught"])
def test_step_limit(workflow_harness: Harness, how: str) -> None:
    @deploy
    async def handler(step: StepContext, steps: int) -> Any:
        try:
            for number in range(steps):
                await step.run_mutation(change, number)
        except LimitReached as error:
            if how == "uncaught":
                raise
            return str(error)
        return "done"

    with limit(STEP_LIMIT=5):
        fits, exceeds = deployed.start(5), deployed.start(6)
        workflow_harness.drain()
    assert workflow_harness.result(fits) == "done"
    assert [state for *_, state in journal(exceeds)] == ["completed"] * 5
    said = workflow_harness.result(exceeds) if how == "caught" else failure(exceeds)[1]
    for part in (str(exceeds.id), "step 6", "STEP_LIMIT = 5", "step.continue_as_new"):
        assert part in said


@pytest.mark.parametrize("kind", ["sleep", "event", "child", "asyncio", "patch"])
def test_step_limit_counts_steps_of_every_kind(workflow_harness: Harness, kind: str) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.run_query(act_as_query)
        try:
            match kind:
                case "sleep":
                    await step.sleep(1)
                case "event":
                    await step.wait_for_event("go", timeout=1)
                case "child":
                    await step.run_workflow(echo, 1)
                case "patch":
                    step.patched("x")
                case _:
                    await asyncio.sleep(1)
        except LimitReached as error:
            return str(error)
        return "?"

    with limit(STEP_LIMIT=1):
        run = deployed.start()
        workflow_harness.drain()
        assert "STEP_LIMIT = 1" in workflow_harness.result(run)
        assert len(journal(run)) == 1
        workflow_harness.assert_replays(run)


def act_as_query() -> None:
    """Any step."""


def test_step_limit_is_no_limit_for_one_that_goes_on_as_new(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, left: int) -> str:
        for _ in range(4):
            await step.run_mutation(write, "many")
        if left:
            step.continue_as_new(left - 1)
        return "done"

    with limit(STEP_LIMIT=5):
        run = deployed.start(3)
        workflow_harness.drain()
    assert workflow_harness.result(run) == "done"
    assert rows("many") == 16


# ── JOURNAL_LIMIT ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["caught", "uncaught"])
def test_journal_limit(workflow_harness: Harness, how: str) -> None:
    @deploy
    async def handler(step: StepContext, last: str) -> Any:
        await step.run_mutation(change, "x" * 50)
        try:
            await step.run_mutation(change, last)
        except LimitReached as error:
            if how == "uncaught":
                raise
            return str(error)
        return "done"

    # What counts: the workflow's arguments, and arguments and results of its steps.
    full = len('{"*args":[""]}') + 2 * len('{"value":""}') + 50 + 52
    with limit(JOURNAL_LIMIT=full + 10):
        fits, exceeds = deployed.start("y" * 5), deployed.start("y" * 6)
        workflow_harness.drain()
        assert workflow_harness.result(fits) == "done"
        assert journal(exceeds) == [(1, "change", "completed")]
        said = workflow_harness.result(exceeds) if how == "caught" else failure(exceeds)[1]
        for part in (
            str(exceeds.id),
            "step 2 (change)",
            f"{full + 12} bytes",
            f"JOURNAL_LIMIT = {full + 10}",
            "ids",
        ):
            assert part in said


# ── CHILD_DEPTH_LIMIT ───────────────────────────────────────────────────────────────────────────────────────


@workflow.define(name="limits.nested")
async def nested(step: StepContext, deeper: int) -> int:
    return 1 + await step.run_workflow(nested, deeper - 1) if deeper else 0


@pytest.mark.parametrize("how", ["caught", "uncaught"])
def test_child_depth_limit(workflow_harness: Harness, how: str) -> None:
    @deploy
    async def handler(step: StepContext, deeper: int) -> Any:
        try:
            return await step.run_workflow(nested, deeper)
        except StepFailed as error:
            if how == "uncaught":
                raise
            return f"{error} {isinstance(error, LimitReached)}"

    with limit(CHILD_DEPTH_LIMIT=3):
        fits, exceeds = deployed.start(2), deployed.start(3)
        workflow_harness.drain()
    assert workflow_harness.result(fits) == 2
    said = workflow_harness.result(exceeds) if how == "caught" else failure(exceeds)[1]
    for part in ("limits.nested", "3 levels below its root", "CHILD_DEPTH_LIMIT = 3", "continue_as_new"):
        assert part in said
    deepest = Workflow.objects.get(depth=3, parent__parent__parent=exceeds)
    assert journal(deepest) == []
    assert not Workflow.objects.filter(depth=4).exists()


# ── PENDING_EVENT_LIMIT ─────────────────────────────────────────────────────────────────────────────────────


def test_pending_event_limit(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.sleep(60)
        return [await step.wait_for_event("e") for _ in range(4)]

    run, other = deployed.start(), deployed.start()
    workflow_harness.drain()
    with limit(PENDING_EVENT_LIMIT=3):
        for number in range(3):
            run.send_event("e", number, key=str(number))
        wakes = workflow.get(run).wakes
        with pytest.raises(LimitReached) as refused:
            run.send_event("e", 3)
        for part in (str(run.id), "3 events", "'e'", "PENDING_EVENT_LIMIT = 3", "wait_for_event"):
            assert part in str(refused.value)
        assert (Event.objects.count(), workflow.get(run).wakes) == (3, wakes)
        assert run.send_event("e", 0, key="0").value == 0  # a repetition is none more
        other.send_event("e", 0)  # the limit is each workflow's own
        workflow_harness.advance(timedelta(minutes=1))
        run.send_event("e", 3)  # the first three are taken
        workflow_harness.drain()
    assert workflow_harness.result(run) == [0, 1, 2, 3]


# ── all of them ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_workflow_that_fails_at_a_limit_can_be_restarted_with_a_higher_one(
    workflow_harness: Harness,
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        for _ in range(3):
            await step.run_mutation(write, "one")
        return "done"

    with limit(STEP_LIMIT=2):
        run = deployed.start()
        workflow_harness.drain()
    assert failure(run)[0] == dotted_path(LimitReached)
    run.restart()
    workflow_harness.drain()
    assert workflow.status(run) == Completed("done")
    assert rows("one") == 3
