"""The filters of the list: static choices, each answered by an index.

Rules of this file: no choice is read from the tables. A value that is no choice is a mistake in the address, which
Django's list answers by showing everything; but any name of a definition is taken, since rows outlive the code.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from django_workflow.admin.attention import CONCERNS, concern
from django_workflow.admin.reach import within_reach
from django_workflow.manager import workflow
from django_workflow.states import WorkflowState

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.utils.functional import Promise

    from django_workflow.models import Workflow

Choices = list[tuple[str, Any]]

STATES: dict[str, str | Promise] = {
    WorkflowState.IN_PROGRESS: _("in progress"),
    WorkflowState.COMPLETED: _("completed"),
    WorkflowState.FAILED: _("failed"),
    WorkflowState.CANCELED: _("canceled"),
}
AGES: dict[str, tuple[timedelta, str | Promise]] = {
    "1h": (timedelta(hours=1), _("within 1 hour")),
    "24h": (timedelta(hours=24), _("within 24 hours")),
    "7d": (timedelta(days=7), _("within 7 days")),
}
CLUSTER = "cluster:"  # before a name in addresses: the default cluster's is empty


class StateFilter(admin.SimpleListFilter):
    """By state."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return list(STATES.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> QuerySet[Workflow]:
        value = self.value()
        if value is None:
            return queryset
        if value not in STATES:
            raise IncorrectLookupParameters
        return queryset.filter(state=value)


class DefinitionFilter(admin.SimpleListFilter):
    """By definition, those that are registered and, when an address asks for it, any other name."""

    title = _("definition")
    parameter_name = "definition"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        asked = self.value()
        names = {definition.name for definition in workflow.definitions()} | ({asked} if asked else set())
        return [(name, name) for name in sorted(names)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> QuerySet[Workflow]:
        value = self.value()
        if value is None:
            return queryset
        if "\0" in value:  # which PostgreSQL takes in no text
            raise IncorrectLookupParameters
        return queryset.filter(definition=value)


class CreatedFilter(admin.SimpleListFilter):
    """By age."""

    title = _("created")
    parameter_name = "created"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(value, label) for value, (_age, label) in AGES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> QuerySet[Workflow]:
        value = self.value()
        if value is None:
            return queryset
        if value not in AGES:
            raise IncorrectLookupParameters
        return queryset.filter(created_at__gte=workflow.now() - AGES[value][0])


class AttentionFilter(admin.SimpleListFilter):
    """What the line above the list counts."""

    title = _("needs attention")
    parameter_name = "attention"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(each.slug, each.label) for each in CONCERNS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> QuerySet[Workflow]:
        value = self.value()
        if value is None:
            return queryset
        found = concern(value)
        if found is None:
            raise IncorrectLookupParameters
        return found.select(queryset, workflow.now())


class ClusterFilter(admin.SimpleListFilter):
    """By cluster. No index knows it, so it looks at the newest rows of what the other filters leave: it comes last."""

    title = _("cluster")
    parameter_name = "cluster"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        names = {"", *(definition.manager.cluster for definition in workflow.definitions())}
        if len(names) == 1:
            return []  # nothing to choose
        return [(f"{CLUSTER}{name}", name or _("default")) for name in sorted(names)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> QuerySet[Workflow]:
        value = self.value()
        if value is None:
            return queryset
        if value not in dict(self.lookup_choices):
            raise IncorrectLookupParameters
        return within_reach(queryset).filter(cluster=value.removeprefix(CLUSTER))


FILTERS = (StateFilter, DefinitionFilter, CreatedFilter, AttentionFilter, ClusterFilter)
