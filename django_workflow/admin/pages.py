"""What all pages of ours have in common: which workflows they know, how they link to each other, and their frame.

Rules of this file: a page finds a workflow by `get_queryset` alone, so that an admin of a project's own which hides
some by it hides them everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db import router
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from django_workflow.admin.addresses import Addresses
from django_workflow.models import Workflow

if TYPE_CHECKING:  # generic for type checkers only
    from django.db.models import QuerySet

    _ModelAdmin = admin.ModelAdmin[Workflow]
else:
    _ModelAdmin = object

FOLDER = "admin/django_workflow/workflow"


class Pages(_ModelAdmin):
    """What all pages have in common."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Workflow]:
        """The workflows that whoever asks may know of; read where they are written, since a replica lags behind."""
        return super().get_queryset(request).using(router.db_for_write(Workflow))

    @property
    def addresses(self) -> Addresses:
        """Where the pages are in this site."""
        return Addresses(self.admin_site.name)

    def framed(self, request: HttpRequest, template: str, **context: Any) -> HttpResponse:
        """A page in the frame of the site; `template` is the name of a file in our folder."""
        request.current_app = self.admin_site.name  # read by {% url %}
        frame = {**self.admin_site.each_context(request), "opts": self.opts, "media": self.media}
        return TemplateResponse(request, f"{FOLDER}/{template}.html", {**frame, **context})
