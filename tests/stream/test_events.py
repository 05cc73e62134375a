"""What a stream tells, to whom, and how a client goes on where it stopped. Its requests are answered in this thread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from django_workflow import workflow
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.settings import MIDDLEWARE
from tests.stream.conftest import LogIn, address
from tests.stream.definitions import PAYLOADS, SECRETS, anew, fails, wide, work
from tests.stream.listening import Event, Screen, events
from tests.stream.urls import QuickStream

STREAM = {"accept": "text/event-stream"}


def open_stream(client: Client, run: Workflow, last: str | None = None, under: str = "api") -> Any:
    headers = STREAM if last is None else {**STREAM, "last-event-id": last}
    return client.get(address(run, under), headers=headers)


def listen(client: Client, run: Workflow, last: str | None = None, under: str = "api") -> list[Event]:
    """All events until the stream ends."""
    response = open_stream(client, run, last, under)
    assert response.status_code == 200
    return [event for event in events(response.streaming_content) if event.name != "comment"]


def follow(client: Client, run: Workflow, under: str = "api") -> Iterator[Event]:
    """Events and comments, as the test asks for them."""
    return events(open_stream(client, run, under=under).streaming_content)


def told(news: list[Event]) -> list[tuple[str, int | None]]:
    return [(event.name, event.data["number"] if event.name == "step" else None) for event in news]


def finished(harness: Harness, rounds: int = 2) -> Workflow:
    run = work.start(rounds)
    for _ in range(rounds):
        run.send_event("go")
    harness.drain()
    assert workflow.status(run).type == "completed"
    return run


# ── what is told ────────────────────────────────────────────────────────────────────────────────────────────────


def test_of_a_finished_workflow_all_is_told_and_the_end(workflow_harness: Harness, log_in: LogIn) -> None:
    run = finished(workflow_harness)
    news = listen(log_in("view_workflow"), run)
    steps = [("step", number) for number in range(1, 7)]
    assert told(news) == [*steps, ("custom", None), ("status", None), ("end", None)]
    screen = Screen().show(*news)
    assert screen.status["type"] == "completed"
    assert (screen.custom["done"], screen.custom["of"]) == (1, 2)
    assert screen.ended == "finished"


def test_a_stream_costs_two_statements_a_page(workflow_harness: Harness, log_in: LogIn) -> None:
    """The workflow's row, and the steps of its generation; however many there are on a page."""
    client = log_in("view_workflow")
    costs = []
    for rounds in (2, 20):
        run = finished(workflow_harness, rounds)
        with CaptureQueriesContext(connection) as captured:
            listen(client, run)
        sent = [query["sql"] for query in captured if "django_workflow_" in query["sql"]]
        costs.append((len(sent), 3 * rounds // QuickStream.page))
    assert all(cost <= 2 * (pages + 3) for cost, pages in costs), costs


def test_a_step_is_told_without_payloads(workflow_harness: Harness, log_in: LogIn) -> None:
    run = fails.start()
    workflow_harness.drain()
    news = listen(log_in("view_workflow", "view_payload"), run)
    step = workflow.steps(run).get()
    assert step.completed_at is not None
    assert step.started_at is not None
    assert news[0].data == {
        "number": 1,
        "name": "declined",
        "kind": "action",
        "state": "failed",
        "attempts": 1,
        "created_at": step.created_at.isoformat().replace("+00:00", "Z"),
        "started_at": step.started_at.isoformat().replace("+00:00", "Z"),
        "completed_at": step.completed_at.isoformat().replace("+00:00", "Z"),
        "due_at": None,
        "error": {"type": "builtins.ValueError", "message": "the card was declined"},
    }


def test_the_status_is_what_the_address_status_shows(workflow_harness: Harness, log_in: LogIn) -> None:
    client = log_in("view_workflow", "view_payload")
    waiting, done = work.start(1), finished(workflow_harness)
    for run in (waiting, done):
        shown = client.get(f"/api/workflows/{run.id}/status/").json()
        assert next(event.data for event in follow(client, run) if event.name == "status") == shown


def test_what_is_secret_is_told_to_nobody(workflow_harness: Harness, log_in: LogIn) -> None:
    run = finished(workflow_harness)
    for permissions, outcome in ((("view_workflow",), False), (("view_workflow", "view_payload"), True)):
        response = open_stream(log_in(*permissions), run)
        text = b"".join(response.streaming_content).decode()
        assert [secret for secret in SECRETS if secret in text] == []
        assert [payload for payload in PAYLOADS if payload in text] == (["outcome-5555"] if outcome else [])


def test_more_steps_than_one_look_reads(workflow_harness: Harness, log_in: LogIn) -> None:
    run = wide.start(10)
    workflow_harness.drain()
    client = log_in("view_workflow")
    stream = follow(client, run)
    first: list[Event] = []
    while not first or first[-1].name != "status":
        first.append(next(stream))
    assert told(first) == [*(("step", number) for number in range(1, 12)), ("status", None)]
    run.send_event("go")
    workflow_harness.drain()
    then = [event for event in stream if event.name != "comment"]
    assert told(then) == [("step", 1), ("status", None), ("end", None)]
    for cut in range(len(first)):
        screen = Screen().show(*first[: cut + 1], *listen(client, run, first[cut].id))
        assert screen == Screen().show(*first, *then)


def test_the_head_alone_ends_at_once(workflow_harness: Harness, log_in: LogIn) -> None:
    run = work.start(1)
    response = log_in("view_workflow").head(address(run), headers=STREAM)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/event-stream"


def test_nobody_keeps_events_back(workflow_harness: Harness, log_in: LogIn) -> None:
    run = work.start(1)
    client = log_in("view_workflow")
    with override_settings(MIDDLEWARE=["django.middleware.gzip.GZipMiddleware", *MIDDLEWARE]):
        response: Any = client.get(address(run), headers={**STREAM, "accept-encoding": "gzip"})
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert next(events(response.streaming_content)).name == "status"


# ── who stopped and goes on ─────────────────────────────────────────────────────────────────────────────────────


def test_whoever_has_an_event_gets_what_came_after_it(workflow_harness: Harness, log_in: LogIn) -> None:
    run = finished(workflow_harness)
    client = log_in("view_workflow")
    whole = listen(client, run)
    for cut in range(len(whole) - 1):
        assert told(listen(client, run, whole[cut].id)) == told(whole[cut + 1 :])


def test_whoever_has_the_end_is_told_to_stop(workflow_harness: Harness, log_in: LogIn) -> None:
    run = finished(workflow_harness)
    client = log_in("view_workflow")
    response = open_stream(client, run, listen(client, run)[-1].id)
    assert (response.status_code, response.content) == (204, b"")


def test_a_restart_begins_anew(workflow_harness: Harness, log_in: LogIn) -> None:
    run = finished(workflow_harness)
    client = log_in("view_workflow")
    before = listen(client, run)
    run.restart(3)
    for event in before:
        news = listen_until_status(client, run, event.id)
        assert news[0].name == "reset"
        screen = Screen().show(*before, *news)
        assert sorted(screen.steps) == [step.number for step in workflow.steps(run)]
        assert screen.status["type"] == "in_progress"
        assert screen.ended is None


def listen_until_status(client: Client, run: Workflow, last: str) -> list[Event]:
    news: list[Event] = []
    for event in events(open_stream(client, run, last).streaming_content):
        news.append(event)
        if event.name == "status":
            break
    return news


@pytest.mark.parametrize(
    "garbage", ["x", "7", "é", "a.b.c.d", "{tail}.99999999999.1..", "{tail}.0.4294967296..", "{other}"]
)
def test_an_unknown_id_starts_over(garbage: str, workflow_harness: Harness, log_in: LogIn) -> None:
    run, other = finished(workflow_harness), finished(workflow_harness)
    client = log_in("view_workflow")
    whole = listen(client, run)
    known = listen(client, other)[-1].id
    last = garbage.format(tail=run.id.hex[-12:], other=known)
    assert told(listen(client, run, last)) == [("reset", None), *told(whole)]


# ── while it is told ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_end_of_a_cleaned_up_workflow(workflow_harness: Harness, log_in: LogIn) -> None:
    run = work.start(1)
    workflow_harness.drain()
    stream = follow(log_in("view_workflow"), run)
    screen = Screen().show(next(stream))
    run.cancel()
    run.cleanup()
    screen.show(*stream)
    assert screen.ended == "gone"


def test_the_end_of_a_workflow_that_is_no_longer_ones_own(workflow_harness: Harness, log_in: LogIn) -> None:
    run = work.using(priority=1).start(1)
    workflow_harness.drain()
    stream = follow(log_in("view_workflow"), run, "urgent")
    screen = Screen().show(next(stream))
    Workflow.objects.filter(id=run.id).update(priority=0)
    screen.show(*stream)
    assert screen.ended == "gone"


def test_a_pause_of_all_is_told(workflow_harness: Harness, log_in: LogIn) -> None:
    run = work.start(1)
    stream = follow(log_in("view_workflow"), run)
    paused = [_next_status(stream)["paused"]]
    workflow.pause("a backup")
    paused.append(_next_status(stream)["paused"])
    workflow.resume()
    paused.append(_next_status(stream)["paused"])
    assert paused == [None, "a backup", None]


def _next_status(stream: Iterator[Event]) -> Any:
    return next(event.data for event in stream if event.name == "status")


def test_silence_is_filled_with_comments(workflow_harness: Harness, log_in: LogIn) -> None:
    run = work.start(1)
    stream = follow(log_in("view_workflow"), run)
    assert [next(stream).name for _ in range(3)] == ["status", "comment", "comment"]


def test_a_stream_ends_by_itself_and_goes_on_without_a_repeat(
    workflow_harness: Harness, log_in: LogIn
) -> None:
    run = work.start(1)
    client = log_in("view_workflow")
    news = listen(client, run, under="short")
    assert told(news) == [("status", None)]
    assert listen(client, run, news[-1].id, under="short") == []


@pytest.mark.django_db(transaction=True)
def test_no_connection_is_held_between_two_looks(
    workflow_harness: Harness, log_in: LogIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none is held between two requests: with `CONN_MAX_AGE` 0, which counts from the next connection on."""
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 0)
    connection.close()
    run = work.start(1)
    stream = follow(log_in("view_workflow"), run)
    for _ in range(2):
        next(stream)
        assert connection.connection is None


# ── who may not ─────────────────────────────────────────────────────────────────────────────────────────────────


def problem(response: Any) -> tuple[int, str, str]:
    kind = response.json()["type"].rpartition(":")[2]
    return response.status_code, response.headers["Content-Type"], kind


def test_errors_before_it_begins_are_problems(workflow_harness: Harness, log_in: LogIn) -> None:
    run = work.start(1)
    client = log_in("view_workflow")
    media_type = "application/problem+json"
    anybody = problem(open_stream(Client(), run))
    assert anybody[1:] == (media_type, "permission-denied" if anybody[0] == 403 else "not-authenticated")
    assert problem(open_stream(log_in("start_workflow"), run)) == (403, media_type, "permission-denied")
    assert problem(open_stream(client, run, under="urgent")) == (404, media_type, "not-found")
    assert problem(client.get(f"/api/workflows/{run.definition}/stream/", headers=STREAM))[0] == 404
    assert problem(client.get(f"{address(run)}?wait=3", headers=STREAM)) == (400, media_type, "invalid")
    assert problem(client.post(address(run))) == (405, media_type, "method-not-allowed")
    refused = client.get(address(run), headers={"accept": "application/json"})
    assert problem(refused) == (406, media_type, "not-acceptable")


@pytest.mark.parametrize("accept", ["text/event-stream", "*/*", "text/html, */*;q=0.8", None])
def test_whoever_accepts_events_gets_them(
    accept: str | None, workflow_harness: Harness, log_in: LogIn
) -> None:
    run = anew.start(1)
    response = log_in("view_workflow").get(
        address(run, "short"), headers={"accept": accept} if accept is not None else None
    )
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/event-stream")
