"""`GET workflows/{id}/status/?wait=`: an answer when something changes, by whatever connection.

Whoever waits does so in a thread of its own, with a connection of its own; what it is told, it has been told after the
change was committed, for nothing else ends its wait.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from django_workflow import workflow
from django_workflow.models import Workflow
from django_workflow.rest.views import WAIT_LIMIT
from django_workflow.testing import Harness
from tests.rest.stage import at, boss, fields, finished, waiting


@pytest.fixture
def elsewhere() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads
        threads.submit(lambda: connection.close()).result()  # that of its own thread


def asked(client: Any, run: Workflow, **headers: str) -> Any:
    return client.get(at("workflow-status", run.id, wait=str(WAIT_LIMIT)), headers=headers)


@pytest.mark.django_db(transaction=True)
def test_it_answers_when_a_step_has_settled(workflow_harness: Harness, elsewhere: ThreadPoolExecutor) -> None:
    client, run = boss(), waiting(workflow_harness)
    before = client.get(at("workflow-status", run.id))
    tag = before.headers["ETag"]
    answer: Future[Any] = elsewhere.submit(asked, client, run, **{"If-None-Match": tag})
    run.send_event("rest.approved", True)
    workflow_harness.drain()
    told = answer.result(timeout=WAIT_LIMIT)
    assert told.status_code == 200
    assert told.json() != before.json()


@pytest.mark.django_db(transaction=True)
def test_it_answers_when_another_connection_cancels(
    workflow_harness: Harness, elsewhere: ThreadPoolExecutor
) -> None:
    client, run = boss(), waiting(workflow_harness)
    tag = client.get(at("workflow-status", run.id)).headers["ETag"]
    answer: Future[Any] = elsewhere.submit(asked, client, run, **{"If-None-Match": tag})
    workflow.cancel(run, "enough")
    told = answer.result(timeout=WAIT_LIMIT).json()
    assert (told["type"], told["reason"]) == ("canceled", "enough")


@pytest.mark.django_db(transaction=True)
def test_it_answers_when_the_workflow_is_gone(
    workflow_harness: Harness, elsewhere: ThreadPoolExecutor
) -> None:
    client, run = boss(), waiting(workflow_harness)
    tag = client.get(at("workflow-status", run.id)).headers["ETag"]
    answer: Future[Any] = elsewhere.submit(asked, client, run, **{"If-None-Match": tag})
    Workflow.objects.filter(id=run.id).update(state="completed", due_at=None)
    workflow.cleanup(run.id)
    assert answer.result(timeout=WAIT_LIMIT).status_code in (200, 404)


@pytest.mark.django_db
def test_what_has_finished_is_told_at_once(workflow_harness: Harness) -> None:
    client, run = boss(), finished(workflow_harness)
    told = asked(client, run)
    assert told.json()["type"] == "completed"
    assert asked(client, run, **{"If-None-Match": told.headers["ETag"]}).status_code == 304


@pytest.mark.django_db
def test_what_the_client_does_not_know_is_told_at_once(workflow_harness: Harness) -> None:
    client, run = boss(), waiting(workflow_harness)
    assert asked(client, run, **{"If-None-Match": '"older"'}).json()["type"] == "in_progress"


@pytest.mark.django_db
@pytest.mark.parametrize("tag", ["", "*"])
def test_when_nothing_changes_it_answers_in_the_end(workflow_harness: Harness, tag: str) -> None:
    client, run = boss(), waiting(workflow_harness)
    headers = {"If-None-Match": tag} if tag else {}
    response = client.get(at("workflow-status", run.id, wait="1"), headers=headers)
    assert response.status_code == (304 if tag else 200)
    assert client.get(at("workflow-status", run.id, wait="0")).status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize(
    "wait",
    ["", "-1", "1.5", "1s", "ten", "61", "9" * 500, "٣", "+1", " 1", "0x1", "inf", "nan", "true", "\x00"],
)
def test_a_wait_that_is_none(workflow_harness: Harness, wait: str) -> None:
    run = waiting(workflow_harness)
    assert set(fields(boss().get(at("workflow-status", run.id, wait=wait)))) == {"wait"}
