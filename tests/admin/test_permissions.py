"""Behaviour 44: everybody × every page × GET and POST. What is not allowed is refused, and changes no row.

A page that is added to the admin has to be added here, too. POSTs that are allowed are rolled back after a look.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.db import transaction
from django.test import Client
from django.urls import reverse

from django_workflow import workflow
from django_workflow.admin.addresses import Addresses
from django_workflow.admin.buttons import buttons, for_all
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from django_workflow.windows.permissions import NEEDED
from tests.admin.stage import client_of, everything, failed, faults, page, untold, user, waiting

pytestmark = pytest.mark.django_db
LIST = "/admin/django_workflow/workflow/"
VIEW = "view_workflow"
SINGLE = (
    "start_workflow",
    "cancel_workflow",
    "restart_workflow",
    "fork_workflow",
    "send_event",
    "cleanup_workflow",
    "view_payload",
)
BULK = {"cancel": "cancel_workflow", "restart": "restart_workflow", "cleanup": "cleanup_workflow"}


@pytest.fixture(autouse=True)
def a_clean_slate() -> Iterator[None]:
    faults.clear()
    yield
    faults.clear()


@dataclass
class Page:
    """A page, what it needs, and what it answers to whoever may use it; None: it is for nobody."""

    name: str
    address: str
    needed: str
    get: int | None
    post: int | None
    data: dict[str, Any] = field(default_factory=dict)
    changes: bool = False  # when a POST is allowed


@pytest.fixture
def pages(workflow_harness: Harness) -> list[Page]:
    runs = {
        "cancel": waiting(workflow_harness, "a"),
        "event": waiting(workflow_harness, "b"),
        "restart": failed(workflow_harness, "c"),
        "fork": failed(workflow_harness, "d"),
        "cleanup": failed(workflow_harness, "e"),
        "complete": untold(workflow_harness),
    }
    workflow.pause("a backup")
    run = runs["cancel"]
    data = {"reason": "why", "from_step": "2", "name": "verbs.approved", "value": "true", "cluster": "all"}

    def our(name: str, *args: Any) -> str:
        return reverse(f"admin:django_workflow_workflow_{name}", args=args)

    verbs = [Page(verb, page(verb, each), NEEDED[verb], 200, 302, data, True) for verb, each in runs.items()]
    for_all = [Page(verb, page(verb), NEEDED[verb], 200, 302, data, True) for verb in ("pause", "resume")]
    start = our("start") + "?name=verbs.inner&version=1"
    return [
        *verbs,
        *for_all,
        Page("start", start, NEEDED["start"], 200, 302, {"arg_label": "pear"}, True),
        Page("definitions", our("definitions"), VIEW, 200, 200),
        Page("changelist", our("changelist"), VIEW, 200, 200),
        Page("change", our("change", run.pk), VIEW, 200, None, {"state": "canceled"}),
        Page("fragment", our("fragment", run.pk), VIEW, 200, None),
        Page("step", our("step", run.pk, 1), VIEW, 200, None),
        Page("history", our("history", run.pk), VIEW, 200, 200),
        Page("add", our("add"), VIEW, None, None, {"definition": "verbs.inner"}),
        Page("delete", our("delete", run.pk), VIEW, None, None, {"post": "yes"}),
    ]


def test_every_page_is_in_the_matrix(pages: list[Page]) -> None:
    known: Any = admin.site.get_model_admin(Workflow)
    names = {each.name for each in known.get_urls() if each.name}
    assert {f"django_workflow_workflow_{each.name}" for each in pages} == names
    assert set(NEEDED.values()) | {"view_payload"} == set(SINGLE)
    codenames = Permission.objects.filter(content_type__app_label="django_workflow").values_list(
        "codename", flat=True
    )
    assert set(codenames) == {VIEW, *SINGLE}


def answers(client: Client, pages: list[Page]) -> Iterator[tuple[Page, str, Any, bool]]:
    """Each page asked by GET and POST, with whether a row has changed. Everything is rolled back."""
    for each in pages:
        for method in ("get", "post"):
            with transaction.atomic():
                before = everything()
                send: Callable[..., Any] = client.get if method == "get" else client.post
                # The query of an address is its own; the rest of a GET is as harmful as it can be made.
                address = each.address
                response = send(address, each.data if method == "post" or "?" not in address else None)
                changed = everything() != before
                transaction.set_rollback(True)
            yield each, method, response, changed


def assert_login(pages: list[Page], client: Client) -> None:
    asked = 0
    for each, method, response, changed in answers(client, pages):
        asked += 1
        assert response.status_code == 302, (each.name, method)
        assert response.headers["Location"].startswith("/admin/login/?next="), (each.name, method)
        assert not changed, (each.name, method)
    assert asked == 2 * len(pages)


def assert_exactly(pages: list[Page], client: Client, permissions: set[str]) -> None:
    for each, method, response, changed in answers(client, pages):
        allowed = {VIEW, each.needed} <= permissions
        status = each.get if method == "get" else each.post
        expected = 403 if not allowed or status is None else status
        assert response.status_code == expected, (each.name, method, response)
        assert changed == (allowed and method == "post" and each.changes), (each.name, method)


def test_anonymous(pages: list[Page]) -> None:
    assert_login(pages, client_of(None))


def test_a_user_who_is_no_staff_whatever_the_permissions(pages: list[Page]) -> None:
    assert_login(pages, client_of(user("customer", VIEW, *SINGLE, staff=False)))


def test_an_inactive_superuser(pages: list[Page]) -> None:
    client = client_of(User.objects.create_superuser("gone"))
    User.objects.update(is_active=False)
    assert_login(pages, client)


def test_staff_without_permissions(pages: list[Page]) -> None:
    assert_exactly(pages, client_of(user("staff")), set())


def test_staff_with_everything_but_view(pages: list[Page]) -> None:
    assert_exactly(pages, client_of(user("staff", *SINGLE)), set(SINGLE))


def test_staff_who_may_look(pages: list[Page]) -> None:
    assert_exactly(pages, client_of(user("staff", VIEW)), {VIEW})


@pytest.mark.parametrize("permission", SINGLE)
def test_staff_with_one_permission_more(pages: list[Page], permission: str) -> None:
    assert_exactly(pages, client_of(user("staff", VIEW, permission)), {VIEW, permission})


def test_superuser(pages: list[Page]) -> None:
    assert_exactly(pages, client_of(User.objects.create_superuser("boss")), {VIEW, *SINGLE})


# ── actions of the list ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("extra", [None, *SINGLE, "superuser"])
@pytest.mark.parametrize("confirmed", [False, True])
def test_bulk_actions(pages: list[Page], extra: str | None, confirmed: bool) -> None:
    given = [VIEW] if extra in (None, "superuser") else [VIEW, str(extra)]
    client = client_of(
        User.objects.create_superuser("boss") if extra == "superuser" else user("staff", *given)
    )
    may = {verb for verb, needed in BULK.items() if extra in (needed, "superuser")}
    for verb in BULK:
        with transaction.atomic():
            before = everything()
            data = {
                "action": f"{verb}_selected",
                "from_step": "whole",
                ACTION_CHECKBOX_NAME: [str(pk) for pk in Workflow.objects.values_list("pk", flat=True)],
                **({"confirmed": "yes"} if confirmed else {"index": "0"}),
            }
            response = client.post("/admin/django_workflow/workflow/", data)
            changed = everything() != before
            transaction.set_rollback(True)
        assert changed == (verb in may and confirmed), verb
        if verb in may:
            assert response.status_code == (302 if confirmed else 200), verb
        else:  # Django's answer: there is no such action, or there are no actions at all
            assert response.status_code == (302 if may else 200), verb
    assert ("_selected" in client.get("/admin/django_workflow/workflow/").content.decode()) == bool(may)


def test_bulk_actions_without_view(pages: list[Page]) -> None:
    client = client_of(user("staff", *SINGLE))
    before = everything()
    data = {
        "action": "cancel_selected",
        "confirmed": "yes",
        ACTION_CHECKBOX_NAME: [str(Workflow.objects.all()[0].pk)],
    }
    assert client.post("/admin/django_workflow/workflow/", data).status_code == 403
    assert everything() == before


# ── buttons, CSRF ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("extra", [None, *SINGLE])
def test_buttons_are_hidden_without_their_permission(workflow_harness: Harness, extra: str | None) -> None:
    client = client_of(user("staff", VIEW, *([extra] if extra else [])))
    runs = waiting(workflow_harness), untold(workflow_harness)
    addresses = [LIST, *(f"{LIST}{run.pk}/change/" for run in runs)]
    shown = "".join(client.get(address).content.decode() for address in addresses)
    found = {verb for verb in NEEDED if re.search(rf'href="{LIST}([-0-9a-f]{{36}}/)?{verb}/"', shown)}
    assert found == {verb for verb, needed in NEEDED.items() if needed == extra and verb != "start"}


def test_nobody_has_no_buttons(workflow_harness: Harness) -> None:
    nobody, addresses = AnonymousUser(), Addresses("admin")
    assert buttons(nobody, waiting(workflow_harness), addresses) == []
    assert for_all(nobody, addresses) == []


def test_nothing_changes_without_a_token(pages: list[Page]) -> None:
    boss = User.objects.create_superuser("boss")
    client = client_of(boss, csrf=True)
    posts = 0
    for each, method, response, changed in answers(client, pages):
        if method == "post":
            posts += 1
            assert response.status_code == 403, each.name
            assert not changed, each.name
    assert posts == len(pages)
    before = everything()
    data = {
        "action": "cancel_selected",
        "confirmed": "yes",
        ACTION_CHECKBOX_NAME: [str(Workflow.objects.all()[0].pk)],
    }
    assert client.post("/admin/django_workflow/workflow/", data).status_code == 403
    assert everything() == before


def test_with_a_token_it_does(pages: list[Page]) -> None:
    client = client_of(User.objects.create_superuser("boss"), csrf=True)
    cancel = next(each for each in pages if each.name == "cancel")
    shown = client.get(cancel.address).content.decode()
    assert 'name="csrfmiddlewaretoken"' in shown
    token = client.cookies["csrftoken"].value
    response = client.post(cancel.address, {**cancel.data, "csrfmiddlewaretoken": token})
    assert response.status_code == 302
    assert Workflow.objects.canceled().count() == 1
