"""Further lives and other code: R27, R28, R30, and what R2 says of restarts, each at the interleaving that it is for."""

import asyncio
import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test import override_settings

from django_workflow import Completed, InProgress, StepContext, workflow
from django_workflow.engine.drain import drain
from django_workflow.exceptions import WorkflowFinished, WorkflowInProgress
from django_workflow.handler import registry
from django_workflow.journal import processes
from django_workflow.models import Event, Process, Step, Workflow
from django_workflow.testing import Harness, SimulatedCrash
from tests.behaviours import lives
from tests.behaviours.code import deploy, deployed, nothing
from tests.behaviours.lives import book, charge, faults, row, rows_of, ship
from tests.engine import bodies
from tests.engine.committed import committed
from tests.engine.elsewhere import Elsewhere, elsewhere, wait
from tests.shop.models import Entry

pytestmark = committed
NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
PAST_A_LEASE = timedelta(seconds=31)
SERVER = settings.DATABASE in ("postgres", "mariadb")


@pytest.fixture(autouse=True)
def clean_slate() -> Iterator[None]:
    lives.forget()
    yield
    lives.forget()
    deploy(nothing)


@pytest.fixture
def workflow_harness(transactional_db: None) -> Iterator[Harness]:
    """The harness, on a database on which other threads see what is committed."""
    with Harness() as harness:
        yield harness


class Held:
    """A body that waits in its first call until the test lets it go; then it returns "late"."""

    def __init__(self) -> None:
        self.began, self.may_end = threading.Event(), threading.Event()
        self.calls = 0

    def __call__(self, label: str) -> str:
        self.calls += 1
        if self.calls > 1:
            return f"call {self.calls}"
        self.began.set()
        wait(self.may_end)
        return "late"


# ── R2: restarts ────────────────────────────────────────────────────────────────────────────────────────────


def test_r2_of_two_restarts_at_the_same_moment_one_is_refused(workflow_harness: Harness) -> None:
    run = bodies.one_action.start("x")
    workflow_harness.drain()
    with transaction.atomic():
        workflow.restart(run, 1)
        other = Elsewhere(lambda: workflow.restart(run, 1))
    with pytest.raises(WorkflowInProgress):
        other.result()
    assert row(run).generation == 1
    workflow_harness.drain()
    assert run.id == row(run).id
    assert workflow.status(run) == Completed("x")


@pytest.mark.parametrize("drained", [True, False], ids=["after the new life", "before it"])
@pytest.mark.parametrize("shape", ["inline", "parallel"])
def test_r2_p9_a_late_result_of_the_life_before_a_restart_is_refused(
    workflow_harness: Harness, shape: str, drained: bool
) -> None:
    held = Held()
    workflow_harness.replace(bodies.act, with_=held)
    run = (bodies.one_action if shape == "inline" else bodies.two_actions).start("x")
    worker = Elsewhere(lambda: drain(None))
    wait(held.began)
    assert workflow.cancel(run) is True
    workflow.restart(run)
    if drained:
        workflow_harness.drain()
    before = rows_of(run)
    held.may_end.set()
    worker.result()
    if drained:
        assert rows_of(run) == before
    workflow_harness.advance(PAST_A_LEASE)
    assert held.calls == 2
    assert workflow.status(run) == Completed("call 2" if shape == "inline" else ["call 2", "x"])
    assert [step.attempts for step in workflow_harness.journal(run)] == [1] * (1 + (shape == "parallel"))
    workflow_harness.assert_replays(run)


if SERVER:  # SQLite has one writer: there nobody restarts a workflow while a mutation of it is under way

    @pytest.mark.parametrize("again", ["restart", "cancel", "continue as new"])
    def test_r2_p2_a_late_mutation_of_the_life_before_is_rolled_back(
        workflow_harness: Harness, again: str
    ) -> None:
        @deploy
        async def handler(step: StepContext, life: int) -> Any:
            async def go_on() -> None:
                await step.wait_for_event("go on")
                step.continue_as_new(life + 1)

            alone = step.using(inline=False)
            return await step.first_completed(alone.run_mutation(bodies.write, "x"), go_on())

        def end_this_life() -> None:
            if again == "continue as new":
                workflow.send_event(run, "go on")
                drain(None)
                return
            workflow.cancel(run)
            if again == "restart":
                workflow.restart(run)

        def body(label: str) -> str:
            Entry.objects.create(label=label)
            ran.append(label)
            if len(ran) == 1:
                elsewhere(end_this_life)
            return label

        ran: list[str] = []
        workflow_harness.replace(bodies.write, with_=body)
        run = deployed.start(1)
        workflow_harness.drain()
        workflow_harness.advance(PAST_A_LEASE)
        canceled = again == "cancel"
        assert row(run).state == ("canceled" if canceled else "completed")
        assert Entry.objects.filter(label="x").count() == 1 - canceled
        assert row(run).generation == 1 - canceled


