"""Behaviour 44 over HTTP: everybody × every route × every method, and what belongs to others.

A route that is added has to be added here, too. What is allowed is rolled back after a look.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import override_settings
from django.urls import URLPattern, URLResolver, include, path
from rest_framework.authentication import BasicAuthentication
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIClient

from django_workflow import workflow
from django_workflow.models import Workflow, WorkflowQuerySet
from django_workflow.rest import urls
from django_workflow.rest.permissions import ALLOWED
from django_workflow.rest.routes import routes
from django_workflow.rest.views import WorkflowViewSet
from django_workflow.testing import Harness
from tests.rest.stage import (
    EVERYTHING,
    VERBS,
    VIEW,
    at,
    boss,
    client_of,
    everything,
    failed,
    fields,
    finished,
    note,
    problem,
    user,
    waiting,
)

pytestmark = pytest.mark.django_db
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE")
PUBLIC = "public"


@dataclass
class Door:
    """A route: its methods, for each the permissions of which one is needed, and the answer to who has it."""

    name: str
    address: str
    get: tuple[tuple[str, ...], int] | None = None
    post: tuple[tuple[str, ...], int] | None = None
    delete: tuple[tuple[str, ...], int] | None = None
    body: dict[str, Any] = field(default_factory=dict)

    def of(self, method: str) -> tuple[tuple[str, ...], int] | None:
        return {"GET": self.get, "HEAD": self.get, "POST": self.post, "DELETE": self.delete}.get(method)


@pytest.fixture
def doors(workflow_harness: Harness) -> list[Door]:
    run, broken, ended = (
        waiting(workflow_harness, "a"),
        failed(workflow_harness, "b"),
        finished(workflow_harness, "c"),
    )
    look, start = (VIEW,), ("start_workflow",)
    return [
        Door("workflow-list", at("workflow-list"), (look, 200), (start, 201),
             body={"definition": "rest.note"}),
        Door("workflow-detail", at("workflow-detail", ended.id), (look, 200), None, (("cleanup_workflow",), 204)),
        Door("workflow-status", at("workflow-status", run.id), (look, 200)),
        Door("workflow-steps", at("workflow-steps", run.id), (look, 200)),
        Door("workflow-stream", at("workflow-stream", ended.id), (look, 200)),
        Door("workflow-cancel", at("workflow-cancel", run.id), None, (("cancel_workflow",), 200)),
        Door("workflow-restart", at("workflow-restart", broken.id), None, (("restart_workflow",), 202)),
        Door("workflow-fork", at("workflow-fork", broken.id), None, (("fork_workflow",), 201), body={"from_step": 1}),
        Door("workflow-events", at("workflow-events", run.id), None, (("send_event",), 202), body={"name": "x"}),
        Door("workflow-cleanup", at("workflow-cleanup", ended.id), None, (("cleanup_workflow",), 204)),
        Door("definition-list", at("definition-list"), (("start_workflow", VIEW), 200)),
        Door("definition-detail", at("definition-detail", "rest.order"), (("start_workflow", VIEW), 200)),
        Door("health", at("health"), ((PUBLIC,), 503)),
    ]  # fmt: skip


def test_every_route_is_in_the_matrix(doors: list[Door]) -> None:
    named = {pattern.name for pattern in urls.urlpatterns if isinstance(pattern, URLPattern)}
    assert len(named) == len(urls.urlpatterns)
    # Whoever has the address of an event may send it: tests/links.
    assert {door.name for door in doors} == named - {"event-link"}
    assert set(EVERYTHING) - {VIEW, "view_payload"} == set(VERBS)


def test_every_action_of_the_views_has_its_permission() -> None:
    mapped: set[str] = set()
    for pattern in urls.urlpatterns:
        actions = getattr(getattr(pattern, "callback", None), "actions", None) or {}
        mapped |= set(actions.values())
    assert mapped <= set(ALLOWED)
    assert set(ALLOWED) - mapped == {"definitions", "definition"}


def answers(client: APIClient, doors: list[Door]) -> Iterator[tuple[Door, str, Any, bool]]:
    """Each route asked by each method, with whether a row has changed. Everything is rolled back."""
    before = everything()
    for door in doors:
        for method in METHODS:
            with transaction.atomic():
                response = client.generic(
                    method, door.address, "" if method in ("GET", "HEAD") else as_json(door.body),
                    content_type="application/json",
                )  # fmt: skip
                if response.streaming:
                    b"".join(getattr(response, "streaming_content"))  # noqa: B009  unknown to the stubs
                changed = everything() != before
                transaction.set_rollback(True)
            yield door, method, response, changed


def as_json(body: dict[str, Any]) -> str:
    return json.dumps(body)


def assert_exactly(doors: list[Door], client: APIClient, permissions: set[str], known: bool = True) -> None:
    for door, method, response, changed in answers(client, doors):
        allowed = door.of(method)
        where = (door.name, method, response.status_code)
        public = door.name == "health"
        if allowed is not None and (public or (known and permissions & set(allowed[0]))):
            assert response.status_code == allowed[1], where
            assert changed == (method in ("POST", "DELETE")), where
            continue
        assert not changed, where
        if method == "OPTIONS":
            expected = (
                {200} if public or (known and (door.get is None or permissions & set(door.get[0]))) else {403}
            )
            if known and door.name.startswith("workflow-"):
                expected = {200}  # what is in the documentation
        elif not known and not public:
            expected = {403}
        elif allowed is None:
            # Without any permission for a view it is refused before its method is looked at.
            expected = {403, 405} if door.name.startswith("definition") else {405}
        else:
            expected = {403}
        assert response.status_code in expected, where
        if method != "HEAD" and response.status_code != 200:
            assert response.headers["Content-Type"] == "application/problem+json", where


def test_anonymous(doors: list[Door]) -> None:
    assert_exactly(doors, client_of(None), set(), known=False)


def test_an_inactive_superuser(doors: list[Door]) -> None:
    client = client_of(User.objects.create_superuser("gone"))
    User.objects.update(is_active=False)
    assert_exactly(doors, client, set(), known=False)


@pytest.mark.parametrize("staff", [False, True])
def test_without_permissions(doors: list[Door], staff: bool) -> None:
    assert_exactly(doors, client_of(user("nobody", staff=staff)), set())


@pytest.mark.parametrize("permission", EVERYTHING)
def test_with_one_permission(doors: list[Door], permission: str) -> None:
    assert_exactly(doors, client_of(user("somebody", permission)), {permission})


def test_with_every_permission_but_one(doors: list[Door]) -> None:
    for left_out in EVERYTHING:
        client = client_of(user(f"not {left_out}", *(set(EVERYTHING) - {left_out})))
        mine = [door for door in doors if any(left_out in (door.of(m) or ((), 0))[0] for m in METHODS)]
        assert_exactly(mine, client, set(EVERYTHING) - {left_out})


def test_superuser(doors: list[Door]) -> None:
    assert_exactly(doors, client_of(User.objects.create_superuser("root")), set(EVERYTHING))


@override_settings(REST_FRAMEWORK={"DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"]})
def test_where_the_project_lets_everybody_in(doors: list[Door]) -> None:
    assert_exactly(doors, client_of(None), set(), known=False)
    assert_exactly(doors, client_of(user("nobody")), set())


def test_who_has_to_say_who_he_is_is_asked_to() -> None:
    class Asking(WorkflowViewSet):
        authentication_classes = (BasicAuthentication,)

    with override_settings(ROOT_URLCONF=urlconf(Asking)):
        for method in ("GET", "POST"):
            response = APIClient().generic(method, at("workflow-list"))
            problem(response, "not-authenticated")
            assert response.headers["WWW-Authenticate"].startswith("Basic ")
        wrong = APIClient().get(at("workflow-list"), headers={"Authorization": "Basic eDp5"})
        problem(wrong, "not-authenticated")


# ── verbs that are not listed, and tenants ──────────────────────────────────────────────────────────────────


def urlconf(view: type[WorkflowViewSet]) -> Any:
    """A project's addresses, with a view set of its own."""

    class Addresses:
        urlpatterns: list[URLPattern | URLResolver] = [path("api/", include(routes(view)))]

    return Addresses


