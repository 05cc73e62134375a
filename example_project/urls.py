"""Addresses of the example: the pages for its users, the admin, and the REST API."""

from django.apps import apps
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("example_project.pages.urls")),
    path("admin/", admin.site.urls),
    path("api/", include("django_workflow.rest.urls")),
]

if apps.is_installed("drf_spectacular"):
    from drf_spectacular.views import SpectacularAPIView

    urlpatterns.append(path("api/schema/", SpectacularAPIView.as_view(), name="schema"))
