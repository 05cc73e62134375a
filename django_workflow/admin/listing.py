"""The list of workflows."""

from __future__ import annotations


class ListPage:
    """The changelist."""

    list_display: tuple[str, ...] = ("id", "definition", "state", "created_at", "started_at", "completed_at")
    list_filter: tuple[str, ...] = ("state",)
    ordering = ("-created_at", "-id")
    show_full_result_count = False
