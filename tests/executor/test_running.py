"""Many async actions at once on the executor's loop, beside the turns of the worker."""

import asyncio
import json
import threading
from collections.abc import Callable
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import IntegrityError, connection, transaction
from django.test import override_settings
from django.utils import translation

from django_workflow import Completed, Failed, current_step, workflow
from django_workflow.exceptions import NonRetryable
from django_workflow.models import Slot, Step, Workflow
from tests.engine.committed import committed
from tests.engine.elsewhere import lose_connection
from tests.executor import bodies
from tests.executor.bodies import Gate
from tests.executor.conftest import Worker
from tests.shop.models import Entry

pytestmark = committed


def attempts_of(run: Workflow) -> int:
    return Step.objects.get(workflow=run, kind="action").attempts


def at(gate: Gate) -> Callable[[str], Any]:
    """A body that waits at a gate."""

    async def body(label: str) -> Any:
        await gate.passed()
        return label

    return body


def test_many_wait_at_once_and_the_worker_goes_on(worker: Worker) -> None:
    gate = worker.gate()
    worker.harness.replace(bodies.ask, with_=at(gate))
    with transaction.atomic():
        runs = [bodies.asks_between.start(f"{number}") for number in range(60)]
    worker.until(lambda: gate.most == 60, "all of them at the gate")
    other = bodies.calls.start("sync")
    worker.drain()
    assert other.status() == Completed("sync")
    gate.open()
    worker.ended(*runs)
    assert [run.status() for run in runs] == [Completed(f"{number}") for number in range(60)]
    assert {attempts_of(run) for run in runs} == {1}
    assert Entry.objects.count() == 120


def test_the_branches_of_one_workflow_run_at_once(worker: Worker) -> None:
    gate = worker.gate()
    worker.harness.replace(bodies.ask, with_=at(gate))
    run = bodies.gathers.start("x", 20)
    worker.until(lambda: gate.most == 20, "all branches at the gate")
    gate.open()
    worker.ended(run)
    assert run.status() == Completed([f"x{number}" for number in range(20)])


def test_a_step_that_times_out_is_canceled_and_has_failed(worker: Worker) -> None:
    gate, ended = worker.gate(), threading.Event()

    async def body(label: str) -> None:
        try:
            await gate.passed()
        finally:
            ended.set()

    worker.harness.replace(bodies.ask, with_=body)
    run, other = bodies.impatient.start("x"), bodies.late.start("y")
    worker.ended(run, other)
    assert ended.is_set()
    status = run.status()
    assert isinstance(status, Failed)
    assert status.error.type.endswith("StepTimedOut")
    assert isinstance(other.status(), Failed)  # the workflow's deadline


def test_a_retry_is_due_after_its_delay_and_counts(worker: Worker) -> None:
    async def body(label: str) -> int:
        if current_step().attempt < 3:
            raise ValueError(label)
        return current_step().attempt

    worker.harness.replace(bodies.ask, with_=body)
    run = bodies.stubborn.start("x")
    for attempt in (1, 2):
        pending = Step.objects.filter(workflow=run, state="pending", attempts=attempt)
        worker.until(pending.exists, f"the end of attempt {attempt}")
        worker.drain()
        assert attempts_of(run) == attempt
        worker.later(timedelta(minutes=3))
    worker.ended(run)
    assert run.status() == Completed(3)


def test_what_is_not_to_be_retried_is_not(worker: Worker) -> None:
    async def body(label: str) -> None:
        raise NonRetryable(label)

    worker.harness.replace(bodies.ask, with_=body)
    run = bodies.stubborn.start("x")
    worker.ended(run)
    assert isinstance(run.status(), Failed)
    assert attempts_of(run) == 1


def test_a_body_says_how_far_it_has_come(worker: Worker) -> None:
    async def body(label: str) -> Any:
        step = current_step()
        if step.attempt == 1:
            step.heartbeat({"page": 7})
            raise ValueError(label)
        return step.details

    worker.harness.replace(bodies.ask, with_=body)
    run = bodies.stubborn.start("x")
    worker.until(lambda: Step.objects.filter(workflow=run, state="pending", attempts=1), "its first end")
    worker.later(timedelta(minutes=3))
    worker.ended(run)
    assert run.status() == Completed({"page": 7})


