"""The ledger itself: it finds what was lost, what happened twice and what ended wrongly."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import transaction

from django_workflow.models import Step, Workflow
from django_workflow.testing import Harness
from tests.cluster.app.load import SHAPES
from tests.cluster.ledger import Load, settle
from tests.shop.models import Entry

# It is read by the same queries on every database, and once is enough.
pytestmark = [pytest.mark.django_db, pytest.mark.postgres]

LINE, ONCE, CANCELED = (f"{list(SHAPES).index(name)}-{name}" for name in ("line", "once", "canceled"))


def again(label: str) -> None:
    Entry.objects.create(label=label)


def lose(label: str) -> None:
    Entry.objects.filter(label=label).delete()


def change(**values: str) -> None:
    Workflow.objects.filter(key=LINE).update(**values)


def begin_twice() -> None:
    again(f"{ONCE}/a@2")
    Step.objects.filter(workflow__key=ONCE, kind="action").update(attempts=2)


HARMS: list[tuple[Callable[[], object], str]] = [
    (lambda: lose(f"{LINE}/2"), f"lost: {LINE}/2"),
    (lambda: lose(f"{LINE}/end"), f"lost: {LINE}/end"),
    (lambda: lose(f"{LINE}/a@1"), f"lost: the attempt 1 of {LINE}/a"),
    (lambda: Workflow.objects.get(key=LINE).delete(), f"lost: the workflow {LINE}"),
    (lambda: again(f"{LINE}/2"), f"doubled: {LINE}/2, 2 times"),
    (lambda: again(f"{LINE}/a@1"), f"doubled: the attempt {LINE}/a@1, 2 times"),
    (lambda: again(f"{LINE}/a@2"), f"doubled: {LINE}/a began [1, 2], and 1 attempts were counted"),
    (begin_twice, f"doubled: {ONCE}/a, at most once, began [1, 2]"),
    (lambda: again(f"{LINE}/4"), "wrong: "),
    (lambda: again(f"{CANCELED}.7/3"), f"wrong: 1 marks of {CANCELED} after its cancel"),
    (lambda: change(state="canceled"), f"wrong: {LINE} has canceled"),
    (lambda: change(result_text="3"), f"wrong: {LINE} has the result 3"),
    (lambda: change(key="x"), "wrong: the workflow x, which nobody started"),
]


def test_it_finds_nothing_where_all_is_well_and_every_harm(workflow_harness: Harness) -> None:
    load = Load(seed=1)
    for name in SHAPES:
        load.start_one(name)
    workflow_harness.drain()
    load.finish()
    for _ in range(20):
        workflow_harness.drain()
        workflow_harness.advance(timedelta(seconds=5))

    ledger = settle(load)
    assert ledger.problems == []
    assert ledger.started == len(SHAPES)
    assert ledger.expected == ledger.found > 40
    assert load.canceled[CANCELED] > 0
    assert ledger.endings == {"completed": len(SHAPES) - 2, "failed": 1, "canceled": 1}

    for harm, found in HARMS:
        with transaction.atomic():
            harm()
            problems = settle(load).problems
            assert any(problem.startswith(found) for problem in problems), (found, problems)
            transaction.set_rollback(True)
        assert settle(load).problems == []
