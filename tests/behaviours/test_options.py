"""Issue 3, item 12: options and settings that no other file shows, each changing what happens."""

import threading
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_workflow import (
    Completed,
    Failed,
    InProgress,
    Retry,
    StepContext,
    WorkflowManager,
    action,
    current_step,
    mutation,
    query,
    workflow,
)
from django_workflow.cluster import tasks
from django_workflow.cluster.ticker import Ticker
from django_workflow.engine.drain import drain
from django_workflow.exceptions import StepTimedOut
from django_workflow.journal import wakes
from django_workflow.models import Workflow
from django_workflow.redaction import MASK
from django_workflow.testing import Harness
from tests.behaviours.bodies import act, calls, write
from tests.behaviours.code import deploy, deployed
from tests.behaviours.conftest import NOON
from tests.engine.committed import committed
from tests.shop.workflows import echo

pytestmark = pytest.mark.django_db
TWICE = Retry(max_attempts=2, initial=1, jitter=False)
THRICE = Retry(max_attempts=3, initial=1, jitter=False)


def always_fails() -> None:
    calls.append(current_step().attempt)
    raise ConnectionError("no")


@action
def action_that_fails() -> None:
    always_fails()


@query(retry=TWICE)
def query_that_fails() -> None:
    always_fails()


@mutation(retry=TWICE)
def mutation_that_fails() -> None:
    always_fails()


@action(retry=TWICE)
def action_that_is_retried() -> None:
    always_fails()


# ── who says how often ──────────────────────────────────────────────────────────────────────────────────────

strict = WorkflowManager("options strict")
patient = WorkflowManager("options patient", retry=THRICE, retry_actions=True)
own = WorkflowManager("options own", retry=THRICE)
never = WorkflowManager("options never", retry_actions=False)


@strict.define(name="options.strict")
async def in_strict(step: StepContext, retry: bool | None = None) -> None:
    await step.using(retry=retry).run_action(action_that_fails)


@patient.define(name="options.patient")
async def in_patient(step: StepContext, retry: bool | None = None) -> None:
    await step.using(retry=retry).run_action(action_that_fails)


@own.define(name="options.own")
async def in_own(step: StepContext, retry: bool | None = None) -> None:
    await step.using(retry=retry).run_action(action_that_fails)


@never.define(name="options.never")
async def in_never(step: StepContext, retry: bool | None = None) -> None:
    await step.using(retry=retry).run_action(action_that_fails)


@strict.define(name="options.defined", retry=TWICE)
async def defined(step: StepContext, retry: bool | None = None) -> None:
    await step.using(retry=retry).run_action(action_that_fails)


@patient.define(name="options.defined_not", retry=False)
async def defined_not(step: StepContext, retry: bool | None = None) -> None:
    await step.using(retry=retry).run_action(action_that_fails)


def attempts(harness: Harness, definition: Any, *args: Any) -> int:
    calls.clear()
    assert isinstance(harness.run(definition, *args), Failed)
    return len(calls)


def test_a_managers_retry_is_what_true_means(workflow_harness: Harness) -> None:
    assert attempts(workflow_harness, in_own, True) == 3
    assert attempts(workflow_harness, in_own) == 1
    assert attempts(workflow_harness, in_strict, True) == 5  # the setting's


def test_a_managers_retry_actions_retries_those_that_say_nothing(workflow_harness: Harness) -> None:
    assert attempts(workflow_harness, in_patient) == 3
    assert attempts(workflow_harness, in_patient, False) == 1
    assert attempts(workflow_harness, in_strict) == 1


def test_the_setting_retry_is_what_true_means_where_the_manager_is_silent(workflow_harness: Harness) -> None:
    with override_settings(DJANGO_WORKFLOW={"RETRY": TWICE}):
        assert attempts(workflow_harness, in_strict, True) == 2
        assert attempts(workflow_harness, in_own, True) == 3


def test_the_setting_retry_actions_counts_where_the_manager_is_silent(workflow_harness: Harness) -> None:
    with override_settings(DJANGO_WORKFLOW={"RETRY": TWICE, "RETRY_ACTIONS": True}):
        assert attempts(workflow_harness, in_strict) == 2
        assert attempts(workflow_harness, in_never) == 1


def test_a_definitions_retry_goes_before_the_managers(workflow_harness: Harness) -> None:
    assert attempts(workflow_harness, defined) == 2
    assert attempts(workflow_harness, defined, False) == 1
    assert attempts(workflow_harness, defined_not) == 1
    assert attempts(workflow_harness, defined_not, True) == 3


@pytest.mark.parametrize("kind", ["query", "mutation", "action"])
def test_a_marks_retry_holds_and_the_handler_overrides_it(workflow_harness: Harness, kind: str) -> None:
    @deploy
    async def handler(step: StepContext, retry: bool | None = None) -> None:
        context = step.using(retry=retry)
        match kind:
            case "query":
                await context.run_query(query_that_fails)
            case "mutation":
                await context.run_mutation(mutation_that_fails)
            case _:
                await context.run_action(action_that_is_retried)

    assert attempts(workflow_harness, deployed) == 2
    assert attempts(workflow_harness, deployed, False) == 1


