"""Behaviours 12 and 14: code that no longer fits its journal, and workers that don't have the code."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings

from django_workflow import Completed, Failed, InProgress, StepContext, workflow
from django_workflow.handler import registry
from django_workflow.testing import Harness
from tests.behaviours.bodies import act, calls, change, decline, double, look, unmarked, write
from tests.behaviours.code import Handler, deploy, deployed
from tests.behaviours.conftest import MODES
from tests.shop.workflows import echo

pytestmark = pytest.mark.usefixtures("either_mode")
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


async def original(step: StepContext) -> str:
    await step.run_query(look, 1)
    await step.run_action(act, 2)
    await step.sleep(HOUR)
    await step.run_mutation(change, 4)
    await step.sleep(DAY)
    return "ended"


async def without_the_first(step: StepContext) -> str:
    await step.run_action(act, 2)
    await step.sleep(HOUR)
    await step.run_mutation(change, 4)
    await step.sleep(DAY)
    return "ended"


async def without_one_in_the_middle(step: StepContext) -> str:
    await step.run_query(look, 1)
    await step.sleep(HOUR)
    await step.run_mutation(change, 4)
    await step.sleep(DAY)
    return "ended"


async def ends_before_the_last(step: StepContext) -> str:
    await step.run_query(look, 1)
    await step.run_action(act, 2)
    await step.sleep(HOUR)
    await step.run_mutation(change, 4)
    return "ended"


async def fails_before_the_last(step: StepContext) -> str:
    await step.run_query(look, 1)
    await step.run_action(act, 2)
    await step.sleep(HOUR)
    await step.run_mutation(change, 4)
    raise ValueError("early")


async def asks_for_nothing(step: StepContext) -> str:
    return "ended"


async def with_a_new_one_between(step: StepContext) -> str:
    await step.run_query(look, 1)
    await step.run_query(look, "new")
    await step.run_action(act, 2)
    await step.sleep(HOUR)
    await step.run_mutation(change, 4)
    await step.sleep(DAY)
    return "ended"


async def with_a_new_first(step: StepContext) -> str:
    await step.sleep(0)
    return await original(step)


async def with_another_kind(step: StepContext) -> str:
    await step.run_query(look, 1)
    await step.run_mutation(change, 2)
    await step.sleep(HOUR)
    await step.run_mutation(change, 4)
    await step.sleep(DAY)
    return "ended"


async def with_another_name(step: StepContext) -> str:
    await step.run_query(look, 1)
    await step.using(name="acted").run_action(act, 2)
    await step.sleep(HOUR)
    await step.run_mutation(change, 4)
    await step.sleep(DAY)
    return "ended"


async def with_another_function(step: StepContext) -> str:
    await step.run_query(look, 1)
    await step.using(name="act").run_action(double, 2)
    await step.sleep(HOUR)
    await step.run_mutation(change, 4)
    await step.sleep(DAY)
    return "ended"


async def with_another_argument(step: StepContext) -> str:
    await step.run_query(look, 1)
    await step.run_action(act, 3)
    await step.sleep(HOUR)
    await step.run_mutation(change, 4)
    await step.sleep(DAY)
    return "ended"


async def with_another_type_of_argument(step: StepContext) -> str:
    await step.run_query(look, True)
    await step.run_action(act, 2)
    await step.sleep(HOUR)
    await step.run_mutation(change, 4)
    await step.sleep(DAY)
    return "ended"


async def with_another_sleep(step: StepContext) -> str:
    await step.run_query(look, 1)
    await step.run_action(act, 2)
    await step.sleep(HOUR + timedelta(seconds=1))
    await step.run_mutation(change, 4)
    await step.sleep(DAY)
    return "ended"


async def with_another_pending_sleep(step: StepContext) -> str:
    await step.run_query(look, 1)
    await step.run_action(act, 2)
    await step.sleep(HOUR)
    await step.run_mutation(change, 4)
    await step.sleep(2 * DAY)
    return "ended"


async def with_steps_swapped(step: StepContext) -> str:
    await step.run_action(act, 2)
    await step.run_query(look, 1)
    await step.sleep(HOUR)
    await step.run_mutation(change, 4)
    await step.sleep(DAY)
    return "ended"


CHANGES: list[tuple[Handler, int, str, str]] = [
    (without_the_first, 1, "query look", "action act"),
    (without_one_in_the_middle, 2, "action act", "sleep"),
    (ends_before_the_last, 5, "sleep", "ended without asking"),
    (fails_before_the_last, 5, "sleep", "ended without asking"),
    (asks_for_nothing, 1, "query look", "ended without asking"),
    (with_a_new_one_between, 2, "action act", "query look"),
    (with_a_new_first, 1, "query look", "sleep"),
    (with_another_kind, 2, "action act", "mutation change"),
    (with_another_name, 2, "action act", "action acted"),
    (with_another_function, 2, "action act", "tests.behaviours.bodies.double"),
    (with_another_argument, 2, '{"value":2}', '{"value":3}'),
    (with_another_type_of_argument, 1, '{"value":1}', '{"value":true}'),
    (with_another_sleep, 3, "3600", "3601"),
    (with_another_pending_sleep, 5, "86400", "172800"),
    (with_steps_swapped, 1, "query look", "action act"),
]


def rows_of(run: Any) -> list[tuple[Any, ...]]:
    return [
        (step.number, step.kind, step.name, step.function, step.args, step.result, step.seq)
        for step in workflow.steps(run)
    ]


@pytest.mark.parametrize(
    "swallow", [None, Exception, BaseException], ids=["plain", "except Exception", "bare except"]
)
def test_12_a_changed_handler_is_a_violation_that_nothing_hides(
    workflow_harness: Harness, swallow: type[BaseException] | None
) -> None:
    @deploy
    async def before_the_change(step: StepContext, which: int) -> str:
        return await original(step)

    runs = [deployed.start(which) for which in range(len(CHANGES))]
    workflow_harness.drain()
    workflow_harness.advance(HOUR)
    assert all(isinstance(workflow.status(run), InProgress) for run in runs)
    before, ran = [rows_of(run) for run in runs], len(calls)

    @deploy
    async def after_the_change(step: StepContext, which: int) -> str:
        if swallow is None:
            return str(await CHANGES[which][0](step))
        try:
            return str(await CHANGES[which][0](step))
        except swallow:
            return "hidden"

    workflow_harness.advance(DAY)
    for (changed, position, recorded, asked), run in zip(CHANGES, runs, strict=True):
        status = workflow.status(run)
        assert isinstance(status, Failed), changed.__name__
        assert status.error.type == "django_workflow.exceptions.DeterminismViolation"
        assert f"step {position} " in status.error.message, changed.__name__
        has, _, wants = status.error.message.partition("but the handler")
        assert recorded in has, changed.__name__
        assert asked in wants, changed.__name__
        assert all(step.state != "pending" for step in workflow_harness.journal(run))
    assert [rows_of(run) for run in runs] == before  # no journal grows, nor changes
    assert len(calls) == ran


def test_12_a_violation_is_not_hidden_by_a_handler_that_goes_on_asking(workflow_harness: Harness) -> None:
    deploy(original)
    run = deployed.start()
    workflow_harness.drain()
    before = rows_of(run)

    @deploy
    async def handler(step: StepContext) -> str:
        for number in range(10):
            try:
                await step.run_mutation(write, f"wrong {number}")
            except BaseException:  # noqa: BLE001, S112  what is shown
                continue
        return "hidden"

    workflow_harness.advance(HOUR)
    status = workflow.status(run)
    assert isinstance(status, Failed)
    assert status.error.type == "django_workflow.exceptions.DeterminismViolation"
    assert rows_of(run) == before


def test_12_a_violation_in_one_branch_of_a_gather_is_not_hidden(workflow_harness: Harness) -> None:
    @deploy
    async def before(step: StepContext) -> Any:
        return await asyncio.gather(step.run_action(act, 1), step.sleep(HOUR), step.sleep(DAY))

    run = deployed.start()
    workflow_harness.drain()

    @deploy
    async def after(step: StepContext) -> Any:
        return await asyncio.gather(
            step.run_action(act, 2), step.sleep(HOUR), step.sleep(DAY), return_exceptions=True
        )

    workflow_harness.advance(HOUR)
    status = workflow.status(run)
    assert isinstance(status, Failed)
    assert status.error.type == "django_workflow.exceptions.DeterminismViolation"


def test_12_code_that_asks_for_the_same_in_other_words_is_no_violation(workflow_harness: Harness) -> None:
    deploy(original)
    run = deployed.start()
    workflow_harness.drain()
    workflow_harness.advance(HOUR)

    @deploy
    async def handler(step: StepContext) -> str:
        for run_step, function, value in ((step.run_query, look, 1), (step.run_action, act, 2)):
            await run_step(function, value=value)
        await asyncio.sleep(0)
        await step.sleep(3600)
        await step.run_mutation(change, 4)
        await step.sleep(timedelta(hours=24))
        return "the same"

    workflow_harness.advance(DAY)
    assert workflow.status(run) == Completed("the same")


def test_12_unstable_arguments_are_not_compared(workflow_harness: Harness) -> None:
    salt = ["first"]

    @deploy
    async def handler(step: StepContext) -> Any:
        got = await step.using(unstable_args=True).run_action(act, salt[0])
        await step.sleep(HOUR)
        return got

    run = deployed.start()
    workflow_harness.drain()
    salt[0] = "second"
    workflow_harness.advance(HOUR)
    assert workflow_harness.result(run) == "first"


@pytest.mark.parametrize("check", [False, True])
def test_12_unstable_arguments_may_differ_from_life_to_life(
    workflow_harness: Harness, check: bool, either_mode: str
) -> None:
    lives: list[int] = []

    @deploy
    async def handler(step: StepContext) -> Any:
        lives.append(1)
        unstable = step.using(unstable_args=True)
        first, second = await asyncio.gather(
            unstable.run_action(act, len(lives)), unstable.run_action(act, -len(lives))
        )
        await unstable.sleep(60 + len(lives))
        return first, second, await unstable.run_action(act, len(lives)) > 1

    with override_settings(DJANGO_WORKFLOW={**MODES[either_mode], "CHECK_DETERMINISM": check}):
        run = deployed.start()
        workflow_harness.drain()
        workflow_harness.advance(HOUR)
    assert workflow_harness.result(run) == [1, -1, True]


def test_12_a_recorded_failure_that_the_code_no_longer_asks_for_is_a_violation(
    workflow_harness: Harness,
) -> None:
    @deploy
    async def before(step: StepContext) -> None:
        try:
            await step.run_action(decline, "no")
        except Exception:  # noqa: BLE001  the old code took it lightly
            await step.sleep(HOUR)

    run = deployed.start()
    workflow_harness.drain()

    @deploy
    async def after(step: StepContext) -> None:
        await step.sleep(HOUR)

    workflow_harness.advance(HOUR)
    status = workflow.status(run)
    assert isinstance(status, Failed)
    assert "action decline" in status.error.message


def test_12_assert_replays_tells_of_a_change_before_a_deploy(workflow_harness: Harness) -> None:
    deploy(original)
    run = deployed.start()
    workflow_harness.drain()
    workflow_harness.assert_replays(run)
    deploy(with_another_argument)
    with pytest.raises(AssertionError, match="step 2"):
        workflow_harness.assert_replays(run)
    assert isinstance(workflow.status(run), InProgress)


@workflow.define(name="behaviours.forgettable")
async def forgettable(step: StepContext, value: Any) -> Any:
    await step.sleep(HOUR)
    await asyncio.gather(step.run_action(act, 1), step.using(run_after=HOUR).run_action(unmarked, 2))
    return value


@pytest.mark.parametrize("moment", ["before its first turn", "while it sleeps", "between parallel steps"])
def test_14_a_worker_that_does_not_know_a_definition_leaves_it_to_others(
    workflow_harness: Harness, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    run = forgettable.start("mine")
    if moment != "before its first turn":
        workflow_harness.drain()
    if moment == "between parallel steps":
        workflow_harness.advance(HOUR)
    before = rows_of(run)
    with monkeypatch.context() as old_deploy:
        old_deploy.delitem(registry._definitions, ("behaviours.forgettable", 1))
        other = echo.start("known")
        workflow_harness.advance(2 * HOUR)
        workflow_harness.advance(2 * HOUR)
        assert isinstance(workflow.status(run), InProgress)
        assert rows_of(run) == before
        assert workflow_harness.result(other) == "known"  # nobody is held up by what is not known
    workflow_harness.drain()
    workflow_harness.advance(2 * HOUR)
    workflow_harness.advance(2 * HOUR)
    assert workflow_harness.result(run) == "mine"


def test_14_a_finished_workflow_is_read_without_its_definition(
    workflow_harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = echo.start({"a": [1, None]})
    workflow_harness.drain()
    monkeypatch.delitem(registry._definitions, ("shop.echo", 1))
    row = workflow.get(run)
    assert row.result == {"a": [1, None]}
    assert row.args == {"value": {"a": [1, None]}}
    assert workflow.status(run) == Completed({"a": [1, None]})
    assert workflow.list("shop.echo").get() == row
    assert workflow.cancel(run) is False
    assert workflow.cleanup(run) is True


def test_14_a_failed_workflow_is_read_without_its_definition(
    workflow_harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.run_action(decline, "no funds")

    run = deployed.start()
    workflow_harness.drain()
    monkeypatch.delitem(registry._definitions, ("behaviours.deployed", 1))
    row = workflow.get(run)
    assert row.error is not None
    assert (row.error.type, row.error.message) == ("tests.behaviours.bodies.CardDeclined", "no funds")
    assert row.result is None
