"""Behaviour 36, for many at once: few statements, one wake-up, all of them or none."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from django_workflow import Completed, StepContext, workflow
from django_workflow.exceptions import (
    InvalidArguments,
    NotStorable,
    PayloadTooLarge,
    UnknownDefinition,
    UsageError,
)
from django_workflow.journal import wakes
from django_workflow.models import Label, Workflow
from django_workflow.testing import Harness, SimulatedCrash
from tests.behaviours.bodies import calls, write
from tests.behaviours.code import deploy, deployed
from tests.engine.committed import committed
from tests.shop.workflows import echo

pytestmark = pytest.mark.django_db


@workflow.define(name="many.strict")
async def strict(step: StepContext, number: int, names: list[str], *, flag: bool = False) -> list[Any]:
    return [number, names, flag]


def test_36_tuples_lists_and_dicts_are_arguments_in_their_order(workflow_harness: Harness) -> None:
    runs = workflow.start_many(
        strict,
        [(1, ["a"]), [2, ["b"]], {"number": 3, "names": ["c"], "flag": True}, {"names": [], "number": 4}],
    )
    assert all(isinstance(run, Workflow) for run in runs)
    assert [run.args["number"] for run in runs] == [1, 2, 3, 4]
    workflow_harness.drain()
    assert [workflow_harness.result(run) for run in runs] == [
        [1, ["a"], False],
        [2, ["b"], False],
        [3, ["c"], True],
        [4, [], False],
    ]


def test_36_the_workflows_are_as_they_are_stored() -> None:
    for run in workflow.start_many(echo, [(1,), (2,)]):
        stored = workflow.get(run.id)
        assert (run.created_at, run.due_at, run.state) == (stored.created_at, stored.due_at, "in_progress")


def test_36_any_iterable_will_do_and_nothing_gives_nothing() -> None:
    assert [run.args for run in workflow.start_many(echo, ((n,) for n in range(3)))] == [
        {"value": 0},
        {"value": 1},
        {"value": 2},
    ]
    assert workflow.start_many(echo, []) == []
    assert workflow.start_many("shop.echo", iter(())) == []


def test_36_their_ids_are_in_the_order_of_their_arguments() -> None:
    runs = workflow.start_many(echo, [(n,) for n in range(50)])
    assert [run.id for run in runs] == sorted(run.id for run in runs)


def test_36_bad_arguments_of_all_are_listed_and_nothing_is_stored() -> None:
    bad: list[Any] = [
        (1, []),
        ("x", []),
        {"number": 1},
        "ab",
        5,
        {"number": 1, "names": [], "flga": True},
        None,
    ]
    with pytest.raises(InvalidArguments) as refused:
        workflow.start_many(strict, bad)
    problems = refused.value.problems
    for position in (1, 2, 3, 4, 5, 6):
        assert any(problem.startswith(f"[{position}]") for problem in problems), position
    assert not any(problem.startswith("[0]") for problem in problems)
    assert "many.strict" in str(refused.value)
    assert not Workflow.objects.exists()


@pytest.mark.parametrize(("value", "error"), [(object(), NotStorable), ("x" * (1 << 20), PayloadTooLarge)])
def test_36_what_the_journal_can_not_keep_is_refused_and_nothing_is_stored(
    value: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"shop\.echo"):
        workflow.start_many(echo, [(1,), (value,)])
    assert not Workflow.objects.exists()


def test_36_an_unknown_definition_is_refused() -> None:
    with pytest.raises(UnknownDefinition):
        workflow.start_many("shop.ech", [(1,)])


def test_36_options_are_those_of_the_definition(frozen: Harness) -> None:
    options = echo.using(
        labels={"batch": 7}, priority=3, run_after=timedelta(minutes=1), timeout=60, context={"a": 1}
    )
    runs = workflow.start_many(options, [(1,), (2,)])
    for run in map(workflow.get, runs):
        assert (run.labels, run.priority, run.timeout, run.context) == ({"batch": 7}, 3, 60, {"a": 1})
        assert run.due_at == frozen.now() + timedelta(minutes=1)
    assert {run.id for run in workflow.list(labels={"batch": 7})} == {run.id for run in runs}
    assert frozen.drain() == 0
    frozen.advance(timedelta(minutes=1))
    assert [frozen.result(run) for run in runs] == [1, 2]


def test_36_a_key_is_for_one_workflow() -> None:
    with pytest.raises(UsageError, match="'k': a key is for one workflow"):
        workflow.start_many(echo.using(key="k"), [(1,)])
    assert not Workflow.objects.exists()


@committed
@pytest.mark.parametrize("labels", [{}, {"a": 1, "b": 2}])
def test_36_few_statements_and_one_wake_up(labels: dict[str, Any]) -> None:
    def cost(count: int) -> int:
        with CaptureQueriesContext(connection) as captured:
            workflow.start_many(echo.using(labels=labels), [(n,) for n in range(count)])
        return len([each for each in captured.captured_queries if each["sql"].startswith("INSERT")])

    sent: list[str] = []
    with wakes.sent_by(sent.append):
        few, many = cost(10), cost(200)
    assert sent == ["", ""]
    # SQLite takes so many variables in a statement and no more.
    assert few == (2 if labels else 1)
    assert many <= (few if connection.vendor != "sqlite" else 2 * few + 12)


@committed
def test_36_five_thousand_at_once() -> None:
    sent: list[str] = []
    with wakes.sent_by(sent.append):
        runs = workflow.start_many(echo.using(labels={"batch": 1}), [(n,) for n in range(5000)])
    assert sent == [""]
    assert len({run.id for run in runs}) == Workflow.objects.count() == Label.objects.count() == 5000
    args = dict(Workflow.objects.values_list("id", "args_text"))
    assert [args[run.id] for run in runs] == [f'{{"value":{n}}}' for n in range(5000)]


def test_36_they_run_once_each(workflow_harness: Harness) -> None:
    runs = workflow.start_many(echo, [(n,) for n in range(300)])
    workflow_harness.drain()
    assert [workflow_harness.result(run) for run in runs] == list(range(300))


@committed
def test_36_rolled_back_there_is_none() -> None:
    sent: list[str] = []
    with wakes.sent_by(sent.append), pytest.raises(ZeroDivisionError), transaction.atomic():
        workflow.start_many(echo.using(labels={"a": 1}), [(1,), (2,)])
        raise ZeroDivisionError
    assert (Workflow.objects.count(), Label.objects.count(), sent) == (0, 0, [])


@committed
@pytest.mark.parametrize("after", [False, True])
def test_p1_a_death_leaves_all_or_none(workflow_harness: Harness, after: bool) -> None:
    workflow_harness.crash_at(1, after=after)
    with pytest.raises(SimulatedCrash):
        workflow.start_many(echo.using(labels={"a": 1}), [(n,) for n in range(1500)])
    assert (Workflow.objects.count(), Label.objects.count()) == ((1500, 1500) if after else (0, 0))
    workflow_harness.drain()
    assert Workflow.objects.completed().count() == (1500 if after else 0)


def test_36_a_mutation_may_start_many(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await step.run_mutation(start_three)

    run = deployed.start()
    workflow_harness.drain()
    assert workflow_harness.result(run) == 3
    assert sorted(each.result for each in workflow.list(echo, "completed")) == [0, 1, 2]


def start_three() -> int:
    return len(workflow.start_many(echo, [(n,) for n in range(3)]))


@committed
def test_36_eager_ones_are_begun_right_after_the_commit(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, label: str) -> int:
        return await step.run_mutation(write, label)

    with transaction.atomic():
        runs = workflow.start_many(deployed.using(eager=True), [("a",), ("b",)])
        assert calls == []
    assert [workflow.status(run) for run in runs] == [Completed(1), Completed(1)]
