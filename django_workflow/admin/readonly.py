"""Rows are looked at; nothing is added, changed or deleted but by verbs."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from django_workflow.windows.permissions import may


class ReadOnly:
    """Rows are looked at; nothing is added, changed or deleted but by verbs."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may(request.user, "view_workflow")
