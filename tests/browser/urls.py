"""Addresses of the site that the browser visits: those of the example, and the icon that every browser asks for."""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def no_icon(request: HttpRequest) -> HttpResponse:
    """The admin has none, and the console would complain of a 404."""
    return HttpResponse(status=204)


urlpatterns = [path("favicon.ico", no_icon), path("", include("example_project.urls"))]
