"""The API with streams that look often, read few steps at once, and are soon silent."""

from __future__ import annotations

from django.urls import include, path

from django_workflow.models import WorkflowQuerySet
from django_workflow.rest.routes import routes
from django_workflow.rest.stream import EventStream
from django_workflow.rest.views import WorkflowViewSet


class QuickStream(EventStream):
    keep_alive = 0.05
    first_look = 0.01
    slowest_look = 0.02
    page = 3


class ShortStream(QuickStream):
    lifetime = 0


class QuickViewSet(WorkflowViewSet):
    stream_class = QuickStream


class ShortViewSet(WorkflowViewSet):
    stream_class = ShortStream


class UrgentViewSet(WorkflowViewSet):
    """A tenant: only what is urgent exists."""

    stream_class = QuickStream

    def get_queryset(self) -> WorkflowQuerySet:
        return super().get_queryset().filter(priority__gt=0)


urlpatterns = [
    path("api/", include(routes(QuickViewSet))),
    path("short/", include(routes(ShortViewSet), namespace="short")),
    path("urgent/", include(routes(UrgentViewSet), namespace="urgent")),
]