class WithMore(WorkflowViewSet):
    @action(detail=True, methods=["get", "post"])
    def explode(self, request: Request, id: str) -> Response:
        raise AssertionError("nobody gets here")


def test_an_action_that_is_not_listed_is_nobodys() -> None:
    run = note.start()
    with override_settings(ROOT_URLCONF=urlconf(WithMore)):
        for client in (client_of(User.objects.create_superuser("root")), boss(), client_of(None)):
            for method in ("GET", "HEAD", "POST"):
                response = client.generic(method, f"/api/workflows/{run.id}/explode/")
                assert response.status_code == 403
            assert client.get(at("workflow-list")).status_code in (200, 403)


class TenantWorkflows(WorkflowViewSet):
    """Each user has workflows of his own, by their label."""

    def get_queryset(self) -> WorkflowQuerySet:
        return super().get_queryset().labeled({"owner": self.request.user.get_username()})

    def start_options(self, definition: Any, options: dict[str, Any]) -> dict[str, Any]:
        return {**options, "labels": {**options.get("labels", {}), "owner": self.request.user.get_username()}}


@pytest.fixture
def tenants() -> Iterator[tuple[APIClient, APIClient]]:
    with override_settings(ROOT_URLCONF=urlconf(TenantWorkflows)):
        yield (
            client_of(user("ann", *EVERYTHING)),
            client_of(user("bob", *EVERYTHING)),
        )


