"""`GET health/`: for load balancers and monitors."""

import base64
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection

from django_workflow import workflow
from django_workflow.models import Lease, Workflow
from tests.rest.stage import VERBS, VIEW, at, boss, client_of, fields, note, user

pytestmark = pytest.mark.django_db
DETAILS = {"problems", "oldest_due_seconds", "ticker_seen_seconds", "clusters", "unknown", "pauses"}


@pytest.fixture
def live() -> None:
    """A ticker leads."""
    Lease.objects.create(
        name="ticker:default", owner=uuid.uuid4(), expires_at=workflow.now() + timedelta(seconds=30)
    )


def test_nobody_works() -> None:
    response = client_of(None).get(at("health"))
    assert (response.status_code, response.json()) == (503, {"status": "unavailable"})
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"


def test_all_is_well(live: None) -> None:
    response = client_of(None).get(at("health"))
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_work_is_overdue(live: None) -> None:
    run = note.start()
    Workflow.objects.filter(id=run.id).update(due_at=workflow.now() - timedelta(hours=1))
    assert client_of(None).get(at("health")).status_code == 503
    told = boss().get(at("health")).json()
    assert told["oldest_due_seconds"] >= 3600
    assert told["problems"]


@pytest.mark.parametrize("permissions", [(), VERBS, ("view_payload",)])
def test_details_are_not_for_who_may_not_look(permissions: tuple[str, ...]) -> None:
    assert client_of(user("somebody", *permissions)).get(at("health")).json() == {"status": "unavailable"}


def test_details_are_for_who_may_look(live: None) -> None:
    workflow.pause("a backup")
    told = client_of(user("looker", VIEW)).get(at("health")).json()
    assert set(told) == {"status", *DETAILS}
    assert [each["reason"] for each in told["pauses"]] == ["a backup"]
    assert told["ticker_seen_seconds"] is not None


@pytest.mark.parametrize("accept", ["text/html", "application/json", "*/*", "image/png", "garbage", ""])
def test_it_is_json_whatever_a_monitor_accepts(accept: str) -> None:
    response = client_of(None).get(at("health"), headers={"Accept": accept})
    assert (response.status_code, response.json()) == (503, {"status": "unavailable"})
    assert response.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("login", ["x:y", "\0:y"])
def test_credentials_that_are_wrong_are_nobodys(live: None, login: str) -> None:
    basic = base64.b64encode(login.encode()).decode()
    response = client_of(None).get(at("health"), headers={"Authorization": f"Basic {basic}"})
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_a_query_that_is_not_known() -> None:
    assert set(fields(client_of(None).get(at("health") + "?verbose=1"))) == {"verbose"}


def test_the_database_is_down() -> None:
    clients = [client_of(None), boss()]

    def down(*_: Any) -> Any:
        raise OperationalError("the server has gone away")

    for client in clients:
        for accept in ("application/json", "text/html"):
            with connection.execute_wrapper(down):
                response = client.get(at("health"), headers={"Accept": accept})
            assert (response.status_code, response.json()) == (503, {"status": "unavailable"})
            assert "gone away" not in response.content.decode()
