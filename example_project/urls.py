"""Addresses of the example: the pages for its users, and the admin."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("example_project.pages.urls")),
    path("admin/", admin.site.urls),
]
