"""The admin: a list, a timeline, and a button for every verb. It looks at rows, and acts through the manager alone.

| module | page |
|---|---|
| `listing` | the list, with its health line and what needs attention |
| `detail` | one workflow; its rows come from `timeline`, which is pure |
| `verbs` | confirmation pages of everything that changes something |
| `definitions` | what is defined, and the form that starts it |
| `permissions` | who may see and press what |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin
from django.urls import URLPattern

from django_workflow.admin.definitions import DefinitionPages
from django_workflow.admin.detail import DetailPage
from django_workflow.admin.listing import ListPage
from django_workflow.admin.readonly import ReadOnly
from django_workflow.admin.verbs import VerbPages
from django_workflow.models import Workflow

if TYPE_CHECKING:  # generic for type checkers only
    _ModelAdmin = admin.ModelAdmin[Workflow]
else:
    _ModelAdmin = admin.ModelAdmin


@admin.register(Workflow)
class WorkflowAdmin(ReadOnly, ListPage, DetailPage, VerbPages, DefinitionPages, _ModelAdmin):
    """Everything that the admin knows of workflows."""

    def get_urls(self) -> list[URLPattern]:
        """The pages besides Django's own; more special ones first."""
        return [*self.definition_urls(), *self.verb_urls(), *self.detail_urls(), *super().get_urls()]
