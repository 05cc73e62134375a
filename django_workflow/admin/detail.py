"""The page of one workflow, the fragment by which it refreshes itself, and the page of a step.

Rules of this file: it only reads, whatever the method of the request; every view asks for the permission itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final, cast
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Max, QuerySet, Sum
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from django_workflow.admin.buttons import from_here
from django_workflow.admin.head import CHILDREN, children_of, head, shown_child
from django_workflow.admin.pages import FOLDER, Pages
from django_workflow.admin.steps import WORDS, attempts, holder, journal, state_of
from django_workflow.manager import workflow
from django_workflow.models import Event, Step, Workflow
from django_workflow.states import StepState, WorkflowState
from django_workflow.windows.permissions import NEEDED, may_do, may_see_payloads
from django_workflow.windows.spans import span
from django_workflow.windows.values import Values, printable

EVENTS: Final = 50  # the newest so many
ENTRIES: Final = 20
MOVES_SECONDS: Final = 10  # how often a page whose rows stay the same is drawn anew, for what grows with time

# What changes of a workflow besides its state and its steps.
TOLD: Final = (
    "generation",
    "wakes",
    "paused",
    "ending",
    "reason",
    "custom_text",
    "on_complete_error_text",
    "completed_at",
)


class DetailPage(Pages):
    """One workflow: its head, its timeline, what it was given and what came of it."""

    def detail_urls(self) -> list[URLPattern]:
        """The fragment for the live refresh, and the pages of steps."""
        view = self.admin_site.admin_view
        name = "django_workflow_workflow_"
        return [
            path("<uuid:pk>/fragment/", view(self.fragment_view), name=f"{name}fragment"),
            path("<uuid:pk>/step/<int:number>/", view(self.step_view), name=f"{name}step"),
        ]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The page of a workflow."""
        self._demand(request)
        run = self.get_object(request, unquote(object_id))
        if run is None:
            return super().change_view(request, object_id, form_url, extra_context)  # says that there is none
        # Before the rest is read: what is shown may be younger than its tag, which costs one look more, but never older.
        etag = _etag(request, run.pk, [run.state, *(getattr(run, name) for name in TOLD)], run._state.db)
        context = {
            **self._body(request, run),
            "title": run.definition,
            "fragment_url": self.addresses.fragment(run.pk),
            "etag": etag,
            **(extra_context or {}),
        }
        return self.framed(request, "detail", **context)

    def fragment_view(self, request: HttpRequest, pk: UUID) -> HttpResponseBase:
        """What of that page changes; 304 while nothing has."""
        self._demand(request)
        seen = self.get_queryset(request).filter(pk=pk)
        row = seen.values_list("state", *TOLD).first()
        if row is None:
            raise Http404
        etag = _etag(request, pk, row, seen.db)
        unchanged = get_conditional_response(request, etag=etag)
        if unchanged is not None:
            return cast("HttpResponseBase", unchanged)
        run = self._found(request, pk)
        request.current_app = self.admin_site.name  # read by {% url %}
        response = render(request, f"{FOLDER}/detail_body.html", self._body(request, run))
        response["ETag"] = etag
        return response

    def step_view(self, request: HttpRequest, pk: UUID, number: int) -> HttpResponse:
        """The page of a step."""
        self._demand(request)
        run = self._found(request, pk)
        step = Step.objects.using(run._state.db).filter(workflow_id=pk, number=number).first()
        if step is None:
            raise Http404
        title = _("Step %(number)s: %(name)s") % {"number": number, "name": printable(step.name)}
        return self.framed(request, "step", title=title, **self._step(request, run, step))

    # ── what the pages show ─────────────────────────────────────────────────────────────────────────────────

    def _demand(self, request: HttpRequest) -> None:
        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request):
            raise PermissionDenied

    def _found(self, request: HttpRequest, pk: UUID) -> Workflow:
        run = self.get_object(request, str(pk))
        if run is None:
            raise Http404
        return run

    def _body(self, request: HttpRequest, run: Workflow) -> dict[str, Any]:
        values = Values(run, may_see_payloads(request.user))
        now = workflow.now()
        seen = self.get_queryset(request)
        steps = journal(run, values, now, request.GET.get("page"), seen, self.addresses)
        children = children_of(run, seen)
        count = children.count()
        parent = None if run.parent_id is None else _pk_of(seen.filter(pk=run.parent_id))
        return {
            "run": run,
            "run_url": self.addresses.workflow(run.pk),
            "head": head(request, run, values, now, steps.executing, count, parent, self.addresses),
            "journal": steps,
            "page": steps.page,
            "error": values.error(run.error),
            "on_complete_error": values.error(run.on_complete_error),
            "values": _values(run, values),
            "sees_payloads": values.visible,
            "events": _events(run, values),
            "children": [shown_child(child, self.addresses) for child in children[:CHILDREN]],
            "children_count": count,
            "entries": _entries(run),
            "now": now,
        }

    def _step(self, request: HttpRequest, run: Workflow, step: Step) -> dict[str, Any]:
        values = Values(run, may_see_payloads(request.user))
        child = _pk_of(self.get_queryset(request).filter(parent_step=step))
        settled = step.state not in (StepState.PENDING, StepState.RUNNING)
        runs = step.state == StepState.RUNNING
        return {
            "run": run,
            "run_url": self.addresses.workflow(run.pk),
            "step": step,
            "state": state_of(step.state),
            "kind": WORDS[step.kind],
            "attempts": attempts(step, values),
            "took": span(step.completed_at - step.started_at)
            if step.completed_at and step.started_at
            else None,
            "next_at": None if settled or runs else step.due_at,
            # A step without a lease of its own runs inside a turn, which has one.
            "worker": holder(step.lease_owner or run.lease_owner, run._state.db) if runs else None,
            "error": values.error(step.error),
            "values": [
                (_("Input"), values.pretty(step.args)),
                (_("Output"), values.pretty(step.result) if step.result_text is not None else None),
                (_("Reported by its body"), _plain(step.details_text, values)),
            ],
            "sees_payloads": values.visible,
            "child_url": None if child is None else self.addresses.workflow(child),
            "buttons": from_here(request.user, run, step, self.addresses),
        }