def test_foreign_workflows_are_nowhere(
    tenants: tuple[APIClient, APIClient], workflow_harness: Harness
) -> None:
    ann, bob = tenants
    body = {"definition": "rest.order", "args": ["a"], "key": "k", "labels": {"color": "red", "owner": "bob"}}
    mine = ann.post(at("workflow-list"), body, format="json").json()
    assert mine["labels"] == {"color": "red", "owner": "ann"}
    workflow_harness.drain()
    before = everything()
    run = mine["id"]
    for query in (
        {},
        {"key": "k"},
        {"definition": "rest.order"},
        {"label.owner": "ann"},
        {"label.color": "red"},
    ):
        assert [row["id"] for row in ann.get(at("workflow-list", **query)).json()["results"]] == [run]
        assert bob.get(at("workflow-list", **query)).json()["results"] == []
    asked = 0
    for pattern in routes(TenantWorkflows)[0]:
        name = str(getattr(pattern, "name", ""))
        if not name.startswith("workflow-") or name == "workflow-list":
            continue
        for method in ("GET", "POST", "DELETE"):
            if method.lower() not in pattern.callback.actions:  # type: ignore[union-attr]
                continue
            asked += 1
            foreign, nowhere = (
                bob.generic(
                    method, at(name, id), as_json(BODIES.get(name, {})), content_type="application/json"
                )
                for id in (run, "00000000-0000-0000-0000-000000000000")
            )
            assert foreign.status_code == nowhere.status_code == 404, (name, method)
            if foreign.content:
                assert foreign.content.replace(run.encode(), b"?") == nowhere.content.replace(
                    b"00000000-0000-0000-0000-000000000000", b"?"
                )
    assert asked == 10
    assert everything() == before
    assert ann.get(at("workflow-detail", run)).status_code == 200


BODIES: dict[str, dict[str, Any]] = {"workflow-fork": {"from_step": 1}, "workflow-events": {"name": "x"}}