# ── R28: what is kept ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("restarted", ["before it ends", "after it has ended"])
def test_r28_a_step_that_runs_while_its_workflow_is_parked_keeps_its_result(
    workflow_harness: Harness, restarted: str
) -> None:
    held = Held()
    workflow_harness.replace(charge, with_=held)
    workflow_harness.freeze(NOON)

    def handler(seconds: float) -> Callable[[StepContext], Any]:
        async def branches(step: StepContext) -> Any:
            late = step.using(run_after=HOUR - timedelta(seconds=10))
            return await asyncio.gather(late.run_action(charge, "c"), step.sleep(seconds))

        return branches

    deploy(handler(3600))
    run = deployed.start()
    workflow_harness.drain()
    workflow_harness.freeze(NOON + HOUR - timedelta(seconds=10))
    worker = Elsewhere(lambda: drain(None))
    wait(held.began)
    workflow_harness.freeze(NOON + HOUR)
    deploy(handler(3601))
    with override_settings(DJANGO_WORKFLOW={"ON_DETERMINISM_VIOLATION": "pause"}):
        workflow_harness.drain()
    assert row(run).paused is not None
    deploy(handler(3600))
    if restarted == "before it ends":
        workflow.restart(run)
        held.may_end.set()
        worker.result()
    else:
        held.may_end.set()
        worker.result()
        assert [step.state for step in workflow_harness.journal(run)] == ["completed", "pending"]
        assert row(run).paused is not None
        workflow.restart(run)
    workflow_harness.drain()
    assert workflow.status(run) == Completed(["late", None])
    assert held.calls == 1
    workflow_harness.assert_replays(run)


def test_r28_a_running_step_that_a_restart_of_a_parked_workflow_drops_writes_nothing(
    workflow_harness: Harness,
) -> None:
    held = Held()
    workflow_harness.replace(charge, with_=held)
    workflow_harness.freeze(NOON)

    def handler(seconds: float) -> Callable[[StepContext], Any]:
        async def branches(step: StepContext) -> Any:
            late = step.using(run_after=HOUR - timedelta(seconds=10))
            return await asyncio.gather(step.sleep(seconds), late.run_action(charge, "c"))

        return branches

    deploy(handler(3600))
    run = deployed.start()
    workflow_harness.drain()
    workflow_harness.freeze(NOON + HOUR - timedelta(seconds=10))
    worker = Elsewhere(lambda: drain(None))
    wait(held.began)
    workflow_harness.freeze(NOON + HOUR)
    deploy(handler(3601))
    with override_settings(DJANGO_WORKFLOW={"ON_DETERMINISM_VIOLATION": "pause"}):
        workflow_harness.drain()
    assert row(run).paused is not None
    workflow.restart(run, 1)
    workflow_harness.drain()
    held.may_end.set()
    worker.result()
    workflow_harness.advance(2 * HOUR)
    assert workflow.status(run) == Completed([None, "call 2"])
    assert [step.attempts for step in workflow_harness.journal(run)] == [0, 1]


