"""Behaviour 37: a key names one workflow of its definition, whoever starts it, and however often."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from django_workflow import Completed, StepContext, workflow
from django_workflow.exceptions import InvalidArguments, KeyConflict
from django_workflow.models import Label, Step, Workflow
from django_workflow.testing import Harness
from tests.behaviours.bodies import act, calls, rows, write
from tests.behaviours.code import deploy, deployed
from tests.engine.committed import committed
from tests.engine.elsewhere import PATIENCE, Elsewhere, before_statements, elsewhere, wait
from tests.shop.models import Entry
from tests.shop.workflows import echo, steps_of_all_kinds

pytestmark = pytest.mark.django_db
keyed = echo.using(key="order-1")


def test_37_the_same_arguments_give_the_same_workflow(workflow_harness: Harness) -> None:
    first, second = keyed.start({"a": 1, "b": [2]}), keyed.start({"a": 1, "b": [2]})
    assert first.id == second.id
    assert first.key == second.key == "order-1"
    assert Workflow.objects.count() == 1
    assert (second.created_at, second.due_at) == (first.created_at, first.due_at)
    workflow_harness.drain()
    assert workflow_harness.result(second) == {"a": 1, "b": [2]}


def test_37_every_way_to_start_finds_it() -> None:
    run = keyed.start(1)
    assert [keyed.start(value=1).id, workflow.start(keyed, 1).id, echo.using(key="order-1").start(1).id] == [
        run.id
    ] * 3


def test_37_defaults_count_as_arguments() -> None:
    # What is compared is what the handler is called with, however it was written down.
    with_default = with_a_default.using(key="k")
    run = with_default.start(1)
    assert with_default.start(number=1, flag=False).id == run.id
    with pytest.raises(KeyConflict):
        with_default.start(1, flag=True)


@workflow.define(name="keys.with_a_default")
async def with_a_default(step: StepContext, number: int, flag: bool = False) -> int:
    return number


def test_37_a_finished_workflow_keeps_its_key(workflow_harness: Harness) -> None:
    run = keyed.start(1)
    workflow_harness.drain()
    again = keyed.start(1)
    assert (again.id, again.state, again.result) == (run.id, "completed", 1)
    assert workflow_harness.drain() == 0
    with pytest.raises(KeyConflict):
        keyed.start(2)


def test_37_a_canceled_workflow_keeps_its_key(workflow_harness: Harness) -> None:
    run = keyed.start(1)
    run.cancel()
    assert keyed.start(1).state == "canceled"


def test_37_40_a_workflow_that_went_on_as_new_keeps_key_and_first_arguments(
    workflow_harness: Harness,
) -> None:
    @deploy
    async def handler(step: StepContext, number: int) -> int:
        if number < 3:
            step.continue_as_new(number + 1)
        return number

    definition = deployed.using(key="k", labels={"kind": "counting"})
    run = definition.start(1)
    workflow_harness.drain()
    assert (workflow_harness.result(run), workflow.get(run).args) == (3, {"*args": [3]})
    assert definition.start(1).id == run.id
    with pytest.raises(KeyConflict):
        definition.start(3)
    assert [each.id for each in workflow.list(labels={"kind": "counting"})] == [run.id]


def test_37_other_arguments_are_a_conflict_and_nothing_is_stored(workflow_harness: Harness) -> None:
    run = keyed.using(labels={"of": "the first"}).start(1)
    before = (list(Workflow.objects.values()), list(Label.objects.values()))
    with pytest.raises(KeyConflict) as refused:
        keyed.using(labels={"of": "the second"}, priority=9).start(2)
    for part in ("shop.echo", "order-1", str(run.id)):
        assert part in str(refused.value)
    assert before == (list(Workflow.objects.values()), list(Label.objects.values()))
    workflow_harness.drain()
    assert workflow_harness.result(run) == 1


def test_37_what_json_tells_apart_are_other_arguments() -> None:
    keyed.start(1)
    for other in (True, 1.0, "1", None, [1]):
        with pytest.raises(KeyConflict):
            keyed.start(other)


def test_37_a_key_is_unique_per_definition(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, value: int) -> int:
        return value

    one, other = keyed.start(1), deployed.using(key="order-1").start(2)
    assert one.id != other.id
    workflow_harness.drain()
    assert (workflow_harness.result(one), workflow_harness.result(other)) == (1, 2)


@pytest.mark.parametrize(
    "other",
    ["Order-1", "ORDER-1", "order-1 ", " order-1", "órder-1", "order\N{MINUS SIGN}1"],
    ids=ascii,
)
def test_37_keys_that_look_alike_are_different_keys(other: str) -> None:
    runs = [keyed.start(1), echo.using(key=other).start(2)]
    assert len({run.id for run in runs}) == 2
    assert [keyed.start(1).id, echo.using(key=other).start(2).id] == [run.id for run in runs]


@pytest.mark.parametrize("key", ["x", "x" * 200, "Straße 5 🎈", "漢字", '";--', "a/b?c=d&e"], ids=ascii)
def test_any_printable_text_is_a_key(workflow_harness: Harness, key: str) -> None:
    run = echo.using(key=key).start(1)
    assert workflow.get(run).key == key
    assert echo.using(key=key).start(1).id == run.id


@pytest.mark.parametrize("key", ["", "x" * 201, "a\nb", "a\0b", "\ud800", 5, True, ["x"], b"x"], ids=ascii)
def test_what_is_no_key_is_refused_where_it_is_given(key: Any) -> None:
    with pytest.raises(InvalidArguments) as refused:
        echo.using(key=key)
    assert f"key: {key!r} is no key; give 1 to 200 printable characters" in str(refused.value)


def test_37_after_cleanup_the_key_is_free(workflow_harness: Harness) -> None:
    first = keyed.start(1)
    workflow_harness.drain()
    assert first.cleanup()
    second = keyed.start(2)
    workflow_harness.drain()
    assert second.id != first.id
    assert workflow_harness.result(second) == 2


def test_37_a_fork_has_no_key(workflow_harness: Harness) -> None:
    run = steps_of_all_kinds.using(key="k").start("x")
    workflow_harness.drain()
    fork = run.fork(2)
    assert workflow.get(fork).key is None
    assert steps_of_all_kinds.using(key="k").start("x").id == run.id


def test_37_a_restart_keeps_the_key(workflow_harness: Harness) -> None:
    run = keyed.start(1)
    workflow_harness.drain()
    run.restart()
    assert keyed.start(1).id == run.id
    workflow_harness.drain()
    assert workflow_harness.result(run) == 1


def test_a_child_has_no_key(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        try:
            await step.run_workflow(keyed, 1)
        except InvalidArguments as error:
            return str(error)
        return "?"

    run = deployed.start()
    workflow_harness.drain()
    assert "key: a child has none" in workflow_harness.result(run)
    assert Workflow.objects.count() == 1


@committed
def test_37_in_a_transaction_the_second_start_finds_the_first(workflow_harness: Harness) -> None:
    with transaction.atomic():
        first, second = keyed.start(1), keyed.start(1)
        assert first.id == second.id
    workflow_harness.drain()
    assert workflow_harness.result(first) == 1


@committed
def test_37_a_transaction_goes_on_after_a_conflict(workflow_harness: Harness) -> None:
    with transaction.atomic():
        run = keyed.start(1)
        with pytest.raises(KeyConflict):
            keyed.start(2)
        Entry.objects.create(label="went on")
        other = echo.start("beside")
    workflow_harness.drain()
    assert rows("went on") == 1
    assert {each.id for each in workflow.list()} == {run.id, other.id}


@committed
def test_37_rolled_back_the_key_is_free(workflow_harness: Harness) -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        keyed.start(1)
        raise ZeroDivisionError
    run = keyed.start(2)
    workflow_harness.drain()
    assert workflow_harness.result(run) == 2


@committed
def test_37_rolled_back_to_a_savepoint_the_key_is_free() -> None:
    with transaction.atomic():
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            keyed.start(1)
            raise ZeroDivisionError
        run = keyed.start(2)
    assert [each.id for each in workflow.list()] == [run.id]


@committed
def test_37_many_threads_at_once_get_one_workflow(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> int:
        return await step.run_mutation(write, "once")

    threads = 6
    barrier = threading.Barrier(threads, timeout=PATIENCE)

    def start() -> Any:
        barrier.wait()
        return deployed.using(key="k", labels={"a": 1}).start().id

    others = [Elsewhere(start) for _ in range(threads)]
    assert len({other.result() for other in others}) == 1
    workflow_harness.drain()
    assert (Workflow.objects.count(), Label.objects.count(), rows("once")) == (1, 1, 1)


@committed
def test_37_at_once_with_other_arguments_one_is_started_and_the_rest_are_conflicts() -> None:
    threads = 4
    barrier = threading.Barrier(threads, timeout=PATIENCE)

    def start(value: int) -> Any:
        barrier.wait()
        try:
            return keyed.start(value).args["value"]
        except KeyConflict as conflict:
            return conflict

    others = [Elsewhere(lambda value=value: start(value)) for value in range(threads)]  # type: ignore[misc]
    results = [other.result() for other in others]
    (started,) = [each for each in results if not isinstance(each, KeyConflict)]
    assert workflow.list().get().args == {"value": started}


@committed
@pytest.mark.parametrize("commits", [True, False])
def test_37_who_comes_second_waits_for_the_first_ones_transaction(commits: bool) -> None:
    """Where the database lets two write at once; on SQLite the second waits for the whole transaction anyway."""
    started, going = threading.Event(), threading.Event()

    def second() -> Any:
        wait(started)
        going.set()
        return keyed.start(1).id

    other = Elsewhere(second)
    first = None
    try:
        with transaction.atomic():
            first = keyed.start(1)
            started.set()
            wait(going)
            if not commits:
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert first is not None
    found = other.result()
    assert (found == first.id) is commits
    assert [each.id for each in workflow.list()] == [found]


@committed
def test_37_three_at_once_of_which_the_first_rolls_back_give_one_workflow() -> None:
    """Two that wait for a key at once and then both may have it: on InnoDB a deadlock, which nobody sees."""
    started = threading.Event()
    ready = threading.Barrier(3, timeout=PATIENCE)

    def start() -> Any:
        wait(started)
        ready.wait()
        return keyed.start(1).id

    others = [Elsewhere(start), Elsewhere(start)]
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        keyed.start(1)
        started.set()
        ready.wait()
        raise ZeroDivisionError
    assert len({other.result() for other in others}) == 1
    assert Workflow.objects.count() == 1


@committed
def test_37_another_connection_finds_it(workflow_harness: Harness) -> None:
    run = keyed.start(1)
    assert elsewhere(lambda: keyed.start(1).id) == run.id


@committed
def test_37_a_mutation_that_is_repeated_starts_one_workflow(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, name: str) -> Any:
        return await step.run_action(start_keyed, name)

    first, second = deployed.start("x"), deployed.start("x")
    workflow_harness.drain()
    assert workflow_harness.result(first) == workflow_harness.result(second)
    assert workflow.list(echo).count() == 1


def start_keyed(name: str) -> str:
    return str(echo.using(key=name).start(name).id)


@committed
@pytest.mark.parametrize("call", ["with a key", "many"])
def test_37_r20_a_deadlock_in_a_start_is_retried(workflow_harness: Harness, call: str) -> None:
    left = [3]

    def fail(sql: str) -> None:
        if left[0] and sql.startswith("INSERT"):
            left[0] -= 1
            raise OperationalError(1213 if connection.vendor == "mysql" else "database is locked")

    with before_statements(fail):
        if call == "many":
            echo.using(labels={"a": 1}).manager.start_many(echo, [(1,)])
        else:
            keyed.start(1)
    assert left == [0]
    workflow_harness.drain()
    assert workflow.list(state="completed").get().result == 1


# ── run_at, run_after (38) ──────────────────────────────────────────────────────────────────────────────────

MINUTE = timedelta(minutes=1)


def test_37_38_a_known_key_keeps_its_own_start_time(frozen: Harness) -> None:
    run = echo.using(key="k", run_after=MINUTE).start(1)
    assert echo.using(key="k", run_after=5 * MINUTE).start(1).due_at == frozen.now() + MINUTE
    assert frozen.drain() == 0
    frozen.advance(MINUTE)
    assert frozen.result(run) == 1


def test_38_run_at_and_run_after_on_start_step_and_child(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.using(run_after=MINUTE).run_action(act, "step")
        await step.using(run_at=step.now() + MINUTE).run_mutation(write, "step")
        await step.using(run_after=MINUTE).run_workflow(echo, "child")
        await step.run_workflow(echo.using(run_after=MINUTE), "child")
        return "done"

    run = deployed.using(run_at=frozen.now() + MINUTE).start()
    seen = []
    for _ in range(6):
        frozen.drain()
        status = workflow.status(run)
        seen.append(
            (len(calls), Step.objects.count(), Workflow.objects.completed().of(echo).count(), status.type)
        )
        frozen.advance(MINUTE - timedelta(milliseconds=1))
        assert workflow.status(run) == status  # a millisecond too early
        frozen.advance(timedelta(milliseconds=1))
    assert seen == [
        (0, 0, 0, "in_progress"),
        (0, 1, 0, "in_progress"),
        (1, 2, 0, "in_progress"),
        (2, 3, 0, "in_progress"),
        (2, 4, 1, "in_progress"),
        (2, 4, 2, "completed"),
    ]
    assert workflow.status(run) == Completed("done")
