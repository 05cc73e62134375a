"""The list of workflows."""

from __future__ import annotations

from typing import Any


class ListPage:
    """The changelist."""

    list_display: Any = ("id", "definition", "state", "created_at", "started_at", "completed_at")
    list_filter: Any = ("state",)
    ordering: Any = ("-created_at", "-id")
    show_full_result_count = False
