"""Definitions that the admin's tests run, users who may do this or that, and a look at all rows.

`faults` says which labels fail, and whether `told` raises.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal

from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from django_workflow import Event, StepContext, WorkflowManager, action, mutation, workflow
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.shop.models import Entry

faults: set[str] = set()
LIST = "admin:django_workflow_workflow_changelist"
DETAIL = "admin:django_workflow_workflow_change"


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2


@dataclass
class Parcel:
    weight: Decimal
    to: str


approved = Event("verbs.approved", bool)
TYPED: dict[str, Any] = {
    "verbs.text": str,
    "verbs.whole": int,
    "verbs.number": float,
    "verbs.day": date,
    "verbs.amount": Decimal,
    "verbs.size": Size,
    "verbs.way": Literal["north", "south"],
    "verbs.maybe": int | None,
    "verbs.parcel": Parcel,
}
EVENTS: dict[str, Event[Any]] = {name: Event(name, kind) for name, kind in TYPED.items()}
elsewhere = WorkflowManager("admin reports", cluster="reports")


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


@mutation
def told(workflow_id: Any, result: Any, context: Any) -> None:
    if "told" in faults:
        raise ValueError("nobody listens")


@workflow.define(name="verbs.inner")
async def inner(step: StepContext, label: str) -> str:
    return await step.run_action(prepare, label)


@workflow.define(name="verbs.order", on_complete=told)
async def order(step: StepContext, label: str) -> str:
    """1 an action, 2 a child, 3 a wait, 4 an action that may fail."""
    await step.using(rollback=unprepare).run_action(prepare, label)
    await step.run_workflow(inner, label)
    await step.wait_for_event(approved)
    return await step.run_action(deliver, label)


@workflow.define(name="verbs.asks")
async def asks(step: StepContext, name: str) -> str:
    return repr(await step.using(name="a wait by another name").wait_for_event(EVENTS.get(name, name)))


@workflow.define(name="verbs.parent")
async def parent(step: StepContext) -> Any:
    return await step.run_workflow(asks, "verbs.never")


@elsewhere.define(name="verbs.report")
async def report(step: StepContext) -> None:
    return None


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
    """Failed at its fourth step."""
    faults.add(label)
    run = waiting(harness, label)
    run.send_event(approved, True)
    harness.drain()
    assert workflow.status(run).type == "failed"
    return run


def untold(harness: Harness) -> Workflow:
    """Completed, and its on_complete has failed."""
    faults.add("told")
    run = finished(harness)
    assert workflow.get(run).on_complete_error is not None
    return run


def user(name: str, *permissions: str, staff: bool = True) -> User:
    """A user with these permissions of ours."""
    made = User.objects.create_user(name, is_staff=staff)
    made.user_permissions.set(
        Permission.objects.filter(content_type__app_label="django_workflow", codename__in=permissions)
    )
    assert made.user_permissions.count() == len(permissions)
    return made


def client_of(who: User | None, *, csrf: bool = False) -> Client:
    """A browser in which this user has logged in."""
    client = Client(enforce_csrf_checks=csrf)
    if who is not None:
        client.force_login(who)
    return client


def page(verb: str, run: Workflow | None = None) -> str:
    """The address of a verb."""
    return reverse(f"admin:django_workflow_workflow_{verb}", args=[] if run is None else [run.pk])


def everything() -> dict[str, list[Any]]:
    """All rows of ours, and the log."""
    models: list[Any] = [*apps.get_app_config("django_workflow").get_models(), LogEntry]
    return {model.__name__: list(model._default_manager.order_by("pk").values_list()) for model in models}


def logged() -> list[tuple[str, str | None, int, str]]:
    """Who, to which object, with which flag, and what is said."""
    rows: Iterable[LogEntry] = LogEntry.objects.order_by("id").select_related("user")
    return [(row.user.get_username(), row.object_id, row.action_flag, row.change_message) for row in rows]


def messages(client: Client, address: str) -> str:
    """The page behind an address, messages and all."""
    return client.get(address).content.decode()