colour: ContextVar[str] = ContextVar("colour", default="none")


def test_bodies_find_nothing_of_each_others_nor_of_the_workers_context(worker: Worker) -> None:
    seen = []

    async def body(label: str) -> None:
        seen.append((colour.get(), translation.get_language(), current_step().workflow_id))
        colour.set(label)
        translation.activate("de")

    worker.harness.replace(bodies.ask, with_=body)
    token = colour.set("the worker's")
    try:
        runs = [bodies.asks.start("a"), bodies.asks.start("b")]
        worker.ended(*runs)
    finally:
        colour.reset(token)
    assert sorted(seen) == sorted(("none", "en-us", run.id) for run in runs)
    assert translation.get_language() == "en-us"


def test_the_orm_by_djangos_async_rules(worker: Worker) -> None:
    async def body(label: str) -> int:
        await Entry.objects.acreate(label=label, value=3)
        await sync_to_async(lambda: Entry.objects.create(label=label, value=4))()
        return sum([each.value async for each in Entry.objects.filter(label=label)])

    async def sync_body(label: str) -> int:
        return Entry.objects.count()

    worker.harness.replace(bodies.ask, with_=body)
    worker.harness.replace(bodies.ask_also, with_=sync_body)
    run, refused = bodies.asks.start("x"), bodies.asks_also.start("y")
    worker.ended(run, refused)
    assert run.status() == Completed(7)
    status = refused.status()
    assert isinstance(status, Failed)
    assert "SynchronousOnlyOperation" in status.error.type


def test_an_error_of_the_database_in_a_body_spoils_it_for_no_other(worker: Worker) -> None:
    async def body(label: str) -> Any:
        if label == "bad":
            await sync_to_async(lose_connection)()
            if connection.vendor == "sqlite":
                raise IntegrityError
            await Entry.objects.acount()
        return await Entry.objects.acount()

    worker.harness.replace(bodies.ask, with_=body)
    bad = bodies.asks.start("bad")
    worker.ended(bad)
    assert isinstance(bad.status(), Failed)
    good = bodies.asks.start("good")
    worker.ended(good)
    assert good.status() == Completed(0)


def test_the_limit_holds_async_steps_back_and_no_others(worker: Worker) -> None:
    gate = worker.gate()
    worker.harness.replace(bodies.ask, with_=at(gate))
    with override_settings(DJANGO_WORKFLOW={"ASYNC_LIMIT": 2}):
        runs = [bodies.asks.start(f"{number}") for number in range(5)]
        worker.until(lambda: gate.arrived == 2, "two at the gate")
        other = bodies.calls.start("sync")
        worker.drain()
        assert other.status() == Completed("sync")
        worker.woken.clear()
        assert worker.drain(seconds=60) == 0
        assert worker.woken == []  # no worker is sent after what all of them refuse
        assert gate.arrived == 2
        gate.let_one_through()
        worker.until(lambda: worker.woken.count("") >= 1, "a wake-up for those that were held back")
        worker.until(lambda: gate.arrived == 3, "the next one")
        gate.open()
        worker.ended(*runs)
    assert gate.most == 2
    assert {attempts_of(run) for run in runs} == {1}


def test_a_limited_pool_is_never_overfull_and_gets_its_places_back(worker: Worker) -> None:
    gate = worker.gate()
    worker.harness.replace(bodies.ask, with_=at(gate))
    runs = [bodies.pooled.start(f"{number}") for number in range(5)]
    worker.until(lambda: gate.arrived == 2, "two at the gate")
    worker.drain()
    assert gate.arrived == 2
    assert Slot.objects.exclude(lease_owner=None).count() == 2
    gate.open()
    worker.ended(*runs)
    assert gate.most == 2
    worker.until(lambda: not Slot.objects.exclude(lease_owner=None).exists(), "free places")


def test_a_rollback_may_be_async(worker: Worker) -> None:
    run = bodies.undoes.start("x")
    worker.ended(run)
    assert isinstance(run.status(), Failed)
    assert Entry.objects.filter(label="x:undone").count() == 1


