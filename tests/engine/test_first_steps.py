"""The main road: start, turn, sleep, end."""

from datetime import timedelta

import pytest

from django_workflow import Completed, InProgress, workflow
from django_workflow.testing import Harness
from tests.shop.models import Entry
from tests.shop.workflows import echo, parallel, steps_of_all_kinds


def test_steps_of_all_kinds_run_in_order(workflow_harness: Harness) -> None:
    run = steps_of_all_kinds.start("apple")
    workflow_harness.drain()
    assert isinstance(workflow.status(run), InProgress)
    assert [(step.number, step.kind, step.state) for step in workflow_harness.journal(run)] == [
        (1, "query", "completed"),
        (2, "mutation", "completed"),
        (3, "action", "completed"),
        (4, "sleep", "pending"),
    ]
    workflow_harness.advance(timedelta(days=29, hours=23))
    assert isinstance(workflow.status(run), InProgress)
    workflow_harness.advance(timedelta(hours=2))
    assert workflow.status(run) == Completed([0, 1, 2, 2])
    assert Entry.objects.filter(label="apple").count() == 2
    workflow_harness.assert_replays(run)


@pytest.mark.django_db(transaction=True)
def test_parallel_actions(workflow_harness: Harness) -> None:
    assert workflow_harness.run(parallel, list(range(20))) == Completed([2 * value for value in range(20)])


def test_a_value_comes_back(workflow_harness: Harness) -> None:
    value = {"b": [1, None, {"ü": "\ud800\0"}], "a": 1e308}
    assert workflow_harness.run(echo, value) == Completed(value)
