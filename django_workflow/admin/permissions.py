"""Who may see and press what: Django's permissions of the model `Workflow`, one for each verb.

Rules of this file: it decides nothing of its own; steps and events have no permissions, they show inside.
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

APP = "django_workflow"

# Verb, as in addresses → codename of the permission that it needs.
NEEDED = {
    "start": "start_workflow",
    "cancel": "cancel_workflow",
    "pause": "cancel_workflow",
    "resume": "cancel_workflow",
    "restart": "restart_workflow",
    "complete": "restart_workflow",  # run on_complete again
    "fork": "fork_workflow",
    "event": "send_event",
    "cleanup": "cleanup_workflow",
}


def may(request: HttpRequest, codename: str) -> bool:
    """Whether the user has a permission of ours."""
    return request.user.has_perm(f"{APP}.{codename}")


def may_do(request: HttpRequest, verb: str) -> bool:
    """Whether the user may do this, seeing workflows included."""
    return may(request, "view_workflow") and may(request, NEEDED[verb])


def may_see_payloads(request: HttpRequest) -> bool:
    """Whether arguments, results, values and tracebacks are shown."""
    return may(request, "view_payload")


def demand(request: HttpRequest, verb: str) -> None:
    """Raise `PermissionDenied` unless the user may do this."""
    if not may_do(request, verb):
        raise PermissionDenied


class ReadOnly:
    """Rows are looked at; nothing is added, changed or deleted but by verbs."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request, "view_workflow")
