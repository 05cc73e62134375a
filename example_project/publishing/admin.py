"""Releases in the admin: to be read. Workflows write them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from example_project.publishing.models import Entry, Release


class ReadOnly:
    """Nobody may change anything here."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False


class EntryInline(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]  # not subscriptable at run time
    """The documents of a release."""

    model = Entry


@admin.register(Release)
class ReleaseAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable at run time
    """The list says how far each release is, and what came of it."""

    list_display = ("title", "state", "day", "released_at", "outcome")
    search_fields = ("title",)
    ordering = ("-pk",)
    fields = ("title", "state", "day", "released_at", "outcome", "workflow_id")
    readonly_fields = ("state",)
    inlines = (EntryInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Release]:
        """Fetch the state along with the row."""
        return Release.objects.with_state()

    @admin.display(description="state", ordering="state", empty_value="no workflow")
    def state(self, release: Any) -> str | None:
        """The state of the workflow, in words."""
        return release.state and str(release.state).replace("_", " ")
