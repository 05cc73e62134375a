"""The browsable pages: there for every route, with the forms of what this user may do, and no more than the JSON."""

import re

import pytest
from django.test import override_settings

from django_workflow.testing import Harness
from tests.rest.stage import EVERYTHING, VIEW, at, boss, client_of, failed, finished, user, waiting

pytestmark = pytest.mark.django_db
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def forms(page: str) -> set[str]:
    """Which methods the page offers a form or a button for, besides those that look."""
    found = set(re.findall(r'data-method="(\w+)"', page))
    if re.search(r'<form[^>]*method="POST"[^>]*>(?:(?!</form>).)*name="_content"', page, re.DOTALL):
        found.add("POST")
    return found - {"OPTIONS", "GET"}


def test_every_page_is_there(workflow_harness: Harness) -> None:
    client, run = boss(), failed(workflow_harness, "plum")
    for name, *args in (
        ["workflow-list"],
        ["workflow-detail", run.id],
        ["workflow-status", run.id],
        ["workflow-steps", run.id],
        ["definition-list"],
        ["definition-detail", "rest.order"],
    ):
        page = client.get(at(str(name), *args), headers=HTML)
        assert page.status_code == 200, name
        assert page.headers["Content-Type"].startswith("text/html")
    for verb in ("cancel", "restart", "fork", "events", "cleanup"):
        page = client.get(at(f"workflow-{verb}", run.id), headers=HTML)
        assert page.status_code == 405
        assert page.headers["Content-Type"].startswith("text/html")
        assert forms(page.content.decode()) == {"POST"}, verb
    assert client.get(at("workflow-detail", "none"), headers=HTML).status_code == 404
    assert client_of(None).get(at("workflow-list"), headers=HTML).status_code == 403


@pytest.mark.parametrize(
    ("permission", "shown"),
    [
        ("start_workflow", {"list": {"POST"}}),
        ("cancel_workflow", {"cancel": {"POST"}}),
        ("restart_workflow", {"restart": {"POST"}}),
        ("fork_workflow", {"fork": {"POST"}}),
        ("send_event", {"events": {"POST"}}),
        ("cleanup_workflow", {"cleanup": {"POST"}, "detail": {"DELETE"}}),
        ("view_payload", {}),
    ],
)
def test_forms_are_for_who_may_send_them(
    workflow_harness: Harness, permission: str, shown: dict[str, set[str]]
) -> None:
    client, run = client_of(user("somebody", VIEW, permission)), waiting(workflow_harness)
    for name in ("list", "detail", "status", "steps", "cancel", "restart", "fork", "events", "cleanup"):
        address = at(f"workflow-{name}", *([] if name == "list" else [run.id]))
        assert forms(client.get(address, headers=HTML).content.decode()) == shown.get(name, set()), name


def test_payloads_are_for_who_may_see_them(workflow_harness: Harness) -> None:
    run = finished(workflow_harness, "plum")
    for permissions, seen in ((EVERYTHING, True), ([VIEW, "start_workflow", "cleanup_workflow"], False)):
        client = client_of(user(f"sees {seen}", *permissions))
        for name in ("detail", "status", "steps"):
            page = client.get(at(f"workflow-{name}", run.id), headers=HTML).content.decode()
            assert ("delivered plum" in page) == seen, name


@override_settings(REST_FRAMEWORK={"DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"]})
def test_a_project_without_them_has_none_here() -> None:
    response = boss().get(at("workflow-list"), headers=HTML)
    assert response.headers["Content-Type"] == "application/json"