# ── Retry, field by field ───────────────────────────────────────────────────────────────────────────────────


def waits(harness: Harness, policy: Retry) -> list[float]:
    """Seconds between the attempts at a step that always fails."""

    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(retry=policy).run_action(action_that_fails)

    harness.freeze(NOON)
    assert isinstance(harness.run(deployed), Failed)
    history = harness.journal(workflow.list(deployed)[0])[0].history
    moments = [
        (datetime.fromisoformat(each["started_at"]), datetime.fromisoformat(each["ended_at"]))
        for each in history
    ]
    return [(later[0] - earlier[1]).total_seconds() for earlier, later in pairwise(moments)]


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        (Retry(max_attempts=1, jitter=False), []),
        (Retry(max_attempts=3, jitter=False), [0.5, 1]),
        (Retry(max_attempts=3, initial=7, jitter=False), [7, 14]),
        (Retry(max_attempts=4, initial=1, base=3, jitter=False), [1, 3, 9]),
        (Retry(max_attempts=4, initial=1, base=3, max_delay=2, jitter=False), [1, 2, 2]),
        (Retry(max_attempts=3, initial=5, base=1, jitter=False), [5, 5]),
        (Retry(max_attempts=3, initial=5, jitter=False, on=(OSError,)), [5, 10]),
        (Retry(max_attempts=3, initial=5, jitter=False, on=(KeyError,)), []),
        (Retry(max_attempts=3, initial=5, jitter=False, unless=(ConnectionError,)), []),
    ],
    ids=str,
)
def test_15_each_field_of_a_retry_counts(
    workflow_harness: Harness, policy: Retry, seconds: list[float]
) -> None:
    assert waits(workflow_harness, policy) == seconds


def test_15_jitter_spreads_the_delays_within_its_bounds(workflow_harness: Harness) -> None:
    seconds = waits(workflow_harness, Retry(max_attempts=12, initial=8, base=1))
    assert all(4 <= each <= 12 for each in seconds)
    assert len(set(seconds)) > 1


# ── marks ───────────────────────────────────────────────────────────────────────────────────────────────────


@query(timeout=0.05)
def slow_query() -> None:
    threading.Event().wait(60)


@mutation(timeout=0.05)
def slow_mutation() -> None:
    threading.Event().wait(60)


@action(timeout=0.05)
def slow_action() -> None:
    threading.Event().wait(60)


@pytest.mark.parametrize("kind", ["query", "mutation", "action"])
def test_17_a_marks_timeout_holds(workflow_harness: Harness, kind: str) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        try:
            match kind:
                case "query":
                    await step.run_query(slow_query)
                case "mutation":
                    await step.run_mutation(slow_mutation)
                case _:
                    await step.run_action(slow_action)
        except StepTimedOut as error:
            return str(error)
        return "?"

    status = workflow_harness.run(deployed)
    assert isinstance(status, Completed)
    assert "0.05 s" in status.result


def test_inline_false_is_a_row_of_its_own_and_none_is_not(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, inline: bool | None) -> Any:
        return await step.using(inline=inline).run_mutation(write, "x")

    seen: list[Any] = []
    with wakes.sent_by(None):
        for inline in (None, False):
            deployed.start(inline)
            with CaptureQueriesContext(connection) as captured:
                workflow_harness.drain()
            pending = [each["sql"] for each in captured.captured_queries if "'pending'" in each["sql"]]
            seen.append(any(sql.startswith("INSERT") for sql in pending))
    assert seen == [False, True]


