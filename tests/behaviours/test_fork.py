"""Behaviour 32: a fork goes on from a step in a workflow of its own, and the original is untouched."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction

from django_workflow import Canceled, Completed, InProgress, StepContext, workflow
from django_workflow.exceptions import InvalidArguments, StepNotFound, WorkflowNotFound
from django_workflow.models import Event, Step, Workflow
from django_workflow.testing import Harness
from tests.behaviours import lives
from tests.behaviours.bodies import calls, rows
from tests.behaviours.code import deploy, deployed
from tests.behaviours.lives import book, charge, child, faults, grandchild, keys, row, rows_of, ship, states

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    lives.forget()
    yield
    lives.forget()


async def order(step: StepContext, customer: str = "ann") -> list[Any]:
    first = await step.run_mutation(book, "a")
    third = await step.run_action(charge, "c")
    await step.sleep(HOUR)
    return [customer, first, third, await step.run_mutation(book, "d")]


END = ["ann", "booked a", "charged c", "booked d"]


@pytest.mark.parametrize("state", ["in_progress", "completed", "failed", "canceled"])
def test_32_the_original_is_untouched_whatever_its_state(frozen: Harness, any_mode: str, state: str) -> None:
    deploy(order)
    run = deployed.start()
    frozen.drain()
    if state == "canceled":
        workflow.cancel(run, "enough")
    elif state != "in_progress":
        faults.update({"d"} if state == "failed" else ())
        frozen.advance(HOUR)
        faults.clear()
    assert row(run).state == state
    before = rows_of(run)
    calls.clear()
    fork = workflow.fork(run, charge)
    assert fork.id != run.id
    assert rows_of(run) == before
    frozen.drain()
    if state != "in_progress":
        frozen.advance(HOUR)
        assert rows_of(run) == before
        assert frozen.result(fork) == END
        assert calls == [("charge", "c"), ("book", "d")]
        frozen.assert_replays(fork)
    else:
        assert calls == [("charge", "c")]
        frozen.advance(HOUR)
        assert [frozen.result(each) for each in (run, fork)] == [END, END]
        frozen.assert_replays(run)


@pytest.mark.parametrize(
    ("point", "ran"),
    [(1, "acd"), ("book", "d"), (book, "d"), (2, "cd"), ("sleep", "d"), (4, "d")],
    ids=str,
)
def test_32_fork_from_a_number_a_name_or_a_function(
    frozen: Harness, any_mode: str, point: Any, ran: str
) -> None:
    deploy(order)
    run = deployed.start()
    frozen.advance(timedelta(0))
    frozen.advance(HOUR)
    assert frozen.result(run) == END
    calls.clear()
    fork = workflow.fork(run.id, point)
    frozen.drain()
    frozen.advance(HOUR)
    assert frozen.result(fork) == END
    assert "".join(label for _, label in calls) == ran
    frozen.assert_replays(fork)


@pytest.mark.parametrize("point", [5, 0, "nothing", ship, child], ids=str)
def test_32_an_unknown_step_is_refused_and_nothing_has_changed(frozen: Harness, point: Any) -> None:
    deploy(order)
    run = deployed.start()
    frozen.drain()
    before = rows_of(run)
    with pytest.raises(StepNotFound, match=str(run.id)):
        workflow.fork(run, point)
    with pytest.raises(InvalidArguments):
        workflow.fork(run, 1.5)  # type: ignore[arg-type]
    with pytest.raises(WorkflowNotFound):
        workflow.fork(UUID(int=3), point)
    assert rows_of(run) == before
    assert Workflow.objects.count() == 1


def test_32_one_that_never_began_has_no_step_to_fork_from(frozen: Harness) -> None:
    run = deployed.using(run_after=DAY).start()
    with pytest.raises(StepNotFound):
        workflow.fork(run, 1)


def test_32_labels_context_options_are_taken_over_and_the_key_is_not(frozen: Harness, any_mode: str) -> None:
    deploy(order)
    options = deployed.using(
        key="order 1",
        labels={"customer": 42, "size": "xl"},
        priority=7,
        timeout=DAY,
        context={"deep": [1, None]},
        on_complete=lives.told,
    )
    run = options.start("bob")
    frozen.drain()
    frozen.advance(HOUR)
    frozen.advance(7 * DAY)
    fork = workflow.fork(run, "sleep")
    assert (fork.key, fork.key_digest) == (None, None)
    for column in ("definition", "version", "args_text", "labels_text", "priority", "cluster", "timeout"):
        assert getattr(row(fork), column) == getattr(row(run), column)
    assert {each.id for each in workflow.list(labels={"customer": 42})} == {run.id, fork.id}
    assert {each.id for each in workflow.list(labels={"size": "xl", "customer": 42})} == {run.id, fork.id}
    assert options.start("bob").id == run.id
    frozen.drain()
    assert row(fork).deadline_at == frozen.now() + DAY  # its timeout is its own
    frozen.advance(HOUR)
    assert frozen.result(fork) == ["bob", "booked a", "charged c", "booked d"]
    assert lives.endings == [("completed", {"deep": [1, None]})] * 2
    assert row(fork).parent_id is None


def test_32_dice_and_time_of_the_kept_part_are_the_originals(frozen: Harness, any_mode: str) -> None:
    seen: list[tuple[UUID, Any]] = []

    @deploy
    async def handler(step: StepContext) -> Any:
        began = step.now()
        drawn = [step.uuid4(), step.random.random()]
        await step.run_action(charge, f"{step.random.randrange(10**9)}")
        await step.sleep(HOUR)
        drawn += [step.now(), step.uuid4()]
        await step.run_action(ship, str(drawn[-1]))
        seen.append((step.workflow_id, [began, *drawn]))
        await step.run_mutation(book, "end")

    run = deployed.start()
    frozen.drain()
    frozen.advance(HOUR)
    frozen.advance(DAY)
    fork = workflow.fork(run, "book")
    frozen.drain()
    frozen.advance(DAY)
    again = workflow.fork(fork, "book")  # a fork of a fork
    frozen.drain()
    assert {row(each).state for each in (run, fork, again)} == {"completed"}
    drawn = dict(seen)
    assert drawn[run.id] == drawn[fork.id] == drawn[again.id]
    other = deployed.start()
    frozen.drain()
    frozen.advance(HOUR)
    assert dict(seen)[other.id] != drawn[run.id]
    for each in (fork, again):
        frozen.assert_replays(each)


def test_32_r28_events_are_copied_with_what_dropped_steps_had_taken_in_order(
    frozen: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return [await step.wait_for_event("e") for _ in range(4)]

    run = deployed.start()
    frozen.drain()
    for value in (1, 2, 3):
        workflow.send_event(run, "e", value, key=f"key {value}")
        workflow.send_event(run, "unwanted", value)
        frozen.advance(timedelta(seconds=1))
    before = rows_of(run)
    fork = workflow.fork(run, 2)
    assert rows_of(run) == before
    copied = list(
        Event.objects.filter(workflow_id=fork.id).order_by("id").values_list("name", "value_text", "key")
    )
    assert copied == [
        ("unwanted", "1", None),
        ("e", "2", "key 2"),
        ("unwanted", "2", None),
        ("e", "3", "key 3"),
        ("unwanted", "3", None),
    ]
    frozen.drain()
    workflow.send_event(fork, "e", "again", key="key 3")
    workflow.send_event(fork, "e", "the fork's own")
    frozen.drain()
    assert frozen.result(fork) == [1, 2, 3, "the fork's own"]
    assert isinstance(workflow.status(run), InProgress)
    workflow.send_event(run, "e", "the original's own")
    frozen.drain()
    assert frozen.result(run) == [1, 2, 3, "the original's own"]


def test_32_what_was_pending_starts_anew(frozen: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        async def rest() -> Any:
            await step.run_mutation(book, "b")
            return await step.run_mutation(book, "e")

        return await asyncio.gather(
            step.run_mutation(book, "a"),
            step.using(run_after=HOUR).run_action(ship, "c"),
            step.sleep(HOUR),
            step.wait_for_event("go", timeout=HOUR),
            rest(),
        )

    run = deployed.start()
    frozen.drain()
    frozen.advance(HOUR / 2)
    last = states(run)[-1]
    assert last[1:] == ("book", "completed")
    fork = workflow.fork(run, last[0])
    kept = Step.objects.filter(workflow_id=fork.id)
    assert set(kept.values_list("name", "state")) == {("book", "completed")}
    frozen.drain()
    pending = Step.objects.filter(workflow_id=fork.id, state="pending")
    assert set(pending.values_list("due_at", flat=True)) == {frozen.now() + HOUR}
    workflow.send_event(fork, "go", "gone")
    frozen.advance(HOUR)
    assert frozen.result(fork) == ["booked a", "shipped c", None, "gone", "booked e"]
    assert (rows("a"), rows("b"), rows("e")) == (1, 1, 2)
    assert row(run).state == "failed"  # nobody sent it anything
    frozen.assert_replays(fork)


def test_32_a_step_that_runs_in_the_fork_has_an_idempotency_key_of_its_own(
    frozen: Harness, any_mode: str
) -> None:
    deploy(order)
    run = deployed.start()
    frozen.drain()
    workflow.fork(run, charge)
    workflow.fork(run, charge)
    frozen.drain()
    assert [(label, attempt) for label, attempt, _ in keys] == [("c", 1)] * 3
    assert len({key for _, _, key in keys}) == 3


def test_32_a_child_that_had_ended_is_not_started_again_and_one_under_way_is(
    frozen: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        done = await step.run_workflow(child, "done")
        return [done, await step.run_workflow(child, "slow")]

    run = deployed.start()
    frozen.drain()
    before = rows_of(run)
    fork = workflow.fork(run, child)
    assert rows_of(run) == before
    frozen.drain()
    assert Workflow.objects.filter(parent_id=fork.id).count() == 1
    assert workflow.cancel(run) is True
    for _ in range(3):
        frozen.advance(HOUR)
    assert frozen.result(fork) == ["booked done", "booked slow"]
    assert (rows("done"), rows("slow")) == (1, 2)
    assert workflow.cleanup(run) is True
    assert frozen.result(fork) == ["booked done", "booked slow"]


def test_32_a_child_is_forked_as_a_workflow_without_a_parent(frozen: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await step.run_workflow(child, "x")

    run = deployed.start()
    frozen.drain()
    assert frozen.result(run) == "booked x"
    (each,) = Workflow.objects.filter(parent_id=run.id)
    before = rows_of(run), rows_of(each)
    fork = workflow.fork(each, grandchild)
    assert (fork.parent_id, fork.parent_step_id, fork.depth) == (None, None, 0)
    frozen.drain()
    assert workflow.status(fork) == Completed("booked x")
    assert (rows_of(run), rows_of(each)) == before
    assert workflow.cleanup(run) is True
    assert workflow.status(fork) == Completed("booked x")


def test_32_a_fork_lives_and_dies_by_itself(frozen: Harness, any_mode: str) -> None:
    deploy(order)
    run = deployed.start()
    frozen.drain()
    forks = [workflow.fork(run, "sleep") for _ in range(3)]
    frozen.drain()
    assert workflow.cancel(forks[0], "this one") is True
    assert workflow.cancel(run, "the original") is True
    frozen.advance(HOUR)
    assert [workflow.status(each) for each in (run, forks[0])] == [
        Canceled("the original"),
        Canceled("this one"),
    ]
    assert [frozen.result(each) for each in forks[1:]] == [END, END]
    assert workflow.cleanup(run) is True
    workflow.restart(forks[1], 4)
    frozen.drain()
    assert frozen.result(forks[1]) == END


def test_32_a_fork_that_is_rolled_back_never_was(frozen: Harness) -> None:
    deploy(order)
    run = deployed.start()
    frozen.drain()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        workflow.fork(run, 2)
        raise ZeroDivisionError
    assert Workflow.objects.count() == 1


def test_32_the_async_twins_fork(frozen: Harness) -> None:
    deploy(order)
    run = deployed.start()
    frozen.drain()
    forks = [async_to_sync(workflow.afork)(run, "sleep"), async_to_sync(run.afork)(3), run.fork(3)]
    frozen.drain()
    frozen.advance(HOUR)
    assert [frozen.result(each) for each in forks] == [END, END, END]
