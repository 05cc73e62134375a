"""What each page of the admin costs in statements, who-is-it included; twice the rows cost the same."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_workflow import workflow
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.admin.stage import DETAIL, LIST, client_of, failed, inner, user, waiting

pytestmark = pytest.mark.django_db

EVERYTHING = (
    "view_workflow",
    "start_workflow",
    "cancel_workflow",
    "restart_workflow",
    "fork_workflow",
    "send_event",
    "cleanup_workflow",
    "view_payload",
)
Page = Callable[[Workflow, Workflow], str]


def of(name: str) -> Page:
    """A page of all."""
    return lambda waits, ended: reverse(f"admin:django_workflow_workflow_{name}")


def of_waiting(name: str, *args: Any) -> Page:
    """A page of a workflow in progress."""
    return lambda waits, ended: reverse(f"admin:django_workflow_workflow_{name}", args=[waits.pk, *args])


def of_ended(name: str) -> Page:
    """A page of one that has failed."""
    return lambda waits, ended: reverse(f"admin:django_workflow_workflow_{name}", args=[ended.pk])


START = "definitions/start/?name=verbs.inner&version=1"
# Page and statements; four of these say who it is and what they may do.
PAGES: dict[str, tuple[Page, int]] = {
    "list": (lambda waits, ended: reverse(LIST), 22),
    "list, filtered": (lambda waits, ended: f"{reverse(LIST)}?state=failed&created=24h", 21),
    "list, searched": (lambda waits, ended: f"{reverse(LIST)}?q=verbs", 23),
    "start": (lambda waits, ended: f"{reverse(LIST)}{START}", 4),
    "detail, in progress": (lambda waits, ended: reverse(DETAIL, args=[waits.pk]), 19),
    "detail, ended": (lambda waits, ended: reverse(DETAIL, args=[ended.pk]), 17),
    "fragment": (of_waiting("fragment"), 19),
    "step": (of_waiting("step", 1), 7),
    "cancel": (of_waiting("cancel"), 6),
    "event": (of_waiting("event"), 8),
    "restart": (of_ended("restart"), 15),
    "fork": (of_ended("fork"), 6),
    "cleanup": (of_ended("cleanup"), 8),
    "pause": (of("pause"), 4),
    "resume": (of("resume"), 12),
}


@pytest.fixture
def boss(workflow_harness: Harness) -> Client:
    return client_of(user("boss", *EVERYTHING))


def cost(client: Client, address: str) -> int:
    assert client.get(address).status_code == 200, address  # content types and the like are cached
    with CaptureQueriesContext(connection) as captured:
        client.get(address)
    return len(captured)


def test_each_page_costs_the_same_with_more_rows(boss: Client, workflow_harness: Harness) -> None:
    waits, ended = waiting(workflow_harness, "a"), failed(workflow_harness, "b")
    first = {name: cost(boss, page(waits, ended)) for name, (page, _most) in PAGES.items()}
    workflow.start_many(inner, [("c",)] * 20)
    workflow_harness.drain()
    again = {name: cost(boss, page(waits, ended)) for name, (page, _most) in PAGES.items()}
    assert again == first
    assert {name: found for name, found in first.items() if found > PAGES[name][1]} == {}


def test_definitions_cost_one_statement_for_each_name(boss: Client, workflow_harness: Harness) -> None:
    names = {definition.name for definition in workflow.definitions()}
    assert cost(boss, reverse("admin:django_workflow_workflow_definitions")) <= 4 + 3 + len(names)
