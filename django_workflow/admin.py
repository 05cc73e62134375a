"""A plain read-only listing of workflows and their steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest

from django_workflow.models import Step, Workflow

if TYPE_CHECKING:  # generic for type checkers only
    _TabularInline = admin.TabularInline[Step, Workflow]
    _ModelAdmin = admin.ModelAdmin[Workflow]
else:
    _TabularInline = admin.TabularInline
    _ModelAdmin = admin.ModelAdmin


class ReadOnly:
    """Nothing is added, changed or deleted here."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class StepInline(ReadOnly, _TabularInline):
    """The journal."""

    model = Step
    fields = ("number", "kind", "name", "state", "attempts", "started_at", "completed_at", "due_at")
    readonly_fields = fields
    ordering = ("number",)
    extra = 0
    verbose_name_plural = "journal"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Steps have no permissions of their own: they show inside their workflow.
        return request.user.has_perm("django_workflow.view_workflow")


@admin.register(Workflow)
class WorkflowAdmin(ReadOnly, _ModelAdmin):
    """The workflows, newest first."""

    list_display = ("id", "definition", "state", "created_at", "started_at", "completed_at")
    list_filter = ("state",)
    ordering = ("-created_at", "-id")
    fields = (
        ("definition", "version", "state"),
        "failure",
        ("created_at", "started_at", "completed_at", "due_at"),
        ("cluster", "priority", "reason"),
    )
    readonly_fields = ("failure",)
    inlines = (StepInline,)
    show_full_result_count = False

    @admin.display(description="error")
    def failure(self, run: Workflow) -> str:
        """Why it failed."""
        error = run.error
        return f"{error.type}: {error.message}" if error else "-"
