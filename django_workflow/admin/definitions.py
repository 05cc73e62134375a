"""What is defined, and the form that starts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import router, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils.translation import gettext as _

from django_workflow.admin.forms import StartForm, start_form
from django_workflow.admin.pages import Pages
from django_workflow.admin.refusals import worded
from django_workflow.admin.tally import tally
from django_workflow.exceptions import DefinitionError, InvalidArguments, UsageError
from django_workflow.keys import digest
from django_workflow.manager import workflow
from django_workflow.models import Workflow
from django_workflow.windows.logbook import log
from django_workflow.windows.permissions import demand, may, may_do

if TYPE_CHECKING:  # generic for type checkers only
    from django_workflow.handler.definition import WorkflowDefinition


class DefinitionPages(Pages):
    """The page of all definitions, and the form of one."""

    def definition_urls(self) -> list[URLPattern]:
        """The pages. A definition's name, which may hold any printable character, is in the query of the address."""
        wrap = self.admin_site.admin_view
        return [
            path("definitions/", wrap(self.definitions_view), name="django_workflow_workflow_definitions"),
            path("definitions/start/", wrap(self.start_view), name="django_workflow_workflow_start"),
        ]

    def definitions_view(self, request: HttpRequest) -> HttpResponse:
        """All definitions, and how their workflows do."""
        if not may(request.user, "view_workflow"):
            raise PermissionDenied
        starts = may_do(request.user, "start")
        seen = tally(workflow.definitions(), self.get_queryset(request), workflow.now())
        rows = [(each, self.addresses.start(each.definition) if starts else None) for each in seen.rows]
        return self.framed(
            request, "definitions", title=_("Definitions"), seen=seen, rows=rows, starts=starts
        )

    def start_view(self, request: HttpRequest) -> HttpResponse:
        """The form that starts a workflow of one definition."""
        demand(request.user, "start")
        definition = _asked(request)
        try:
            form = start_form(definition, request.POST if request.method == "POST" else None)
        except DefinitionError as error:  # an annotation that can't be resolved: nothing can start it
            return self._start_page(request, definition, None, "\n".join(worded(error)))
        if request.method == "POST" and form.is_valid():
            started = self._start(request, definition, form)
            if started is not None:
                return HttpResponseRedirect(self.addresses.workflow(started.pk))
        return self._start_page(request, definition, form, "")

    def _start(
        self, request: HttpRequest, definition: WorkflowDefinition[Any, Any], form: StartForm
    ) -> Workflow | None:
        """The workflow; None when it was refused, which the form says then."""
        options = form.options()
        try:
            args, kwargs = form.arguments()
            wanted = definition.using(**options)
            with transaction.atomic(using=router.db_for_write(Workflow)):
                known = "key" in options and _is_taken(definition.name, options["key"])
                started = workflow.start(wanted, *args, **kwargs)
                if not known:
                    said = _("Started %(definition)s version %(version)s")
                    log(request.user, started, said % _named(definition), "")
        except InvalidArguments as refused:
            for problem in refused.problems:
                form.refuse(problem)
            return None
        except UsageError as refused:  # its key, a limit, or a value that can't be kept
            form.add_error(None, worded(refused))
            return None
        if known:
            messages.info(request, _("This key has a workflow already, with the same arguments: here it is."))
        else:
            messages.success(request, _("Started %(definition)s version %(version)s.") % _named(definition))
        return started

    def _start_page(
        self,
        request: HttpRequest,
        definition: WorkflowDefinition[Any, Any],
        form: StartForm | None,
        problem: str,
    ) -> HttpResponse:
        title = _("Start %(definition)s version %(version)s") % _named(definition)
        return self.framed(request, "start", title=title, definition=definition, form=form, problem=problem)


def _asked(request: HttpRequest) -> WorkflowDefinition[Any, Any]:
    asked = (request.GET.get("name"), request.GET.get("version"))
    for definition in workflow.definitions():
        if (definition.name, str(definition.version)) == asked:
            return definition
    raise Http404(_("This is no definition that the code registers."))


def _is_taken(definition: str, key: str) -> bool:
    return workflow.list().filter(key_digest=digest(definition, key)).exists()


def _named(definition: WorkflowDefinition[Any, Any]) -> dict[str, Any]:
    return {"definition": definition.name, "version": definition.version}
