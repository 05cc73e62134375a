"""Steps that are canceled or taken over while their bodies run, and a worker whose loop or database stands still."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_workflow import Canceled, Completed, current_step
from django_workflow.engine import executor as executors
from django_workflow.engine.leases import heartbeat
from django_workflow.journal import clock
from django_workflow.models import Step
from tests.engine.committed import committed
from tests.engine.elsewhere import PATIENCE, elsewhere
from tests.executor import bodies
from tests.executor.conftest import Worker
from tests.executor.test_running import at, attempts_of

pytestmark = committed
CLERK = "django_workflow clerk"


@contextmanager
def on_connections_of(thread: str, wrapper: Callable[..., Any]) -> Iterator[None]:
    """Let `wrapper` see every statement that a thread of this name sends on connections that it makes from now on."""

    def made(connection: BaseDatabaseWrapper, **_: Any) -> None:
        if threading.current_thread().name == thread:
            connection.execute_wrappers.append(wrapper)

    connection_created.connect(made)
    try:
        yield
    finally:
        connection_created.disconnect(made)


def test_p8_a_canceled_body_is_canceled_and_what_it_returns_is_dropped(worker: Worker) -> None:
    gate, cleaned_up = worker.gate(), threading.Event()

    async def body(label: str) -> str:
        try:
            await gate.passed()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # cleaning up may wait
            cleaned_up.set()
            if label == "raises":
                raise
        return "late"

    worker.harness.replace(bodies.ask, with_=body)
    runs = [bodies.asks.start("raises"), bodies.asks.start("swallows")]
    worker.until(lambda: gate.arrived == 2, "both at the gate")
    for run in runs:
        run.cancel("not needed")
    assert cleaned_up.wait(PATIENCE)
    worker.executor.finish()  # no body is left
    for run in runs:
        assert isinstance(run.status(), Canceled)
        step = Step.objects.get(workflow=run)
        assert (step.state, step.result_text, step.lease_owner) == ("canceled", None, None)


def test_a_body_learns_that_it_is_canceled(worker: Worker) -> None:
    said = threading.Event()

    async def body(label: str) -> None:
        step = current_step()
        while not step.canceled:
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                continue
        said.set()

    worker.harness.replace(bodies.ask, with_=body)
    run = bodies.asks.start("x")
    worker.until(lambda: Step.objects.filter(workflow=run, state="running"), "its body")
    assert not said.is_set()
    run.cancel()
    assert said.wait(PATIENCE)


def test_one_that_is_lost_undoes_no_other_end(worker: Worker) -> None:
    """They end at one moment, and their ends are written together."""
    gate = worker.gate()

    async def body(label: str) -> str:
        while True:
            try:
                await gate.passed()
            except asyncio.CancelledError:
                continue
            return label

    worker.harness.replace(bodies.ask, with_=body)
    runs = [bodies.asks.start(f"{number}") for number in range(10)]
    worker.until(lambda: gate.most == 10, "all at the gate")
    runs[4].cancel()
    gate.open()
    worker.ended(*runs)
    assert isinstance(runs[4].status(), Canceled)
    rest = [run for run in runs if run is not runs[4]]
    assert [run.status() for run in rest] == [Completed(f"{number}") for number in range(10) if number != 4]
    assert {attempts_of(run) for run in rest} == {1}


def test_r6_a_body_that_blocks_the_loop_loses_no_lease(worker: Worker) -> None:
    taken = threading.Event()

    async def body(label: str) -> str:
        taken.set()
        assert released.wait(PATIENCE)  # blocks the loop, which is a mistake
        return label

    released = threading.Event()
    worker.harness.replace(bodies.ask, with_=body)
    with override_settings(DJANGO_WORKFLOW={"LEASE_SECONDS": 1}):
        run = bodies.asks.start("x")
        worker.until(taken.is_set, "its body")
        began_at = clock.read(connection)
        worker.until(
            lambda: clock.read(connection) > began_at + timedelta(seconds=2.5), "the end of two leases"
        )
        released.set()
        worker.ended(run)
    assert (run.status(), attempts_of(run)) == (Completed("x"), 1)


def test_p9_a_body_that_was_taken_over_writes_nothing_and_is_canceled(worker: Worker) -> None:
    gate, canceled = worker.gate(), threading.Event()

    async def body(label: str) -> Any:
        if current_step().attempt == 1:
            try:
                await gate.passed()
            finally:
                canceled.set()
        return current_step().attempt

    worker.harness.replace(bodies.ask, with_=body)
    run = bodies.asks.start("x")
    worker.until(lambda: gate.arrived == 1, "it at the gate")
    worker.later(timedelta(seconds=31))  # no beat comes in time
    worker.ended(run)
    assert canceled.wait(PATIENCE)
    assert (run.status(), attempts_of(run)) == (Completed(2), 2)


@pytest.mark.parametrize("fails", ["before", "after"])
def test_a_result_is_kept_until_the_database_takes_it(worker: Worker, monkeypatch: Any, fails: str) -> None:
    """The clerk's connection breaks at its writes, three times; after them the row is there or it isn't."""
    monkeypatch.setattr(executors, "AWAY_SECONDS", 0.01)
    left = [3]

    def wrapper(execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if left[0] and str(sql).startswith(("UPDATE", "WITH held AS (UPDATE")):
            left[0] -= 1
            if fails == "after":
                execute(sql, params, many, context)
            raise OperationalError(2013, "the connection is lost")
        return execute(sql, params, many, context)

    with on_connections_of(CLERK, wrapper):
        runs = [bodies.asks.start(f"{number}") for number in range(3)]
        worker.ended(*runs)
    assert not left[0]
    assert [run.status() for run in runs] == [Completed(f"{number}") for number in range(3)]
    assert {attempts_of(run) for run in runs} == {1}


def test_renewing_is_one_statement_for_all(worker: Worker) -> None:
    gate = worker.gate()
    worker.harness.replace(bodies.ask, with_=at(gate))
    runs = [bodies.asks.start(f"{number}") for number in range(12)]
    worker.until(lambda: gate.most == 12, "all at the gate")
    worker.later(timedelta(seconds=20))
    with CaptureQueriesContext(connection) as captured:
        heartbeat.beat()
    # A process that has had a place in a limited pool renews those by a statement of their own.
    table = Step._meta.db_table
    sent = [each["sql"] for each in captured.captured_queries if table in each["sql"]]
    assert len([sql for sql in sent if " SET " in sql]) == 1
    # SELECT … SKIP LOCKED, and UPDATE, where UPDATE has no RETURNING.
    assert len(sent) == (2 if connection.vendor == "mysql" else 1)
    worker.later(timedelta(seconds=20))  # the first leases would be over
    worker.drain()
    gate.open()
    worker.ended(*runs)
    assert {attempts_of(run) for run in runs} == {1}


if settings.DATABASE != "sqlite":  # which has one writer at a time

    def test_r20_a_lease_whose_row_is_locked_is_not_waited_for_and_not_lost(worker: Worker) -> None:
        gate = worker.gate()
        worker.harness.replace(bodies.ask, with_=at(gate))
        runs = [bodies.asks.start("a"), bodies.asks.start("b")]
        worker.until(lambda: gate.most == 2, "both at the gate")
        before: dict[Any, Any] = dict(Step.objects.values_list("workflow", "due_at"))
        worker.later(timedelta(seconds=5))
        with transaction.atomic():
            Step.objects.select_for_update().get(workflow=runs[0])
            elsewhere(heartbeat.beat)
        after: dict[Any, Any] = dict(Step.objects.values_list("workflow", "due_at"))
        assert after[runs[0].id] == before[runs[0].id]
        assert after[runs[1].id] > before[runs[1].id]
        gate.open()
        worker.ended(*runs)
        assert [run.status() for run in runs] == [Completed("a"), Completed("b")]


def test_an_executor_without_work_asks_the_database_nothing(worker: Worker, monkeypatch: Any) -> None:
    monkeypatch.setattr(executors, "ASK_SECONDS", 0.001)
    monkeypatch.setattr(executors, "IDLE_SECONDS", 0.001)
    sent: list[str] = []

    def wrapper(execute: Any, sql: Any, *rest: Any) -> Any:
        sent.append(str(sql))
        return execute(sql, *rest)

    with on_connections_of(CLERK, wrapper):
        run = bodies.asks.start("x")
        worker.ended(run)
        written = len(sent)
        for number in range(10):
            worker.ended(bodies.calls.start(f"{number}"))
        worker.executor.finish()
    assert sent[:written]
    assert sent[written:] == [], "after the last body"


def test_after_its_connections_were_closed_it_goes_on(worker: Worker, monkeypatch: Any) -> None:
    monkeypatch.setattr(executors, "IDLE_SECONDS", 0.001)
    for number in range(5):
        run = bodies.asks.start(f"{number}")
        worker.ended(run)
        assert run.status() == Completed(f"{number}")
