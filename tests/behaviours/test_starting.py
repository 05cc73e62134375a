"""Behaviour 36: a start belongs to the transaction that it is made in."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path
from django_q.models import OrmQ

from django_workflow import Completed, InProgress, StepContext, workflow
from django_workflow.exceptions import InvalidArguments
from django_workflow.models import Step, Workflow
from django_workflow.testing import Harness
from tests.behaviours.bodies import act, calls, rows, write
from tests.behaviours.code import deploy, deployed
from tests.leftovers import empty_queue
from tests.shop.models import Entry
from tests.shop.workflows import echo, steps_of_all_kinds

pytestmark = pytest.mark.usefixtures("either_mode")


@pytest.fixture(autouse=True)
def nothing_is_left(db: None) -> None:
    empty_queue()


def assert_nothing() -> None:
    assert Workflow.objects.count() == 0
    assert Step.objects.count() == 0
    assert OrmQ.objects.count() == 0


def seen_by_another_connection() -> int:
    found: list[int] = []

    def look() -> None:
        found.append(Workflow.objects.count())
        connection.close()

    other = threading.Thread(target=look)
    other.start()
    other.join(20)
    return found[0]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("nested", [False, True])
def test_36_started_in_a_transaction_that_rolls_back_there_is_nothing(
    workflow_harness: Harness, nested: bool
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.run_action(act)

    with pytest.raises(ZeroDivisionError), transaction.atomic():
        if nested:
            with transaction.atomic():
                deployed.start()
        else:
            deployed.start()
        assert Workflow.objects.count() == 1
        raise ZeroDivisionError
    assert_nothing()
    assert workflow_harness.drain() == 0
    assert calls == []


@pytest.mark.django_db(transaction=True)
def test_36_a_savepoint_that_rolls_back_takes_its_starts_with_it(workflow_harness: Harness) -> None:
    with transaction.atomic():
        kept = echo.start("kept")
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            echo.start("gone")
            raise ZeroDivisionError
    workflow_harness.drain()
    assert [run.id for run in workflow.list()] == [kept.id]
    assert workflow_harness.result(kept) == "kept"


@pytest.mark.django_db(transaction=True)
def test_36_started_in_a_transaction_that_commits_it_runs_once_and_is_not_visible_before(
    workflow_harness: Harness,
) -> None:
    @deploy
    async def handler(step: StepContext) -> int:
        return await step.run_mutation(write, "order")

    with transaction.atomic():
        Entry.objects.create(label="the caller's")
        run = deployed.start()
        assert isinstance(workflow.status(run), InProgress)  # its own transaction sees it
        assert run.created_at is not None
        assert seen_by_another_connection() == 0
    assert seen_by_another_connection() == 1
    workflow_harness.drain()
    workflow_harness.drain()
    assert workflow.status(run) == Completed(1)
    assert rows("order") == 1
    assert calls == [("write", "order")]


@pytest.mark.django_db(transaction=True)
def test_36_a_wake_up_waits_for_the_commit_and_a_burst_of_starts_does_not_make_one_each() -> None:
    with transaction.atomic():
        for number in range(20):
            echo.start(number)
        assert OrmQ.objects.count() == 0
    assert OrmQ.objects.count() <= 2


def start_in_a_view(request: HttpRequest, how: str) -> HttpResponse:
    Entry.objects.create(label="of the view")
    run = echo.start(how)
    if how == "raise":
        raise ZeroDivisionError
    if how == "set rollback":
        transaction.set_rollback(True)
    return HttpResponse(str(run.id), status=500 if how == "server error" else 200)


urlpatterns = [path("start/<str:how>/", start_in_a_view)]


@contextmanager
def atomic_requests() -> Iterator[Client]:
    with override_settings(ROOT_URLCONF=__name__):
        connection.settings_dict["ATOMIC_REQUESTS"] = True
        try:
            yield Client(raise_request_exception=False)
        finally:
            connection.settings_dict["ATOMIC_REQUESTS"] = False


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("how", "exists"), [("return", True), ("server error", True), ("raise", False), ("set rollback", False)]
)
def test_36_a_start_in_a_view_under_atomic_requests(
    workflow_harness: Harness, how: str, exists: bool
) -> None:
    with atomic_requests() as client:
        response = client.get(f"/start/{how}/")
    workflow_harness.drain()
    assert rows("of the view") == int(exists)
    if exists:
        assert workflow.status(response.content.decode()) == Completed(how)
    else:
        assert_nothing()


@workflow.define(name="behaviours.strict")
async def strict(step: StepContext, number: int, names: list[str], *, flag: bool = False) -> int:
    return number


BAD: list[tuple[tuple[Any, ...], dict[str, Any], list[str]]] = [
    ((), {}, ["number: is missing", "names: is missing"]),
    (("x", 5), {"flag": "perhaps"}, ["number", "'x'", "names", "5", "flag", "'perhaps'"]),
    ((1, ["a", 2, None]), {}, ["names", "2", "None"]),
    ((1, [], True), {}, ["unexpected positional argument True"]),
    ((1, []), {"flga": True}, ["flga: unexpected argument, did you mean flag?"]),
    ((1, []), {"number": 2}, ["number: given twice"]),
    ((None, None), {"flag": None, "other": 1}, ["number", "names", "flag", "other"]),
    ((1.5, []), {}, ["number", "1.5"]),
    ((object(), {}), {}, ["number", "object", "names"]),
]


@pytest.mark.parametrize(("args", "kwargs", "said"), BAD)
@pytest.mark.parametrize("inside", [False, True])
def test_36_bad_arguments_are_all_listed_and_nothing_is_stored(
    workflow_harness: Harness, args: tuple[Any, ...], kwargs: dict[str, Any], said: list[str], inside: bool
) -> None:
    def refuse(start: Any, *first: Any) -> None:
        with pytest.raises(InvalidArguments) as refused:
            start(*first, *args, **kwargs)
        assert isinstance(refused.value, TypeError)
        assert "behaviours.strict" in str(refused.value)
        for part in said:
            assert part in str(refused.value)

    if inside:
        with transaction.atomic():
            refuse(strict.start)
            kept = strict.start(1, ["the transaction is fine"])
        workflow_harness.drain()
        assert workflow_harness.result(kept) == 1
        assert [run.id for run in workflow.list()] == [kept.id]
    else:
        refuse(strict.start)
        refuse(strict.using(priority=3).start)
        refuse(workflow.start, strict)
        refuse(workflow.start, "behaviours.strict")
        assert_nothing()


def test_start_returns_the_workflow_as_it_is_stored(workflow_harness: Harness) -> None:
    run = steps_of_all_kinds.start(label="x")
    assert isinstance(run, Workflow)
    again = workflow.get(run.id)
    assert again == run
    assert (run.definition, run.version, run.state) == ("shop.steps_of_all_kinds", 1, "in_progress")
    assert (run.created_at, run.due_at, run.args) == (again.created_at, again.due_at, {"label": "x"})
    assert (run.result, run.error, run.finished) == (None, None, False)


def test_start_by_definition_by_name_and_by_the_definition_itself_are_the_same(
    workflow_harness: Harness,
) -> None:
    runs = [echo.start(1), workflow.start(echo, 1), workflow.start("shop.echo", 1), echo.start(value=1)]
    workflow_harness.drain()
    assert [workflow_harness.result(run) for run in runs] == [1, 1, 1, 1]
    assert len({run.id for run in runs}) == 4


def test_defaults_are_kept_as_they_were_at_the_start(workflow_harness: Harness) -> None:
    assert strict.start(1, []).args == {"number": 1, "names": [], "flag": False}


def test_the_more_urgent_is_taken_first_then_the_older(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext, name: str) -> None:
        await step.run_action(act, name)

    for name, priority in (("a", 0), ("b", 5), ("c", -1), ("d", 5), ("e", 0)):
        deployed.using(priority=priority).start(name)
    frozen.drain()
    first = list(dict.fromkeys(name for _, name in calls))
    assert first == ["b", "d", "a", "e", "c"]
