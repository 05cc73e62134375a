"""Behaviours 15, 16 and 18: attempts, their delays, and what is not attempted again."""

import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_workflow import (
    Completed,
    Failed,
    InProgress,
    Retry,
    StepContext,
    action,
    current_step,
    mutation,
    workflow,
)
from django_workflow.exceptions import (
    InvalidArguments,
    NonRetryable,
    StepFailed,
    StepInterrupted,
    StepTimedOut,
)
from django_workflow.testing import Harness, SimulatedCrash
from tests.shop.models import Entry

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EXACT = Retry(max_attempts=4, initial=1, base=2, max_delay=3, jitter=False)

calls: list[Any] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


@action
def flaky(fails: int) -> str:
    calls.append(current_step().attempt)
    if len(calls) <= fails:
        raise ConnectionError(f"failure {len(calls)}")
    return "ok"


@workflow.define(name="retries.flaky")
async def try_flaky(step: StepContext, fails: int, parallel: bool = False) -> str:
    using = step.using(retry=EXACT)
    if parallel:
        using = using.using(inline=False)
    return await using.run_action(flaky, fails)


def delays(harness: Harness, run: Any) -> list[float]:
    history = harness.journal(run)[0].history
    moments = [
        (datetime.fromisoformat(a["started_at"]), datetime.fromisoformat(a["ended_at"])) for a in history
    ]
    return [(later[0] - earlier[1]).total_seconds() for earlier, later in itertools.pairwise(moments)]


@pytest.mark.parametrize("parallel", [False, True])
def test_15_delays_are_exact_without_jitter(workflow_harness: Harness, parallel: bool) -> None:
    workflow_harness.freeze(NOON)
    assert workflow_harness.run(try_flaky, 3, parallel) == Completed("ok")
    assert calls == [1, 2, 3, 4]
    run = workflow.list("retries.flaky").get()
    assert delays(workflow_harness, run) == [1, 2, 3]
    (step,) = workflow_harness.journal(run)
    assert [attempt["outcome"] for attempt in step.history] == ["failed"] * 3 + ["completed"]
    assert step.history[0]["error"]["message"] == "failure 1"
    workflow_harness.assert_replays(run)


@pytest.mark.parametrize("parallel", [False, True])
def test_15_four_bodies_then_failure_without_a_last_delay(workflow_harness: Harness, parallel: bool) -> None:
    workflow_harness.freeze(NOON)
    status = workflow_harness.run(try_flaky, 99, parallel)
    assert isinstance(status, Failed)
    assert status.error.type == "builtins.ConnectionError"
    assert calls == [1, 2, 3, 4]
    assert workflow_harness.now() == NOON + timedelta(seconds=1 + 2 + 3)


def test_15_a_backing_off_step_holds_no_worker(workflow_harness: Harness) -> None:
    workflow_harness.freeze(NOON)
    run = try_flaky.start(1)
    workflow_harness.drain()
    status = workflow.status(run)
    assert isinstance(status, InProgress)
    (waiting,) = status.running
    assert (waiting.state, waiting.attempts, waiting.due_at) == ("pending", 1, NOON + timedelta(seconds=1))
    workflow_harness.advance(timedelta(seconds=0.999))
    assert calls == [1]
    workflow_harness.advance(timedelta(seconds=0.001))
    assert calls == [1, 2]


class Temporary(Exception):
    retry_after = 7


@action
def fail_with(kind: str) -> None:
    calls.append(kind)
    raise {"temporary": Temporary, "final": NonRetryable, "value": ValueError, "key": KeyError}[kind](kind)


@workflow.define(name="retries.fail_with")
async def try_fail_with(step: StepContext, kind: str) -> None:
    retry = Retry(max_attempts=2, initial=1, jitter=False, on=(LookupError, Temporary), unless=(IndexError,))
    await step.using(retry=retry).run_action(fail_with, kind)


@pytest.mark.parametrize(
    ("kind", "bodies", "seconds"), [("temporary", 2, 7), ("final", 1, 0), ("value", 1, 0), ("key", 2, 1)]
)
def test_16_only_listed_errors_are_retried(
    workflow_harness: Harness, kind: str, bodies: int, seconds: int
) -> None:
    workflow_harness.freeze(NOON)
    assert isinstance(workflow_harness.run(try_fail_with, kind), Failed)
    assert len(calls) == bodies
    assert workflow_harness.now() == NOON + timedelta(seconds=seconds)


@mutation
def write_and_fail(fails: int) -> int:
    Entry.objects.create(label="retried")
    calls.append(1)
    if len(calls) <= fails:
        raise ValueError("not yet")
    return Entry.objects.filter(label="retried").count()


@workflow.define(name="retries.mutation")
async def retry_mutation(step: StepContext) -> int:
    return await step.using(retry=EXACT).run_mutation(write_and_fail, 2)


def test_16_a_mutation_that_is_retried_leaves_one_row(workflow_harness: Harness) -> None:
    assert workflow_harness.run(retry_mutation) == Completed(1)


@action(at_most_once=True)
def once() -> str:
    calls.append(current_step().attempt)
    if calls == [1]:
        raise SimulatedCrash
    return "ok"


