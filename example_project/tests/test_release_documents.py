"""How to test a workflow that others decide about: events, timeouts, retries, children, rollbacks, crashes."""

import itertools
from collections.abc import Callable
from datetime import date, timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from django_workflow import Completed, Failed, InProgress, current_step, workflow
from django_workflow.exceptions import KeyConflict, WorkflowFinished
from django_workflow.status import Status
from django_workflow.testing import Harness, SimulatedCrash
from example_project.documents.models import Document
from example_project.publishing import agency
from example_project.publishing.models import Entry, Release
from example_project.publishing.releases import Unreleasable, decide, plan
from example_project.publishing.workflows import prepare, publish, register, release_documents, reserve_day

DocumentsFactory = Callable[..., list[int]]

SECOND = timedelta(seconds=1)


@pytest.fixture
def published() -> DocumentsFactory:
    """`published("Roses", "Tulips")` makes documents that are published already; returns their ids."""

    def make(*titles: str) -> list[int]:
        documents = [Document.objects.create(title=title, published_at=timezone.now()) for title in titles]
        return [document.pk for document in documents]

    return make


def status_of(release: Release) -> Status:
    """The status of the release's workflow."""
    assert release.workflow_id is not None
    return workflow.status(release.workflow_id)


def run_to_its_end(workflow_harness: Harness) -> None:
    """Let a release end, also when its worker has died: the leases of the dead end in time."""
    workflow_harness.drain()
    for _ in range(3):
        workflow_harness.advance(timedelta(minutes=1))


def assert_released(release: Release) -> None:
    """It appears, with all its documents."""
    release.refresh_from_db()
    assert release.released_at is not None
    assert release.outcome == f"appears on {release.day}"
    titles = set(release.documents.values_list("title", flat=True))
    assert titles
    assert titles <= agency.registered()


def assert_undone(release: Release, outcome: str) -> None:
    """It doesn't appear, and nothing is left behind: no day, no entry, no title at the agency."""
    release.refresh_from_db()
    assert release.outcome == outcome
    assert (release.released_at, release.day) == (None, None)
    assert not Entry.objects.filter(release=release).exists()
    assert agency.registered() == set()


# ── events ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_approved_release_appears(workflow_harness: Harness, published: DocumentsFactory) -> None:
    release = plan("Garden", published("Roses", "Tulips"))

    workflow_harness.drain()
    status = status_of(release)
    assert isinstance(status, InProgress)
    assert status.custom == "waits for approval"
    assert agency.registered() == {"Roses", "Tulips"}

    decide(release, approval=True)
    workflow_harness.drain()
    assert_released(release)
    assert status_of(release) == Completed(release.day, "released")


def test_an_approval_may_come_before_it_is_asked_for(
    workflow_harness: Harness, published: DocumentsFactory
) -> None:
    release = plan("Garden", published("Roses"))
    decide(release, approval=True)

    workflow_harness.drain()

    assert_released(release)


def test_a_refused_release_leaves_nothing_behind(
    workflow_harness: Harness, published: DocumentsFactory
) -> None:
    release = plan("Garden", published("Roses", "Tulips"))
    workflow_harness.drain()

    decide(release, approval=False)
    workflow_harness.drain()

    assert_undone(release, "Refused: somebody has said no")
    assert release.workflow_id is not None
    undone = [step.name for step in workflow_harness.journal(release.workflow_id) if step.kind == "rollback"]
    assert undone == ["withdraw", "withdraw", "give_back_day"]


def test_without_a_decision_it_is_undone_in_time(
    workflow_harness: Harness, published: DocumentsFactory
) -> None:
    release = plan("Garden", published("Roses"))
    workflow_harness.freeze(workflow_harness.now())
    workflow_harness.drain()

    workflow_harness.advance(settings.APPROVAL_TIME - SECOND)
    assert isinstance(status_of(release), InProgress)
    workflow_harness.advance(SECOND)

    status = status_of(release)
    assert isinstance(status, Failed)
    assert status.error.type == "builtins.TimeoutError"
    assert_undone(release, f"TimeoutError: {status.error.message}")
    with pytest.raises(WorkflowFinished):
        decide(release, approval=True)


# ── keys and labels ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_double_click_plans_one_release(workflow_harness: Harness, published: DocumentsFactory) -> None:
    documents = published("Roses", "Tulips")

    first, second = plan("Garden", documents), plan("Garden", documents)

    assert (first, first.workflow_id) == (second, second.workflow_id)
    assert workflow.list(release_documents, labels={"release": first.pk}).count() == 1
    with pytest.raises(KeyConflict):
        plan("Garden", documents[:1])


def test_two_releases_have_a_day_each(workflow_harness: Harness, published: DocumentsFactory) -> None:
    documents = published("Roses")
    garden, house = plan("Garden", documents), plan("House", documents)

    workflow_harness.drain()

    garden.refresh_from_db()
    house.refresh_from_db()
    assert garden.day is not None
    assert house.day is not None
    assert abs(garden.day - house.day) == timedelta(days=1)


