"""Definitions that the tests of HTTP start, clients of users who may do this or that, and a look at all rows.

`faults` says which labels fail.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from rest_framework.test import APIClient

from django_workflow import Event, StepContext, action, workflow
from django_workflow.models import Workflow
from django_workflow.rest.problems import KINDS, MEDIA_TYPE, URN
from django_workflow.testing import Harness
from tests.shop.models import Entry

VIEW = "view_workflow"
VERBS = (
    "start_workflow",
    "cancel_workflow",
    "restart_workflow",
    "fork_workflow",
    "send_event",
    "cleanup_workflow",
)
EVERYTHING = (VIEW, *VERBS, "view_payload")

faults: set[str] = set()
approved = Event("rest.approved", bool)


@action
def prepare(label: str) -> str:
    return f"prepared {label}"


@action
def unprepare(error: Any, result: Any, label: str) -> None:
    Entry.objects.create(label=f"undone {label}")


@action
def deliver(label: str) -> str:
    if label in faults:
        raise ValueError(f"no {label}")
    return f"delivered {label}"


@workflow.define(name="rest.order", api=True)
async def order(step: StepContext, label: str, amount: int = 1) -> str:
    """Deliver what was ordered, once it is approved."""
    step.set_status({"done": 0, "of": 2})
    await step.using(rollback=unprepare).run_action(prepare, label)
    step.set_status({"done": 1, "of": 2})
    await step.wait_for_event(approved)
    return await step.run_action(deliver, label)


@workflow.define(name="rest.placed", api=True)
async def placed(step: StepContext, first: int, second: int = 2, /, third: int = 3) -> list[int]:
    return [first, second, third]


@workflow.define(name="rest.note", api=True)
async def note(step: StepContext, value: Any = None) -> Any:
    return value


@workflow.define(name="rest.inside")
async def inside(step: StepContext, value: Any = None) -> Any:
    """What is not for the outside."""
    return value


def waiting(harness: Harness, label: str = "apple") -> Workflow:
    """In progress: it waits for approval."""
    run = order.start(label)
    harness.drain()
    return run


def finished(harness: Harness, label: str = "apple") -> Workflow:
    """Completed."""
    run = waiting(harness, label)
    run.send_event(approved, True)
    harness.drain()
    assert workflow.status(run).type == "completed"
    return run


def failed(harness: Harness, label: str = "apple") -> Workflow:
    """Failed at its third step."""
    faults.add(label)
    run = waiting(harness, label)
    run.send_event(approved, True)
    harness.drain()
    assert workflow.status(run).type == "failed"
    return run


def user(name: str, *permissions: str, staff: bool = False) -> User:
    """A user with these permissions of ours."""
    made = User.objects.create_user(name, is_staff=staff)
    made.user_permissions.set(
        Permission.objects.filter(content_type__app_label="django_workflow", codename__in=permissions)
    )
    assert made.user_permissions.count() == len(permissions)
    return made


def client_of(who: User | None, *, csrf: bool = False) -> APIClient:
    """A program in whose session this user has logged in."""
    client = APIClient(enforce_csrf_checks=csrf)
    if who is not None:
        client.force_login(who)
    return client


def boss() -> APIClient:
    """Who may do everything, by permissions and not as a superuser."""
    return client_of(user("boss", *EVERYTHING))


def at(name: str, *args: Any, **query: str) -> str:
    """The address of a route, as `workflow-cancel`."""
    return reverse(f"django_workflow:{name}", args=[str(each) for each in args], query=query or None)


def problem(response: Any, kind: str) -> dict[str, Any]:
    """The members of a problem, which this answer has to be."""
    assert response.status_code == KINDS[kind].status, (response.status_code, response.content)
    assert response.headers["Content-Type"] == MEDIA_TYPE
    told: dict[str, Any] = response.json()
    assert told["type"] == URN + kind
    assert (told["status"], told["title"]) == KINDS[kind]
    return told


def fields(response: Any, kind: str = "invalid") -> dict[str, str]:
    """Field → what is wrong with it."""
    return {each["field"]: each["detail"] for each in problem(response, kind)["errors"]}


def everything() -> dict[str, list[Any]]:
    """All rows of ours, and the log."""
    models: list[Any] = [*apps.get_app_config("django_workflow").get_models(), LogEntry]
    return {model.__name__: list(model._default_manager.order_by("pk").values_list()) for model in models}


def logged() -> list[tuple[str, str | None, int, str]]:
    """Who, to which object, with which flag, and what is said."""
    rows = LogEntry.objects.order_by("id").select_related("user")
    return [(row.user.get_username(), row.object_id, row.action_flag, row.change_message) for row in rows]