def test_a_pause_lets_those_go_on_that_have_begun(worker: Worker) -> None:
    gate = worker.gate()
    worker.harness.replace(bodies.ask, with_=at(gate))
    run = bodies.asks.start("x")
    worker.until(lambda: gate.arrived == 1, "it at the gate")
    workflow.pause("a test")
    try:
        gate.open()
        worker.until(lambda: Step.objects.filter(workflow=run, state="completed").exists(), "its result")
    finally:
        workflow.resume()
    worker.ended(run)
    assert run.status() == Completed("x")


def test_what_is_begun_is_ended_and_written_before_the_worker_ends(worker: Worker) -> None:
    gate = worker.gate()
    worker.harness.replace(bodies.ask, with_=at(gate))
    run = bodies.asks.start("x")
    worker.until(lambda: gate.arrived == 1, "it at the gate")
    finishing = threading.Thread(target=worker.executor.finish)
    finishing.start()
    worker.until(lambda: worker.executor.refused(), "the refusal of more")
    next_one = bodies.asks_also.start(
        "y"
    )  # its function was not met before, so it runs in the worker's thread
    worker.ended(next_one)
    gate.open()
    finishing.join()
    assert Step.objects.get(workflow=run).state == "completed"
    worker.ended(run)
    assert run.status() == Completed("x")


def test_at_what_workers_died_often_runs_beside_no_other_of_its_kind(worker: Worker) -> None:
    """R15: one of those that ran in a process that died is to blame, and the rest are not given up with it."""
    threads = []

    async def body(label: str) -> Any:
        threads.append(threading.current_thread())
        if current_step().attempt <= 3:
            raise KeyboardInterrupt
        return label

    def begun(times: int) -> bool:
        return len(threads) == times

    worker.harness.replace(bodies.ask, with_=body)
    run = bodies.asks.start("x")
    for attempt in (1, 2, 3):
        worker.until(partial(begun, attempt), f"attempt {attempt}")
        worker.later(timedelta(seconds=31))
    worker.ended(run)
    assert run.status() == Completed("x")
    assert threads[0] == threads[1] == threads[2] != threads[3]
    outcomes = [each["outcome"] for each in json.loads(Step.objects.get(workflow=run).history_text)]
    assert outcomes == ["interrupted", "interrupted", "interrupted", "completed"]


@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_process_ends_no_other_body(worker: Worker, fatal: type[BaseException]) -> None:
    """Raised by the body itself, and by a task that it has left behind: asyncio ends the loop for both."""
    gate = worker.gate()
    worker.harness.replace(bodies.ask, with_=at(gate))

    async def dying(label: str) -> Any:
        async def left_behind() -> None:
            raise fatal

        asyncio.create_task(left_behind())  # noqa: RUF006
        raise fatal

    worker.harness.replace(bodies.ask_also, with_=dying)
    other = bodies.asks.start("x")
    worker.until(lambda: gate.arrived == 1, "the other one at the gate")
    run = bodies.asks_also.start("y")
    worker.until(lambda: Step.objects.filter(workflow=run).exclude(attempts=0).exists(), "its attempt")
    if fatal is SystemExit:
        worker.ended(run)  # as in the worker's own thread: it has failed
        assert isinstance(run.status(), Failed)
    gate.open()
    worker.ended(other)
    assert other.status() == Completed("x")
    if fatal is KeyboardInterrupt:
        # Its lease is renewed no more, and the attempt counts as interrupted.
        worker.harness.replace(bodies.ask_also, with_=at(gate))
        worker.later(timedelta(seconds=31))
        worker.ended(run)
        assert (run.status(), attempts_of(run)) == (Completed("y"), 2)


@pytest.mark.parametrize(
    "error", [GeneratorExit, asyncio.CancelledError, ExceptionGroup("two", [ValueError()])]
)
def test_whatever_else_a_body_raises_is_its_failure(worker: Worker, error: Any) -> None:
    async def body(label: str) -> None:
        raise error

    worker.harness.replace(bodies.ask, with_=body)
    run = bodies.asks.start("x")
    worker.ended(run)
    assert isinstance(run.status(), Failed)
    assert attempts_of(run) == 1
