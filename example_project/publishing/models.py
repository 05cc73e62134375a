"""The release, and its documents with their identifiers.

How far its workflow has got is not repeated here: the journal knows (`with_state`).
"""

from __future__ import annotations

from django.db import models

from django_workflow.models import Workflow
from example_project.documents.models import Document

STATE = models.Subquery(Workflow.objects.filter(pk=models.OuterRef("workflow_id")).values("state")[:1])
TITLE_LIMIT = 100


class ReleaseQuerySet(models.QuerySet["Release"]):
    """Named selections of releases."""

    def with_state(self) -> ReleaseQuerySet:
        """Add `state`: that of the release's workflow; None if there is none any more."""
        return self.annotate(state=STATE)


class Release(models.Model):
    """Several documents that appear together on a day of their own."""

    title = models.CharField(max_length=TITLE_LIMIT, unique=True)
    documents = models.ManyToManyField(Document, through="Entry")
    # Reserved while the release is prepared, given back when nothing comes of it. A day has one release.
    day = models.DateField(null=True, unique=True)
    released_at = models.DateTimeField(null=True)
    # What came of it, in words; empty until the workflow has ended.
    outcome = models.TextField(blank=True)
    # Set in the transaction that creates the release.
    workflow_id = models.UUIDField(null=True)

    objects = ReleaseQuerySet.as_manager()

    def __str__(self) -> str:
        """Return the title."""
        return self.title


class Entry(models.Model):
    """A document in a release. It exists as long as the document's identifier is registered."""

    release = models.ForeignKey(Release, models.CASCADE)
    document = models.ForeignKey(Document, models.PROTECT)
    identifier = models.CharField(max_length=100)

    class Meta:
        """A document is in a release once."""

        constraints = [
            models.UniqueConstraint(fields=["release", "document"], name="a_document_is_in_a_release_once")
        ]

    def __str__(self) -> str:
        """Return the identifier."""
        return self.identifier
