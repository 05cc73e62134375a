"""Documents in the admin, over HTTP."""

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from django_workflow import Canceled, workflow
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from example_project.documents.models import Document
from example_project.tests.conftest import DocumentFactory

ADD = "admin:documents_document_add"
LIST = "admin:documents_document_changelist"
CHANGE = "admin:documents_document_change"
DELETE = "admin:documents_document_delete"


def test_an_upload_starts_a_workflow(workflow_harness: Harness, admin_client: Client) -> None:
    upload = SimpleUploadedFile("roses.txt", b"roses, roses and tulips")
    response = admin_client.post(reverse(ADD), {"title": "", "file": upload})
    assert response.status_code == 302

    workflow_harness.drain()
    document = Document.objects.get()
    assert document.title == "roses.txt"
    assert document.keywords == ["roses", "tulips"]

    workflow_harness.advance(settings.COOLING_OFF)
    page = admin_client.get(reverse(LIST)).content.decode()
    assert "completed" in page
    assert "roses, tulips" in page


def test_an_upload_without_a_file_changes_nothing(workflow_harness: Harness, admin_client: Client) -> None:
    response = admin_client.post(reverse(ADD), {"title": "Roses"})
    assert "This field is required" in response.content.decode()
    assert (Document.objects.count(), Workflow.objects.count()) == (0, 0)


def test_a_failure_shows_its_reason(
    workflow_harness: Harness, admin_client: Client, add_document: DocumentFactory
) -> None:
    document = add_document("empty.txt", "")
    workflow_harness.drain()

    assert "failed" in admin_client.get(reverse(LIST)).content.decode()
    page = admin_client.get(reverse(CHANGE, args=[document.pk])).content.decode()
    assert "UnreadableDocument: empty file" in page


def test_a_new_title_starts_nothing(
    workflow_harness: Harness, admin_client: Client, add_document: DocumentFactory
) -> None:
    document = add_document("roses.txt", "roses")

    admin_client.post(reverse(CHANGE, args=[document.pk]), {"title": "All about roses"})

    document.refresh_from_db()
    assert document.title == "All about roses"
    assert Workflow.objects.count() == 1


@pytest.mark.parametrize("bulk", [False, True], ids=["one", "several"])
def test_a_deleted_document_cancels_its_workflow(
    workflow_harness: Harness, admin_client: Client, add_document: DocumentFactory, bulk: bool
) -> None:
    document = add_document("roses.txt", "roses")
    workflow_harness.drain()
    chosen = {"action": "delete_selected", "_selected_action": [document.pk], "post": "yes"}

    if bulk:
        admin_client.post(reverse(LIST), chosen)
    else:
        admin_client.post(reverse(DELETE, args=[document.pk]), {"post": "yes"})

    assert Document.objects.count() == 0
    assert document.workflow_id is not None
    status = workflow.status(document.workflow_id)
    assert isinstance(status, Canceled)
    assert status.reason == "the document was deleted"
