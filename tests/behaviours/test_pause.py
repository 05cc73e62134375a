"""Issue 3, item 11: while a pause holds nothing begins, nothing is lost; then everything goes on."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from django_workflow import Completed, Failed, InProgress, Retry, StepContext, WorkflowManager, workflow
from django_workflow.engine.drain import drain
from django_workflow.exceptions import InvalidArguments
from django_workflow.journal import wakes
from django_workflow.models import Pause, Workflow
from django_workflow.testing import Harness, SimulatedCrash
from tests.behaviours.bodies import act, calls, change, decline, look, rows, write
from tests.behaviours.code import deploy, deployed
from tests.engine.committed import committed
from tests.engine.elsewhere import elsewhere
from tests.shop.workflows import echo

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("either_mode")]
MINUTE = timedelta(minutes=1)

reports = WorkflowManager("pause reports", cluster="reports")
by_name = WorkflowManager("pause by name", cluster="tests")  # what Q_CLUSTER calls the default cluster


@reports.define(name="pause.report")
async def report(step: StepContext, value: Any) -> Any:
    return await step.run_action(act, value)


@by_name.define(name="pause.by_name")
async def named(step: StepContext, value: Any) -> Any:
    return await step.run_action(act, value)


def paused(run: Any) -> str | None:
    status = workflow.status(run)
    assert isinstance(status, InProgress), status
    return status.paused


def test_everything_is_held_and_goes_on(workflow_harness: Harness) -> None:
    workflow.pause("a restored backup")
    runs = [echo.start(1), report.start(2)]
    assert [paused(run) for run in runs] == ["a restored backup"] * 2
    assert workflow_harness.advance(MINUTE) == 0
    assert (calls, Workflow.objects.exclude(started_at=None).count()) == ([], 0)
    assert workflow.resume() is True
    assert [paused(run) for run in runs] == [None, None]
    workflow_harness.drain()
    assert [workflow_harness.result(run) for run in runs] == [1, 2]


def test_one_cluster_is_held_and_the_others_are_not(workflow_harness: Harness) -> None:
    workflow.pause("their printer is out", cluster="reports")
    here, there = echo.start(1), report.start(2)
    workflow_harness.drain()
    assert workflow.status(here) == Completed(1)
    assert paused(there) == "their printer is out"
    assert calls == []
    assert workflow.resume("reports") is True
    workflow_harness.drain()
    assert workflow_harness.result(there) == 2


@pytest.mark.parametrize("name", ["tests", ""])
def test_the_default_cluster_has_two_names(workflow_harness: Harness, name: str) -> None:
    """ "" in rows, and the one that Q_CLUSTER gives it; a manager may use either."""
    workflow.pause("maintenance", cluster=name)
    here, also_here, there = echo.start(1), named.start(2), report.start(3)
    workflow_harness.drain()
    assert [paused(here), paused(also_here)] == ["maintenance"] * 2
    assert workflow.status(there) == Completed(3)
    other = {"tests": "", "": "tests"}[name]
    assert workflow.resume(other) is True
    assert (paused(here), paused(also_here)) == (None, None)
    assert workflow.resume(name) is False
    workflow_harness.drain()
    assert [workflow_harness.result(run) for run in (here, also_here)] == [1, 2]


def test_a_cluster_is_held_until_all_that_holds_it_is_over(workflow_harness: Harness) -> None:
    workflow.pause("everything")
    workflow.pause("reports only", cluster="reports")
    run, other = report.start(1), echo.start(2)
    assert workflow.resume() is True
    workflow_harness.drain()
    assert (paused(run), workflow.status(other)) == ("reports only", Completed(2))
    workflow.pause("everything again")
    assert workflow.resume("reports") is True
    assert workflow_harness.drain() == 0
    assert paused(run) == "everything again"
    workflow.resume()
    workflow_harness.drain()
    assert workflow_harness.result(run) == 1


def test_a_second_pause_changes_the_reason(workflow_harness: Harness) -> None:
    run = echo.start(1)
    workflow.pause("first")
    workflow.pause("second")
    assert paused(run) == "second"
    assert (workflow.resume(), workflow.resume()) == (True, False)
    assert paused(run) is None
    workflow_harness.drain()
    assert workflow_harness.result(run) == 1


@pytest.mark.parametrize("reason", ["", "   ", "\n", None, 5, b"x", ["x"]])
def test_a_pause_has_to_say_why(reason: Any) -> None:
    with pytest.raises(InvalidArguments, match="no text that says why"):
        workflow.pause(reason)
    assert not Pause.objects.exists()


@pytest.mark.parametrize("cluster", [5, "x" * 101, b"x", ["reports"]])
def test_a_cluster_has_a_name(cluster: Any) -> None:
    for call in (lambda: workflow.pause("why", cluster), lambda: workflow.resume(cluster)):
        with pytest.raises(InvalidArguments, match="no name of a cluster"):
            call()
    assert not Pause.objects.exists()


def test_an_odd_reason_is_kept_as_far_as_a_database_can(workflow_harness: Harness) -> None:
    run = echo.start(1)
    workflow.pause("Wartung 🔧 \0 \ud800 " + "x" * 1000)
    assert paused(run) == "Wartung 🔧 \ufffd \ufffd " + "x" * 1000


def test_the_async_twins(workflow_harness: Harness) -> None:
    async def both() -> bool:
        await workflow.apause("async")
        return await workflow.aresume()

    assert async_to_sync(both)() is True


# ── what is held ────────────────────────────────────────────────────────────────────────────────────────────


def go_on(harness: Harness) -> None:
    """A day in which nothing happens; then the pause is over."""
    before = list(calls)
    assert harness.advance(timedelta(days=1)) == 0
    assert calls == before
    assert workflow.resume()
    harness.drain()


def test_timers_are_held_and_not_lost(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.sleep(MINUTE)
        await step.run_action(act, "woke")
        return "done"

    run = deployed.start()
    frozen.drain()
    workflow.pause("maintenance")
    go_on(frozen)
    assert frozen.result(run) == "done"
    assert calls == [("act", "woke")]


def test_parallel_steps_are_held(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        later = step.using(run_after=MINUTE)
        return await asyncio.gather(
            later.run_action(act, 1), later.run_mutation(write, "x"), later.run_action(act, 2)
        )

    run = deployed.start()
    frozen.drain()
    workflow.pause("maintenance")
    go_on(frozen)
    assert frozen.result(run) == [1, 1, 2]


def test_a_steps_own_cluster_is_what_counts(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        there = step.using(cluster="reports")
        return await asyncio.gather(there.run_action(act, "there"), step.run_action(act, "here"))

    run = deployed.start()
    workflow.pause("their printer is out", cluster="reports")
    frozen.drain()
    assert calls == [("act", "here")]
    frozen.advance(timedelta(days=1))
    assert calls == [("act", "here")]
    workflow.resume("reports")
    frozen.drain()
    assert frozen.result(run) == ["there", "here"]


def test_retries_are_held(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        retry = Retry(max_attempts=2, initial=1, jitter=False)
        return await step.using(retry=retry).run_action(decline, "no")

    run = deployed.start()
    frozen.drain()
    workflow.pause("maintenance")
    go_on(frozen)
    assert isinstance(workflow.status(run), Failed)
    assert calls == [("decline", "no")] * 2


def undo(error: Any, result: Any, value: Any) -> None:
    calls.append(("undo", value))


def test_rollbacks_are_held(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.using(rollback=undo).run_action(act, 1)
        await step.sleep(MINUTE)

    run = deployed.start()
    frozen.drain()
    workflow.pause("maintenance")
    assert workflow.cancel(run, rollback=True)
    status = workflow.status(run)
    assert isinstance(status, InProgress)
    assert (status.canceling, status.paused) == (True, "maintenance")
    go_on(frozen)
    assert workflow.status(run).type == "canceled"
    assert calls == [("act", 1), ("undo", 1)]


def test_children_are_held(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await step.using(run_after=MINUTE).run_workflow(report, "child")

    run = deployed.start()
    frozen.drain()
    workflow.pause("maintenance", cluster="reports")
    go_on_cluster(frozen, "reports")
    assert frozen.result(run) == "child"


def go_on_cluster(harness: Harness, cluster: str) -> None:
    harness.advance(timedelta(days=1))
    assert calls == []
    assert workflow.resume(cluster)
    harness.drain()


def test_an_event_is_accepted_and_delivered_afterwards(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await step.wait_for_event("go", timeout=MINUTE)

    run = deployed.start()
    frozen.drain()
    workflow.pause("maintenance")
    run.send_event("go", "sent in time")
    go_on(frozen)  # long after the timeout: the event was sent before it
    assert frozen.result(run) == "sent in time"


def test_a_workflows_own_timeout_waits_for_the_end_of_the_pause(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.sleep(timedelta(days=30))

    run = deployed.using(timeout=MINUTE).start()
    frozen.drain()
    workflow.pause("maintenance")
    frozen.advance(timedelta(days=1))
    assert paused(run) == "maintenance"
    workflow.resume()
    frozen.drain()
    status = workflow.status(run)
    assert isinstance(status, Failed)
    assert status.error.type.endswith("WorkflowTimedOut")


def test_cancel_cleanup_and_status_work_meanwhile(frozen: Harness) -> None:
    done, waiting = echo.start(1), deployed.start()
    frozen.drain()
    waiting = report.start(1)
    workflow.pause("maintenance")
    assert workflow.cancel(waiting, "not needed") is True
    assert (waiting.cleanup(), done.cleanup()) == (True, True)


@committed
def test_what_a_dead_worker_left_is_held_too(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await step.run_action(act, 1)

    run = deployed.start()
    workflow_harness.crash_at(2)
    with pytest.raises(SimulatedCrash):
        workflow_harness.drain()
    workflow.pause("maintenance")
    assert workflow_harness.advance(MINUTE) == 0
    workflow.resume()
    workflow_harness.advance(MINUTE)
    assert workflow_harness.result(run) == 1


# ── a turn that is under way ────────────────────────────────────────────────────────────────────────────────


def pause_elsewhere(value: Any = None) -> Any:
    calls.append(("paused", value))
    elsewhere(lambda: workflow.pause("while it ran"))
    return value


@committed
@pytest.mark.parametrize("next_step", ["action", "mutation", "query"])
def test_a_turn_stops_between_two_bodies_and_keeps_what_the_first_returned(
    workflow_harness: Harness, next_step: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        first = await step.run_action(pause_elsewhere, "kept")
        await {"action": step.run_action, "mutation": step.run_mutation, "query": step.run_query}[next_step](
            {"action": act, "mutation": change, "query": look}[next_step], "later"
        )
        return first

    run = deployed.start()
    workflow_harness.drain()
    assert calls == [("paused", "kept")]
    first = workflow_harness.journal(run)[0]
    assert (first.state, first.result, first.attempts) == ("completed", "kept", 1)
    assert paused(run) == "while it ran"
    assert workflow_harness.advance(MINUTE) == 0
    workflow.resume()
    workflow_harness.drain()
    assert workflow_harness.result(run) == "kept"
    assert len(calls) == 2
    workflow_harness.assert_replays(run)


@committed
def test_a_turn_that_needs_no_more_body_ends(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await step.run_action(pause_elsewhere, "kept")

    run = deployed.start()
    workflow_harness.drain()
    workflow.resume()
    workflow_harness.drain()
    assert workflow_harness.result(run) == "kept"
    assert calls == [("paused", "kept")]


def pause_here(value: Any) -> Any:
    workflow.pause("by a mutation")
    return value


@committed
def test_a_mutation_may_pause_and_its_own_turn_stops(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.run_mutation(pause_here, 1)
        return await step.run_mutation(write, "after")

    run = deployed.start()
    workflow_harness.drain()
    assert (paused(run), rows("after")) == ("by a mutation", 0)
    workflow.resume()
    workflow_harness.drain()
    assert workflow_harness.result(run) == 1


# ── resume ──────────────────────────────────────────────────────────────────────────────────────────────────


@committed
def test_r10_resume_asks_for_wake_ups_of_what_was_held() -> None:
    sent: list[str] = []
    with wakes.sent_by(sent.append):
        workflow.pause("maintenance")
        workflow.pause("maintenance", cluster="reports")
        assert sent == []
        workflow.resume("reports")
        assert sent == ["reports"]
        sent.clear()
        workflow.resume()
        assert {"", "reports", "tests"} <= set(sent)
        sent.clear()
        workflow.pause("maintenance", cluster="tests")
        workflow.resume("tests")
        assert "" in sent


def test_a_worker_of_a_held_cluster_finds_nothing_to_do(workflow_harness: Harness) -> None:
    workflow.pause("their printer is out", cluster="reports")
    run = report.start(1)
    assert drain("reports") == 0
    workflow.resume("reports")
    assert drain("reports") > 0
    assert workflow.status(run) == Completed(1)
