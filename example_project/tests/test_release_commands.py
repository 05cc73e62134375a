"""`manage.py release` and `manage.py approve`: what they do and say; and releases in the admin."""

import io

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from django_workflow.testing import Harness
from example_project.documents.models import Document
from example_project.publishing.models import Release


def run(*arguments: str) -> str:
    """Run a command; return what it says."""
    output = io.StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue().strip()


@pytest.fixture
def roses(db: None) -> str:
    """The number of a published document."""
    return str(Document.objects.create(title="Roses", published_at=timezone.now()).pk)


def test_a_release_is_planned_and_approved(workflow_harness: Harness, roses: str) -> None:
    said = run("release", "--title", "Garden", roses)
    release = Release.objects.get()
    number = str(release.pk)
    assert said == f"release {number}, workflow {release.workflow_id}: decide by `manage.py approve {number}`"
    workflow_harness.drain()

    assert run("approve", number) == "approved  Garden"
    workflow_harness.drain()

    release.refresh_from_db()
    assert release.outcome == f"appears on {release.day}"
    with pytest.raises(CommandError, match=f"It is too late: appears on {release.day}."):
        run("approve", number, "--reject")


def test_a_release_is_refused(workflow_harness: Harness, roses: str) -> None:
    run("release", "--title", "Garden", roses)
    workflow_harness.drain()

    assert run("approve", str(Release.objects.get().pk), "--reject") == "refused  Garden"
    workflow_harness.drain()

    assert Release.objects.get().outcome == "Refused: somebody has said no"


def test_a_release_is_approved_by_a_link(workflow_harness: Harness, roses: str, client: Client) -> None:
    run("release", "--title", "Garden", roses)
    workflow_harness.drain()
    number = str(Release.objects.get().pk)

    address = run("approve", number, "--link")
    assert "Approve" in client.get(address, headers={"accept": "text/html"}).content.decode()
    assert client.post(address, {"value": "true"}).status_code == 202
    workflow_harness.drain()

    release = Release.objects.get()
    assert release.outcome == f"appears on {release.day}"
    with pytest.raises(CommandError, match="It is too late"):
        run("approve", number, "--link")


def test_what_cannot_be_released_is_named(workflow_harness: Harness, roses: str) -> None:
    run("release", "--title", "Garden", roses)
    draft = str(Document.objects.create(title="Draft").pk)

    with pytest.raises(CommandError, match=f"Document {draft} does not exist or is not published"):
        run("release", "--title", "House", roses, draft)
    other = str(Document.objects.create(title="Tulips", published_at=timezone.now()).pk)
    with pytest.raises(CommandError, match="There is a release 'Garden' already, of other documents"):
        run("release", "--title", "Garden", other)
    with pytest.raises(CommandError, match="A title has 1 to 100 printable characters"):
        run("release", "--title", "", roses)
    with pytest.raises(CommandError, match="There is no release 0"):
        run("approve", "0")
    assert Release.objects.count() == 1


def test_the_admin_shows_how_far_a_release_is(
    workflow_harness: Harness, admin_client: Client, roses: str
) -> None:
    run("release", "--title", "Garden", roses)
    workflow_harness.drain()
    release = Release.objects.get()

    page = admin_client.get(reverse("admin:publishing_release_changelist")).content.decode()
    assert "Garden" in page
    assert "in progress" in page

    page = admin_client.get(reverse("admin:publishing_release_change", args=[release.pk])).content.decode()
    assert "Roses" in page
    assert f"10.5555/{release.pk}-{roses}" in page

    run("approve", str(release.pk))
    workflow_harness.drain()
    page = admin_client.get(reverse("admin:publishing_release_changelist")).content.decode()
    assert "completed" in page
    assert "appears on" in page
