"""Timeouts: of a workflow, on the durable clock from its first turn; of a step (17), in real seconds of its body."""

import asyncio
import itertools
import socket
import time
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from django_workflow import (
    Canceled,
    Completed,
    Failed,
    InProgress,
    Retry,
    StepContext,
    action,
    current_step,
    mutation,
    query,
    workflow,
)
from django_workflow.exceptions import InvalidArguments, StepFailed, StepTimedOut, WorkflowTimedOut
from django_workflow.models import Workflow
from django_workflow.testing import Harness, SimulatedCrash
from tests.behaviours.bodies import act, calls, decline, look, rows, write
from tests.behaviours.code import deploy, deployed
from tests.behaviours.conftest import NOON
from tests.engine.committed import committed
from tests.engine.elsewhere import elsewhere
from tests.shop.models import Entry

MICROSECOND = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
LEASE = timedelta(seconds=31)
SHORT = 0.2


def assert_timed_out(run: Workflow, timeout: timedelta = HOUR) -> None:
    status = workflow.status(run)
    assert isinstance(status, Failed), status
    assert status.error.type == "django_workflow.exceptions.WorkflowTimedOut"
    assert status.error.message == f"workflow {run.id} did not end within its timeout of {timeout}"
    row = workflow.get(run)
    assert (row.due_at, row.lease_owner) == (None, None)
    for step in workflow.steps(run):
        assert step.state in ("completed", "failed", "canceled")


# ── of a workflow ───────────────────────────────────────────────────────────────────────────────────────────


@workflow.define(name="timeouts.defined", timeout=HOUR)
async def defined(step: StepContext, seconds: float) -> str:
    await step.sleep(seconds)
    return "ended"


def test_it_is_exact_on_the_durable_clock(frozen: Harness, any_mode: str) -> None:
    run = defined.start(86_400)
    frozen.drain()
    assert workflow.get(run).due_at == NOON + HOUR
    frozen.advance(HOUR - MICROSECOND)
    assert isinstance(workflow.status(run), InProgress)
    frozen.advance(MICROSECOND)
    assert_timed_out(run)
    assert workflow.get(run).completed_at == NOON + HOUR
    frozen.assert_replays(run)


def test_one_that_ends_in_time_is_left_alone(frozen: Harness, any_mode: str) -> None:
    run = defined.start(3599)
    frozen.drain()
    frozen.advance(HOUR - SECOND)
    assert frozen.result(run) == "ended"
    frozen.advance(DAY)
    assert frozen.result(run) == "ended"


@pytest.mark.parametrize("timeout", [timedelta(minutes=5), 300, 300.0], ids=str)
def test_given_at_the_start_it_takes_the_place_of_the_definitions(frozen: Harness, timeout: Any) -> None:
    run = defined.using(timeout=timeout).start(86_400)
    frozen.drain()
    frozen.advance(5 * MINUTE)
    assert_timed_out(run, 5 * MINUTE)


@pytest.mark.parametrize("wrong", [0, -1, timedelta(0), "1", True, float("nan"), float("inf")], ids=repr)
def test_what_is_no_duration_above_zero_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidArguments, match="timeout"):
        defined.using(timeout=wrong)
    with pytest.raises(InvalidArguments, match="timeout"):
        workflow.define(name="timeouts.refused", timeout=wrong)(defined.handler)


def test_it_counts_from_the_first_turn_not_from_the_start(frozen: Harness, any_mode: str) -> None:
    run = defined.using(run_at=NOON + DAY).start(86_400)
    frozen.drain()
    frozen.advance(DAY - SECOND)
    frozen.advance(SECOND + MINUTE)  # it is begun a minute late
    assert workflow.get(run).started_at == NOON + DAY + MINUTE
    frozen.advance(HOUR - SECOND)
    assert isinstance(workflow.status(run), InProgress)
    frozen.advance(SECOND)
    assert_timed_out(run)


