"""Streams from a real WSGI server and a real ASGI application, of a workflow that this thread moves on meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.test import Client

from django_workflow import workflow
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.stream.conftest import LogIn, address
from tests.stream.definitions import anew, work
from tests.stream.listening import Event, Screen
from tests.stream.servers import Answer, ASGIServer, Server, WSGIServer

pytestmark = pytest.mark.django_db(transaction=True)

Connect = Callable[..., Answer]


@pytest.fixture(params=[WSGIServer, ASGIServer])
def server(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[Server]:
    """Both kinds of server, in turn; each ends when all its requests have."""
    made: Server = request.param()
    yield made
    made.stop()


@pytest.fixture
def connect(server: Server, log_in: LogIn) -> Iterator[Connect]:
    """`connect(run, last=None)`: the stream as somebody gets it who may view workflows."""
    client = log_in("view_workflow")
    open_ones: list[Answer] = []

    def connect(run: Workflow, last: str | None = None, who: Client = client) -> Answer:
        headers = {"Accept": "text/event-stream", "Cookie": f"sessionid={who.cookies['sessionid'].value}"}
        if last is not None:
            headers["Last-Event-ID"] = last
        answer = server.get(address(run), headers)
        open_ones.append(answer)
        return answer

    yield connect
    for answer in open_ones:
        answer.hang_up()


def until(answer: Answer, is_enough: Callable[[Screen], object], screen: Screen) -> list[Event]:
    """The events up to the one with which the screen shows enough."""
    news: list[Event] = []
    for event in answer.events:
        screen.show(event)
        news.append(event)
        if is_enough(screen):
            return news
    raise AssertionError(f"the stream has ended with {screen}")


def waits(number: int) -> Callable[[Screen], bool]:
    """Whether the step of that number is all that runs."""
    return lambda screen: (
        screen.status is not None
        and [step["number"] for step in screen.status.get("running", ())] == [number]
    )


def test_a_workflow_is_followed_to_its_end_and_from_every_cut(
    connect: Connect, workflow_harness: Harness
) -> None:
    run = work.start(2)
    answer, screen = connect(run), Screen()
    assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
    news = until(answer, lambda screen: screen.status, screen)
    workflow_harness.drain()
    news += until(answer, waits(3), screen)
    assert screen.custom["done"] == 0
    run.send_event("go")
    workflow_harness.drain()
    news += until(answer, waits(6), screen)
    assert screen.custom["done"] == 1
    run.send_event("go")
    workflow_harness.drain()
    news += list(answer.events)

    assert screen.show(*news).ended == "finished"
    assert screen.status["type"] == "completed"
    assert {number: step["state"] for number, step in screen.steps.items()} == dict.fromkeys(
        range(1, 7), "completed"
    )
    for cut in range(len(news)):
        rest = connect(run, news[cut].id)
        if rest.status == 204:
            assert cut == len(news) - 1
            continue
        assert Screen().show(*news[: cut + 1], *rest.events) == screen


def test_a_cancel_is_told(connect: Connect, workflow_harness: Harness) -> None:
    run = work.start(1)
    workflow_harness.drain()
    answer, screen = connect(run), Screen()
    until(answer, waits(3), screen)
    run.cancel("not needed")
    screen.show(*answer.events)
    assert (screen.status["type"], screen.status["reason"]) == ("canceled", "not needed")
    assert screen.steps[3]["state"] == "canceled"
    assert screen.ended == "finished"


def test_a_fresh_journal_is_told_by_a_reset(connect: Connect, workflow_harness: Harness) -> None:
    run = anew.start(1)
    workflow_harness.drain()
    answer, screen = connect(run), Screen()
    until(answer, waits(2), screen)
    assert screen.custom == {"life": 1}
    run.send_event("go")
    workflow_harness.drain()
    news = until(answer, lambda screen: screen.custom == {"life": 2} and waits(2)(screen), screen)
    assert [event.name for event in news].count("reset") == 1
    run.send_event("go")
    workflow_harness.drain()
    screen.show(*answer.events)
    assert sorted(screen.steps) == [step.number for step in workflow.steps(run)]
    assert screen.ended == "finished"


def test_errors_are_problems(connect: Connect, log_in: LogIn) -> None:
    run = work.start(1)
    answer = connect(run, who=log_in("start_workflow"))
    assert (answer.status, answer.headers["content-type"]) == (403, "application/problem+json")
    assert b"".join(answer.chunks).startswith(b"{")


def test_whoever_hangs_up_leaves_no_connection_behind(
    connect: Connect, server: Server, workflow_harness: Harness
) -> None:
    here = threading.current_thread()
    made: list[BaseDatabaseWrapper] = []

    def remember(connection: BaseDatabaseWrapper, **_: object) -> None:
        if threading.current_thread() is not here:
            made.append(connection)

    connection_created.connect(remember)
    try:
        run = work.start(1)
        answer = connect(run)
        until(answer, lambda screen: screen.status, Screen())
        answer.hang_up()
        server.stop()
    finally:
        connection_created.disconnect(remember)
    assert made
    assert [each for each in made if each.connection is not None] == []
