"""Who may do what over HTTP: a permission of the model `Workflow` for each verb, and nothing that isn't listed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rest_framework.exceptions import MethodNotAllowed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from django_workflow.windows.permissions import NEEDED, may

VIEW: Final = "view_workflow"

# Action of a view → codenames of which one is needed.
ALLOWED: Final[Mapping[str, tuple[str, ...]]] = {
    "list": (VIEW,),
    "retrieve": (VIEW,),
    "status": (VIEW,),
    "steps": (VIEW,),
    "stream": (VIEW,),
    "create": (NEEDED["start"],),
    "cancel": (NEEDED["cancel"],),
    "restart": (NEEDED["restart"],),
    "fork": (NEEDED["fork"],),
    "events": (NEEDED["event"],),
    "cleanup": (NEEDED["cleanup"],),
    "destroy": (NEEDED["cleanup"],),
    "definitions": (NEEDED["start"], VIEW),
    "definition": (NEEDED["start"], VIEW),
}


class WorkflowPermission(BasePermission):
    """Whoever has logged in and has the verb's permission; unknown verbs are nobody's."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Whether this user may do this at all; whose workflows he may do it to says the view's `get_queryset()`."""
        user: Any = request.user
        if user is None or not user.is_authenticated:
            return False
        action = getattr(view, "action", None)
        if action == "metadata":  # OPTIONS tells what the documentation tells
            return True
        if action is None and not hasattr(view, (request.method or "").lower()):
            raise MethodNotAllowed(request.method or "")
        return any(may(user, codename) for codename in ALLOWED.get(action or "", ()))
