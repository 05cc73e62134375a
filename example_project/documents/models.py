"""The document: where its file is, and what its workflow has found out about it.

How far the workflow has got is not repeated here: the journal knows (`with_state`).
"""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

from django.db import models

from django_workflow import Failed, workflow
from django_workflow.exceptions import WorkflowNotFound
from django_workflow.models import Workflow
from example_project.documents.extract import Kind, UnreadableDocument, kind_of

STATE = models.Subquery(Workflow.objects.filter(pk=models.OuterRef("workflow_id")).values("state")[:1])
FILE_LIMIT = 32 * 2**20
TITLE_LIMIT = 200


class DocumentQuerySet(models.QuerySet["Document"]):
    """Named selections of documents."""

    def with_state(self) -> DocumentQuerySet:
        """Add `state`: that of the document's workflow; None if there is none, or none any more."""
        return self.annotate(state=STATE)

    def states(self) -> dict[int, str | None]:
        """Return the `state` of each by its id, in the order of the ids."""
        return dict(self.annotate(state=STATE).order_by("pk").values_list("pk", "state"))


class Document(models.Model):
    """A file of somebody's: uploaded in the admin, or left where it is and known by its path."""

    title = models.CharField(
        max_length=TITLE_LIMIT, blank=True, help_text="The file's name, unless you say otherwise."
    )
    file = models.FileField(upload_to="documents/", blank=True)
    path = models.TextField(blank=True, editable=False)
    kind = models.CharField(max_length=10, choices=Kind.choices, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    # The workflow that processes it; set in the transaction that creates the document.
    workflow_id = models.UUIDField(null=True, editable=False)

    text = models.TextField(blank=True, editable=False)
    keywords = models.JSONField(default=list, editable=False)
    embedding = models.JSONField(default=list, editable=False)
    # The number of times that an analysis was saved: 0 before it, then 1, unless somebody restarts the workflow.
    revision = models.PositiveIntegerField(default=0, editable=False)
    similar = models.ManyToManyField("self", symmetrical=False, editable=False)
    published_at = models.DateTimeField(null=True, editable=False)

    objects = DocumentQuerySet.as_manager()

    def __str__(self) -> str:
        """Return the title."""
        return self.title

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, with the title and the kind taken from the file's name where they are missing."""
        name = self.path or self.file.name or ""
        self.title = self.title or "/".join(PurePath(name).parts[-2:])[-TITLE_LIMIT:]
        self.kind = self.kind or kind_of(name)
        super().save(*args, **kwargs)

    def read(self) -> bytes:
        """Return the bytes of the file.

        Raises:
            OSError: the file is gone, or may not be read.
            UnreadableDocument: it has more than `FILE_LIMIT` bytes.
        """
        with Path(self.path).open("rb") if self.path else self.file.open("rb") as file:
            data: bytes = file.read(FILE_LIMIT + 1)
        if len(data) > FILE_LIMIT:
            raise UnreadableDocument(f"larger than {FILE_LIMIT // 2**20} MiB")
        return data

    def failure(self) -> str | None:
        """Return why the document's workflow failed, as `Type: message`; None if it did not fail."""
        if self.workflow_id is None:
            return None
        try:
            status = workflow.status(self.workflow_id)
        except WorkflowNotFound:
            return None
        if not isinstance(status, Failed):
            return None
        return f"{status.error.type.rpartition('.')[2]}: {status.error.message}"
