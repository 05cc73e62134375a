"""Behaviours 12, 14 and 41: versions side by side, and workflows that are parked when the code doesn't fit."""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import override_settings

from django_workflow import Canceled, Completed, Failed, InProgress, StepContext, workflow
from django_workflow.exceptions import StepNotFound, WorkflowInProgress
from django_workflow.handler import registry
from django_workflow.models import Step, Workflow
from django_workflow.testing import Harness
from tests.behaviours import lives
from tests.behaviours.bodies import calls, rows
from tests.behaviours.code import Handler, deploy, deployed
from tests.behaviours.lives import book, charge, faults, keys, row, rows_of, ship, told

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MODES: dict[str, dict[str, Any]] = {
    "live": {},
    "suspended": {"ALWAYS_SUSPEND": True},
    "checked": {"CHECK_DETERMINISM": True},
}


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    lives.forget()
    yield
    lives.forget()


@pytest.fixture(params=sorted(MODES))
def pausing(request: pytest.FixtureRequest) -> Iterator[str]:
    """`ON_DETERMINISM_VIOLATION="pause"`, in every mode."""
    with override_settings(DJANGO_WORKFLOW={"ON_DETERMINISM_VIOLATION": "pause", **MODES[request.param]}):
        yield request.param


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Definitions of a test are gone with it."""
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))


# ── versions ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("own_registry")
def test_14_a_workflow_keeps_its_version_while_the_code_has_it(frozen: Harness, any_mode: str) -> None:
    @workflow.define(name="versions.kept", version=1)
    async def first(step: StepContext) -> str:
        await step.sleep(HOUR)
        return await step.run_action(ship, "version 1")

    old = workflow.start("versions.kept")
    frozen.drain()

    @workflow.define(name="versions.kept", version=3)
    async def third(step: StepContext) -> str:
        await step.run_mutation(book, "new")
        await step.sleep(HOUR)
        return await step.run_action(ship, "version 3")

    new = workflow.start("versions.kept")
    chosen = first.start()  # the definition itself says which version it is
    assert [run.version for run in (old, new, chosen)] == [1, 3, 1]
    frozen.drain()
    frozen.advance(HOUR)
    assert [frozen.result(run) for run in (old, new, chosen)] == [
        "shipped version 1",
        "shipped version 3",
        "shipped version 1",
    ]
    for run in (old, new, chosen):
        frozen.assert_replays(run)


@pytest.mark.usefixtures("own_registry")
def test_14_one_whose_version_is_gone_is_left_alone_until_a_worker_has_it(
    frozen: Harness, any_mode: str
) -> None:
    @workflow.define(name="versions.gone", version=1)
    async def first(step: StepContext) -> Any:
        return await asyncio.gather(step.sleep(HOUR), step.using(run_after=HOUR).run_action(ship, "x"))

    @workflow.define(name="versions.gone", version=2)
    async def second(step: StepContext) -> str:
        return "version 2"

    run = first.start()
    frozen.drain()
    before = rows_of(run)
    definition = registry._definitions.pop(("versions.gone", 1))
    frozen.advance(DAY)
    assert rows_of(run) == before
    assert isinstance(workflow.status(run), InProgress)
    assert calls == []
    assert workflow.cancel(first.start(), "can be canceled all the same") is True
    registry._definitions["versions.gone", 1] = definition
    frozen.drain()
    assert frozen.result(run) == [None, "shipped x"]


@pytest.mark.usefixtures("own_registry")
def test_14_a_child_has_the_version_that_its_parent_asked_for(frozen: Harness, any_mode: str) -> None:
    @workflow.define(name="versions.child", version=1)
    async def first(step: StepContext) -> str:
        await step.sleep(HOUR)
        return "version 1"

    @workflow.define(name="versions.child", version=2)
    async def second(step: StepContext) -> str:
        await step.sleep(HOUR)
        return "version 2"

    asked = first

    @deploy
    async def handler(step: StepContext) -> str:
        return await step.run_workflow(asked)

    old = deployed.start()
    frozen.drain()
    asked = second
    new = deployed.start()
    frozen.drain()
    frozen.advance(HOUR)
    assert [frozen.result(run) for run in (old, new)] == ["version 1", "version 2"]
    assert [each.version for each in Workflow.objects.filter(parent__isnull=False).order_by("id")] == [1, 2]


# ── parked ──────────────────────────────────────────────────────────────────────────────────────────────────


async def original(step: StepContext) -> Any:
    await step.run_mutation(book, "a")
    await step.sleep(HOUR)
    return [await step.run_action(charge, "c"), await step.wait_for_event("e")]


async def changed(step: StepContext) -> Any:
    await step.run_mutation(book, "a")
    await step.run_mutation(book, "too early")
    await step.sleep(HOUR)
    return [await step.run_action(charge, "c"), await step.wait_for_event("e")]


async def not_deterministic(step: StepContext) -> Any:
    await step.run_mutation(book, "a")
    await step.sleep(HOUR)
    await asyncio.to_thread(print)
    return None


def parked(harness: Harness, handler: Handler = changed) -> Workflow:
    """A workflow of `original` that met `handler` at its first wake-up."""
    deploy(original)
    run = deployed.start()
    harness.drain()
    deploy(handler)
    harness.advance(HOUR)
    status = workflow.status(run)
    assert isinstance(status, InProgress)
    assert status.paused is not None
    return run


@pytest.mark.usefixtures("pausing")
def test_12_a_violation_parks_the_workflow_with_its_reason_shown(frozen: Harness) -> None:
    run = parked(frozen)
    status = workflow.status(run)
    assert isinstance(status, InProgress)
    assert status.paused is not None
    assert "sleep" in status.paused
    assert "mutation book" in status.paused
    before = rows_of(run)
    assert (before["workflow"]["due_at"], before["workflow"]["lease_owner"]) == (None, None)
    frozen.advance(DAY)
    assert rows_of(run) == before  # nobody looks at it again
    assert rows("too early") == 0
    assert not workflow.list(state="failed").exists()


@pytest.mark.usefixtures("pausing")
def test_12_restart_goes_on_once_the_code_is_fixed(frozen: Harness) -> None:
    run = parked(frozen)
    journal = rows_of(run)["steps"]
    deploy(original)
    now = workflow.restart(run)
    assert (now.state, now.paused) == ("in_progress", None)
    frozen.drain()
    assert rows_of(run)["steps"][: len(journal) - 1] == journal[:-1]
    workflow.send_event(run, "e", 1)
    frozen.drain()
    assert frozen.result(run) == ["charged c", 1]
    assert (rows("a"), calls) == (1, [("book", "a"), ("charge", "c")])
    frozen.assert_replays(run)


@pytest.mark.usefixtures("pausing")
def test_12_restart_before_the_code_is_fixed_parks_it_again(frozen: Harness) -> None:
    run = parked(frozen)
    for _ in range(3):
        workflow.restart(run)
        frozen.drain()
        status = workflow.status(run)
        assert isinstance(status, InProgress)
        assert status.paused is not None
    deploy(original)
    workflow.restart(run)
    frozen.drain()
    with pytest.raises(WorkflowInProgress):
        workflow.restart(run)  # parked no more
    workflow.send_event(run, "e", 1)
    frozen.drain()
    assert frozen.result(run) == ["charged c", 1]


@pytest.mark.usefixtures("pausing")
def test_12_what_is_not_deterministic_parks_too_and_what_is_stuck_fails(frozen: Harness) -> None:
    run = parked(frozen, not_deterministic)
    assert "to_thread" in str(row(run).paused) or "thread" in str(row(run).paused)
    deploy(original)
    workflow.restart(run)
    frozen.drain()
    workflow.send_event(run, "e", 1)
    frozen.drain()
    assert frozen.result(run) == ["charged c", 1]

    @deploy
    async def stuck(step: StepContext) -> None:
        await asyncio.Event().wait()

    run = deployed.start()
    frozen.drain()
    status = row(run).status()
    assert isinstance(status, Failed)
    assert status.error.type == "django_workflow.exceptions.WorkflowStuck"


@pytest.mark.usefixtures("pausing")
def test_12_events_are_accepted_meanwhile_and_wake_nothing(frozen: Harness) -> None:
    run = parked(frozen)
    workflow.send_event(run, "e", "kept")
    assert row(run).due_at is None
    frozen.advance(DAY)
    assert row(run).paused is not None
    deploy(original)
    workflow.restart(run)
    frozen.drain()
    assert frozen.result(run) == ["charged c", "kept"]


@pytest.mark.usefixtures("pausing")
def test_12_cancel_of_a_parked_workflow_ends_it(frozen: Harness) -> None:
    run = parked(frozen)
    assert workflow.cancel(run, "given up") is True
    assert workflow.status(run) == Canceled("given up")
    assert {step.state for step in frozen.journal(run)} == {"completed", "canceled"}
    frozen.advance(DAY)
    assert workflow.status(run) == Canceled("given up")
    deploy(original)
    workflow.restart(run)
    frozen.drain()
    frozen.advance(HOUR)
    workflow.send_event(run, "e", 1)
    frozen.drain()
    assert frozen.result(run) == ["charged c", 1]


@pytest.mark.usefixtures("pausing")
def test_12_no_step_of_a_parked_workflow_starts_and_they_start_after_it(frozen: Harness) -> None:
    async def branches(step: StepContext, first: float) -> Any:
        return await asyncio.gather(
            step.sleep(first),
            step.using(run_after=2 * HOUR).run_action(ship, "b"),
            step.using(run_after=2 * HOUR, inline=False).run_mutation(book, "c"),
            step.run_workflow(lives.child, "slow"),
        )

    @deploy
    async def before(step: StepContext) -> Any:
        return await branches(step, 3600)

    run = deployed.start()
    frozen.drain()

    @deploy
    async def after(step: StepContext) -> Any:
        return await branches(step, 3601)

    frozen.advance(HOUR)
    assert row(run).paused is not None
    frozen.advance(DAY)
    assert ("ship", "b") not in calls
    assert rows("c") == 0
    # A child is a workflow of its own, and its end is kept for its parent.
    (child,) = Workflow.objects.filter(parent_id=run.id)
    frozen.advance(DAY)
    assert child.status() == Completed("booked slow")
    deploy(before)
    workflow.restart(run)
    frozen.drain()
    assert frozen.result(run) == [None, "shipped b", "booked c", "booked slow"]
    frozen.assert_replays(run)


@pytest.mark.usefixtures("pausing")
def test_12_a_parked_workflow_restarts_from_a_step_too(frozen: Harness) -> None:
    run = parked(frozen)
    before = rows_of(run)
    with pytest.raises(StepNotFound):
        workflow.restart(run, "too early")
    assert rows_of(run) == before
    workflow.restart(run, 2)  # the changed code fits what is left
    frozen.drain()
    assert rows("too early") == 1
    frozen.advance(HOUR)
    workflow.send_event(run, "e", 1)
    frozen.drain()
    assert frozen.result(run) == ["charged c", 1]
    frozen.assert_replays(run)


@pytest.mark.usefixtures("pausing")
def test_31_a_step_that_runs_again_after_it_was_parked_has_another_idempotency_key(frozen: Harness) -> None:
    @deploy
    async def before(step: StepContext) -> Any:
        await step.run_action(charge, "c")
        await step.sleep(HOUR)

    run = deployed.start()
    frozen.drain()

    @deploy
    async def after(step: StepContext) -> Any:
        await step.run_action(charge, "c")
        await step.sleep(2 * HOUR)

    frozen.advance(HOUR)
    assert row(run).paused is not None
    workflow.restart(run, charge)
    frozen.drain()
    assert [label for label, _, _ in keys] == ["c", "c"]
    assert len({key for _, _, key in keys}) == 2


@pytest.mark.usefixtures("pausing")
def test_12_a_parked_workflow_can_be_forked(frozen: Harness) -> None:
    run = parked(frozen)
    before = rows_of(run)
    fork = workflow.fork(run, "sleep")
    frozen.drain()
    frozen.advance(HOUR)
    workflow.send_event(fork, "e", 1)
    frozen.drain()
    assert frozen.result(fork) == ["charged c", 1]
    assert rows("too early") == 1
    assert rows_of(run) == before


@pytest.mark.usefixtures("pausing")
def test_12_what_bodies_did_before_the_violation_is_kept(frozen: Harness) -> None:
    """R11: the charge was made, so the journal says so, though the handler did after it what no handler may do."""

    @deploy
    async def broken(step: StepContext) -> Any:
        got = await step.run_action(charge, "c")
        await asyncio.to_thread(print)
        return got

    run = deployed.start()
    frozen.drain()
    assert row(run).paused is not None
    assert [step.state for step in frozen.journal(run)] == ["completed"]

    @deploy
    async def fixed(step: StepContext) -> Any:
        got = await step.run_action(charge, "c")
        return [got, await step.run_action(ship, "d")]

    workflow.restart(run)
    frozen.drain()
    assert frozen.result(run) == ["charged c", "shipped d"]
    assert [label for label, _, _ in keys] == ["c"]
    frozen.assert_replays(run)


@pytest.mark.usefixtures("pausing")
def test_12_a_deadline_of_a_parked_workflow_counts_anew_after_its_restart(frozen: Harness) -> None:
    deploy(original)
    run = deployed.using(timeout=2 * HOUR, on_complete=lives.told).start()
    frozen.drain()
    deploy(changed)
    frozen.advance(HOUR)
    frozen.advance(DAY)
    assert row(run).paused is not None  # nobody looks, so it doesn't time out either
    deploy(original)
    workflow.restart(run)
    frozen.drain()
    assert row(run).deadline_at == frozen.now() + 2 * HOUR
    workflow.send_event(run, "e", 1)
    frozen.drain()
    assert frozen.result(run) == ["charged c", 1]
    assert lives.endings == [("completed", None)]


@pytest.mark.parametrize("violates", [True, False], ids=["violation", "not deterministic"])
def test_12_without_the_setting_the_same_fails_and_restart_goes_on_too(
    frozen: Harness, any_mode: str, violates: bool
) -> None:
    deploy(original)
    run = deployed.start()
    frozen.drain()
    deploy(changed if violates else not_deterministic)
    frozen.advance(HOUR)
    status = row(run).status()
    assert isinstance(status, Failed)
    assert status.error.type.endswith("DeterminismViolation" if violates else "NotDeterministic")
    deploy(original)
    workflow.restart(run)
    frozen.drain()
    frozen.advance(HOUR)
    workflow.send_event(run, "e", 1)
    frozen.drain()
    assert frozen.result(run) == ["charged c", 1]
    assert rows("a") == 1


@pytest.mark.usefixtures("pausing")
def test_12_a_workflow_that_violates_in_its_very_first_turn_is_parked_and_goes_on(frozen: Harness) -> None:
    deploy(not_deterministic)
    faults.clear()
    runs = [deployed.start() for _ in range(2)]

    @deploy
    async def at_once(step: StepContext) -> Any:
        await asyncio.to_thread(print)

    frozen.drain()
    assert [row(run).paused is not None for run in runs] == [True, True]
    moment: list[datetime] = []

    @deploy
    async def fixed(step: StepContext) -> Any:
        moment.append(step.now())
        return await step.run_mutation(book, "a")

    frozen.advance(HOUR)
    for run in runs:
        workflow.restart(run)
    frozen.drain()
    assert [frozen.result(run) for run in runs] == ["booked a", "booked a"]
    assert Step.objects.count() == 2


@workflow.define(name="versions.sleeping_child", on_complete=told)
async def sleeping_child(step: StepContext) -> None:
    await step.run_mutation(book, "child")
    await step.sleep(10 * DAY)


@pytest.mark.usefixtures("pausing")
def test_31_p7_a_child_in_flight_that_a_restart_drops_is_canceled_first(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await asyncio.gather(step.run_workflow(sleeping_child), step.sleep(HOUR))

    parent = deployed.start()
    frozen.drain()

    @deploy
    async def other_handler(step: StepContext) -> None:
        await step.run_action(ship, "another step")

    frozen.advance(HOUR)
    assert workflow.get(parent).paused is not None
    workflow.restart(parent, 1)
    assert lives.endings == [("canceled", None)]  # its ending took effect, before it went
    assert not workflow.list(sleeping_child).exists()
    frozen.drain()
    assert workflow.status(parent) == Completed(None)
