"""What a workflow may cost the database, counted in statements (BEGIN, COMMIT and savepoints apart)."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_workflow import Completed, InProgress, StepContext, action, mutation, query, workflow
from django_workflow.engine import drain
from django_workflow.engine.drain import known
from django_workflow.journal import claims, holding, pauses, processes
from django_workflow.testing import Harness

TRANSACTION = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE", "ROLLBACK", "START", "SET ")


@query
def think(value: int) -> int:
    """A body without a statement of its own."""
    return value


@mutation
def remember(value: int) -> int:
    """A body without a statement of its own."""
    return value


@workflow.define(name="budgets.steps")
async def many_steps(step: StepContext, count: int, seconds: int = 0) -> int:
    total = 0
    for number in range(count):
        total += await (step.run_mutation(remember, 1) if number % 2 else step.run_query(think, 1))
    if seconds:
        await step.sleep(seconds)
    return total


@action
def call(value: int) -> int:
    """The same."""
    return value


@workflow.define(name="budgets.calls")
async def many_calls(step: StepContext, count: int) -> int:
    return sum([await step.run_action(call, 1) for _ in range(count)])


def statements(harness: Harness) -> list[str]:
    """What one drain sends."""
    with CaptureQueriesContext(connection) as captured:
        harness.drain()
    return _counted(captured)


def _counted(captured: CaptureQueriesContext) -> list[str]:
    sent = [str(each["sql"]) for each in captured.captured_queries]
    return [sql for sql in sent if not sql.upper().lstrip("- ").startswith(TRANSACTION)]


def writes(sent: list[str]) -> list[str]:
    return [sql.split()[0] for sql in sent if sql.startswith(("INSERT", "UPDATE", "DELETE"))]


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A slow machine commits a turn in several parts, looks for pauses between them and for what the dead have left.

    Here a turn is in one part.
    """
    monkeypatch.setattr(pauses, "LOOK_SECONDS", 1e9)
    monkeypatch.setattr(drain, "TAKEOVER_SECONDS", 1e9)
    with override_settings(DJANGO_WORKFLOW={"TURN_COMMIT_MS": 1e9}):
        yield


def test_the_replay_of_a_thousand_steps_takes_one_query_for_the_journal(
    workflow_harness: Harness, unhurried: None
) -> None:
    run = many_steps.start(999, seconds=60)
    workflow_harness.drain()
    assert isinstance(run.status(), InProgress)
    assert run.steps().count() == 1000
    workflow_harness.freeze(workflow_harness.now() + timedelta(seconds=60))
    sent = statements(workflow_harness)
    assert run.status() == Completed(999)
    journal = [sql for sql in sent if sql.startswith("SELECT") and "result" in sql and "workflow_step" in sql]
    assert len(journal) == 1
    # Besides: the fence, and the sleep that ended. No statement for a step of the past.
    assert len([sql for sql in sent if sql.startswith(("INSERT", "UPDATE"))]) <= 3


def test_ten_inline_steps_cost_one_insert_more_than_none(workflow_harness: Harness, unhurried: None) -> None:
    workflow_harness.drain()
    costs = {}
    for count in (0, 10, 30):
        run = many_steps.start(count)
        costs[count] = statements(workflow_harness)
        assert run.status() == Completed(count)
    assert len(costs[10]) - len(costs[0]) == 1
    assert len(costs[30]) == len(costs[10])


def test_a_workflow_of_ten_inline_steps_costs_a_handful_of_statements(
    workflow_harness: Harness, unhurried: None
) -> None:
    workflow_harness.drain()
    idle = statements(workflow_harness)
    many_steps.start(10)
    sent = statements(workflow_harness)
    # The claim, the fence with which the workflow ends, the insert of all ten steps; a claim is two statements on
    # SQLite and three on MariaDB. What a drain sends to find that nothing else is due is the same with nothing to do.
    assert len(sent) - len(idle) <= (6 if connection.vendor == "mysql" else 5)
    assert sorted(word for word in writes(sent) if word != "WITH") in (
        ["INSERT", "UPDATE"],
        ["INSERT", "UPDATE", "UPDATE"],
    )


