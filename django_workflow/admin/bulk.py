"""Actions of the list: cancel, restart, clean up; many at once, in batches of bounded size.

Rules of this file: each workflow is dealt with by one call of the manager and gets its own entry in the log, so that
what is done is done whatever becomes of the rest. What a batch leaves is gone on with from a cursor, the primary key:
one that refuses is not met again and again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_workflow.admin.deed import SHOWN, Text
from django_workflow.admin.deeds import DEEDS
from django_workflow.admin.pages import Pages
from django_workflow.admin.refusals import Refused
from django_workflow.admin.verb_forms import CancelForm, ReasonForm, RestartManyForm
from django_workflow.exceptions import WorkflowNotFound
from django_workflow.models import Workflow
from django_workflow.states import WorkflowState
from django_workflow.windows.logbook import log
from django_workflow.windows.permissions import demand, may_do

BATCH = 500  # workflows that one request deals with
COUNTED = 10_000  # of more it is said that they are more

RUNNING = Q(state=WorkflowState.IN_PROGRESS)


@dataclass(frozen=True)
class Bulk:
    """A verb for many."""

    verb: str
    question: Text
    children: Text  # what happens to them
    form: type[ReasonForm]
    possible: Q  # as of the deed
    left_alone: Text


BULKS = {
    "cancel": Bulk(
        "cancel",
        _("Cancel these workflows?"),
        _("Their children that are in progress are canceled, too."),
        CancelForm,
        RUNNING,
        _("Those that have finished are left alone."),
    ),
    "restart": Bulk(
        "restart",
        _("Restart these workflows?"),
        _("The children of steps that are dropped are deleted; those in progress are canceled first."),
        RestartManyForm,
        ~RUNNING | Q(paused__isnull=False),
        _("Those in progress are left alone."),
    ),
    "cleanup": Bulk(
        "cleanup",
        _("Delete these workflows for ever?"),
        _("Their children are deleted with them."),
        ReasonForm,
        ~RUNNING,
        _("Those in progress are left alone."),
    ),
}


@dataclass
class Tally:
    """How far a batch has come."""

    done: int = 0
    refused: list[str] = field(default_factory=list)
    last: UUID | None = None  # null: none was looked at


class BulkActions(Pages):
    """The actions; each needs its own permission."""

    bulk_batch: ClassVar[int] = BATCH
    actions: Any = ("cancel_selected", "restart_selected", "cleanup_selected")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Whether the list offers to cancel."""
        return may_do(request.user, "cancel")

    def has_restart_permission(self, request: HttpRequest) -> bool:
        """Whether the list offers to restart."""
        return may_do(request.user, "restart")

    def has_cleanup_permission(self, request: HttpRequest) -> bool:
        """Whether the list offers to clean up."""
        return may_do(request.user, "cleanup")

    @admin.action(permissions=["cancel"], description=_("Cancel…"))
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> HttpResponse:
        """Cancel many."""
        return self._bulk(request, queryset, BULKS["cancel"])

    @admin.action(permissions=["restart"], description=_("Restart…"))
    def restart_selected(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> HttpResponse:
        """Restart many."""
        return self._bulk(request, queryset, BULKS["restart"])

    @admin.action(permissions=["cleanup"], description=_("Clean up…"))
    def cleanup_selected(self, request: HttpRequest, queryset: QuerySet[Workflow]) -> HttpResponse:
        """Delete many."""
        return self._bulk(request, queryset, BULKS["cleanup"])

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Workflow], *args: Any, **options: Any
    ) -> HttpResponse | None:
        """Django's, but for ids that are none: those it would ask the database for."""
        if not all(_is_id(each) for each in request.POST.getlist(ACTION_CHECKBOX_NAME)):
            self.message_user(request, gettext("That is no workflow. Nothing has changed."), messages.WARNING)
            return None
        return super().response_action(request, queryset, *args, **options)

    # ── the page ────────────────────────────────────────────────────────────────────────────────────────────

    def _bulk(self, request: HttpRequest, queryset: QuerySet[Workflow], bulk: Bulk) -> HttpResponse:
        demand(request.user, bulk.verb)
        wanted = (
            queryset.filter(bulk.possible)
            .order_by("-pk")
            .select_related(None)
            .only("id", "definition", "state", "paused")
        )
        confirmed = "confirmed" in request.POST
        form = bulk.form(request.POST if confirmed else None)
        after = request.POST.get("after", "")
        if confirmed and form.is_valid():
            rest = wanted.filter(pk__lt=after) if _is_id(after) else wanted
            tally = self._batch(request, rest, bulk, form.cleaned_data)
            left = 0 if tally.last is None else _count(wanted.filter(pk__lt=tally.last))
            self._tell(request, tally, left)
            if not left:
                return HttpResponseRedirect(request.get_full_path())
            after = str(tally.last)
        rest = wanted.filter(pk__lt=after) if _is_id(after) else wanted
        return self._bulk_page(request, rest, bulk, form, after)

    def _batch(
        self, request: HttpRequest, rest: QuerySet[Workflow], bulk: Bulk, data: dict[str, Any]
    ) -> Tally:
        deed = DEEDS[bulk.verb]
        tally = Tally()
        for run in list(rest[: self.bulk_batch]):
            tally.last = run.id
            try:
                done = deed.act(run, data)
            except WorkflowNotFound:  # deleted since, perhaps with its parent
                continue
            except Refused as refused:
                tally.refused.append(f"{run}: {refused}")
                continue
            log(request.user, run, done.log, data["reason"], deletes=deed.deletes)
            tally.done += 1
        return tally

    def _tell(self, request: HttpRequest, tally: Tally, left: int) -> None:
        if tally.done or not tally.refused:
            done = ngettext("%(count)d workflow is done.", "%(count)d workflows are done.", tally.done)
            self.message_user(request, done % {"count": tally.done}, messages.SUCCESS)
        for text in _first(tally.refused):
            self.message_user(request, text, messages.ERROR)
        if left:
            self.message_user(
                request,
                gettext("Only a part is done: %(count)s are left. Confirm again to go on.")
                % {"count": _said(left)},
                messages.WARNING,
            )

    def _bulk_page(
        self, request: HttpRequest, rest: QuerySet[Workflow], bulk: Bulk, form: forms.Form, after: str
    ) -> HttpResponse:
        count = _count(rest)
        context = {
            "title": bulk.question,
            "verb": bulk.verb,
            "label": DEEDS[bulk.verb].label,
            "submit": DEEDS[bulk.verb].submit,
            "deletes": DEEDS[bulk.verb].deletes,
            "children": bulk.children,
            "left_alone": bulk.left_alone,
            "form": form,
            "count": _said(count),
            "none": not count,
            "batch": self.bulk_batch if count > self.bulk_batch else None,
            "first": list(rest[:SHOWN]),
            "more": count > SHOWN,
            "action": f"{bulk.verb}_selected",
            "checkbox": ACTION_CHECKBOX_NAME,
            "selected": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "select_across": request.POST.get("select_across", "0"),
            "after": after if _is_id(after) else "",
            "back": request.get_full_path(),
        }
        return self.framed(request, "bulk", **context)


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _count(rows: QuerySet[Workflow]) -> int:
    return rows.order_by()[: COUNTED + 1].count()


def _said(count: int) -> str:
    return gettext("more than %(count)d") % {"count": COUNTED} if count > COUNTED else str(count)


def _first(texts: list[str]) -> Iterable[str]:
    yield from texts[:5]
    if len(texts) > 5:
        yield gettext("… and %(count)d more that could not be done.") % {"count": len(texts) - 5}