def test_a_key_of_a_foreign_workflow_says_nothing_of_it(tenants: tuple[APIClient, APIClient]) -> None:
    ann, bob = tenants
    body = {"definition": "rest.order", "args": ["a"], "key": "k"}
    run = ann.post(at("workflow-list"), body, format="json").json()["id"]
    same = bob.post(at("workflow-list"), body, format="json")
    other = bob.post(at("workflow-list"), {**body, "args": ["b"]}, format="json")
    problem(same, "key-conflict")
    assert same.content == other.content
    assert run not in same.content.decode()
    assert ann.post(at("workflow-list"), body, format="json").status_code == 200
    assert (
        run
        in problem(ann.post(at("workflow-list"), {**body, "args": ["b"]}, format="json"), "key-conflict")[
            "detail"
        ]
    )
    assert Workflow.objects.count() == 1


def test_a_fork_stays_with_its_tenant(
    tenants: tuple[APIClient, APIClient], workflow_harness: Harness
) -> None:
    ann, bob = tenants
    run = ann.post(at("workflow-list"), {"definition": "rest.order", "args": ["a"]}, format="json").json()[
        "id"
    ]
    workflow_harness.drain()
    made = ann.post(at("workflow-fork", run), {"from_step": 1}, format="json").json()["id"]
    assert ann.get(at("workflow-detail", made)).status_code == 200
    problem(bob.get(at("workflow-detail", made)), "not-found")


class Guarded(WorkflowViewSet):
    """Object permissions are another hook."""

    def check_object_permissions(self, request: Request, obj: Workflow) -> None:
        if obj.labels.get("owner") != request.user.get_username():
            self.permission_denied(request)


def test_object_permissions_are_asked(workflow_harness: Harness) -> None:
    mine, other = (note.using(labels={"owner": owner}).start() for owner in ("boss", "ann"))
    client = boss()
    with override_settings(ROOT_URLCONF=urlconf(Guarded)):
        assert client.get(at("workflow-detail", mine.id)).status_code == 200
        for name in ("workflow-detail", "workflow-status", "workflow-steps"):
            problem(client.get(at(name, other.id)), "permission-denied")
        problem(client.post(at("workflow-cancel", other.id)), "permission-denied")
    assert workflow.status(other).type == "in_progress"


# ── a GET changes nothing, CSRF ─────────────────────────────────────────────────────────────────────────────


def test_44_a_get_changes_nothing_whatever_it_carries(doors: list[Door]) -> None:
    client, before = boss(), everything()
    for door in doors:
        for query in ({}, {"reason": "x"}, {"rollback": "true"}, {"_method": "DELETE"}, {"method": "post"}):
            for headers in ({}, {"X-HTTP-Method-Override": "DELETE"}, {"Idempotency-Key": "k"}):
                for accept in ("application/json", "text/html"):
                    response = client.get(door.address, query, headers={**headers, "Accept": accept})
                    assert response.status_code < 500 or door.name == "health", (door.name, query)
    assert everything() == before


def test_a_session_needs_its_token(doors: list[Door]) -> None:
    client = client_of(user("boss", *EVERYTHING), csrf=True)
    asked = 0
    for door, method, response, changed in answers(client, doors):
        if method in ("POST", "DELETE", "PUT", "PATCH") and door.name != "health":
            asked += 1
            assert response.status_code == 403, (door.name, method)
            assert "CSRF" in problem(response, "permission-denied")["detail"]
        assert not changed, (door.name, method)
    assert asked == 4 * (len(doors) - 1)


def test_with_its_token_it_may(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    client = client_of(user("boss", *EVERYTHING), csrf=True)
    client.get(at("workflow-list"), headers={"Accept": "text/html"})
    token = client.cookies["csrftoken"].value
    response = client.post(at("workflow-cancel", run.id), {}, format="json", headers={"X-CSRFToken": token})
    assert response.status_code == 200
    assert "rest.note" not in str(
        fields(client.post(at("workflow-list"), {}, format="json", headers={"X-CSRFToken": token}))
    )
