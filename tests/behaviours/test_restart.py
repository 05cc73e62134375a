"""Behaviour 31: restart keeps what is below, drops what is from there on, and runs the handler again."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction

from django_workflow import Completed, Failed, InProgress, StepContext, mutation, workflow
from django_workflow.exceptions import (
    InvalidArguments,
    StepNotFound,
    UsageError,
    WorkflowInProgress,
    WorkflowNotFound,
)
from django_workflow.handler import registry
from django_workflow.models import Event, Step, Workflow
from django_workflow.testing import Harness
from tests.behaviours import lives
from tests.behaviours.bodies import act, calls, decline, look, rows, write
from tests.behaviours.code import deploy, deployed
from tests.behaviours.conftest import NOON
from tests.behaviours.lives import book, charge, child, faults, grandchild, keys, row, rows_of, ship, states

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    lives.forget()
    yield
    lives.forget()


async def order(step: StepContext) -> list[str]:
    """Two bookings and a charge, then a booking again."""
    first = await step.run_mutation(book, "a")
    second = await step.run_mutation(book, "b")
    third = await step.run_action(charge, "c")
    return [first, second, third, await step.run_mutation(book, "d")]


ORDERED = ["booked a", "booked b", "charged c", "booked d"]


def failed_order(harness: Harness) -> Workflow:
    """An `order` whose charge was declined."""
    deploy(order)
    faults.add("c")
    run = deployed.start()
    harness.drain()
    assert isinstance(run.status(), Failed)
    faults.clear()
    calls.clear()
    return run


# ── where from ──────────────────────────────────────────────────────────────────────────────────────────────


def test_31_restart_keeps_the_whole_journal_and_a_failure_on_record_is_raised_again(
    workflow_harness: Harness, any_mode: str
) -> None:
    run = failed_order(workflow_harness)
    before = states(run)
    again = workflow.restart(run)
    assert (again.id, again.state) == (run.id, "in_progress")
    workflow_harness.drain()
    status = row(run).status()
    assert isinstance(status, Failed)
    assert status.error.type == "tests.behaviours.bodies.CardDeclined"
    assert (states(run), calls) == (before, [])


def test_31_with_fixed_handler_code_a_restart_goes_on_behind_the_failure(
    workflow_harness: Harness, any_mode: str
) -> None:
    run = failed_order(workflow_harness)

    @deploy
    async def fixed(step: StepContext) -> list[str]:
        first = await step.run_mutation(book, "a")
        second = await step.run_mutation(book, "b")
        try:
            third = await step.run_action(charge, "c")
        except Exception:  # noqa: BLE001  what was fixed
            third = await step.run_action(charge, "another card")
        return [first, second, third, await step.run_mutation(book, "d")]

    workflow.restart(run)
    workflow_harness.drain()
    assert workflow_harness.result(run) == ["booked a", "booked b", "charged another card", "booked d"]
    assert calls == [("charge", "another card"), ("book", "d")]
    assert [rows(label) for label in "abd"] == [1, 1, 1]
    workflow_harness.assert_replays(run)


@pytest.mark.parametrize(
    ("point", "ran"),
    [
        (1, ["a", "b", "c", "d"]),
        (2, ["b", "c", "d"]),
        ("book", ["b", "c", "d"]),
        (book, ["b", "c", "d"]),
        (3, ["c", "d"]),
        ("charge", ["c", "d"]),
        (charge, ["c", "d"]),
    ],
    ids=str,
)
def test_31_restart_from_a_number_a_name_or_a_function_runs_from_there_on(
    workflow_harness: Harness, any_mode: str, point: Any, ran: list[str]
) -> None:
    run = failed_order(workflow_harness)
    kept = list(Step.objects.filter(workflow_id=run.id, number__lte=4 - len(ran)).order_by("number").values())
    workflow.restart(run, point)
    workflow_harness.drain()
    assert workflow_harness.result(run) == ORDERED
    assert [label for _, label in calls] == ran
    assert list(Step.objects.filter(workflow_id=run.id).order_by("number").values())[: len(kept)] == kept
    assert [number for number, _, _ in states(run)] == [1, 2, 3, 4]
    workflow_harness.assert_replays(run)


def test_31_restart_from_the_last_failure_runs_the_failed_step_again(
    workflow_harness: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        try:
            await step.run_action(ship, "first")
        except Exception:  # noqa: BLE001  taken lightly
            await step.run_mutation(book, "a")
        return await step.run_action(charge, "c")

    faults.update({"first", "c"})
    run = deployed.start()
    workflow_harness.drain()
    assert isinstance(run.status(), Failed)
    faults.clear()
    calls.clear()
    workflow.restart(run, from_failure=True)
    workflow_harness.drain()
    assert workflow_harness.result(run) == "charged c"
    assert calls == [("charge", "c")]


def test_31_a_completed_workflow_restarts_too_and_to_the_same_end(
    workflow_harness: Harness, any_mode: str
) -> None:
    deploy(order)
    run = deployed.start()
    workflow_harness.drain()
    before = rows_of(run)["steps"]
    calls.clear()
    assert workflow.restart(run.id).result is None
    workflow_harness.drain()
    assert workflow_harness.result(run) == ORDERED
    assert (rows_of(run)["steps"], calls) == (before, [])


@pytest.mark.parametrize(
    "point", [5, 0, -1, "nothing", look, child, "the last failed step"], ids=lambda point: str(point)[:20]
)
def test_31_an_unknown_step_is_refused_and_nothing_has_changed(workflow_harness: Harness, point: Any) -> None:
    deploy(order)
    run = deployed.start()
    workflow_harness.drain()
    before = rows_of(run)
    with pytest.raises(StepNotFound, match=str(run.id)):
        if point == "the last failed step":
            workflow.restart(run, from_failure=True)
        else:
            workflow.restart(run, point)
    assert rows_of(run) == before


@pytest.mark.parametrize("point", [True, 1.5, ["book"], uuid4()], ids=str)
def test_31_what_is_no_step_at_all_is_refused(workflow_harness: Harness, point: Any) -> None:
    run = failed_order(workflow_harness)
    before = rows_of(run)
    with pytest.raises(InvalidArguments):
        workflow.restart(run, point)
    with pytest.raises(InvalidArguments):
        workflow.restart(run, 3, from_failure=True)
    assert rows_of(run) == before


def test_31_one_in_progress_or_unknown_is_refused(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.sleep(HOUR)

    run = deployed.start()
    for _ in range(2):
        before = rows_of(run)
        with pytest.raises(WorkflowInProgress, match=f"{run.id}.*restart"):
            workflow.restart(run, 1)
        assert rows_of(run) == before
        workflow_harness.drain()
    with pytest.raises(WorkflowNotFound):
        workflow.restart(UUID(int=1))
    with pytest.raises(WorkflowNotFound):
        workflow.restart("no id")


def test_31_the_async_twins_restart(workflow_harness: Harness) -> None:
    run = failed_order(workflow_harness)
    assert async_to_sync(workflow.arestart)(run, from_failure=True).state == "in_progress"
    workflow_harness.drain()
    assert async_to_sync(row(run).arestart)(2).state == "in_progress"
    workflow_harness.drain()
    assert workflow_harness.result(run) == ORDERED


# ── what it clears, and what it leaves ──────────────────────────────────────────────────────────────────────


def test_31_result_error_and_reason_are_gone_and_options_stay(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext, how: str) -> str:
        step.set_status({"how": how})
        await step.sleep(HOUR)
        if how == "fails":
            raise ValueError(how)
        return how

    for how in ("completes", "fails", "is canceled"):
        options = deployed.using(
            key=how, labels={"how": how}, priority=5, context=[how], timeout=DAY, on_complete=lives.told
        )
        run = options.start(how)
        frozen.drain()
        if how == "is canceled":
            workflow.cancel(run, "because")
        else:
            frozen.advance(HOUR)
        before = row(run)
        assert before.finished
        now = workflow.restart(run, 1)
        cleared = (now.result_text, now.error_text, now.reason, now.completed_at, now.on_complete_error_text)
        assert cleared == (None, None, "", None, None)
        assert now.generation == before.generation + 1
        for column in (
            "key",
            "key_digest",
            "labels_text",
            "priority",
            "context_text",
            "timeout",
            "args_text",
        ):
            assert getattr(now, column) == getattr(before, column)
        assert (now.created_at, now.started_at) == (before.created_at, before.started_at)
        assert workflow.list(labels={"how": how}).get().id == run.id
        assert options.start(how).id == run.id  # its key is still its own
        status = workflow.status(run)
        assert isinstance(status, InProgress)
        assert status.custom == {"how": how}


def test_31_the_custom_status_is_what_the_handler_had_set_by_the_point(
    frozen: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        for done, label in enumerate("abc"):
            step.set_status({"done": done})
            await step.run_mutation(book, label)
            await step.sleep(HOUR)
        step.set_status("all done")

    run = deployed.start()
    for _ in range(4):
        frozen.advance(HOUR)
    assert row(run).custom == "all done"
    for point, done in ((5, 2), (3, 1), (1, 0)):
        fork = workflow.fork(run, point)
        workflow.restart(run, point)
        frozen.drain()
        for each in (run, fork):
            assert row(each).custom == {"done": done}
        workflow.cancel(run)


def test_31_one_that_runs_its_rollbacks_is_in_progress(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=lives.unbook).run_mutation(book, "a")
        await step.sleep(HOUR)

    run = deployed.start()
    workflow_harness.drain()
    workflow.cancel(run, rollback=True)
    with pytest.raises(WorkflowInProgress):
        workflow.restart(run)
    workflow_harness.drain()
    assert row(run).state == "canceled"
    workflow.restart(run, 1)
    workflow_harness.drain()
    workflow_harness.advance(HOUR)
    assert row(run).state == "completed"
    assert calls == [("book", "a"), ("unbook", "a"), ("book", "a")]


def test_35_on_complete_runs_again_at_the_new_ending_and_its_old_error_is_gone(
    workflow_harness: Harness, any_mode: str
) -> None:
    deploy(order)
    faults.update({"c", "told"})
    run = deployed.using(on_complete=lives.told, context={"n": 1}).start()
    workflow_harness.drain()
    assert lives.endings == [("failed", {"n": 1})]
    assert row(run).on_complete_error is not None
    faults.clear()
    assert workflow.restart(run, from_failure=True).on_complete_error is None
    workflow_harness.drain()
    assert lives.endings == [("failed", {"n": 1}), ("completed", {"n": 1})]
    assert row(run).on_complete_error is None


def test_31_a_workflow_timeout_starts_anew(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.run_mutation(book, "a")
        await step.wait_for_event("never")
        return "ended"

    run = deployed.using(timeout=HOUR).start()
    frozen.drain()
    frozen.advance(HOUR)
    status = row(run).status()
    assert isinstance(status, Failed)
    assert status.error.type == "django_workflow.exceptions.WorkflowTimedOut"
    frozen.advance(DAY)
    workflow.restart(run)
    frozen.drain()
    assert isinstance(workflow.status(run), InProgress)
    assert row(run).deadline_at == frozen.now() + HOUR
    frozen.advance(HOUR)
    assert isinstance(workflow.status(run), Failed)
    assert rows("a") == 1


def test_31_the_idempotency_key_of_a_step_that_runs_again_differs_and_attempts_begin_at_one(
    workflow_harness: Harness, any_mode: str
) -> None:
    run = failed_order(workflow_harness)
    workflow.restart(run, charge)
    workflow_harness.drain()
    assert [(label, attempt) for label, attempt, _ in keys] == [("c", 1), ("c", 1)]
    assert len({key for _, _, key in keys}) == 2
    assert [step.attempts for step in workflow_harness.journal(run)] == [1, 1, 1, 1]


# ── right after a cancel ────────────────────────────────────────────────────────────────────────────────────


def test_31_restart_right_after_a_cancel_begins_what_was_in_flight_anew(
    frozen: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await asyncio.gather(
            step.run_mutation(book, "a"),
            step.using(run_after=HOUR).run_action(ship, "b"),
            step.run_mutation(book, "c"),
            step.sleep(HOUR),
            step.wait_for_event("go"),
            step.using(run_after=HOUR).run_mutation(book, "e"),
        )

    run = deployed.start()
    frozen.drain()
    workflow.cancel(run, "by mistake")
    assert [state for _, _, state in states(run)] == ["completed", "canceled", "completed", *["canceled"] * 3]
    workflow.restart(run)
    assert [number for number, _, _ in states(run)] == [1, 3]  # a journal with holes
    workflow.send_event(run, "go", "sent to the new life")
    frozen.drain()
    assert isinstance(workflow.status(run), InProgress)
    frozen.advance(HOUR)
    result = frozen.result(run)
    assert result == ["booked a", "shipped b", "booked c", None, "sent to the new life", "booked e"]
    assert [rows(label) for label in "ace"] == [1, 1, 1]
    assert [number for number, _, _ in states(run)] == [1, 2, 3, 4, 5, 6]
    frozen.assert_replays(run)


def test_31_losers_of_races_above_the_point_are_given_up_again(frozen: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        won = await step.first_completed(
            step.sleep(DAY), step.run_mutation(book, "a"), step.wait_for_event("e")
        )
        try:
            async with asyncio.timeout(3600):
                await step.using(run_after=DAY).run_action(ship, "too late")
        except TimeoutError:
            await step.run_mutation(book, "b")
        return [won[0], await step.run_action(charge, "c")]

    faults.add("c")
    run = deployed.start()
    frozen.drain()
    frozen.advance(HOUR)
    assert isinstance(row(run).status(), Failed)
    before = states(run)
    assert [state for _, _, state in before].count("canceled") == 3
    faults.clear()
    for point in (charge, None):
        calls.clear()
        workflow.restart(run, point)
        frozen.drain()
        assert frozen.result(run) == [1, "charged c"]
        assert calls == [("charge", "c")] * (point is not None)
        assert [(number, name) for number, name, _ in states(run)] == [
            (number, name) for number, name, _ in before
        ]
        frozen.assert_replays(run)
    assert [rows(label) for label in "ab"] == [1, 1]


def test_31_a_loser_that_had_settled_is_not_delivered_after_a_restart(frozen: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        async with asyncio.TaskGroup() as tasks:
            slow = tasks.create_task(step.using(run_after=HOUR).run_action(ship, "loser"))
            await step.sleep(HOUR)
            slow.cancel()
        return await step.run_action(charge, "c")

    faults.add("c")
    run = deployed.start()
    frozen.drain()
    frozen.advance(HOUR)
    assert isinstance(row(run).status(), Failed)
    faults.clear()
    workflow.restart(run, from_failure=True)
    frozen.drain()
    assert frozen.result(run) == "charged c"
    frozen.assert_replays(run)


def test_31_a_step_below_the_point_that_was_delivered_after_steps_above_it(
    frozen: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        heard: list[str] = []

        async def slow() -> None:
            await step.using(run_after=HOUR).run_action(ship, "slow")
            heard.append("slow")

        async def fast() -> None:
            for label in "abc":
                await step.run_mutation(book, label)
                heard.append(label)

        await asyncio.gather(slow(), fast())
        await step.run_action(charge, "x")
        return heard

    faults.add("x")
    run = deployed.start()
    frozen.drain()
    frozen.advance(HOUR)
    assert isinstance(row(run).status(), Failed)
    faults.clear()
    calls.clear()
    in_order = Step.objects.filter(workflow_id=run.id).order_by("seq").values_list("number", flat=True)
    assert list(in_order) == [2, 3, 4, 1, 5]  # the first step was delivered after steps above it
    workflow.restart(run, 3)
    frozen.drain()
    # What is kept is delivered first, in its order; the rest begins anew.
    assert frozen.result(run) == ["a", "slow", "b", "c"]
    assert calls == [("book", "b"), ("book", "c"), ("charge", "x")]
    frozen.assert_replays(run)


# ── time ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_31_a_sleep_that_is_kept_is_over_and_one_that_is_dropped_is_slept_again_in_full(
    frozen: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.sleep(HOUR)
        await step.run_mutation(book, "a")
        await step.sleep(HOUR)
        await asyncio.sleep(3600)
        return await step.run_action(charge, "c")

    faults.add("c")
    run = deployed.start()
    for _ in range(4):
        frozen.advance(HOUR)
    assert isinstance(row(run).status(), Failed)
    faults.clear()
    frozen.advance(7 * DAY)
    began = frozen.now()
    workflow.restart(run, 3)
    frozen.drain()
    (sleep,) = Step.objects.filter(workflow_id=run.id, number=3)
    assert (sleep.state, sleep.due_at) == ("pending", began + HOUR)
    frozen.advance(HOUR)
    assert isinstance(workflow.status(run), InProgress)
    frozen.advance(HOUR)
    assert frozen.result(run) == "charged c"
    assert rows("a") == 1
    frozen.assert_replays(run)


def test_31_a_wait_that_timed_out_has_its_whole_time_again(frozen: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.run_mutation(book, "a")
        return await step.wait_for_event("at_last", timeout=HOUR)

    run = deployed.start()
    frozen.drain()
    frozen.advance(HOUR)
    assert isinstance(row(run).status(), Failed)
    frozen.advance(7 * DAY)
    workflow.restart(run, "at_last")
    frozen.drain()
    assert isinstance(workflow.status(run), InProgress)
    frozen.advance(HOUR / 2)
    workflow.send_event(run, "at_last", "at last")
    frozen.drain()
    assert frozen.result(run) == "at last"
    frozen.assert_replays(run)


def test_31_run_after_and_asyncio_timeout_count_from_the_restart(frozen: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.run_mutation(book, "a")
        try:
            async with asyncio.timeout(1800):
                return await step.using(run_after=600).run_action(charge, "c")
        except TimeoutError:
            return "too late"

    faults.add("c")
    run = deployed.start()
    frozen.drain()
    frozen.advance(timedelta(seconds=600))
    assert isinstance(row(run).status(), Failed)
    faults.clear()
    frozen.advance(DAY)
    workflow.restart(run, 2)
    frozen.drain()
    assert isinstance(workflow.status(run), InProgress)
    frozen.advance(timedelta(seconds=600))
    assert frozen.result(run) == "charged c"


def test_31_an_instant_that_has_passed_is_not_waited_for_again(frozen: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.run_mutation(book, "a")
        await step.sleep_until(NOON + HOUR)
        return await step.run_action(charge, "c")

    faults.add("c")
    run = deployed.start()
    frozen.drain()
    frozen.advance(DAY)
    faults.clear()
    workflow.restart(run, 2)
    frozen.drain()
    assert frozen.result(run) == "charged c"


# ── events (R28) ────────────────────────────────────────────────────────────────────────────────────────────


def test_31_r28_what_dropped_steps_had_taken_is_given_back_in_its_order(
    workflow_harness: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        got = [await step.wait_for_event("e") for _ in range(3)]
        await step.run_action(charge, "c")
        return [*got, await step.wait_for_event("e")]

    faults.add("c")
    run = deployed.start()
    workflow_harness.drain()
    for value in (1, 2, 3, 4):
        workflow.send_event(run, "e", value, key=f"event {value}")
        workflow_harness.drain()
        if value == 3:
            break
    assert isinstance(row(run).status(), Failed)
    faults.clear()
    workflow.restart(run, 2)
    assert list(
        Event.objects.filter(workflow_id=run.id).unconsumed().order_by("id").values_list("value_text")
    ) == [
        ("2",),
        ("3",),
    ]
    workflow.send_event(run, "e", "again", key="event 3")  # what was sent once counts once
    workflow.send_event(run, "e", 4)
    workflow_harness.drain()
    assert workflow_harness.result(run) == [1, 2, 3, 4]
    assert not Event.objects.filter(workflow_id=run.id).unconsumed().exists()
    workflow_harness.assert_replays(run)


# ── children ────────────────────────────────────────────────────────────────────────────────────────────────


def test_31_children_of_dropped_steps_go_with_their_families_and_those_of_kept_steps_stay(
    frozen: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        kept = await step.run_workflow(child, "kept")
        done = await step.run_workflow(child, "done")
        return [kept, done, await step.run_workflow(child, "slow")]

    run = deployed.start()
    frozen.drain()
    kept, done, slow = Workflow.objects.filter(parent_id=run.id).order_by("id")
    assert [each.state for each in (kept, done, slow)] == ["completed", "completed", "in_progress"]
    families = {each.id: Workflow.objects.get(parent_id=each.id).id for each in (kept, done, slow)}
    assert workflow.cancel(run) is True
    workflow.restart(run, 2)
    left = set(Workflow.objects.values_list("id", flat=True))
    assert left == {run.id, kept.id, families[kept.id]}
    assert not Step.objects.exclude(workflow_id__in=left).exists()
    frozen.drain()
    frozen.advance(2 * HOUR)
    frozen.advance(2 * HOUR)
    assert frozen.result(run) == ["booked kept", "booked done", "booked slow"]
    assert [rows(label) for label in ("kept", "done", "slow")] == [1, 2, 2]
    frozen.assert_replays(run)


def test_31_restart_from_a_child_definition_runs_the_last_such_child_again(
    workflow_harness: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        first = await step.run_workflow(child, "first")
        second = await step.run_workflow(child, "second")
        return [first, second]

    faults.add("second of the grandchild")
    run = deployed.start()
    workflow_harness.drain()
    assert isinstance(row(run).status(), Failed)
    faults.clear()
    with pytest.raises(StepNotFound):
        workflow.restart(run, grandchild)
    workflow.restart(run, child)
    workflow_harness.drain()
    assert workflow_harness.result(run) == ["booked first", "booked second"]
    assert (rows("first"), rows("second")) == (1, 2)


def test_31_a_child_restarts_by_itself_when_its_parent_has_gone_on(
    workflow_harness: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        try:
            return await step.run_workflow(child, "x")
        except Exception:  # noqa: BLE001  goes on without it
            await step.sleep(HOUR)
            return "without it"

    faults.add("x of the grandchild")
    run = deployed.start()
    workflow_harness.drain()
    (each,) = Workflow.objects.filter(parent_id=run.id)
    assert each.state == "failed"
    before = rows_of(run)["steps"]
    faults.clear()
    workflow.restart(each, grandchild)
    workflow_harness.drain()
    assert workflow.status(each) == Completed("booked x")
    assert rows_of(run)["steps"] == before  # its step has settled, and never changes (P3)
    workflow_harness.advance(HOUR)
    assert workflow_harness.result(run) == "without it"
    workflow.restart(each, grandchild)
    workflow_harness.drain()
    assert workflow.status(each) == Completed("booked x")
    assert workflow.cleanup(run) is True
    assert Workflow.objects.count() == 0


# ── rollbacks, and where it may not be called ───────────────────────────────────────────────────────────────


def test_31_rollback_rows_are_dropped_and_undone_steps_can_run_again(
    workflow_harness: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.using(rollback=lives.unbook).run_mutation(book, "a")
        return await step.run_action(charge, "c")

    faults.add("c")
    run = deployed.start()
    workflow_harness.drain()
    assert ("unbook", "a") in calls
    (undone,) = Step.objects.filter(workflow_id=run.id, kind="rollback")
    with pytest.raises(StepNotFound):
        workflow.restart(run, undone.number)
    with pytest.raises(StepNotFound):
        workflow.restart(run, undone.name)
    faults.clear()
    workflow.restart(run, 1)
    assert not Step.objects.filter(workflow_id=run.id).exists()
    workflow_harness.drain()
    assert workflow_harness.result(run) == "charged c"
    assert not Step.objects.filter(workflow_id=run.id, kind="rollback").exists()
    assert calls.count(("unbook", "a")) == 1


@mutation
def restarts(workflow_id: str) -> str:
    workflow.restart(workflow_id)
    return "restarted"


def test_r19_a_step_cannot_restart_its_own_workflow_but_another(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, other: str = "") -> Any:
        if not other:
            await step.run_mutation(write, "other")
            return "ended"
        return await step.run_mutation(restarts, other if other != "own" else str(step.workflow_id))

    other = deployed.start()
    own = deployed.start("own")
    workflow_harness.drain()
    status = row(own).status()
    assert isinstance(status, Failed)
    assert status.error.type == f"{UsageError.__module__}.UsageError"
    assert "restart its own workflow" in status.error.message
    run = deployed.start(str(other.id))
    workflow_harness.drain()
    assert workflow_harness.result(run) == "restarted"
    assert workflow.status(other) == Completed("ended")
    assert row(other).generation == 1


def test_31_a_restart_that_is_rolled_back_never_was(workflow_harness: Harness) -> None:
    run = failed_order(workflow_harness)
    before = rows_of(run)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        workflow.restart(run, 2)
        raise ZeroDivisionError
    assert rows_of(run) == before
    workflow_harness.drain()
    assert rows_of(run) == before


# ── versions ────────────────────────────────────────────────────────────────────────────────────────────────


def test_31_a_workflow_whose_version_is_gone_goes_on_with_the_newest(
    workflow_harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))

    @workflow.define(name="lives.versions", version=1)
    async def first(step: StepContext) -> Any:
        await step.run_mutation(book, "a")
        return await step.run_action(decline, "version 1")

    @workflow.define(name="lives.versions", version=2)
    async def second(step: StepContext) -> Any:
        await step.run_mutation(book, "a")
        return await step.run_action(act, "version 2")

    runs = [first.start() for _ in range(3)]
    workflow_harness.drain()
    assert {row(run).state for run in runs} == {"failed"}
    assert workflow.restart(runs[0], 2).version == 1  # the code still has it
    workflow_harness.drain()
    assert isinstance(workflow.status(runs[0]), Failed)
    del registry._definitions["lives.versions", 1]
    assert workflow.restart(runs[1], 2).version == 2
    workflow_harness.drain()
    assert workflow_harness.result(runs[1]) == "version 2"
    fork = workflow.fork(runs[2], 2)
    workflow_harness.drain()
    assert workflow_harness.result(fork) == "version 2"
    assert rows("a") == 3


def test_what_a_restart_would_drop(workflow_harness: Harness) -> None:
    run = failed_order(workflow_harness)
    before = rows_of(run)
    asked: list[tuple[dict[str, Any], list[int]]] = [
        ({}, []),
        ({"from_failure": True}, [3]),
        ({"from_step": 2}, [2, 3]),
        ({"from_step": book}, [2, 3]),
        ({"from_step": "book"}, [2, 3]),
    ]
    for arguments, numbers in asked:
        assert [step.number for step in workflow.dropped(run, **arguments)] == numbers
    assert [step.number for step in async_to_sync(workflow.adropped)(run.id, 3)] == [3]
    with pytest.raises(StepNotFound):
        workflow.dropped(run, 9)
    with pytest.raises(WorkflowNotFound):
        workflow.dropped(uuid4())
    assert rows_of(run) == before
