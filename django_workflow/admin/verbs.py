"""Everything that changes something: a confirmation page, a POST, an entry in the log of the admin.

Rules of this file: a GET changes nothing. A deed is done by one call of the manager, which commits it whole (and tries
again what a deadlock has undone) before the log is written; what was refused leaves no entry. Who may do it is asked
before anything else, on GET and POST alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_workflow.admin.bulk import BulkActions
from django_workflow.admin.buttons import for_all
from django_workflow.admin.deed import Deed, Done, Fact, Text
from django_workflow.admin.deeds import DEEDS
from django_workflow.admin.refusals import Refused, refusals
from django_workflow.admin.verb_forms import Choices, PauseForm, ResumeForm
from django_workflow.exceptions import WorkflowNotFound
from django_workflow.manager import workflow
from django_workflow.models import Pause, Workflow
from django_workflow.windows.logbook import log
from django_workflow.windows.permissions import demand

ALL = "all"
ONE = "cluster:"  # and its name


class VerbPages(BulkActions):
    """Cancel, restart, fork, send an event, clean up, run on_complete again, pause and resume."""

    def verb_urls(self) -> list[URLPattern]:
        """The confirmation pages."""
        wrap = self.admin_site.admin_view
        return [
            path("pause/", wrap(self.pause_view), name="django_workflow_workflow_pause"),
            path("resume/", wrap(self.resume_view), name="django_workflow_workflow_resume"),
            *(
                path(
                    f"<path:object_id>/{verb}/",
                    wrap(self._view_of(deed)),
                    name=f"django_workflow_workflow_{verb}",
                )
                for verb, deed in DEEDS.items()
            ),
        ]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list, with what can be done to all."""
        context = {"list_buttons": for_all(request.user, self.addresses), **(extra_context or {})}
        return super().changelist_view(request, context)

    # ── one workflow ────────────────────────────────────────────────────────────────────────────────────────

    def _view_of(self, deed: Deed) -> Callable[..., HttpResponse]:
        def view(request: HttpRequest, object_id: str) -> HttpResponse:
            demand(request.user, deed.verb)
            run = self.get_object(request, unquote(object_id))
            if run is None:
                return self._gone(request, object_id)
            try:
                return self._confirm(request, deed, run)
            except WorkflowNotFound:
                return self._gone(request, object_id)

        return view

    def _gone(self, request: HttpRequest, object_id: str) -> HttpResponse:
        redirect: HttpResponse = self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined]
        return redirect

    def _confirm(self, request: HttpRequest, deed: Deed, run: Workflow) -> HttpResponse:
        post = request.method == "POST"
        chosen: Mapping[str, Any] = (request.POST if post else request.GET).dict()
        form = deed.form(run, chosen, request.POST if post else None)
        if post and form is not None and form.is_valid():
            try:
                done = deed.act(run, form.cleaned_data)
            except Refused as refused:
                form.add_error(None, str(refused))
            else:
                return self._after(request, deed, run, done, form.cleaned_data["reason"])
        facts: list[Fact] = []
        refused_choice = None
        if deed.possible(run):
            try:
                facts = deed.facts(run, chosen)
            except Refused as refused:
                refused_choice = str(refused)
        return self.framed(
            request,
            "verb",
            title=deed.question,
            verb=deed.verb,
            label=deed.label,
            submit=deed.submit,
            original=run,
            chooser=deed.chooser(run, chosen),
            form=form,
            facts=facts,
            deletes=deed.deletes,
            impossible=refused_choice if deed.possible(run) else deed.impossible(run),
            choosable=deed.possible(run),
            back=self.addresses.workflow(run.pk),
        )

    def _after(
        self, request: HttpRequest, deed: Deed, run: Workflow, done: Done, reason: str
    ) -> HttpResponse:
        log(request.user, run, done.log, reason, deletes=deed.deletes)
        self.message_user(request, done.message, messages.SUCCESS if done.well else messages.ERROR)
        if deed.deletes:
            return HttpResponseRedirect(self.addresses.list())
        return HttpResponseRedirect(self.addresses.workflow((done.go_to or run).pk))

    # ── all of them ─────────────────────────────────────────────────────────────────────────────────────────

    def pause_view(self, request: HttpRequest) -> HttpResponse:
        """Hold all turns and steps, of one cluster or of all."""
        demand(request.user, "pause")
        form = PauseForm(_clusters(), request.POST if request.method == "POST" else None)
        if form.is_valid():
            cluster, reason = _cluster(form.cleaned_data["cluster"]), form.cleaned_data["reason"]
            try:
                with refusals():
                    workflow.pause(reason, cluster)
            except Refused as refused:
                form.add_error(None, str(refused))
            else:
                log(request.user, _pause(cluster), "pause", reason)
                self.message_user(request, gettext("Paused. Starts and events are still accepted."))
                return HttpResponseRedirect(self.addresses.list())
        return self._page_for_all(request, "pause", _("Pause"), _("Pause workflows?"), form)

    def resume_view(self, request: HttpRequest) -> HttpResponse:
        """End a pause."""
        demand(request.user, "resume")
        held = _pauses()
        form = ResumeForm(held, request.POST if request.method == "POST" else None)
        if form.is_valid():
            cluster = _cluster(form.cleaned_data["cluster"])
            with refusals():
                done = workflow.resume(cluster)
            if done:
                log(request.user, _pause(cluster), "resume", form.cleaned_data["reason"])
                self.message_user(request, gettext("Resumed."))
                return HttpResponseRedirect(self.addresses.list())
            form.add_error(None, gettext("Somebody has resumed it already."))
        impossible = None if held else gettext("Nothing is paused.")
        return self._page_for_all(request, "resume", _("Resume"), _("Resume workflows?"), form, impossible)

    def _page_for_all(
        self,
        request: HttpRequest,
        verb: str,
        label: Text,
        title: Text,
        form: Any,
        impossible: str | None = None,
    ) -> HttpResponse:
        return self.framed(
            request,
            "verb",
            title=title,
            verb=verb,
            label=label,
            submit=label,
            form=form,
            impossible=impossible,
            back=self.addresses.list(),
        )


def _clusters() -> Choices:
    return [(ALL, _("all clusters")), *((ONE + name, name) for name in workflow.clusters())]


def _pauses() -> Choices:
    """What is held; the default cluster, which has two names in rows, once."""
    default = workflow.clusters()[0]
    held: Choices = []
    for pause in workflow.health().pauses:
        if pause.cluster is None:
            held.append((ALL, _("all clusters")))
        elif (one := (ONE + (pause.cluster or default), pause.cluster or default)) not in held:
            held.append(one)
    return held


def _cluster(choice: str) -> str | None:
    return None if choice == ALL else choice.removeprefix(ONE)


def _pause(cluster: str | None) -> Pause:
    return Pause(name=ALL if cluster is None else ONE + cluster, cluster=cluster)