def test_only_published_documents_are_released(workflow_harness: Harness) -> None:
    draft = Document.objects.create(title="Draft")

    with pytest.raises(Unreleasable, match=f"Document {draft.pk} does not exist or is not published"):
        plan("Garden", [draft.pk])

    assert not Release.objects.exists()
    assert not workflow.list(release_documents).exists()


# ── retries ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_busy_agency_is_asked_again(workflow_harness: Harness, published: DocumentsFactory) -> None:
    release = plan("Garden", published("Roses"))

    with agency.counter():  # somebody else is served
        workflow_harness.drain()
    assert agency.registered() == set()

    workflow_harness.advance(10 * SECOND)
    assert agency.registered() == {"Roses"}
    (child,) = workflow.list(prepare)
    step = workflow_harness.journal(child)[0]
    assert (step.name, step.state, step.attempts) == ("register", "completed", 2)
    decide(release, approval=True)
    workflow_harness.drain()
    assert_released(release)


def test_of_two_that_reach_for_the_same_day_one_tries_again(
    workflow_harness: Harness, published: DocumentsFactory
) -> None:
    documents = published("Roses")
    garden = plan("Garden", documents)
    workflow_harness.drain()
    garden.refresh_from_db()

    def reserves_what_is_taken(release_id: int) -> date:
        if current_step().attempt == 1:
            Release.objects.filter(pk=release_id).update(day=garden.day)
        return reserve_day(release_id)

    house = plan("House", documents)
    with workflow_harness.replace(reserve_day, with_=reserves_what_is_taken):
        workflow_harness.drain()
        workflow_harness.advance(10 * SECOND)

    house.refresh_from_db()
    assert house.day is not None
    assert house.day != garden.day
    assert house.workflow_id is not None
    assert workflow_harness.journal(house.workflow_id)[0].attempts == 2


def test_any_other_trouble_fails_the_release_once_all_have_ended(
    workflow_harness: Harness, published: DocumentsFactory
) -> None:
    roses, tulips = published("Roses", "Tulips")
    release = plan("Garden", [roses, tulips])

    def refuses_tulips(release_id: int, document_id: int) -> str:
        if document_id == tulips:
            raise ValueError("we don't take tulips")
        if current_step().attempt == 1:
            raise agency.Busy
        return register(release_id, document_id)

    with workflow_harness.replace(register, with_=refuses_tulips):
        workflow_harness.drain()
        workflow_harness.advance(10 * SECOND)

    assert_undone(release, "ValueError: we don't take tulips")
    assert sorted(child.state for child in workflow.list(prepare)) == ["completed", "failed"]


# ── rollbacks ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_release_that_cannot_be_published_is_undone(
    workflow_harness: Harness, published: DocumentsFactory
) -> None:
    release = plan("Garden", published("Roses"))
    decide(release, approval=True)

    def fails(release_id: int) -> None:
        Release.objects.filter(pk=release_id).update(released_at=timezone.now())
        raise RuntimeError("out of paper")

    workflow_harness.replace(publish, with_=fails)
    workflow_harness.drain()

    assert_undone(release, "RuntimeError: out of paper")


def test_a_release_that_is_called_off_is_undone(
    workflow_harness: Harness, published: DocumentsFactory
) -> None:
    release = plan("Garden", published("Roses", "Tulips"))
    workflow_harness.drain()
    assert release.workflow_id is not None

    workflow.cancel(release.workflow_id, "no longer wanted", rollback=True)
    workflow_harness.drain()

    assert_undone(release, "canceled: no longer wanted")


def test_a_release_that_is_called_off_in_the_middle_of_its_preparation_is_undone(
    workflow_harness: Harness, published: DocumentsFactory
) -> None:
    release = plan("Garden", published("Roses"))

    def is_the_last_for_now(release_id: int, document_id: int) -> str:
        workflow.pause("maintenance")
        return register(release_id, document_id)

    with workflow_harness.replace(register, with_=is_the_last_for_now):
        workflow_harness.drain()
    assert agency.registered() == {"Roses"}
    assert not release.entry_set.exists()

    assert release.workflow_id is not None
    workflow.cancel(release.workflow_id, "no longer wanted", rollback=True)
    workflow.resume()
    workflow_harness.drain()

    assert_undone(release, "canceled: no longer wanted")


# ── crashes ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("approval", [True, False], ids=["approved", "refused"])
def test_it_is_all_or_nothing_wherever_the_worker_dies(
    transactional_db: None,
    workflow_harness: Harness,
    published: DocumentsFactory,
    approval: bool,
) -> None:
    for commit in itertools.count(1):
        documents = published(f"Roses {commit}", f"Tulips {commit}")
        release = plan(f"Garden {commit}", documents)
        decide(release, approval)

        workflow_harness.crash_at(commit)
        crashed = False
        try:
            run_to_its_end(workflow_harness)
        except SimulatedCrash:
            crashed = True
            run_to_its_end(workflow_harness)

        if approval:
            assert_released(release)
            assert release.entry_set.count() == 2
        else:
            assert_undone(release, "Refused: somebody has said no")
        assert release.workflow_id is not None
        workflow_harness.assert_replays(release.workflow_id)
        if not crashed:  # there are fewer commits than that: all have been tried
            break
    assert commit > 10
