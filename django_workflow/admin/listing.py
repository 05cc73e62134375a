"""The list of workflows, with how things stand above it.

Rules of this file: the number of statements doesn't depend on the number of rows, each statement reads a short stretch
of an index, and no payload but the errors of the rows shown is fetched. Tuned for a table of a million rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_workflow.admin.addresses import Addresses
from django_workflow.admin.attention import counts
from django_workflow.admin.filters import FILTERS
from django_workflow.admin.finding import find, short
from django_workflow.admin.icons import icon
from django_workflow.admin.reach import ShallowPaginator
from django_workflow.admin.weather import weather
from django_workflow.manager import workflow
from django_workflow.models import Workflow
from django_workflow.states import WorkflowState
from django_workflow.windows.spans import ago, in_full, span
from django_workflow.windows.unsettled import first_waits
from django_workflow.windows.waits import cut, doing

if TYPE_CHECKING:
    from datetime import datetime

    from django.db.models import QuerySet

# What a row shows. `error_text` is null for all but those that failed.
COLUMNS = (
    "id",
    "definition",
    "version",
    "state",
    "error_text",
    "reason",
    "cluster",
    "due_at",
    "lease_owner",
    "paused",
    "ending",
    "created_at",
    "started_at",
    "completed_at",
    "parent_id",
)


class WorkflowList(ChangeList):
    """A page of the list: its rows know what they wait for, and it knows how things stand."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Workflow]:
        """The rows, without what the list doesn't show."""
        rows: QuerySet[Workflow] = super().get_queryset(request, exclude_parameters)
        return rows.only(*COLUMNS)

    def get_results(self, request: HttpRequest) -> None:
        """The page; and for all of its rows at once what they wait for."""
        super().get_results(request)
        self.health = workflow.health()
        self.now = workflow.now()
        rows = list(self.result_list)  # fetched here, and kept by the queryset
        waits = first_waits(run.pk for run in rows if run.state == WorkflowState.IN_PROGRESS)
        parents = self._parents(request, {run.parent_id for run in rows if run.parent_id is not None})
        for run in rows:
            run.listed_parent = parents.get(run.parent_id)
            run.doing = doing(run, waits.get(run.pk), self.health.pauses, self.now)
            run.listed_at = self.now

    def _parents(self, request: HttpRequest, ids: set[UUID]) -> dict[UUID | None, tuple[str, str]]:
        """Address and definition of each of these workflows that the reader sees. One statement at most."""
        if not ids:
            return {}
        addresses = Addresses(self.model_admin.admin_site.name)
        seen = self.model_admin.get_queryset(request).filter(pk__in=ids).order_by()
        return {pk: (addresses.workflow(pk), name) for pk, name in seen.values_list("pk", "definition")}

    @property
    def weather(self) -> Any:
        """The health line."""
        return weather(self.health)

    @property
    def attention(self) -> list[Any]:
        """What needs attention; of all workflows, whatever the list is filtered by."""
        return counts(self.root_queryset, self.now)


class ListPage:
    """The changelist."""

    list_display: Any = ("short_id", "defined_as", "standing", "started", "took", "parent_link")
    list_filter: Any = FILTERS
    list_per_page = 100
    list_max_show_all = 100
    list_select_related: Any = False
    search_fields: Any = ("id",)  # shows the box; what is found, `find()` says
    search_help_text: Any = gettext_lazy(
        "An id or its beginning, an exact key, or part of a definition's name."
    )
    ordering: Any = ("-created_at", "-id")
    sortable_by: Any = ()  # any other order would sort the table
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # which would count for every choice
    paginator: Any = ShallowPaginator
    change_list_template: Any = "admin/django_workflow/workflow/change_list.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The list with its health line."""
        return WorkflowList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Filters, and nothing else: a lookup in an address could guess at payloads, and would scan the table."""
        return lookup in {each.parameter_name for each in FILTERS}

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Workflow], search_term: str
    ) -> tuple[QuerySet[Workflow], bool]:
        """What the search box means; never twice the same row."""
        return find(queryset, search_term), False

    # ── columns ─────────────────────────────────────────────────────────────────────────────────────────────

    @admin.display(description=gettext_lazy("ID"))
    def short_id(self, run: Workflow) -> str:
        """The beginning and the end of the id."""
        return format_html('<span class="workflow-id" title="{}">{}</span>', run.id, short(run.id))

    @admin.display(description=gettext_lazy("definition"))
    def defined_as(self, run: Workflow) -> str:
        """Name, and version from 2."""
        return run.definition if run.version == 1 else f"{run.definition} v{run.version}"

    @admin.display(description=gettext_lazy("state"))
    def standing(self, run: Any) -> str:
        """Icon and word, and what it waits for or what came of it."""
        said = run.doing
        colon = format_html(": {}", said.detail) if said.detail else ""
        return format_html(
            '<span class="workflow-state">{}<span><span class="workflow-is-{}">{}</span>{}</span></span>',
            icon(said.mark),
            said.mark,
            said.word,
            colon,
        )

    @admin.display(description=gettext_lazy("started"))
    def started(self, run: Any) -> str:
        """How long ago."""
        return _("not yet") if run.started_at is None else _moment(run.started_at, run.listed_at)

    @admin.display(description=gettext_lazy("took"), empty_value="–")
    def took(self, run: Any) -> str | None:
        """From its first turn to its end, or to now."""
        if run.started_at is None:
            return None
        return span((run.completed_at or run.listed_at) - run.started_at)

    @admin.display(description=gettext_lazy("parent"), empty_value="–")
    def parent_link(self, run: Any) -> str | None:
        """The workflow that runs it as a child."""
        if run.listed_parent is None:
            return None
        address, definition = run.listed_parent
        return format_html('<a href="{}">{}</a>', address, cut(definition))


def _moment(moment: datetime, now: datetime) -> str:
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', moment.isoformat(), in_full(moment), ago(moment, now)
    )