def test_r28_events_that_come_during_a_restart_stand_behind_those_given_back(
    workflow_harness: Harness,
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        got = [await step.wait_for_event("e") for _ in range(2)]
        await step.run_action(charge, "c")
        return [*got, await step.wait_for_event("e")]

    faults.add("c")
    run = deployed.start()
    for value in (1, 2):
        workflow.send_event(run, "e", value)
    workflow_harness.drain()
    faults.clear()
    assert row(run).state == "failed"
    with transaction.atomic():
        workflow.restart(run, 1)
        other = Elsewhere(lambda: send_until_accepted(run))
    other.result()
    workflow_harness.drain()
    assert workflow.status(run) == Completed([1, 2, 3])
    assert Event.objects.filter(workflow_id=run.id).count() == 3


def send_until_accepted(run: Workflow) -> None:
    """Send the third event; before the restart has committed the workflow is finished for everybody else."""
    for _ in range(1_000_000):
        try:
            workflow.send_event(run, "e", 3)
        except WorkflowFinished:
            continue
        return
    raise AssertionError("the restart never committed")


# ── R30: going on as new ────────────────────────────────────────────────────────────────────────────────────


def test_r30_a_late_result_of_the_life_before_is_refused(workflow_harness: Harness) -> None:
    held = Held()
    workflow_harness.replace(charge, with_=held)
    workflow_harness.freeze(NOON)

    @deploy
    async def handler(step: StepContext, life: int) -> Any:
        async def go_on() -> None:
            await step.sleep(20)
            if life < 2:
                step.continue_as_new(life + 1)

        got, _ = await asyncio.gather(step.using(run_after=10).run_action(charge, "c"), go_on())
        return got

    run = deployed.start(1)
    workflow_harness.drain()
    workflow_harness.freeze(NOON + timedelta(seconds=10))
    worker = Elsewhere(lambda: drain(None))
    wait(held.began)
    workflow_harness.freeze(NOON + timedelta(seconds=20))
    workflow_harness.drain()
    assert row(run).generation == 1
    before = rows_of(run)
    held.may_end.set()
    worker.result()
    assert rows_of(run) == before
    workflow_harness.advance(timedelta(seconds=20))
    assert workflow.status(run) == Completed("call 2")
    assert held.calls == 2
    assert row(run).interruptions == 0


def test_r30_a_new_life_owes_nothing_of_the_old_ones_crashes(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, life: int) -> Any:
        if life < 2:
            step.continue_as_new(life + 1)
        await step.sleep(HOUR)
        return life

    run = deployed.start(1)
    Workflow.objects.filter(id=run.id).update(interruptions=3, setbacks=2)
    workflow_harness.drain()
    after = row(run)
    assert (after.generation, after.interruptions, after.setbacks, after.lease_owner) == (1, 0, 0, None)


# ── die at every commit ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=["live", "suspended"])
def mode(request: pytest.FixtureRequest) -> Iterator[str]:
    # One transaction for each turn's bodies, however slow the machine: a sweep has to meet the same commits again.
    options = {"TURN_COMMIT_MS": 1e9, "ALWAYS_SUSPEND": request.param == "suspended"}
    with override_settings(DJANGO_WORKFLOW=options):
        yield request.param


def sweep(
    harness: Harness, prepare: Callable[[], Workflow], act: Callable[[Workflow], Workflow], check: Any
) -> int:
    """Do `act` and work it off, once without a crash and once with one at each side of each commit."""
    points = 0
    for after in (False, True):
        n = 0
        while True:
            n += 1
            harness.crash_at(0)
            Entry.objects.all().delete()
            lives.forget()
            run = prepare()
            harness.crash_at(n, after=after)
            crashed = False
            found: Workflow | None = None
            for _ in range(12):
                try:
                    found = found or act(run)
                    harness.advance(PAST_A_LEASE)
                except SimulatedCrash:
                    crashed = True
                    points += 1
                    harness.crash_at(0)
                    if found is None and after:
                        found = committed_by(run)
                if found is not None and row(found).finished:
                    break
            harness.crash_at(0)
            assert found is not None
            check(found)
            if not crashed:
                break
    return points


def committed_by(run: Workflow) -> Workflow | None:
    """What an `act` has committed whose caller died before it heard of it."""
    newest = Workflow.objects.filter(definition=run.definition).order_by("-created_at", "-id").first()
    if newest is not None and newest.id != run.id:
        return newest
    return None if row(run).finished else row(run)


def order_of(labels: str) -> Callable[[StepContext], Any]:
    async def handler(step: StepContext) -> Any:
        got = [await step.run_mutation(book, labels[0])]
        got += [await step.wait_for_event("e")]
        got += await asyncio.gather(*(step.run_action(charge, label) for label in labels[1:3]))
        return [*got, await step.run_mutation(book, labels[3])]

    return handler


def entries() -> list[str]:
    return sorted(Entry.objects.values_list("label", flat=True))


def failed_order(harness: Harness) -> Workflow:
    faults.add("d")
    run = deployed.start()
    workflow.send_event(run, "e", 1)
    for _ in range(3):
        harness.drain()
    assert row(run).state == "failed"
    faults.clear()
    return run


@pytest.mark.slow
def test_r2_r28_a_crash_at_any_commit_of_a_restart_and_of_what_follows(
    workflow_harness: Harness, mode: str
) -> None:
    workflow_harness.freeze(NOON)
    deploy(order_of("abcd"))

    def check(run: Workflow) -> None:
        assert workflow.status(run) == Completed([*["booked a", 1, "charged b", "charged c", "booked d"]])
        assert entries() == ["a", "d"]
        assert row(run).generation == 1
        assert not Event.objects.filter(workflow_id=run.id).unconsumed().exists()
        workflow_harness.assert_replays(run)

    points = sweep(
        workflow_harness, lambda: failed_order(workflow_harness), lambda run: workflow.restart(run, 2), check
    )
    assert points > 8


@pytest.mark.slow
def test_r28_a_crash_at_any_commit_of_a_fork_and_of_what_follows(
    workflow_harness: Harness, mode: str
) -> None:
    workflow_harness.freeze(NOON)
    deploy(order_of("abcd"))
    originals: list[Any] = []

    def prepare() -> Workflow:
        run = failed_order(workflow_harness)
        originals[:] = [run, rows_of(run)]
        return run

    def check(fork: Workflow) -> None:
        run, before = originals
        assert rows_of(run) == before
        assert fork.id != run.id
        assert workflow.status(fork) == Completed([*["booked a", 1, "charged b", "charged c", "booked d"]])
        assert entries() == ["a", "d"]
        workflow_harness.assert_replays(fork)
        assert workflow.cleanup(run) is True
        assert workflow.cleanup(fork) is True
        assert not Workflow.objects.exists()  # a crash makes no second fork

    assert sweep(workflow_harness, prepare, lambda run: workflow.fork(run, 2), check) > 8


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_r30_a_crash_at_any_commit_of_going_on_as_new(workflow_harness: Harness, mode: str) -> None:
    workflow_harness.freeze(NOON)

    @deploy
    async def handler(step: StepContext, life: int) -> Any:
        await step.run_mutation(book, f"life {life}")
        asyncio.ensure_future(step.run_workflow(lives.child, f"slow {life}"))  # noqa: RUF006  left behind
        await step.run_action(ship, f"{life}")
        await step.wait_for_event("e")
        if life < 3:
            step.continue_as_new(life + 1)
        return life

    def prepare() -> Workflow:
        run = deployed.using(on_complete=lives.told).start(1)
        for value in (1, 2, 3):
            workflow.send_event(run, "e", value)
        return run

    def check(run: Workflow) -> None:
        assert workflow.status(run) == Completed(3)
        assert [Entry.objects.filter(label=f"life {life}").count() for life in (1, 2, 3)] == [1, 1, 1]
        assert row(run).generation == 2
        # `on_complete` may run in a transaction that is never committed; what it has to show is the rows'.
        assert lives.endings[-1] == ("completed", None)
        assert row(run).on_complete_error is None
        children = Workflow.objects.filter(parent_id=run.id)
        assert children.count() == 3
        assert {child.state for child in children} == {"canceled"}
        workflow_harness.assert_replays(run)
        assert workflow.cleanup(run) is True
        assert not Step.objects.exists()

    assert sweep(workflow_harness, prepare, lambda run: run, check) > 12


# ── R27: other code ─────────────────────────────────────────────────────────────────────────────────────────

CODE = """
from django_workflow import workflow
from tests.engine.bodies import act


@workflow.define(name="rules.rolling")
async def rolling(step):
    await step.wait_for_event("first")
    await step.run_action(act, "{first}")
    await step.wait_for_event("second")
    return await step.run_action(act, "{second}")
"""


class Deployed:
    """A worker process with code of its own."""

    def __init__(self, folder: Path, stack: ExitStack, first: str, second: str) -> None:
        folder.mkdir()
        (folder / "code.py").write_text(CODE.format(first=first, second=second))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.deployed_worker", str(folder / "code.py")],
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "tests.settings",
                "DATABASE_NAME": str(connection.settings_dict["NAME"]),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        stack.callback(self._end)
        assert self._stream("stdout").readline() == "began\n", self._stream("stderr").read()

    def _stream(self, name: str) -> IO[str]:
        stream: IO[str] = getattr(self._process, name)
        return stream

    def drain(self) -> int:
        """Let it work off what is due for it. How many turns and bodies it took."""
        self._stream("stdin").write("drain\n")
        self._stream("stdin").flush()
        return int(self._stream("stdout").readline())

    def _end(self) -> None:
        self._process.communicate("", timeout=60)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Definitions of a test are gone with it, and so is what this process has had of them."""
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))
    monkeypatch.setattr(registry, "_fingerprints", set(registry._fingerprints))


@pytest.mark.usefixtures("transactional_db", "own_registry")
def test_r27_an_old_worker_leaves_alone_what_new_code_has_advanced(tmp_path: Path, stack: ExitStack) -> None:
    old = Deployed(tmp_path / "old", stack, "a", "b")
    namespace: dict[str, Any] = {}
    exec(CODE.format(first="a", second="b"), namespace)  # noqa: S102  what the web process has
    run = workflow.start("rules.rolling")
    assert old.drain() == 1
    by_old = row(run).fingerprint
    new = Deployed(tmp_path / "new", stack, "a", "changed")
    workflow.send_event(run, "first")
    assert new.drain() > 0
    advanced = rows_of(run)
    assert advanced["workflow"]["fingerprint"] not in ("", by_old)
    workflow.send_event(run, "second")
    before = rows_of(run)
    assert old.drain() == 0  # it would ask for another step, and fail the workflow
    assert rows_of(run) == before  # nothing is counted, nothing fails
    younger = Deployed(tmp_path / "younger", stack, "a", "younger")
    assert younger.drain() > 0
    assert workflow.status(run) == Completed("younger")


def began(at: datetime) -> None:
    """Let this process have begun at that time, as far as the database knows."""
    me = processes.identity()
    identity = {"boot_id": me.boot_id, "pid_namespace": me.pid_namespace, "start_time": me.start_time}
    # Tests empty the table, and a process writes its row once.
    Process.objects.update_or_create(
        id=me.id, defaults={"host": me.host, "pid": me.pid, "started_at": at, "seen_at": at, **identity}
    )


def test_r27_a_worker_that_began_before_the_advance_counts_nothing_and_one_that_began_later_takes_it(
    workflow_harness: Harness,
) -> None:
    run = bodies.late_action_and_sleep.start("x")
    workflow_harness.freeze(NOON)
    workflow_harness.drain()
    Workflow.objects.filter(id=run.id).update(fingerprint="of another deploy", advanced_at=NOON)
    began(NOON - HOUR)
    workflow_harness.freeze(NOON + HOUR)
    before = rows_of(run)
    assert workflow_harness.drain() == 0  # neither its turn nor its action
    assert rows_of(run) == before
    assert isinstance(workflow.status(run), InProgress)
    began(NOON + timedelta(seconds=1))
    assert workflow_harness.drain() > 0
    assert workflow.status(run) == Completed(["x", 0])
    assert row(run).fingerprint not in ("", "of another deploy")


def test_r27_a_restart_lets_any_worker_go_on(workflow_harness: Harness) -> None:
    run = bodies.one_action.start("x")
    workflow_harness.freeze(NOON)
    workflow_harness.drain()
    Workflow.objects.filter(id=run.id).update(fingerprint="of another deploy", advanced_at=NOON)
    began(NOON - HOUR)
    workflow.restart(run, 1)
    workflow_harness.drain()
    assert workflow.status(run) == Completed("x")
    fork = workflow.fork(run, 1)
    workflow_harness.drain()
    assert workflow.status(fork) == Completed("x")


@pytest.mark.usefixtures("own_registry")
def test_r27_a_reload_in_the_same_process_goes_on(
    workflow_harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    code = tmp_path / "reloaded_code.py"
    code.write_text(CODE.format(first="a", second="b"))
    module: ModuleType = importlib.import_module("reloaded_code")
    try:
        workflow_harness.freeze(NOON)
        run = module.rolling.start()
        workflow.send_event(run, "first")
        workflow_harness.drain()
        began(NOON - HOUR)
        before = row(run).fingerprint
        code.write_text(CODE.format(first="a", second="reloaded"))
        importlib.reload(module)
        workflow.send_event(run, "second")
        workflow_harness.drain()
        assert workflow.status(run) == Completed("reloaded")
        assert row(run).fingerprint != before
    finally:
        sys.modules.pop("reloaded_code", None)


def test_r27_a_worker_that_cannot_import_a_steps_function_counts_nothing(workflow_harness: Harness) -> None:
    workflow_harness.freeze(NOON)
    run = bodies.late_action_and_sleep.start("x")
    workflow_harness.drain()
    steps = Step.objects.filter(workflow_id=run.id, name="act")
    steps.update(function="tests.engine.bodies.of_another_deploy")
    workflow_harness.freeze(NOON + timedelta(seconds=10))
    workflow_harness.drain()
    step = steps.get()
    assert (step.state, step.attempts, step.history, step.lease_owner) == ("pending", 0, [], None)
    assert step.due_at is not None
    assert step.due_at > NOON + timedelta(seconds=10)  # backs off
    steps.update(function="tests.engine.bodies.act")
    workflow_harness.freeze(NOON + HOUR)
    workflow_harness.drain()
    assert workflow.status(run) == Completed(["x", 0])
    assert steps.get().attempts == 1
