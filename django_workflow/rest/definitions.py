"""What may be started over HTTP, and with which arguments."""

from __future__ import annotations

import inspect
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from django_workflow.conf import settings
from django_workflow.payloads.describe import arguments_schema
from django_workflow.rest import filters
from django_workflow.rest.base import WorkflowAPIView
from django_workflow.rest.problems import Problem
from django_workflow.rest.starting import Definition, startable


class DefinitionsView(WorkflowAPIView):
    """All of them, by name."""

    action = "definitions"

    def get(self, request: Request) -> Response:
        """What may be started."""
        filters.only(request.query_params)
        return Response({"results": [_entry(definition) for _, definition in sorted(startable().items())]})


class DefinitionView(WorkflowAPIView):
    """One of them."""

    action = "definition"

    def get(self, request: Request, name: str) -> Response:
        """What may be started by that name."""
        filters.only(request.query_params)
        definition = startable().get(name)
        if definition is None:
            raise Problem("not-found", f"{name[:200]!r} is nothing that may be started here.")
        return Response(_entry(definition))


def _entry(definition: Definition) -> dict[str, Any]:
    secret = (*settings.REDACT, *definition.redact)
    return {
        "name": definition.name,
        "version": definition.version,
        "description": inspect.getdoc(definition.handler) or "",
        "args_schema": arguments_schema(definition.signature, secret),
    }
