"""Addresses of the example: the pages for its users, the admin, and the REST API."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("example_project.pages.urls")),
    path("admin/", admin.site.urls),
    path("api/", include("django_workflow.rest.urls")),
]
