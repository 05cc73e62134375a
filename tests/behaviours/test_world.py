"""Behaviours 11 and 13: the handler's log, time and dice, and what it may not do."""

import asyncio
import logging
import re
import socket
import subprocess
import urllib.request
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import override_settings

from django_workflow import Completed, Failed, StepContext, workflow
from django_workflow.testing import Harness
from tests.behaviours.bodies import CardDeclined, act, calls, decline, look, rows, write
from tests.behaviours.code import deploy, deployed
from tests.behaviours.conftest import NOON
from tests.shop.models import Entry

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def failed(run: Any) -> Failed:
    status = workflow.status(run)
    assert isinstance(status, Failed), status
    return status


# ── 11 ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("any_mode")
def test_11_the_logger_writes_once_across_replays(
    workflow_harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        step.logger.info("begun with %s", 1)
        await step.run_action(act)
        step.logger.warning("acted")
        await step.sleep(DAY)
        try:
            await step.run_action(decline, "no")
        except CardDeclined:
            step.logger.exception("declined")
        await step.sleep(DAY)
        await asyncio.gather(step.run_action(act, 1), step.run_action(act, 2))
        step.logger.error("ended")

    with caplog.at_level(logging.INFO, logger="tests.behaviours.code"):
        run = deployed.start()
        workflow_harness.drain()
        workflow_harness.advance(DAY)
        workflow_harness.advance(DAY)
        workflow_harness.assert_replays(run)
    assert workflow.status(run) == Completed(None)
    lines = [record for record in caplog.records if record.name == "tests.behaviours.code"]
    assert [(line.levelname, line.getMessage()) for line in lines] == [
        ("INFO", "begun with 1"),
        ("WARNING", "acted"),
        ("ERROR", "declined"),
        ("ERROR", "ended"),
    ]
    assert lines[2].exc_info is not None
    assert {getattr(line, "workflow_id", None) for line in lines} == {str(run.id)}
    assert lines[0].funcName == "handler"


@pytest.mark.usefixtures("any_mode")
def test_11_now_random_and_uuid4_are_equal_on_replay(workflow_harness: Harness) -> None:
    lives: list[list[Any]] = []

    @deploy
    async def handler(step: StepContext) -> list[Any]:
        seen: list[Any] = []
        lives.append(seen)
        for _ in range(3):
            seen.append([step.now().isoformat(), step.random.random(), str(step.uuid4())])
            await step.run_action(act)
            seen.append([step.now().isoformat(), step.random.randrange(10**9), str(step.uuid4())])
            await step.sleep(HOUR)
        return seen

    run = deployed.start()
    workflow_harness.drain()
    for _ in range(3):
        workflow_harness.advance(HOUR)
    result = workflow_harness.result(run)
    workflow_harness.assert_replays(run)
    assert len(lives) > 3
    assert all(life == result[: len(life)] for life in lives)
    assert len({uuid for _, _, uuid in result}) == 6
    moments = [datetime.fromisoformat(moment) for moment, _, _ in result]
    assert moments == sorted(moments)


def test_11_random_and_uuid4_differ_between_workflows(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> list[Any]:
        return [step.random.random(), str(step.uuid4()), str(step.workflow_id)]

    runs = [deployed.start() for _ in range(5)]
    workflow_harness.drain()
    results = [workflow_harness.result(run) for run in runs]
    for values in zip(*results, strict=True):
        assert len(set(values)) == 5
    assert all(UUID(uuid).version == 4 for _, uuid, _ in results)
    assert [workflow_id for _, _, workflow_id in results] == [str(run.id) for run in runs]


@pytest.mark.usefixtures("any_mode")
def test_11_now_is_the_durable_clocks_time_of_the_last_answer(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> list[str]:
        seen = [step.now()]
        await step.run_action(act)
        seen.append(step.now())
        await step.sleep(HOUR)
        seen.append(step.now())
        await step.sleep(DAY)
        seen.append(step.now())
        assert all(moment.utcoffset() == timedelta(0) for moment in seen)
        return [moment.isoformat() for moment in seen]

    run = deployed.start()
    frozen.drain()
    frozen.advance(HOUR)
    frozen.advance(DAY)
    expected = [NOON, NOON, NOON + HOUR, NOON + HOUR + DAY]
    assert frozen.result(run) == [moment.isoformat() for moment in expected]


@pytest.mark.usefixtures("any_mode")
def test_is_replaying_is_true_only_while_the_handler_repeats_itself(workflow_harness: Harness) -> None:
    seen: list[tuple[str, bool]] = []

    @deploy
    async def handler(step: StepContext) -> None:
        seen.append(("start", step.is_replaying))
        await step.sleep(DAY)
        seen.append(("end", step.is_replaying))

    with override_settings(DJANGO_WORKFLOW={}):
        deployed.start()
        workflow_harness.drain()
        workflow_harness.advance(DAY)
    assert seen == [("start", False), ("start", True), ("end", False)]


# ── 13: what can never come ─────────────────────────────────────────────────────────────────────────────────


async def a_bare_future(step: StepContext) -> None:
    await asyncio.get_running_loop().create_future()


async def an_event_of_asyncio(step: StepContext) -> None:
    await asyncio.Event().wait()


async def an_empty_queue(step: StepContext) -> None:
    await asyncio.Queue[None]().get()


async def a_lock_taken_twice(step: StepContext) -> None:
    lock = asyncio.Lock()
    await lock.acquire()
    await lock.acquire()


async def two_tasks_that_wait_for_each_other(step: StepContext) -> None:
    tasks: list[asyncio.Task[None]] = []

    async def wait_for(number: int) -> None:
        await tasks[number]

    tasks.append(asyncio.create_task(wait_for(1)))
    tasks.append(asyncio.create_task(wait_for(0)))
    await asyncio.gather(*tasks)


STUCK = [
    a_bare_future,
    an_event_of_asyncio,
    an_empty_queue,
    a_lock_taken_twice,
    two_tasks_that_wait_for_each_other,
]


@pytest.mark.usefixtures("any_mode")
@pytest.mark.parametrize("after_a_step", [False, True])
def test_13_a_handler_that_awaits_what_never_comes_fails_as_stuck(
    workflow_harness: Harness, after_a_step: bool
) -> None:
    @deploy
    async def handler(step: StepContext, which: int) -> str:
        if after_a_step:
            await step.run_mutation(write, "kept")
        try:
            await STUCK[which](step)
        except Exception:  # noqa: BLE001  what is shown
            return "hidden"
        return "came"

    runs = [deployed.start(which) for which in range(len(STUCK))]
    workflow_harness.drain()
    for run in runs:
        error = failed(run).error
        assert error.type == "django_workflow.exceptions.WorkflowStuck"
        assert str(run.id) in error.message
    assert rows("kept") == after_a_step * len(STUCK)


def test_13_a_handler_that_spins_for_ever_fails_as_stuck(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(lambda: None)
        while not future.done():  # noqa: ASYNC110  what is shown
            await asyncio.sleep(0)

    run = deployed.start()
    workflow_harness.drain()
    assert failed(run).error.type == "django_workflow.exceptions.WorkflowStuck"


# ── 13: what a handler may not touch ────────────────────────────────────────────────────────────────────────


async def reads_the_orm(step: StepContext) -> None:
    Entry.objects.count()


async def writes_by_the_orm(step: StepContext) -> None:
    Entry.objects.create(label="by the handler")


async def reads_the_async_orm(step: StepContext) -> None:
    await Entry.objects.acount()


async def writes_by_the_async_orm(step: StepContext) -> None:
    await Entry.objects.acreate(label="by the handler")


async def starts_a_workflow(step: StepContext) -> None:
    deployed.start()


async def starts_a_workflow_in_async(step: StepContext) -> None:
    await deployed.astart()


async def cancels_itself(step: StepContext) -> None:
    workflow.cancel(step.workflow_id)


async def uses_a_thread(step: StepContext) -> None:
    await asyncio.to_thread(len, "x")


async def uses_an_executor(step: StepContext) -> None:
    await asyncio.get_running_loop().run_in_executor(None, len, "x")


async def opens_a_connection(step: StepContext) -> None:
    await asyncio.open_connection("127.0.0.1", 9)


async def starts_a_process(step: StepContext) -> None:
    await asyncio.create_subprocess_exec("true")


async def asks_for_an_address(step: StepContext) -> None:
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)


async def receives_on_a_socket(step: StepContext) -> None:
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        await asyncio.get_running_loop().sock_recv(one, 1)


async def watches_a_socket(step: StepContext) -> None:
    asyncio.get_running_loop().add_reader(0, print)


async def waits_without_order(step: StepContext) -> None:
    await asyncio.wait([asyncio.ensure_future(step.sleep(1)), asyncio.ensure_future(step.sleep(2))])


async def completes_without_order(step: StepContext) -> None:
    for each in asyncio.as_completed([step.sleep(1), step.sleep(2)]):
        await each


async def runs_a_loop(step: StepContext) -> None:
    asyncio.get_running_loop().run_until_complete(asyncio.sleep(0))


FORBIDDEN: list[Any] = [
    reads_the_orm,
    writes_by_the_orm,
    reads_the_async_orm,
    writes_by_the_async_orm,
    starts_a_workflow,
    starts_a_workflow_in_async,
    cancels_itself,
    uses_a_thread,
    uses_an_executor,
    opens_a_connection,
    starts_a_process,
    asks_for_an_address,
    receives_on_a_socket,
    watches_a_socket,
    waits_without_order,
    completes_without_order,
]
NOT_DETERMINISTIC = "django_workflow.exceptions.NotDeterministic"


@pytest.mark.usefixtures("any_mode")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("swallow", [False, True], ids=["uncaught", "swallowed"])
def test_13_io_in_a_handler_is_not_deterministic_and_says_what_to_do(
    workflow_harness: Harness, swallow: bool
) -> None:
    @deploy
    async def handler(step: StepContext, which: int) -> str:
        await step.run_mutation(write, "kept")
        try:
            await FORBIDDEN[which](step)
        except BaseException:
            if not swallow:
                raise
        await step.run_action(act, "went on")
        return "ended"

    runs = [deployed.start(which) for which in range(len(FORBIDDEN))]
    workflow_harness.drain()
    assert {
        touch.__name__: workflow.status(run).type for touch, run in zip(FORBIDDEN, runs, strict=True)
    } == {touch.__name__: "failed" for touch in FORBIDDEN}
    for run in runs:
        error = failed(run).error
        assert error.type == NOT_DETERMINISTIC
        assert re.search("move this into a (step|query or a mutation)|use step[.]", error.message), (
            error.message
        )
    assert rows("kept") == len(FORBIDDEN)
    assert rows("by the handler") == 0
    assert ("act", "went on") not in calls
    assert workflow.list().count() == len(FORBIDDEN)


async def looks_up_a_host(step: StepContext) -> None:
    socket.getaddrinfo("localhost", 80)


async def connects(step: StepContext) -> None:
    with socket.socket() as here:
        here.connect(("127.0.0.1", 9))


async def opens_an_url(step: StepContext) -> None:
    urllib.request.urlopen("http://127.0.0.1:9/")  # noqa: ASYNC210  what is shown


async def runs_a_program(step: StepContext) -> None:
    subprocess.run(["true"], check=True)  # noqa: S607, ASYNC221  what is shown


@pytest.mark.parametrize("suspend", [False, True])
@pytest.mark.parametrize(
    "touch", [looks_up_a_host, connects, opens_an_url, runs_a_program], ids=lambda touch: touch.__name__
)
def test_13_blocking_io_is_seen_where_determinism_is_checked(
    workflow_harness: Harness, touch: Callable[[StepContext], Awaitable[None]], suspend: bool
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        try:
            await touch(step)
        except Exception:  # noqa: BLE001  what is shown
            return "hidden"
        return "done"

    with override_settings(DJANGO_WORKFLOW={"CHECK_DETERMINISM": True, "ALWAYS_SUSPEND": suspend}):
        run = deployed.start()
        workflow_harness.drain()
    error = failed(run).error
    assert error.type == NOT_DETERMINISTIC
    assert "move this into a step" in error.message


@pytest.mark.usefixtures("any_mode")
def test_13_step_bodies_may_do_all_of_it(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> list[Any]:
        return [
            await step.run_action(io_of_all_kinds),
            await step.run_query(look, 1),
        ]

    assert workflow_harness.run(deployed) == Completed([[0, 3], 1])


async def io_of_all_kinds() -> list[int]:
    await asyncio.sleep(0)
    one, other = socket.socketpair()
    one.close()
    other.close()
    subprocess.run(["true"], check=True)  # noqa: S607, ASYNC221  what is shown
    return [await Entry.objects.acount(), await asyncio.to_thread(len, "abc")]


def test_a_handler_that_differs_from_time_to_time_is_caught_where_determinism_is_checked(
    workflow_harness: Harness,
) -> None:
    lives: list[int] = []

    @deploy
    async def handler(step: StepContext) -> None:
        lives.append(1)
        await step.run_action(act, len(lives))
        await step.sleep(DAY)

    with override_settings(DJANGO_WORKFLOW={"CHECK_DETERMINISM": True}):
        run = deployed.start()
        workflow_harness.drain()
    error = failed(run).error
    assert error.type in (NOT_DETERMINISTIC, "django_workflow.exceptions.DeterminismViolation")


def test_the_handlers_world_has_no_time_zone_but_utc(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        return str(step.now().tzinfo)

    assert frozen.run(deployed) == Completed(str(UTC))
