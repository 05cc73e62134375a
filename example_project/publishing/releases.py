"""How releases are planned and decided upon. `manage.py release`, `manage.py approve` and the demo come this way."""

from collections.abc import Sequence

from django.conf import settings
from django.db import transaction

from django_workflow import workflow
from example_project.documents.models import Document
from example_project.publishing.models import Release
from example_project.publishing.workflows import approved, release_documents


class Unreleasable(ValueError):
    """A document that no release can have; the message says why."""


def plan(title: str, document_ids: Sequence[int]) -> Release:
    """Make a release of published documents and start its workflow: both or neither.

    The same title and documents again (somebody has clicked twice) give the release that there is.

    Raises:
        Unreleasable: there is no such document, or it isn't published.
        KeyConflict: there is a release of this title, with other documents.
    """
    ids = sorted(set(document_ids))
    published = Document.objects.filter(published_at__isnull=False).in_bulk(ids)
    if missing := [pk for pk in ids if pk not in published]:
        raise Unreleasable(f"Document {missing[0]} does not exist or is not published.")
    with transaction.atomic():
        release, _ = Release.objects.get_or_create(title=title)
        definition = release_documents.using(key=f"release-{release.pk}", labels={"release": release.pk})
        run = definition.start(release.pk, ids, decide_within=settings.APPROVAL_TIME)
        release.workflow_id = run.id
        release.save(update_fields=["workflow_id"])
    return release


def decide(release: Release, approval: bool) -> None:
    """Approve a release, or refuse it. An early decision waits for the release to be prepared; the first one counts.

    Raises:
        WorkflowFinished: it is too late.
    """
    assert release.workflow_id is not None
    workflow.send_event(release.workflow_id, approved, approval)


def link_to_decide(release: Release) -> str:
    """An address by which somebody without an account decides, as a mail would have it.

    Raises:
        WorkflowFinished: it is too late.
    """
    assert release.workflow_id is not None
    return workflow.event_url(release.workflow_id, approved, expires=settings.APPROVAL_TIME)