def _pk_of(rows: QuerySet[Workflow]) -> UUID | None:
    return rows.order_by().values_list("pk", flat=True).first()


def _values(run: Workflow, values: Values) -> list[tuple[str, str | None]]:
    return [
        (_("Arguments"), values.pretty(run.args)),
        (_("Result"), _plain(run.result_text, values)),
        (_("Custom status"), _plain(run.custom_text, values)),
        (_("Context of on_complete"), _plain(run.context_text, values)),
    ]


def _plain(text: str | None, values: Values) -> str | None:
    return None if text is None or not values.visible else values.pretty(json.loads(text))


def _events(run: Workflow, values: Values) -> list[dict[str, Any]]:
    rows = Event.objects.using(run._state.db).filter(workflow_id=run.pk)
    found = list(rows.order_by("-id")[:EVENTS])
    takers = [event.consumed_by_id for event in found if event.consumed_by_id is not None]
    steps = Step.objects.using(run._state.db).filter(pk__in=takers)
    number_of: dict[int | None, int] = dict(steps.values_list("pk", "number"))
    return [
        {
            "name": printable(event.name),
            "key": printable(event.key or ""),
            "sent_at": event.sent_at,
            "consumed_at": event.consumed_at,
            "taken_by": number_of.get(event.consumed_by_id),
            "value": _plain(event.value_text, values),
            "error": values.error(event.error),
        }
        for event in found
    ]


def _entries(run: Workflow) -> QuerySet[LogEntry]:
    return (
        LogEntry.objects.filter(content_type=get_content_type_for_model(run), object_id=str(run.pk))
        .select_related("user")
        .order_by("-action_time", "-pk")[:ENTRIES]
    )


def _etag(request: HttpRequest, pk: UUID, row: Sequence[Any], database: str | None) -> str:
    """What the page depends on, as a tag: its rows, who reads it, and the time where something has not ended.

    Two statements at most.

    Args:
        request: who reads it.
        pk: the workflow.
        row: its state, and its columns `TOLD`.
        database: where its steps are.

    """
    steps = Step.objects.using(database).filter(workflow_id=pk)
    newest = steps.order_by().aggregate(
        Count("pk"), Sum("attempts"), Max("created_at"), Max("started_at"), Max("completed_at"), Max("due_at")
    )
    rights = [verb for verb in NEEDED if may_do(request.user, verb)]
    beat = None if row[0] != WorkflowState.IN_PROGRESS else int(workflow.now().timestamp()) // MOVES_SECONDS
    parts = [list(row), newest, rights, may_see_payloads(request.user), get_language(), beat]
    told = json.dumps(parts, default=str, sort_keys=True)
    return quote_etag(hashlib.sha256(told.encode()).hexdigest()[:32])
