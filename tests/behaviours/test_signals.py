"""Django's signals: sent when what they tell of is committed, and nothing rests on them."""

import asyncio
import logging
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from django_workflow import Completed, Failed, Retry, StepContext, action, signals, workflow
from django_workflow.exceptions import ErrorInfo, StepFailed
from django_workflow.models import Workflow
from django_workflow.testing import Harness, SimulatedCrash
from tests.behaviours.bodies import act, calls, decline, rows, write
from tests.behaviours.code import deploy, deployed
from tests.engine.committed import committed

pytestmark = committed
DAY = timedelta(days=1)
LEASE = timedelta(seconds=31)
NAMES = (
    "workflow_started",
    "workflow_completed",
    "workflow_failed",
    "workflow_canceled",
    "step_failed",
)


class Listener:
    """Hears all signals."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.raises = False

    def names(self) -> list[str]:
        return [name for name, _ in self.heard]

    def of(self, name: str) -> list[dict[str, Any]]:
        return [facts for heard, facts in self.heard if heard == name]

    def receiver(self, name: str) -> Any:
        def receive(sender: Any, signal: Any, **facts: Any) -> None:
            assert sender is Workflow
            assert signal is getattr(signals, name)
            assert not transaction.get_connection().in_atomic_block  # it is committed
            self.heard.append((name, facts))
            if self.raises:
                raise RuntimeError("a receiver's own")

        return receive


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    receivers = {name: listener.receiver(name) for name in NAMES}
    for name, receiver in receivers.items():
        getattr(signals, name).connect(receiver, weak=False)
    yield listener
    for name, receiver in receivers.items():
        getattr(signals, name).disconnect(receiver)


def live(harness: Harness, end: str) -> Workflow:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.run_mutation(write, "it")
        if end == "failed":
            await step.run_action(decline, "no")
        if end == "canceled":
            await step.sleep(DAY)
        return "ended"

    run: Workflow = deployed.start()
    harness.drain()
    if end == "canceled":
        workflow.cancel(run, "enough")
    assert workflow.status(run).type == end
    return run


@pytest.mark.parametrize("end", ["completed", "failed", "canceled"])
def test_a_workflow_tells_of_its_beginning_and_its_end(
    workflow_harness: Harness, listener: Listener, end: str, any_mode: str
) -> None:
    run = live(workflow_harness, end)
    about = {"workflow_id": run.id, "definition": "behaviours.deployed"}
    endings: dict[str, dict[str, Any]] = {
        "completed": {},
        "failed": {"error": workflow.get(run).error},
        "canceled": {"reason": "enough"},
    }
    ending = endings[end]
    heard = [each for each in listener.heard if each[0] != "step_failed"]
    assert heard == [("workflow_started", about), (f"workflow_{end}", {**about, **ending})]
    if end == "failed":
        assert isinstance(ending["error"], ErrorInfo)
        assert listener.of("step_failed")[0]["error"].message == "no"


def test_nothing_is_told_of_what_is_rolled_back(workflow_harness: Harness, listener: Listener) -> None:
    deploy_sleep()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        deployed.start()
        raise ZeroDivisionError
    assert listener.heard == []

    run = deployed.start()
    workflow_harness.drain()
    assert listener.names() == ["workflow_started"]
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        workflow.cancel(run)
        raise ZeroDivisionError
    assert listener.names() == ["workflow_started"]


def deploy_sleep() -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.sleep(DAY)


def test_what_is_told_waits_for_the_commit(workflow_harness: Harness, listener: Listener) -> None:
    deploy_sleep()
    with transaction.atomic():
        run = deployed.start()
        workflow.cancel(run)
        assert listener.heard == []
    assert listener.names() == ["workflow_started", "workflow_canceled"]


def test_many_that_start_at_once_are_told_of_one_by_one(
    workflow_harness: Harness, listener: Listener
) -> None:
    runs = workflow.start_many(deployed, [(), (), ()])
    assert [facts["workflow_id"] for facts in listener.of("workflow_started")] == [run.id for run in runs]


def test_the_same_key_again_starts_nothing_and_tells_nothing(
    workflow_harness: Harness, listener: Listener
) -> None:
    for _ in range(2):
        deployed.using(key="once").start()
    assert listener.names() == ["workflow_started"]


@pytest.mark.parametrize("end", ["completed", "failed", "canceled"])
def test_a_receiver_that_raises_changes_nothing(
    workflow_harness: Harness,
    listener: Listener,
    end: str,
    caplog: pytest.LogCaptureFixture,
    either_mode: str,
) -> None:
    listener.raises = True
    with caplog.at_level(logging.ERROR):
        run = live(workflow_harness, end)
    assert workflow.get(run).setbacks == 0
    assert rows("it") == 1
    assert listener.names().count(f"workflow_{end}") == 1
    assert "a receiver's own" in caplog.text


def test_children_tell_too_and_a_canceled_parent_cancels_them(
    workflow_harness: Harness, listener: Listener, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext, levels: int) -> None:
        if levels:
            await step.run_workflow(deployed, levels - 1)
        await step.sleep(DAY)

    run = deployed.start(1)
    for _ in range(2):
        workflow_harness.drain()
    workflow.cancel(run, "enough")
    child = Workflow.objects.get(parent=run)
    assert [facts["workflow_id"] for facts in listener.of("workflow_started")] == [run.id, child.id]
    assert {facts["workflow_id"] for facts in listener.of("workflow_canceled")} == {run.id, child.id}
    assert len(listener.heard) == 4


def undo(error: Any, result: Any, value: Any) -> None:
    calls.append(("undo", value))


def test_a_workflow_that_undoes_its_steps_tells_of_its_end_when_it_has_ended(
    workflow_harness: Harness, listener: Listener
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=undo).run_action(act, 1)
        await step.sleep(DAY)

    run = deployed.start()
    workflow_harness.drain()
    workflow.cancel(run, "enough", rollback=True)
    assert listener.names() == ["workflow_started"]
    workflow_harness.drain()
    assert listener.heard[1:] == [
        (
            "workflow_canceled",
            {"workflow_id": run.id, "definition": "behaviours.deployed", "reason": "enough"},
        )
    ]


# ── steps ───────────────────────────────────────────────────────────────────────────────────────────────────


@action
def fail_twice(label: str) -> str:
    calls.append(label)
    if calls.count(label) < 3:
        raise ConnectionError(label)
    return label


@pytest.mark.parametrize("inline", [None, False])
@pytest.mark.parametrize(("attempts", "heard"), [(3, 0), (2, 1)])
def test_a_step_tells_of_its_last_failure_alone(
    workflow_harness: Harness,
    listener: Listener,
    inline: bool | None,
    attempts: int,
    heard: int,
    either_mode: str,
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.run_action(act)
        try:
            retry = Retry(max_attempts=attempts, initial=1, jitter=False)
            return await step.using(inline=inline, retry=retry, name="flaky").run_action(fail_twice, "x")
        except StepFailed:
            return "caught"

    run = deployed.start()
    for _ in range(4):
        workflow_harness.advance(timedelta(seconds=3))
    assert workflow_harness.result(run) == ("caught" if heard else "x")
    told = listener.of("step_failed")
    assert len(told) == heard
    for facts in told:
        assert set(facts) == {"workflow_id", "definition", "number", "name", "error"}
        assert (facts["workflow_id"], facts["number"], facts["name"]) == (run.id, 2, "flaky")
        assert (facts["error"].type, facts["error"].message) == ("builtins.ConnectionError", "x")


def test_parallel_steps_and_rollbacks_that_fail_tell_of_it(
    workflow_harness: Harness, listener: Listener, either_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=undo_badly).run_action(act)
        await asyncio.gather(
            step.run_action(decline, "one"), step.run_action(decline, "two"), return_exceptions=True
        )
        await step.run_action(decline, "three")

    run = deployed.start()
    for _ in range(3):
        workflow_harness.drain()
    assert isinstance(workflow.status(run), Failed)
    assert [facts["error"].message for facts in listener.of("step_failed")] == [
        "one",
        "two",
        "three",
        "can't",
    ]
    assert listener.names()[-1] == "workflow_failed"


def undo_badly(error: Any, result: Any, value: Any = None) -> None:
    raise RuntimeError("can't")


def test_replays_tell_nothing_again(workflow_harness: Harness, listener: Listener, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        try:
            await step.run_action(decline, "no")
        except StepFailed:
            for _ in range(3):
                await step.sleep(60)
        return "ended"

    run = deployed.start()
    for _ in range(4):
        workflow_harness.advance(timedelta(seconds=60))
    assert workflow.status(run) == Completed("ended")
    assert listener.names() == ["workflow_started", "step_failed", "workflow_completed"]


def test_a_crash_before_the_commit_tells_nothing_and_the_next_worker_tells_it_once(
    workflow_harness: Harness, listener: Listener
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.run_mutation(write, "it")
        return "ended"

    deployed.start()
    died = False
    point = 0
    while "workflow_completed" not in listener.names():
        point += 1
        workflow_harness.crash_at(point)
        try:
            workflow_harness.drain()
        except SimulatedCrash:
            died = True
            assert listener.names() == ["workflow_started"]
        workflow_harness.crash_at(0)
        workflow_harness.advance(LEASE)
    assert died
    assert listener.names() == ["workflow_started", "workflow_completed"]
