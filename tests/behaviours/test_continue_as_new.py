"""Behaviour 40: `continue_as_new` keeps id, key, labels and unconsumed events, and drops the journal."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_workflow import Completed, Failed, InProgress, StepContext, workflow
from django_workflow.engine.drain import drain
from django_workflow.exceptions import InvalidArguments, KeyConflict
from django_workflow.handler import registry
from django_workflow.models import Event, Step, Workflow
from django_workflow.testing import Harness
from tests.behaviours import lives
from tests.behaviours.bodies import calls, rows
from tests.behaviours.code import deploy, deployed
from tests.behaviours.lives import book, charge, child, faults, keys, row, ship, states

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    lives.forget()
    yield
    lives.forget()


@workflow.define(name="continuing.counter")
async def counter(step: StepContext, left: int, total: int = 0) -> int:
    total += len(await step.run_mutation(book, f"{left} left"))
    if left:
        step.continue_as_new(left - 1, total=total)
    return total


def test_40_a_fresh_journal_under_the_same_id_with_new_arguments(
    workflow_harness: Harness, any_mode: str
) -> None:
    run = counter.start(3)
    workflow_harness.drain()
    assert workflow_harness.result(run) == 4 * len("booked 0 left")
    assert [step.args["label"] for step in workflow_harness.journal(run)] == ["0 left"]
    assert [rows(f"{left} left") for left in range(4)] == [1, 1, 1, 1]
    assert (row(run).args, row(run).generation) == ({"left": 0, "total": 3 * len("booked 0 left")}, 3)
    workflow_harness.assert_replays(run)


def test_40_key_labels_and_options_stay_and_the_key_goes_by_the_first_arguments(
    workflow_harness: Harness, any_mode: str
) -> None:
    options = counter.using(
        key="one", labels={"n": 1}, priority=3, context={"c": 1}, on_complete=lives.told, timeout=DAY
    )
    run = options.start(2)
    workflow_harness.drain()
    assert isinstance(workflow.status(run), Completed)
    after = row(run)
    for column in ("key", "key_digest", "labels_text", "priority", "context_text", "on_complete", "timeout"):
        assert getattr(after, column) == getattr(run, column)
    assert after.created_at == run.created_at
    assert workflow.list(labels={"n": 1}).get().id == run.id
    assert options.start(2).id == run.id
    with pytest.raises(KeyConflict):
        options.start(0)  # what it runs with now is not what it was started with
    assert lives.endings == [("completed", {"c": 1})]


def test_40_unconsumed_events_stay_and_consumed_ones_stay_consumed(
    workflow_harness: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext, got: list[Any]) -> Any:
        got = [*got, await step.wait_for_event("e")]
        if len(got) < 4:
            step.continue_as_new(got)
        return got

    run = deployed.start([])
    for value in (1, 2, 3):
        workflow.send_event(run, "e", value, key=f"key {value}")
    workflow_harness.drain()
    assert isinstance(workflow.status(run), InProgress)
    assert not Event.objects.filter(workflow_id=run.id).unconsumed().exists()
    workflow.send_event(run, "e", "again", key="key 1")  # event keys still tell a repetition
    workflow_harness.drain()
    assert isinstance(workflow.status(run), InProgress)
    workflow.send_event(run, "e", 4)
    workflow_harness.drain()
    assert workflow_harness.result(run) == [1, 2, 3, 4]
    assert Event.objects.filter(workflow_id=run.id).count() == 4
    assert workflow.cleanup(run) is True
    assert not Event.objects.exists()


def test_40_children_are_canceled_still_found_and_deleted_with_their_parent(
    frozen: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext, first: bool) -> Any:
        if first:
            done = await step.run_workflow(child, "done")
            asyncio.ensure_future(step.run_workflow(child, "slow"))  # noqa: RUF006  left behind on purpose
            await step.sleep(60)
            step.continue_as_new(False)
            return done
        return await step.run_workflow(child, "second life")

    run = deployed.start(True)
    frozen.drain()
    frozen.advance(timedelta(seconds=60))
    assert frozen.result(run) == "booked second life"
    found = Workflow.objects.filter(parent_id=run.id).order_by("id")
    assert [each.state for each in found] == ["completed", "canceled", "completed"]
    assert [each.parent_step_id is None for each in found] == [True, True, False]
    assert {each.state for each in Workflow.objects.filter(parent_id=found[1].id)} == {"canceled"}
    assert f"{run.id}, went on as new" in found[1].reason
    frozen.assert_replays(run)
    assert workflow.cleanup(run) is True
    assert Workflow.objects.count() == 0
    assert Step.objects.count() == 0


def test_40_a_child_goes_on_as_new_and_its_parent_gets_the_last_result(
    frozen: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await asyncio.gather(step.run_workflow(counter, 2), step.run_workflow(counter, 0))

    run = deployed.start()
    frozen.drain()
    assert frozen.result(run) == [39, 13]
    frozen.assert_replays(run)


@pytest.mark.parametrize("where", ["gather", "task group", "except", "bare except", "finally", "timeout"])
def test_40_it_ends_the_life_wherever_it_is_called(frozen: Harness, any_mode: str, where: str) -> None:
    @deploy
    async def handler(step: StepContext, life: int) -> Any:
        async def go_on() -> None:
            await step.run_mutation(book, f"life {life}")
            if life < 3:
                step.continue_as_new(life + 1)

        async def other() -> None:
            await step.using(run_after=HOUR if life < 3 else 0).run_mutation(book, f"other {life}")

        if where == "gather":
            await asyncio.gather(other(), go_on(), step.sleep(0))
        elif where == "task group":
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(other())
                tasks.create_task(go_on())
        elif where == "timeout":
            async with asyncio.timeout(60):
                await go_on()
        elif where == "finally":
            try:
                await go_on()
            finally:
                if life < 3:
                    await step.run_mutation(book, "after the end of a life")
        elif where == "except":
            try:
                await go_on()
            except Exception:  # noqa: BLE001  doesn't meet it
                await step.run_mutation(book, "after the end of a life")
        else:
            try:
                await go_on()
            except:  # noqa: E722  hides nothing
                await step.run_mutation(book, "after the end of a life")
        return life

    run = deployed.start(1)
    frozen.drain()
    assert frozen.result(run) == 3
    assert [rows(f"life {life}") for life in (1, 2, 3)] == [1, 1, 1]
    assert rows("after the end of a life") == 0
    frozen.advance(DAY)
    assert (rows("other 1"), rows("other 2")) == (0, 0)  # in flight when their life ended
    frozen.assert_replays(run)


def test_40_bad_arguments_are_raised_in_the_handler_and_nothing_has_ended(
    workflow_harness: Harness, any_mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))

    @workflow.define(name="continuing.typed")
    async def typed(step: StepContext, number: int) -> Any:
        problems = []
        for given in (("no number",), (), (1, 2), (object(),)):
            try:
                step.continue_as_new(*given)
            except InvalidArguments as error:
                problems.append(str(error))
        await step.run_mutation(book, "went on")
        return problems

    run = typed.start(1)
    workflow_harness.drain()
    problems = workflow_harness.result(run)
    assert len(problems) == 4
    assert all("continue_as_new() for continuing.typed" in problem for problem in problems)
    assert "number" in problems[0]
    assert row(run).generation == 0
    assert rows("went on") == 1


def test_40_bad_arguments_that_nobody_catches_fail_the_workflow(
    workflow_harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))

    @workflow.define(name="continuing.untyped")
    async def uncaught(step: StepContext, number: int) -> Any:
        step.continue_as_new("no number")

    run = uncaught.start(1)
    workflow_harness.drain()
    status = row(run).status()
    assert isinstance(status, Failed)
    assert status.error.type == "django_workflow.exceptions.InvalidArguments"


@pytest.mark.slow
def test_40_two_hundred_lives_stay_small(frozen: Harness) -> None:
    costs: list[int] = []

    @deploy
    async def handler(step: StepContext, life: int) -> int:
        await step.run_mutation(book, f"life {life}")
        await step.sleep(60)
        if life < 200:
            step.continue_as_new(life + 1)
        return life

    run = deployed.start(1)
    with override_settings(DJANGO_WORKFLOW={"STEP_LIMIT": 3, "JOURNAL_LIMIT": 2000}):
        for _ in range(200):
            with CaptureQueriesContext(connection) as queries:
                frozen.advance(timedelta(seconds=60))
            costs.append(len(queries))
            assert Step.objects.filter(workflow_id=run.id).count() <= 2
    frozen.advance(timedelta(seconds=60))
    assert frozen.result(run) == 200
    assert row(run).generation == 199
    assert Step.objects.count() == 2
    assert costs[150:199] == [costs[150]] * 49  # a late life costs what an early one does
    assert costs[150] <= costs[10]


def test_40_on_complete_runs_once_at_the_last_end(workflow_harness: Harness, any_mode: str) -> None:
    run = counter.using(on_complete=lives.told).start(5)
    workflow_harness.drain()
    assert isinstance(workflow.status(run), Completed)
    assert lives.endings == [("completed", None)]


def test_40_dice_differ_between_lives_and_time_begins_with_each(frozen: Harness, any_mode: str) -> None:
    seen: dict[int, list[Any]] = {}

    @deploy
    async def handler(step: StepContext, life: int) -> None:
        seen.setdefault(life, [])
        drawn = [step.now(), step.uuid4(), step.random.random()]
        if drawn not in seen[life]:
            seen[life].append(drawn)
        await step.sleep(HOUR)
        if life < 3:
            step.continue_as_new(life + 1)

    run = deployed.start(1)
    began = frozen.now()
    frozen.drain()
    for _ in range(3):
        frozen.advance(HOUR)
    assert row(run).state == "completed"
    assert [len(each) for each in seen.values()] == [1, 1, 1]  # equal on every replay of one life
    firsts = [each[0] for each in seen.values()]
    assert [first[0] for first in firsts] == [began, began + HOUR, began + 2 * HOUR]
    assert len({first[1] for first in firsts}) == len({first[2] for first in firsts}) == 3


def test_40_steps_of_equal_numbers_in_two_lives_have_different_idempotency_keys(
    workflow_harness: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext, life: int) -> None:
        await step.run_action(charge, f"life {life}")
        if life < 3:
            step.continue_as_new(life + 1)

    deployed.start(1)
    workflow_harness.drain()
    assert [label for label, _, _ in keys] == ["life 1", "life 2", "life 3"]
    assert len({key for _, _, key in keys}) == 3


def test_40_the_timeout_of_the_whole_workflow_counts_on(frozen: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext, life: int) -> None:
        await step.run_mutation(book, f"life {life}")
        await step.sleep(HOUR)
        step.continue_as_new(life + 1)

    run = deployed.using(timeout=3.5 * HOUR).start(1)
    frozen.drain()
    deadline = frozen.now() + 3.5 * HOUR
    for _ in range(3):
        frozen.advance(HOUR)
        assert row(run).deadline_at == deadline
    assert isinstance(workflow.status(run), InProgress)
    frozen.advance(HOUR / 2)
    status = row(run).status()
    assert isinstance(status, Failed)
    assert status.error.type == "django_workflow.exceptions.WorkflowTimedOut"
    assert [rows(f"life {life}") for life in (4, 5)] == [1, 0]


def test_40_the_custom_status_stays_until_the_next_one(workflow_harness: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext, life: int) -> None:
        if life == 1:
            step.set_status({"life": life})
            step.continue_as_new(2)
        await step.sleep(HOUR)

    run = deployed.start(1)
    workflow_harness.drain()
    status = workflow.status(run)
    assert isinstance(status, InProgress)
    assert status.custom == {"life": 1}


def test_40_cancel_and_restart_of_a_later_life(frozen: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext, life: int) -> int:
        await step.run_action(ship, f"life {life}")
        if life < 2:
            step.continue_as_new(life + 1)
        await step.run_action(charge, "c")
        return life

    faults.add("c")
    run = deployed.start(1)
    frozen.drain()
    assert isinstance(row(run).status(), Failed)
    faults.clear()
    calls.clear()
    workflow.restart(run, from_failure=True)
    frozen.drain()
    assert frozen.result(run) == 2
    assert calls == [("charge", "c")]
    fork = workflow.fork(run, charge)
    frozen.drain()
    assert frozen.result(fork) == 2
    assert [name for _, name, _ in states(fork)] == ["ship", "charge"]
    for each in (run, fork):
        frozen.assert_replays(each)


def test_40_a_rollback_of_a_dropped_journal_is_owed_no_more(workflow_harness: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext, life: int) -> None:
        await step.using(rollback=lives.unbook).run_mutation(book, f"life {life}")
        if life < 2:
            step.continue_as_new(life + 1)
        raise ValueError("the end")

    run = deployed.start(1)
    workflow_harness.drain()
    assert isinstance(row(run).status(), Failed)
    assert [call for call in calls if call[0] == "unbook"] == [("unbook", "life 2")]


def test_40_a_handler_that_goes_on_without_a_step_for_ever_can_be_canceled(workflow_harness: Harness) -> None:
    stopped_at = 50

    @deploy
    async def handler(step: StepContext, life: int) -> None:
        step.continue_as_new(life + 1)

    run = deployed.start(1)
    turns: list[None] = []

    def stop() -> bool:
        turns.append(None)
        return len(turns) > stopped_at

    drain(None, stop=stop)
    assert row(run).generation >= stopped_at // 2
    assert workflow.cancel(run) is True
    workflow_harness.drain()
    assert row(run).state == "canceled"
