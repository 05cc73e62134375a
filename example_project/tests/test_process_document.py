"""How to test a workflow: start it, let the harness work, move the clock. No cluster, no waiting."""

import itertools
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings

from django_workflow import InProgress, workflow
from django_workflow.status import Status
from django_workflow.testing import Harness, SimulatedCrash
from example_project.documents.models import Document
from example_project.documents.workflows import find_similar
from example_project.tests.conftest import DocumentFactory

GARDEN = "Roses and tulips grow in the garden. Water the roses, prune the roses, love the tulips."
PLANTS = "A garden of roses needs water. Prune the tulips and the roses in spring."
ENGINE = "The diesel engine burns fuel. Pistons move the crankshaft of the engine."


def status_of(document: Document) -> Status:
    """The status of the document's workflow."""
    assert document.workflow_id is not None
    return workflow.status(document.workflow_id)


def run_to_its_end(workflow_harness: Harness) -> None:
    """Let a workflow end, also one whose worker has died: its lease ends in the first cooling-off time."""
    workflow_harness.drain()
    workflow_harness.advance(settings.COOLING_OFF)
    workflow_harness.advance(settings.COOLING_OFF)


def test_a_document_is_analyzed_rests_and_is_published(
    workflow_harness: Harness, add_document: DocumentFactory
) -> None:
    document = add_document("garden.md", f"# Garden\n\n{GARDEN}")

    workflow_harness.drain()
    document.refresh_from_db()
    assert document.keywords[:3] == ["roses", "garden", "tulips"]
    assert document.published_at is None

    workflow_harness.advance(settings.COOLING_OFF)
    document.refresh_from_db()
    assert document.published_at is not None
    assert workflow_harness.result(document.workflow_id) == []


def test_the_cooling_off_is_neither_shorter_nor_longer(
    workflow_harness: Harness, add_document: DocumentFactory
) -> None:
    document = add_document("garden.txt", GARDEN)
    workflow_harness.freeze(workflow_harness.now())
    workflow_harness.drain()

    workflow_harness.advance(timedelta(days=30) - timedelta(seconds=1))
    assert isinstance(status_of(document), InProgress)

    workflow_harness.advance(timedelta(seconds=1))
    assert status_of(document).type == "completed"


def test_similar_documents_are_linked(workflow_harness: Harness, add_document: DocumentFactory) -> None:
    garden, plants = add_document("garden.txt", GARDEN), add_document("plants.txt", PLANTS)
    add_document("engine.txt", ENGINE)

    workflow_harness.drain()
    workflow_harness.advance(settings.COOLING_OFF)

    assert list(garden.similar.all()) == [plants]
    assert list(plants.similar.all()) == [garden]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.txt", b"", "UnreadableDocument: empty file"),
        ("latin.txt", b"Gr\xfc\xdfe", "UnreadableDocument: byte 0xfc at position 2 is not UTF-8"),
        ("broken.pdf", b"%PDF-1.4\nnothing else", "UnreadableDocument: broken PDF: "),
    ],
)
def test_an_unreadable_document_fails_and_says_why(
    workflow_harness: Harness, add_document: DocumentFactory, name: str, content: bytes, reason: str
) -> None:
    document = add_document(name, content)

    workflow_harness.drain()

    failure = document.failure()
    assert failure is not None
    assert failure.startswith(reason)
    document.refresh_from_db()
    assert (document.text, document.revision, document.published_at) == ("", 0, None)


def test_a_file_that_has_gone_fails_the_workflow(
    workflow_harness: Harness, add_document: DocumentFactory
) -> None:
    document = add_document("gone.txt", GARDEN)
    Path(document.path).unlink()

    workflow_harness.drain()

    assert str(document.failure()).startswith("FileNotFoundError: ")


@pytest.mark.parametrize("after", [False, True], ids=["before a commit", "after a commit"])
def test_a_document_is_saved_once_wherever_the_worker_dies(
    transactional_db: None, workflow_harness: Harness, add_document: DocumentFactory, after: bool
) -> None:
    for commit in itertools.count(1):
        document = add_document(f"garden-{commit}.txt", GARDEN)

        workflow_harness.crash_at(commit, after=after)
        crashed = False
        try:
            run_to_its_end(workflow_harness)
        except SimulatedCrash:
            crashed = True
            run_to_its_end(workflow_harness)

        document.refresh_from_db()
        assert document.revision == 1
        assert document.published_at is not None
        assert document.workflow_id is not None
        workflow_harness.assert_replays(document.workflow_id)
        if not crashed:  # there are fewer commits than that: all have been tried
            break
    assert commit > 3


def test_steps_can_be_replaced(workflow_harness: Harness, add_document: DocumentFactory) -> None:
    other, document = add_document("engine.txt", ENGINE), add_document("garden.txt", GARDEN)

    with workflow_harness.replace(find_similar, with_=lambda document_id: [other.pk]):
        workflow_harness.drain()
        workflow_harness.advance(settings.COOLING_OFF)

    assert list(document.similar.all()) == [other]


def test_the_status_tells_how_far_it_is(workflow_harness: Harness, add_document: DocumentFactory) -> None:
    document = add_document("garden.txt", GARDEN)

    workflow_harness.drain()

    assert status_of(document).custom == {"done": 3, "of": 4}
