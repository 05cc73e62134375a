"""The addresses, by name; `routes(MyViewSet)` for a project with a view set of its own."""

from __future__ import annotations

from importlib import import_module

from django.apps import apps
from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from django_workflow.rest.definitions import DefinitionsView, DefinitionView
from django_workflow.rest.health import HealthView
from django_workflow.rest.links import EventLinkView
from django_workflow.rest.views import WorkflowViewSet

APP_NAME = "django_workflow"


def routes(workflows: type[WorkflowViewSet] = WorkflowViewSet) -> tuple[list[URLPattern | URLResolver], str]:
    """What `include()` takes: all routes, and the name of their namespace.

    Args:
        workflows: the view set; one of your own for tenants (`get_queryset()`, `start_options()`).

    """
    _describe()
    router = SimpleRouter()
    router.register("workflows", workflows, basename="workflow")
    patterns = [
        *router.urls,
        path("definitions/", DefinitionsView.as_view(), name="definition-list"),
        path("definitions/<path:name>/", DefinitionView.as_view(), name="definition-detail"),
        path("events/<str:token>/", EventLinkView.as_view(), name="event-link"),
        path("health/", HealthView.as_view(), name="health"),
    ]
    return patterns, APP_NAME


def _describe() -> None:
    """Describe the views to drf-spectacular, where the project has it among its apps (extra `openapi`)."""
    if apps.is_installed("drf_spectacular"):
        import_module("django_workflow.rest.openapi.operations")
