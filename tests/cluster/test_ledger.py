"""The ledger itself: it finds what was lost, what happened twice and what ended wrongly."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from django_workflow.models import Step, Workflow
from django_workflow.testing import Harness
from tests.cluster.app.load import SHAPES
from tests.cluster.ledger import Load, settle
from tests.shop.models import Entry

# It is read by the same queries on every database, and once is enough.
pytestmark = [pytest.mark.django_db, pytest.mark.postgres]


def run_all(harness: Harness, *names: str) -> Load:
    """One workflow of each of these shapes, at its end."""
    load = Load(seed=1)
    for name in names:
        load.start_one(name)
    harness.drain()
    load.finish()
    for _ in range(20):
        harness.drain()
        harness.advance(timedelta(seconds=5))
    return load


@pytest.fixture
def load(workflow_harness: Harness) -> Load:
    return run_all(workflow_harness, "line", "once")


def again(label: str) -> None:
    Entry.objects.create(label=label)


def test_what_is_right(workflow_harness: Harness) -> None:
    load = run_all(workflow_harness, *SHAPES)
    ledger = settle(load)
    assert ledger.problems == []
    assert ledger.started == len(SHAPES)
    assert ledger.expected == ledger.found > 40
    assert ledger.endings == {"completed": len(SHAPES) - 2, "failed": 1, "canceled": 1}


@pytest.mark.parametrize(
    ("harm", "found"),
    [
        (lambda: Entry.objects.filter(label="0-line/2").delete(), "lost: 0-line/2"),
        (lambda: Entry.objects.filter(label="0-line/end").delete(), "lost: 0-line/end"),
        (lambda: again("0-line/2"), "doubled: 0-line/2, 2 times"),
        (lambda: again("0-line/4"), "wrong: "),
        (lambda: again("0-line/a@1"), "doubled: the attempt 0-line/a@1, 2 times"),
        (lambda: again("0-line/a@2"), "doubled: 0-line/a began [1, 2], and 1 attempts were counted"),
        (lambda: Entry.objects.filter(label="0-line/a@1").delete(), "lost: the attempt 1 of 0-line/a"),
        (lambda: Workflow.objects.get(key="0-line").delete(), "lost: the workflow 0-line"),
        (
            lambda: Workflow.objects.filter(key="0-line").update(state="canceled"),
            "wrong: 0-line has canceled",
        ),
        (
            lambda: Workflow.objects.filter(key="0-line").update(result_text="3"),
            "wrong: 0-line has the result 3",
        ),
        (
            lambda: Workflow.objects.filter(key="0-line").update(key="x"),
            "wrong: the workflow x, which nobody",
        ),
    ],
)
def test_what_is_not(load: Load, harm: Callable[[], object], found: str) -> None:
    harm()
    assert any(problem.startswith(found) for problem in settle(load).problems)


def test_what_begins_at_most_once_and_began_twice(load: Load) -> None:
    again("1-once/a@2")
    Step.objects.filter(workflow__key="1-once", kind="action").update(attempts=2)
    assert "doubled: 1-once/a, at most once, began [1, 2]" in settle(load).problems


def test_what_was_done_after_a_cancel(workflow_harness: Harness) -> None:
    load = run_all(workflow_harness, "canceled")
    assert load.canceled["0-canceled"] > 0
    again("0-canceled.7/3")
    assert "wrong: 1 marks of 0-canceled after its cancel" in settle(load).problems