def test_a_batch_of_new_workflows_loads_no_journal(workflow_harness: Harness, unhurried: None) -> None:
    for _ in range(5):
        many_steps.start(2)
    sent = statements(workflow_harness)
    assert not [sql for sql in sent if sql.startswith("SELECT") and "result" in sql]
    assert len([sql for sql in sent if sql.startswith("INSERT")]) == 5


def test_a_batch_of_sleepers_loads_its_journals_in_one_query(
    workflow_harness: Harness, unhurried: None
) -> None:
    for _ in range(5):
        many_steps.start(2, seconds=60)
    workflow_harness.drain()
    workflow_harness.freeze(workflow_harness.now() + timedelta(seconds=61))
    sent = statements(workflow_harness)
    assert len([sql for sql in sent if sql.startswith("SELECT") and "result" in sql]) == 1


# ── a batch: what the design allows for a step, all statements of a workflow's life counted, its start too ──────────


BATCH = 16  # workflows, as many as one claim takes
STEPS = 10


def life_of_a_batch(harness: Harness, started: Any) -> float:
    """Statements for each step, from the start of each workflow to the end of the last one."""
    with CaptureQueriesContext(connection) as captured:
        runs = [started.start(STEPS) for _ in range(BATCH)]
    sent = [*_counted(captured), *statements(harness)]
    assert {run.status() for run in runs} == {Completed(STEPS)}
    return len(sent) / (BATCH * STEPS)


def test_w1a_half_a_statement_for_each_inline_step(workflow_harness: Harness, unhurried: None) -> None:
    assert life_of_a_batch(workflow_harness, many_steps) <= 0.5


@pytest.mark.django_db(transaction=True)
def test_w1b_statements_for_each_action(workflow_harness: Harness, unhurried: None) -> None:
    """One of each is the action's own commit; the rest is its workflow's share of starts, claims and hand-backs."""
    # Where an UPDATE returns nothing (MariaDB), a claim is three statements, and the fence and the step are one each.
    most = {"postgresql": 1.7, "sqlite": 1.9, "mysql": 3.75}[connection.vendor]
    assert life_of_a_batch(workflow_harness, many_calls) <= most


def test_a_claim_and_the_journals_of_a_batch_cost_what_those_of_one_do(
    workflow_harness: Harness, unhurried: None
) -> None:
    workflow_harness.drain()
    costs = {}
    for count in (1, BATCH):
        for _ in range(count):
            many_steps.start(2, seconds=60)
        workflow_harness.drain()
        workflow_harness.freeze(workflow_harness.now() + timedelta(seconds=61))
        sent = statements(workflow_harness)
        costs[count] = len(sent)
        ended = [sql for sql in sent if sql.startswith("UPDATE") and "completed_at" in sql]
        assert len(ended) >= count
    # Each of them ends its sleep and itself; a release is part of the fence, no statement of its own.
    assert (costs[BATCH] - costs[1]) / (BATCH - 1) <= 3


def test_what_is_put_to_sleep_again_is_released_by_its_fence(
    workflow_harness: Harness, unhurried: None
) -> None:
    workflow_harness.drain()
    idle = len(statements(workflow_harness))
    costs = {}
    for count in (1, BATCH):
        for _ in range(count):
            many_steps.start(2, seconds=60)
        costs[count] = len(statements(workflow_harness)) - idle
    # The fence with the release, and the insert of its steps.
    assert costs[BATCH] - costs[1] == 2 * (BATCH - 1)


def test_a_batch_is_handed_back_in_one_statement(workflow_harness: Harness) -> None:
    for _ in range(BATCH):
        many_steps.start(1)
    claimed = claims.claim_workflows(processes.token(), "", known(), BATCH)
    assert len(claimed) == BATCH
    with CaptureQueriesContext(connection) as captured:
        assert holding.hand_back(claimed) == BATCH
    assert len(_counted(captured)) == 1
