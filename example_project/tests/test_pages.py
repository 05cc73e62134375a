"""The pages for users, over HTTP: what they show, and who may decide about a release."""

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from django_workflow.models import Workflow
from django_workflow.testing import Harness
from example_project.documents.models import Document
from example_project.publishing.models import Release
from example_project.publishing.releases import decide, plan
from example_project.tests.conftest import DocumentFactory

pytestmark = pytest.mark.urls("example_project.urls")

HOME = "/"


def read(client: Client, address: str) -> str:
    """The text of a page."""
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


@pytest.fixture
def staff(client: Client, db: None) -> Client:
    """Somebody who may decide."""
    client.force_login(User.objects.create_user("staff", is_staff=True))
    return client


@pytest.fixture
def release(workflow_harness: Harness) -> Release:
    """A release that waits for a decision."""
    roses = Document.objects.create(title="Roses", published_at=timezone.now())
    planned = plan("Garden", [roses.pk])
    workflow_harness.drain()
    return planned


def page_of(release: Release) -> str:
    """The address of its page."""
    return reverse("pages:release", args=[release.pk])


# ── documents ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_document_shows_how_far_it_is(
    workflow_harness: Harness, client: Client, add_document: DocumentFactory
) -> None:
    add_document("roses.txt", "roses and tulips")
    workflow_harness.drain()
    page = read(client, HOME)
    assert '<progress max="4" value="3"' in page
    assert "in progress" in page
    assert "roses, tulips" in page

    workflow_harness.advance(settings.COOLING_OFF)
    page = read(client, HOME)
    assert '<progress max="4" value="4"' in page
    assert "completed" in page


def test_the_part_that_changes_comes_alone_and_only_when_it_has_changed(
    workflow_harness: Harness, client: Client, add_document: DocumentFactory
) -> None:
    add_document("roses.txt", "roses and tulips")
    part = client.get(HOME, {"live": ""})
    assert "<html" not in part.content.decode()
    assert "roses.txt" in part.content.decode()
    again = {"live": ""}, {"If-None-Match": part["ETag"]}
    assert client.get(HOME, again[0], headers=again[1]).status_code == 304

    workflow_harness.drain()
    assert client.get(HOME, again[0], headers=again[1]).status_code == 200


def test_users_are_told_what_is_wrong_with_their_document(
    workflow_harness: Harness, client: Client, add_document: DocumentFactory
) -> None:
    add_document("empty.txt", "")
    workflow_harness.drain()
    page = read(client, HOME)
    assert "failed" in page
    assert "empty file" in page


def test_an_error_that_was_not_written_for_them_is_kept_from_users(
    workflow_harness: Harness, client: Client
) -> None:
    from example_project.documents.ingest import add

    add(Document(title="Lost", path="/somewhere/secret/lost.txt"))
    workflow_harness.drain()
    page = read(client, HOME)
    assert "failed" in page
    assert "secret" not in page


def test_a_title_is_text(client: Client, db: None) -> None:
    Document.objects.create(title="<script>alert(1)</script>")
    page = read(client, HOME)
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page


def test_a_document_whose_workflow_was_cleaned_up_is_still_there(client: Client, db: None) -> None:
    Document.objects.create(title="Roses")
    assert "no workflow" in read(client, HOME)


def test_a_page_takes_four_queries_however_many_documents(
    workflow_harness: Harness,
    client: Client,
    add_document: DocumentFactory,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(8):
        add_document(f"roses-{number}.txt", "roses")
    with django_assert_num_queries(4):  # how many documents, this page's, the releases, their workflows
        page = read(client, HOME)
    assert "8 documents" in page


def test_older_documents_are_on_the_next_page(client: Client, db: None) -> None:
    Document.objects.bulk_create(Document(title=f"Roses {number:02}") for number in range(31))
    assert "Roses 00" not in read(client, HOME)
    page = read(client, HOME + "?page=2")
    assert "Roses 00" in page
    assert 'data-live="?live&amp;page=2"' in page
    assert "Roses 00" in read(client, HOME + "?page=no-number&page=999")


def test_the_admin_is_a_link_away(client: Client, db: None) -> None:
    assert f'href="{reverse("admin:index")}"' in read(client, HOME)


# ── a release ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_release_that_waits_is_shown_to_everybody_and_decided_upon_by_nobody(
    client: Client, release: Release
) -> None:
    assert "Garden" in read(client, HOME)
    page = read(client, page_of(release))
    assert "waits for approval" in page
    assert "10.5555/" in page
    assert "Approve" not in page

    response = client.post(page_of(release), {"decision": "approve"})
    assert response["Location"] == f"{reverse('admin:login')}?next={page_of(release)}"
    assert not has_decision(release)


def test_a_user_who_is_no_staff_may_not_decide(client: Client, release: Release) -> None:
    client.force_login(User.objects.create_user("reader"))
    assert client.post(page_of(release), {"decision": "approve"}).status_code == 403
    assert not has_decision(release)


@pytest.mark.parametrize(
    ("decision", "said", "state", "outcome"),
    [
        ("approve", "You have approved it.", "completed", "appears on "),
        ("reject", "You have rejected it.", "failed", "Refused: somebody has said no"),
    ],
)
def test_staff_decide(
    workflow_harness: Harness,
    staff: Client,
    release: Release,
    decision: str,
    said: str,
    state: str,
    outcome: str,
) -> None:
    page = read(staff, page_of(release))
    assert all(word in page for word in ("Approve", "Reject", "csrfmiddlewaretoken"))

    answer = staff.post(page_of(release), {"decision": decision}, follow=True)
    assert answer.redirect_chain == [(page_of(release), 302)]
    assert said in answer.content.decode()

    workflow_harness.drain()
    assert workflow_of(release).state == state
    page = read(staff, page_of(release))
    assert outcome in page
    assert "Approve" not in page


def test_a_decision_needs_the_token_of_the_form(release: Release) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.create_user("staff", is_staff=True))
    assert strict.post(page_of(release), {"decision": "approve"}).status_code == 403
    assert not has_decision(release)


def test_no_other_decision_is_taken(staff: Client, release: Release) -> None:
    assert staff.post(page_of(release), {"decision": "perhaps"}).status_code == 400
    assert not has_decision(release)


def test_looking_decides_nothing(staff: Client, release: Release) -> None:
    read(staff, page_of(release) + "?decision=approve")
    assert not has_decision(release)


def test_a_decision_that_comes_too_late_is_answered(
    workflow_harness: Harness, staff: Client, release: Release
) -> None:
    decide(release, False)
    workflow_harness.drain()
    answer = staff.post(page_of(release), {"decision": "approve"}, follow=True)
    assert "It is too late: Refused: somebody has said no." in answer.content.decode()


def test_the_page_changes_its_stage_when_the_release_has_ended(
    workflow_harness: Harness, client: Client, release: Release
) -> None:
    assert 'data-stage="open"' in read(client, page_of(release) + "?live")
    decide(release, True)
    workflow_harness.drain()
    assert 'data-stage="ended"' in read(client, page_of(release) + "?live")


def test_there_is_no_page_of_no_release(client: Client, db: None) -> None:
    assert client.get(reverse("pages:release", args=[1])).status_code == 404


def has_decision(release: Release) -> bool:
    """Whether anything was sent to its workflow."""
    return workflow_of(release).events.exists()


def workflow_of(release: Release) -> Workflow:
    """Its workflow."""
    assert release.workflow_id is not None
    return Workflow.objects.get(pk=release.workflow_id)
