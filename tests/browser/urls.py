"""Addresses of the site that the browser visits: those of the example, the icon that every browser asks for, and a page
with everything that is forbidden, by which the tests prove that they would see it.
"""

from django.http import HttpRequest, HttpResponse
from django.urls import include, path

FORBIDDEN = """<!DOCTYPE html><html lang="en"><head><title>Forbidden</title></head><body>
<p style="color: red">An inline style.</p><script>window.inline = true</script>
<img src="/favicon.ico"><input name="nameless"></body></html>"""


def no_icon(request: HttpRequest) -> HttpResponse:
    """The admin has none, and the console would complain of a 404."""
    return HttpResponse(status=204)


def forbidden(request: HttpRequest) -> HttpResponse:
    """Nothing on this page is as it should be."""
    return HttpResponse(FORBIDDEN)


urlpatterns = [
    path("favicon.ico", no_icon),
    path("forbidden/", forbidden, name="forbidden"),
    path("", include("example_project.urls")),
]