@workflow.define(name="retries.once")
async def at_most_once(step: StepContext, retry: bool, parallel: bool) -> str:
    context = step.using(retry=Retry(initial=0, jitter=False)) if retry else step
    return await context.using(inline=not parallel).run_action(once)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("retry", [False, True])
def test_18_at_most_once(workflow_harness: Harness, retry: bool, parallel: bool) -> None:
    run = at_most_once.start(retry, parallel)
    with pytest.raises(SimulatedCrash):
        workflow_harness.drain()
    workflow_harness.advance(timedelta(seconds=31))
    workflow_harness.advance(timedelta(seconds=1))
    if retry:
        assert workflow.status(run) == Completed("ok")
        assert calls == [1, 2]
    else:
        status = workflow.status(run)
        assert isinstance(status, Failed)
        assert status.error.type == "django_workflow.exceptions.StepInterrupted"
        assert calls == [1]


@action
def killer() -> None:
    calls.append(current_step().attempt)
    raise SimulatedCrash


@workflow.define(name="retries.killer")
async def run_killer(step: StepContext, parallel: bool) -> str:
    try:
        await step.using(inline=not parallel).run_action(killer)
    except StepInterrupted as error:
        return f"{error.number} {error.attempts}"
    return "?"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("parallel", [False, True])
def test_18_a_body_that_kills_its_worker_each_time_ends_as_failed(
    workflow_harness: Harness, parallel: bool
) -> None:
    run = run_killer.start(parallel)
    for _ in range(5):
        with pytest.raises(SimulatedCrash):
            workflow_harness.advance(timedelta(seconds=31))
    workflow_harness.advance(timedelta(seconds=31))
    assert workflow.status(run) == Completed("1 5")
    assert calls == [1, 2, 3, 4, 5]


@action
def report() -> Any:
    step = current_step()
    calls.append((step.attempt, step.details, step.idempotency_key))
    step.heartbeat({"page": step.attempt})
    if step.attempt < 3:
        raise ConnectionError
    return step.details


@action
async def areport() -> Any:
    return report()


@workflow.define(name="retries.report")
async def run_report(step: StepContext, asynchronous: bool, parallel: bool) -> Any:
    context = step.using(retry=True, inline=not parallel)
    return await (context.run_action(areport) if asynchronous else context.run_action(report))


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_current_step_tells_the_next_attempt(
    workflow_harness: Harness, asynchronous: bool, parallel: bool
) -> None:
    assert workflow_harness.run(run_report, asynchronous, parallel) == Completed({"page": 2})
    assert [(attempt, details) for attempt, details, _ in calls] == [
        (1, None),
        (2, {"page": 1}),
        (3, {"page": 2}),
    ]
    assert len({key for *_, key in calls}) == 1


def test_current_step_outside_of_a_step() -> None:
    with pytest.raises(Exception, match="step bodies"):
        current_step()


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Retry(max_attempts=0), "max_attempts: 0"),
        (lambda: Retry(initial=-1), "initial: -1"),
        (lambda: Retry(base=0.5), "base: 0.5"),
        (lambda: Retry(on=("ValueError",)), "on: "),  # type: ignore[arg-type]
    ],
)
def test_bad_policies_are_refused(make: Callable[[], Retry], named: str) -> None:
    with pytest.raises(InvalidArguments, match=named):
        make()


def test_a_policy_survives_the_journal() -> None:
    policy = Retry(3, 0.1, 3, 5, False, (Temporary, ValueError), (KeyError,))
    assert Retry.from_text(json.loads(json.dumps(policy.to_text()))) == policy


@action
def slow(seconds: float) -> None:
    import time

    calls.append("began")
    time.sleep(seconds)
    calls.append("ended")


@action
async def aslow(seconds: float) -> None:
    import asyncio

    calls.append("began")
    await asyncio.sleep(seconds)
    calls.append("ended")


@mutation
def slow_mutation(seconds: float) -> None:
    Entry.objects.create(label="slow")
    slow(seconds)


@workflow.define(name="retries.slow")
async def run_slow(step: StepContext, kind: str) -> str:
    context = step.using(timeout=0.05)
    try:
        if kind == "async":
            await context.run_action(aslow, 60)
        elif kind == "mutation":
            await context.run_mutation(slow_mutation, 60)
        else:
            await context.using(inline=kind == "inline").run_action(slow, 60)
    except StepTimedOut as error:
        return f"{error} {isinstance(error, TimeoutError)} {isinstance(error, StepFailed)}"
    return "?"


@pytest.mark.parametrize("kind", ["inline", "parallel", "async", "mutation"])
def test_17_a_timeout_is_an_outcome(workflow_harness: Harness, kind: str) -> None:
    status = workflow_harness.run(run_slow, kind)
    assert isinstance(status, Completed)
    assert "0.05 s" in status.result
    assert status.result.endswith("True True")
    assert calls == ["began"]
    assert not Entry.objects.filter(label="slow").exists()
    workflow_harness.assert_replays(workflow.list("retries.slow").get())
