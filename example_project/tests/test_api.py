"""The REST API on the example: a document's workflow is started, watched and finished over HTTP."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from django_workflow.testing import Harness
from example_project.documents.models import Document
from example_project.tests.conftest import DocumentFactory

pytestmark = pytest.mark.urls("example_project.urls")


@pytest.fixture
def ann(client: Client, db: None) -> Client:
    """Somebody who may start workflows and look at them."""
    user = User.objects.create_user("ann")
    user.user_permissions.set(Permission.objects.filter(codename__in=["start_workflow", "view_workflow"]))
    client.force_login(user)
    return client


def test_a_document_is_processed_over_http(
    ann: Client, workflow_harness: Harness, add_document: DocumentFactory
) -> None:
    document = add_document("roses.txt", "Roses want sun and water in the garden.")
    body = {
        "definition": "documents.process_document",
        "args": {"document_id": document.pk, "cooling_off": "PT1H"},
    }
    started = ann.post("/api/workflows/", body, content_type="application/json")
    assert started.status_code == 201
    workflow_harness.drain()
    status = ann.get(f"/api/workflows/{started.json()['id']}/status/").json()
    assert (status["type"], status["custom"]) == ("in_progress", {"done": 3, "of": 4})

    workflow_harness.advance(timedelta(hours=1))
    status = ann.get(f"/api/workflows/{started.json()['id']}/status/").json()
    assert status["type"] == "completed"
    assert Document.objects.get(pk=document.pk).published_at is not None


def test_a_release_is_not_started_over_http(ann: Client) -> None:
    body = {"definition": "publishing.release_documents", "args": {}}
    refused = ann.post("/api/workflows/", body, content_type="application/json")
    assert refused.status_code == 400
    assert refused.json()["type"] == "urn:django-workflow:problem:unknown-definition"