@pytest.mark.parametrize("waits_for", ["sleep", "event", "backoff", "parallel", "late", "child", "asyncio"])
def test_whatever_it_waits_for_it_ends(frozen: Harness, waits_for: str, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.run_mutation(write, "before")
        match waits_for:
            case "sleep":
                await step.sleep(DAY)
            case "event":
                await step.wait_for_event("never", timeout=DAY)
            case "backoff":
                retry = Retry(initial=86_400, max_delay=86_400, jitter=False)
                await step.using(retry=retry).run_action(decline, "no")
            case "parallel":
                later = step.using(run_after=DAY)
                await asyncio.gather(*(later.run_action(act, number) for number in range(3)))
            case "late":
                await step.using(run_after=DAY).run_mutation(write, "late")
            case "child":
                await step.run_workflow(defined.using(timeout=2 * DAY), 86_400)
            case "asyncio":
                async with asyncio.timeout(86_400):
                    await asyncio.sleep(172_800)
        await step.run_mutation(write, "after")

    run = deployed.using(timeout=HOUR).start()
    frozen.drain()
    frozen.drain()
    frozen.advance(HOUR - MICROSECOND)
    assert isinstance(workflow.status(run), InProgress)
    frozen.advance(MICROSECOND)
    assert_timed_out(run)
    frozen.advance(3 * DAY)
    assert (rows("before"), rows("late"), rows("after")) == (1, 0, 0)
    assert [call for call in calls if call[0] == "act"] == []
    frozen.assert_replays(run)


def test_it_ends_its_children_and_theirs(frozen: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext, levels: int) -> None:
        if levels:
            await step.run_workflow(deployed, levels - 1)
        await step.sleep(DAY)

    run = deployed.using(timeout=HOUR).start(2)
    for _ in range(3):
        frozen.drain()
    frozen.advance(HOUR)
    assert_timed_out(run)
    family = list(Workflow.objects.order_by("depth"))
    assert [each.state for each in family] == ["failed", "canceled", "canceled"]
    assert str(run.id) in family[1].reason


def test_that_of_a_child_fails_its_step_in_the_parent_as_what_it_is(frozen: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext, how: str) -> str:
        try:
            if how == "step":
                await step.using(timeout=60).run_workflow(defined, 86_400)
            else:
                await step.run_workflow(defined.using(timeout=60), 86_400)
        except WorkflowTimedOut as error:
            return f"the child was too late, {isinstance(error, StepFailed)}"
        return "never"

    runs = [deployed.start(how) for how in ("step", "using")]
    frozen.drain()
    frozen.drain()
    frozen.advance(MINUTE)
    assert [frozen.result(run) for run in runs] == ["the child was too late, True"] * 2


def test_no_except_and_no_finally_of_the_handler_sees_it(frozen: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        try:
            await step.sleep(DAY)
        except BaseException:
            await step.run_mutation(write, "caught")
            raise
        finally:
            await step.run_mutation(write, "finally")
        return "ended"

    run = deployed.using(timeout=HOUR).start()
    frozen.drain()
    frozen.advance(HOUR)
    assert_timed_out(run)
    frozen.advance(DAY)
    assert (rows("caught"), rows("finally")) == (0, 0)


def test_a_restart_gives_it_the_whole_time_again(frozen: Harness, any_mode: str) -> None:
    run = defined.start(7200)
    frozen.drain()
    frozen.advance(HOUR)
    assert_timed_out(run)
    frozen.advance(DAY)
    workflow.restart(run, 1)
    frozen.drain()
    assert workflow.get(run).due_at == NOON + HOUR + DAY + HOUR
    frozen.advance(HOUR - SECOND)
    assert isinstance(workflow.status(run), InProgress)
    frozen.advance(SECOND)
    assert_timed_out(run)


def test_going_on_as_new_gives_it_no_more(frozen: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext, lives: int) -> None:
        await step.sleep(1500)
        step.continue_as_new(lives + 1)

    run = deployed.using(timeout=HOUR).start(0)
    frozen.drain()
    for _ in range(2):
        frozen.advance(timedelta(seconds=1500))
    assert workflow.get(run).args == {"*args": [2]}
    frozen.advance(timedelta(seconds=600))
    assert_timed_out(run)


def test_a_cancel_is_faster(frozen: Harness) -> None:
    run = defined.start(86_400)
    frozen.drain()
    workflow.cancel(run, "enough")
    frozen.advance(DAY)
    assert workflow.status(run) == Canceled("enough")


def test_a_worker_that_comes_late_finds_it_too_late(frozen: Harness, any_mode: str) -> None:
    """What was ready in time but not looked at has not ended the workflow in time."""
    run = defined.start(60)
    frozen.drain()
    frozen.advance(2 * HOUR)
    assert_timed_out(run)


@committed
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_crashes_give_it_no_more_time(workflow_harness: Harness, after: bool, either_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.run_mutation(write, "it")
        await step.run_action(act, 1)
        await step.sleep(DAY)

    moment = NOON
    for point in itertools.count(1):
        workflow_harness.freeze(moment)
        run = deployed.using(timeout=HOUR).start()
        workflow_harness.crash_at(point, after=after)
        crashed, began = False, moment
        for _ in range(2):
            try:
                workflow_harness.drain()
            except SimulatedCrash:
                crashed = True
                began = workflow.get(run).started_at or moment + LEASE
                moment += LEASE
                workflow_harness.freeze(moment)
            else:
                break
        else:
            workflow_harness.drain()
        workflow_harness.crash_at(0)
        if not crashed:
            assert point > 2
            break
        workflow_harness.freeze(began + HOUR - MICROSECOND)
        workflow_harness.drain()
        assert isinstance(workflow.status(run), InProgress)
        workflow_harness.freeze(began + HOUR)
        workflow_harness.drain()
        assert_timed_out(run)
        moment = began + 2 * HOUR


# ── of a step ───────────────────────────────────────────────────────────────────────────────────────────────


@action
def sleep_long() -> str:
    calls.append("began")
    time.sleep(60)
    return "late"


@action
def receive() -> str:
    calls.append("began")
    here, there = socket.socketpair()
    with here, there:
        return str(here.recv(1))


@action
async def sleep_long_async() -> str:
    calls.append("began")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        calls.append("canceled")
        raise
    return "late"


@mutation
def write_and_sleep() -> str:
    calls.append("began")
    Entry.objects.create(label="half")
    time.sleep(60)
    return "late"


@query
def look_and_sleep() -> str:
    calls.append("began")
    Entry.objects.count()
    time.sleep(60)
    return "late"


RUNS: dict[Any, str] = {
    sleep_long: "run_action",
    receive: "run_action",
    sleep_long_async: "run_action",
    write_and_sleep: "run_mutation",
    look_and_sleep: "run_query",
}


@pytest.mark.parametrize("inline", [None, False])
@pytest.mark.parametrize("function", RUNS)
def test_17_a_timeout_is_recorded_raised_and_replayed(
    workflow_harness: Harness, function: Any, inline: bool | None
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        limited, text = step.using(timeout=SHORT, inline=inline), "never"
        try:
            await getattr(limited, RUNS[function])(function)
        except StepTimedOut as error:
            text = f"{error} {isinstance(error, TimeoutError)}"
        await step.sleep(60)
        await step.run_mutation(write, "after")
        return text

    run = deployed.start()
    workflow_harness.drain()
    step = workflow_harness.journal(run)[0]
    assert (step.state, step.attempts, step.result) == ("failed", 1, None)
    assert step.error is not None
    assert step.error.type == "django_workflow.exceptions.StepTimedOut"
    assert [attempt["outcome"] for attempt in step.history] == ["failed"]
    workflow_harness.advance(MINUTE)
    assert f"{SHORT:g} s" in workflow_harness.result(run)
    assert workflow_harness.result(run).endswith("True")
    assert [call for call in calls if call in ("began", "canceled")] == (
        ["began", "canceled"] if function is sleep_long_async else ["began"]
    )
    assert (rows("half"), rows("after")) == (0, 1)
    workflow_harness.assert_replays(run)


@action
def quick_at_third() -> int:
    calls.append("began")
    if current_step().attempt < 3:
        time.sleep(60)
    return current_step().attempt


@pytest.mark.parametrize("inline", [None, False])
@pytest.mark.parametrize("on", [(TimeoutError,), (StepTimedOut,), (Exception,)])
def test_17_a_timeout_is_retried_as_other_failures_are(
    workflow_harness: Harness, inline: bool | None, on: Any
) -> None:
    retry = Retry(max_attempts=3, initial=10, base=1, jitter=False, on=on)

    @deploy
    async def handler(step: StepContext) -> int:
        return await step.using(timeout=SHORT, inline=inline, retry=retry).run_action(quick_at_third)

    run = deployed.start()
    for _ in range(3):
        workflow_harness.advance(timedelta(seconds=11))
    assert workflow_harness.result(run) == 3
    (step,) = workflow_harness.journal(run)
    assert [attempt["outcome"] for attempt in step.history] == ["failed", "failed", "completed"]
    assert calls == ["began"] * 3


def test_17_a_timeout_that_is_not_listed_is_not_retried(workflow_harness: Harness) -> None:
    retry = Retry(initial=0.001, on=(ConnectionError,))

    @deploy
    async def handler(step: StepContext) -> Any:
        return await step.using(timeout=SHORT, retry=retry).run_action(quick_at_third)

    run = deployed.start()
    workflow_harness.advance(MINUTE)
    assert isinstance(workflow.status(run), Failed)
    assert calls == ["began"]


@action(timeout=SHORT)
def marked() -> None:
    time.sleep(60)


def test_17_a_mark_gives_it_and_the_handler_overrides_it(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, over: float | None) -> str:
        try:
            await step.using(timeout=over).run_action(marked)
        except StepTimedOut as error:
            return str(error)
        return "never"

    marked_run, over_run = deployed.start(None), deployed.start(0.1)
    workflow_harness.drain()
    assert "0.2 s" in workflow_harness.result(marked_run)
    assert "0.1 s" in workflow_harness.result(over_run)


def test_17_a_step_that_is_quick_enough_is_left_alone(workflow_harness: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        limited = step.using(timeout=60)
        return [
            await limited.run_action(act, 1),
            await limited.run_query(look, 2),
            await limited.run_mutation(write, "it"),
            await asyncio.gather(limited.run_action(act, 4), limited.run_action(act, 5)),
        ]

    run = deployed.start()
    for _ in range(3):
        workflow_harness.drain()
    assert workflow_harness.result(run) == [1, 2, 1, [4, 5]]


def test_17_a_queue_time_is_no_time_of_the_body(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await step.using(timeout=60, run_after=DAY).run_action(act, "much later")

    run = deployed.start()
    frozen.drain()
    frozen.advance(2 * DAY)
    assert frozen.result(run) == "much later"


# ── R6: both ────────────────────────────────────────────────────────────────────────────────────────────────


def nap(seconds: float) -> None:
    calls.append("began")
    time.sleep(seconds)
    calls.append("ended")


@pytest.mark.parametrize("own", [None, 60.0])
@pytest.mark.parametrize("retry", [False, Retry(initial=0.001)])
def test_r6_an_action_in_the_turn_is_interrupted_at_the_workflows_deadline(
    workflow_harness: Harness, own: float | None, retry: Any
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.run_mutation(write, "before")
        try:
            await step.using(timeout=own, retry=retry).run_action(nap, 60)
        finally:
            await step.run_mutation(write, "after")
        return "never"

    run = deployed.using(timeout=SHORT).start()
    workflow_harness.drain()
    assert_timed_out(run, timedelta(seconds=SHORT))
    assert calls.count("began") == 1
    assert "ended" not in calls
    assert (rows("before"), rows("after")) == (1, 0)


@pytest.mark.parametrize("kind", ["action", "mutation"])
def test_r6_a_step_by_itself_is_interrupted_at_the_workflows_deadline_too(
    workflow_harness: Harness, kind: str
) -> None:
    """With one worker, nobody else could end the workflow in time."""

    @deploy
    async def handler(step: StepContext) -> str:
        beside = step.using(inline=False)
        long = beside.run_action(nap, 60) if kind == "action" else beside.run_mutation(write_and_sleep)
        await asyncio.gather(long, step.sleep(60))
        return "never"

    run = deployed.using(timeout=SHORT).start()
    workflow_harness.drain()
    assert_timed_out(run, timedelta(seconds=SHORT))
    assert (calls, rows("half")) == (["began"], 0)


def test_r6_a_body_that_is_due_after_the_deadline_never_begins(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await asyncio.gather(*(step.using(run_after=HOUR).run_action(act, number) for number in range(3)))

    run = deployed.using(timeout=HOUR).start()
    frozen.drain()
    frozen.advance(HOUR)
    assert_timed_out(run)
    assert calls == []


def test_r6_the_steps_own_timeout_counts_where_it_is_shorter(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        try:
            await step.using(timeout=SHORT).run_action(nap, 60)
        except StepTimedOut as error:
            return str(error)
        return "never"

    run = deployed.using(timeout=60).start()
    workflow_harness.drain()
    assert "0.2 s" in workflow_harness.result(run)


def test_r6_a_deadline_that_is_far_leaves_an_action_alone(frozen: Harness, any_mode: str) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await step.run_action(act, 1)

    run = deployed.using(timeout=DAY).start()
    frozen.drain()
    frozen.drain()
    assert workflow.status(run) == Completed(1)


@committed
def test_r6_where_nothing_could_interrupt_it_an_action_is_left_to_another_thread(
    workflow_harness: Harness,
) -> None:
    """`eager` takes the first turn in the starting thread, whatever that is."""

    @deploy
    async def handler(step: StepContext) -> Any:
        await step.run_mutation(write, "in the starting process")
        return await step.run_action(act, "by a worker")

    run = elsewhere(lambda: deployed.using(timeout=HOUR, eager=True).start())
    assert rows("in the starting process") == 1
    assert calls == [("write", "in the starting process")]
    workflow_harness.drain()
    assert workflow_harness.result(run) == "by a worker"


# ── a body in the middle of a statement ─────────────────────────────────────────────────────────────────────


def ask_slowly() -> None:
    """The database takes its time; SQLite can't be made to, so there it is the body."""
    with connection.cursor() as cursor:
        match connection.vendor:
            case "postgresql":
                cursor.execute("SELECT pg_sleep(60)")
            case "mysql":
                cursor.execute("SELECT SLEEP(60)")
            case _:
                cursor.execute("SELECT 1")
                time.sleep(60)


@action
def act_slowly() -> None:
    with transaction.atomic():
        Entry.objects.create(label="half")
        ask_slowly()


@mutation
def write_slowly() -> None:
    Entry.objects.create(label="half")
    ask_slowly()


@committed
@pytest.mark.parametrize("function", [act_slowly, write_slowly])
@pytest.mark.parametrize("inline", [None, False])
def test_17_a_body_is_interrupted_in_a_statement_and_its_transaction_undone(
    workflow_harness: Harness, function: Any, inline: bool | None
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        limited = step.using(timeout=SHORT, inline=inline)
        run_step = limited.run_action if function is act_slowly else limited.run_mutation
        await step.run_mutation(write, "before")
        try:
            await run_step(function)
        except StepTimedOut:
            await step.run_mutation(write, "after")
            return "too slow"
        return "never"

    run = deployed.start()
    for _ in range(2):
        workflow_harness.drain()
    assert workflow_harness.result(run) == "too slow"
    assert (rows("before"), rows("half"), rows("after")) == (1, 0, 1)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # Else the server would go on, and hold what the body has locked.
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' "
                "AND pid <> pg_backend_pid() AND query LIKE '%pg_sleep%'"
            )
            assert cursor.fetchone() == (0,)
