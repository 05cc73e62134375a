"""Who may see and press what: Django's permissions of the model `Workflow`, one for each verb.

Rules of this file: it decides nothing of its own; steps and events have no permissions, they show inside.
"""

from __future__ import annotations

from typing import Any, Protocol

from django.core.exceptions import PermissionDenied


class User(Protocol):
    """Somebody, logged in or not, as Django's authentication has them."""

    def has_perm(self, perm: str, obj: Any = None) -> bool: ...


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


def may(user: User, codename: str) -> bool:
    """Whether a user has a permission of ours."""
    return user.has_perm(f"{APP}.{codename}")


def may_do(user: User, verb: str) -> bool:
    """Whether a user may do this, seeing workflows included."""
    return may(user, "view_workflow") and may(user, NEEDED[verb])


def may_see_payloads(user: User) -> bool:
    """Whether arguments, results, values and tracebacks are shown."""
    return may(user, "view_payload")


def demand(user: User, verb: str) -> None:
    """Raise `PermissionDenied` unless a user may do this."""
    if not may_do(user, verb):
        raise PermissionDenied
