"""What is defined, and the form that starts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import router, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from django_workflow.admin.forms import StartForm, start_form
from django_workflow.admin.tally import tally
from django_workflow.exceptions import DefinitionError, InvalidArguments, UsageError
from django_workflow.keys import digest
from django_workflow.manager import workflow
from django_workflow.models import Workflow
from django_workflow.windows.logbook import log
from django_workflow.windows.permissions import demand, may, may_do

if TYPE_CHECKING:  # generic for type checkers only
    from django_workflow.handler.definition import WorkflowDefinition

    _ModelAdmin = admin.ModelAdmin[Workflow]
else:
    _ModelAdmin = object

NAMES = "admin:django_workflow_workflow_"


class DefinitionPages(_ModelAdmin):
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
        seen = tally(workflow.definitions(), workflow.now())
        rows = [(each, start_address(each.definition) if starts else None) for each in seen.rows]
        return self._shown(
            request, "definitions", title=_("Definitions"), seen=seen, rows=rows, starts=starts
        )

    def start_view(self, request: HttpRequest) -> HttpResponse:
        """The form that starts a workflow of one definition."""
        demand(request.user, "start")
        definition = _asked(request)
        try:
            form = start_form(definition, request.POST if request.method == "POST" else None)
        except DefinitionError as error:  # an annotation that can't be resolved: nothing can start it
            return self._start_page(request, definition, None, str(error))
        if request.method == "POST" and form.is_valid():
            started = self._start(request, definition, form)
            if started is not None:
                return HttpResponseRedirect(reverse(f"{NAMES}change", args=[started.pk]))
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
            form.add_error(None, str(refused))
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
        return self._shown(request, "start", title=title, definition=definition, form=form, problem=problem)

    def _shown(self, request: HttpRequest, page: str, **context: Any) -> HttpResponse:
        return TemplateResponse(
            request,
            f"admin/django_workflow/workflow/{page}.html",
            {**self.admin_site.each_context(request), "opts": Workflow._meta, **context},
        )


def start_address(definition: WorkflowDefinition[Any, Any]) -> str:
    """Where the form of a definition is."""
    asked = urlencode([("name", definition.name), ("version", str(definition.version))])
    return f"{reverse(f'{NAMES}start')}?{asked}"


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