# ── settings of the engine ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("milliseconds", "commits"), [(1e9, 1), (1e-6, 4)])
@committed
def test_turn_commit_ms_bounds_a_turns_transaction(
    workflow_harness: Harness, milliseconds: float, commits: int
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        for number in range(3):
            await step.run_mutation(write, f"{number}")

    with override_settings(DJANGO_WORKFLOW={"TURN_COMMIT_MS": milliseconds}):
        run = deployed.start()
        with CaptureQueriesContext(connection) as captured:
            drain("")
    fences = [each["sql"] for each in captured.captured_queries if _is_fence(each["sql"])]
    assert len(fences) == commits
    assert workflow.status(run) == Completed(None)


def _is_fence(sql: str) -> bool:
    return sql.startswith("UPDATE") and "workflow_workflow" in sql and "generation" in sql


@pytest.mark.parametrize(("limit", "held"), [(1, 1), (2, 2), (16, 6)])
def test_claim_limit_is_how_many_are_claimed_at_once(
    workflow_harness: Harness, limit: int, held: int
) -> None:
    @deploy
    async def handler(step: StepContext) -> int:
        return await step.run_query(count_leased)

    with override_settings(DJANGO_WORKFLOW={"CLAIM_LIMIT": limit}):
        runs = [deployed.start() for _ in range(6)]
        workflow_harness.drain()
    assert max(workflow_harness.result(run) for run in runs) == held


def count_leased() -> int:
    return Workflow.objects.exclude(lease_owner=None).count()


def test_drain_seconds_ends_a_wake_up_and_asks_for_another(workflow_harness: Harness) -> None:
    run = echo.start(1)
    sent: list[str] = []
    with wakes.sent_by(sent.append):
        with override_settings(DJANGO_WORKFLOW={"DRAIN_SECONDS": 1e-9}):
            tasks.drain("")
        assert isinstance(workflow.status(run), InProgress)
        with override_settings(DJANGO_WORKFLOW={"DRAIN_SECONDS": 60}):
            tasks.drain("")
    assert workflow.status(run) == Completed(1)


def test_always_suspend_ends_each_turn_after_one_answer(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        for number in range(3):
            await step.run_mutation(write, f"{number}")

    done = []
    for suspended in (False, True):
        with override_settings(DJANGO_WORKFLOW={"ALWAYS_SUSPEND": suspended}):
            run = deployed.start()
            done.append(workflow_harness.drain())
            assert workflow.status(run) == Completed(None)
    turns = [count - 3 for count in done]  # three bodies each
    assert turns[0] == 1
    assert turns[1] > turns[0]


@committed
def test_tick_seconds_is_the_shortest_time_between_two_looks(workflow_harness: Harness) -> None:
    def looks(seconds: float) -> int:
        with override_settings(DJANGO_WORKFLOW={"TICK_SECONDS": seconds}):
            ticker = Ticker("tests", frozenset({"tests", ""}), stopping=lambda: False, idle=lambda: True)
            ticker._tick()
            with CaptureQueriesContext(connection) as captured:
                ticker.nudge()
                ticker._tick()
        return len([each for each in captured.captured_queries if "workflow_workflow" in each["sql"]])

    assert looks(1e-9) > 0
    assert looks(3600) == 0


def test_cluster_is_where_managers_run_that_name_none(workflow_harness: Harness) -> None:
    with override_settings(DJANGO_WORKFLOW={"CLUSTER": "reports"}):
        there = echo.start(1)
    here = echo.start(2)
    assert (there.cluster, here.cluster) == ("reports", "")
    drain("")
    assert (workflow.get(there).state, workflow.status(here)) == ("in_progress", Completed(2))
    drain("reports")
    assert workflow.status(there) == Completed(1)


# ── what is not shown ───────────────────────────────────────────────────────────────────────────────────────


@action
def sign_in(user: str, password: str, pin: int = 0) -> str:
    return user


@workflow.define(name="options.redacting", redact=["PIN"])
async def redacting(step: StepContext) -> str:
    user = await step.run_action(sign_in, "ann", password=secrets[0], pin=pins[0])
    await step.sleep(60)
    return user


secrets = ["hunter2"]
pins = [4711]  # no literal in the handler: a traceback shows its lines


@pytest.fixture
def violation(workflow_harness: Harness) -> Any:
    """The error text of a workflow whose password changed between two turns, and the workflow."""

    def fail(**settings: Any) -> tuple[str, Workflow]:
        with override_settings(DJANGO_WORKFLOW=settings):
            secrets[0] = "hunter2"
            run = redacting.start()
            workflow_harness.drain()
            secrets[0] = "hunter3"
            workflow_harness.advance(timedelta(minutes=1))
            status = workflow.status(run)
            assert isinstance(status, Failed), status
            return status.error.message, run

    return fail


def test_redact_masks_the_text_of_a_violation(violation: Any) -> None:
    said, _ = violation()
    assert "hunter" not in said
    assert "4711" not in said  # the definition's own name
    assert said.count(MASK) == 4
    assert "ann" in said


def test_redact_is_the_projects_to_say(violation: Any) -> None:
    said, _ = violation(REDACT=["user"])
    assert "hunter2" in said
    assert "hunter3" in said
    assert "ann" not in said
    assert "4711" not in said


def test_redact_changes_nothing_that_is_stored(violation: Any, workflow_harness: Harness) -> None:
    _, run = violation()
    assert workflow_harness.journal(run)[0].args == {"user": "ann", "password": "hunter2", "pin": 4711}


def test_redacted_values_are_not_in_the_admins_listing(violation: Any, client: Client) -> None:
    _, run = violation()
    client.force_login(User.objects.create_superuser("root"))
    page = client.get(reverse("admin:django_workflow_workflow_change", args=[run.id])).content.decode()
    assert "DeterminismViolation" in page
    assert MASK in page
    assert "hunter" not in page
    assert "4711" not in page


def test_version_and_name_are_what_define_says() -> None:
    @workflow.define(name="options.named", version=7)
    async def handler(step: StepContext) -> None: ...

    run = workflow.start("options.named")
    assert (run.definition, run.version) == ("options.named", 7)


def test_a_managers_name_is_its_pools() -> None:
    assert repr(WorkflowManager("by name")) == "<WorkflowManager by name>"


def test_a_steps_name_is_shown_in_its_journal(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await step.using(name="renamed").run_action(act, 1)

    run = deployed.start()
    workflow_harness.advance(timedelta(0))
    assert [step.name for step in workflow_harness.journal(run)] == ["renamed"]
