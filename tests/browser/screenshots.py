"""`make screenshots`: the pictures in docs/images/, of the real pages and the work of a real cluster.

Not a test, though made of the tests' parts, and run by pytest for their database, site, cluster and browser; its name
keeps it out of the suite.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from django.test import override_settings

from django_workflow import workflow
from django_workflow.models import Step, Workflow
from example_project.documents.ingest import add_file
from example_project.documents.models import Document
from example_project.publishing.releases import plan
from tests.browser.chromium import DESK, PHONE, WITHIN, Scheme
from tests.browser.visit import ADMIN, DETAIL, LIST, Visit
from tests.browser.workflows import checkout, delivered, gates, open_gate
from tests.cluster.qcluster import QCluster, eventually

ROOT: Final = Path(__file__).resolve().parents[2]
FOR_DOCS, TO_LOOK_AT = ROOT / "docs" / "images", ROOT / ".test-logs" / "pictures"
IN_DOCS: Final = {"list", "detail", "definitions", "example"}
pytestmark = [pytest.mark.browser, pytest.mark.cluster, pytest.mark.timeout(600)]

CARD, EMPTY_CARD = "4111-1111", "4111-1110"


def test_pictures(cluster: QCluster, operator: Visit, tmp_path: Path) -> None:
    """Take them all: those for the docs, and of the same pages and more those to be looked at once."""
    waiting, failed = work()
    documents(tmp_path)
    gates_that_are_closed()
    pages: dict[str, tuple[str, tuple[Any, ...]]] = {
        "list": (LIST, ()),
        "detail": (DETAIL, (waiting.pk,)),
        "definitions": (f"{ADMIN}definitions", ()),
        "example": ("pages:home", ()),
        "failed": (DETAIL, (failed.pk,)),
        "step": (f"{ADMIN}step", (failed.pk, 2)),
        "cancel": (f"{ADMIN}cancel", (waiting.pk,)),
        "restart": (f"{ADMIN}restart", (failed.pk,)),
        "event": (f"{ADMIN}event", (waiting.pk,)),
    }
    for folder in (FOR_DOCS, TO_LOOK_AT):
        folder.mkdir(parents=True, exist_ok=True)
    for name, (address, args) in pages.items():
        for width, scheme in screens():
            operator.browser.show(width, scheme)
            operator.open(address, *args)
            for_docs = width == DESK and name in IN_DOCS
            file = f"{name}-{scheme}.png" if width == DESK else f"{name}-{scheme}-phone.png"
            operator.browser.save_picture((FOR_DOCS if for_docs else TO_LOOK_AT) / file)


def screens() -> list[tuple[int, Scheme]]:
    """On what the pages are seen."""
    return [(DESK, "light"), (DESK, "dark"), (PHONE, "light"), (PHONE, "dark")]


def work() -> tuple[Workflow, Workflow]:
    """Orders in every state; returns one that waits for its delivery and one that has failed."""
    done = [checkout.start(number, ["rose"], CARD, cooling_off=timedelta(0)) for number in (11, 12, 13)]
    for run in done:
        workflow.send_event(run, delivered, True)
    failed = checkout.start(14, ["oak"], EMPTY_CARD, cooling_off=timedelta(0))
    waiting = checkout.start(15, ["rose", "tulip"], CARD, cooling_off=timedelta(seconds=8))
    for run in [*done, failed]:
        workflow.join(run, WITHIN)
    checkout.start(16, ["daisy"], CARD, cooling_off=timedelta(days=30))
    eventually(lambda: workflow.steps(waiting).filter(kind="event").exists(), "a wait for the delivery", 60)
    return waiting, failed


def gates_that_are_closed() -> None:
    """One workflow that is at a step, and one that was canceled at it."""
    canceled = gates.start("stocktaking", 2)
    eventually(lambda: workflow.steps(canceled).count() > 1, "a step under way")
    workflow.cancel(canceled, reason="counted twice")
    running = gates.start("inventory", 4)
    open_gate("inventory", 0)
    eventually(lambda: workflow.steps(running).count() > 3, "the next step under way")


def documents(folder: Path) -> None:
    """Published ones, some that are cooling off, one that has failed; and a release that waits for its approval."""
    with override_settings(COOLING_OFF=timedelta(0)):
        rows = [add(folder, title) for title in ("Roses and tulips", "The garden in spring", "How to prune")]
        add(folder, "Empty", text="")
    for title in ("Bees", "Water"):
        add(folder, title)
    eventually(
        lambda: Document.objects.filter(published_at__isnull=False).count() == len(rows), "them all", 60
    )
    release = plan("The garden", [row.pk for row in rows])
    assert release.workflow_id is not None
    approval = Step.objects.filter(workflow=release.workflow_id, kind="event")
    eventually(approval.exists, "the approval", 60)


def add(folder: Path, title: str, text: str | None = None) -> Document:
    """A document about its title."""
    file = folder / f"{title}.txt"
    file.write_text(f"{title} in the garden, and more about {title}" if text is None else text)
    document = add_file(file, title)
    assert document is not None
    return document
