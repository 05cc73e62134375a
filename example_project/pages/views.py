"""The pages: documents and releases with their progress, and the decision about a release.

A page is whole without a script. With one, `live.js` asks for the page's part that changes by `?live`, again and again.
"""

from collections.abc import Iterable
from typing import TypeVar
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import conditional_page, require_http_methods, require_safe

from django_workflow.exceptions import WorkflowFinished
from example_project.documents.models import Document
from example_project.pages.progress import Progress, progress_of
from example_project.publishing.models import Entry, Release
from example_project.publishing.releases import decide

Row = TypeVar("Row", Document, Release)
DOCUMENTS = 30  # on a page
RELEASES = 5
DECISIONS = {"approve": True, "reject": False}


@require_safe
@conditional_page  # an ETag, and 304 while nothing changes
def home(request: HttpRequest) -> HttpResponse:
    """Show the newest releases, and the documents page by page."""
    documents = Document.objects.order_by("-pk").only("title", "workflow_id", "keywords", "published_at")
    page = Paginator(documents, DOCUMENTS).get_page(request.GET.get("page"))
    releases = list(Release.objects.order_by("-pk")[:RELEASES])
    progress = progress_of([*(each.workflow_id for each in page), *(each.workflow_id for each in releases)])
    shown = {
        "page": page,
        "documents": with_progress(page, progress),
        "releases": with_progress(releases, progress),
    }
    return render(request, "pages/_home.html" if "live" in request.GET else "pages/home.html", shown)


@require_http_methods(["GET", "HEAD", "POST"])
@conditional_page
def release(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a release; take the decision about it."""
    found = get_object_or_404(Release, pk=pk)
    if request.method == "POST":
        return take_decision(request, found)
    shown = {
        "release": found,
        "entries": Entry.objects.filter(release=found).select_related("document").order_by("pk"),
        "progress": progress_of([found.workflow_id])[found.workflow_id],
    }
    return render(request, "pages/_release.html" if "live" in request.GET else "pages/release.html", shown)


@login_required(login_url="admin:login")
def take_decision(request: HttpRequest, found: Release) -> HttpResponse:
    """Send the decision to the release's workflow: an event, which it waits for."""
    if not request.user.is_staff:
        raise PermissionDenied
    decision = DECISIONS.get(request.POST.get("decision", ""))
    if decision is None:
        return HttpResponse("A decision is approve or reject.", status=400, content_type="text/plain")
    try:
        decide(found, decision)
    except WorkflowFinished:
        messages.error(request, f"It is too late: {found.outcome or 'the workflow has ended'}.")
    else:
        messages.success(request, "You have approved it." if decision else "You have rejected it.")
    return redirect("pages:release", found.pk)


def with_progress(rows: Iterable[Row], progress: dict[UUID | None, Progress]) -> list[tuple[Row, Progress]]:
    """Pair each row with the progress of its workflow."""
    return [(row, progress[row.workflow_id]) for row in rows]
