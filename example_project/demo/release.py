"""The demo's release: planned as soon as a few documents are published. Then it waits for whoever sits there."""

import contextlib
import os
import shlex
import sys
from pathlib import Path

from django_workflow import InProgress, workflow
from django_workflow.exceptions import WorkflowFinished
from example_project.demo.processes import PROJECT
from example_project.documents.models import Document
from example_project.publishing.models import Release
from example_project.publishing.releases import decide, plan

TITLE = "The first three"
SIZE = 3


class DemoRelease:
    """The one release of the demo."""

    def __init__(self, *, decides: bool) -> None:
        """Nothing happens yet.

        Args:
            decides: approve it, instead of waiting for somebody.
        """
        self.decides = decides
        self.decided = False
        self.ended = False
        self.news = ""

    def look(self) -> str | None:
        """See how far it is, and help it on. Return a line about it when there is something new."""
        release = Release.objects.filter(title=TITLE).first() or self.plan()
        self.ended = release is None or bool(release.outcome)
        news = self.describe(release) if release is not None else ""
        if news == self.news:
            return None
        self.news = news
        return news

    def plan(self) -> Release | None:
        """Plan it, if there are enough published documents."""
        published = Document.objects.filter(published_at__isnull=False).order_by("published_at", "pk")
        ids = list(published.values_list("pk", flat=True)[:SIZE])
        return plan(TITLE, ids) if len(ids) == SIZE else None

    def describe(self, release: Release) -> str:
        """Say how far it is, and what somebody may do about it."""
        what = f"Release {release.pk} ({release.title})"
        if release.outcome:
            return f"{what} has ended: {release.outcome}"
        assert release.workflow_id is not None
        status = workflow.status(release.workflow_id)
        if not isinstance(status, InProgress) or status.canceling:
            return f"{what} is being undone."
        if status.custom != "waits for approval":
            return f"{what} is being prepared."
        if not self.decides:
            return f"{what} waits for approval: {command(release)}   (or add --reject)"
        self.approve(release)
        return f"{what} has the demo's approval."

    def approve(self, release: Release) -> None:
        """Approve it, once, unless somebody has just been faster."""
        if not self.decided:
            self.decided = True
            with contextlib.suppress(WorkflowFinished):
                decide(release, approval=True)


def command(release: Release) -> str:
    """The command that approves a release, to be typed in the project's folder."""
    database = os.environ.get("DEMO_DATABASE")
    prefix = f"DEMO_DATABASE={shlex.quote(str(Path(database).absolute()))} " if database else ""
    python = Path(sys.executable)
    if python.is_relative_to(PROJECT):
        python = python.relative_to(PROJECT)
    return f"{prefix}{python} manage.py approve {release.pk} --settings example_project.demo_settings"
