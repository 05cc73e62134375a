"""Writes the golden journals that are not there yet; those that are there stay as they are.

    .venv/bin/python -m pytest tests/golden/record.py

Each is of one workflow, on a clock that begins at NOON, in a folder named by the version of the package. To add one:
its definition at the end of `definitions.py`, its story below, then the line above, and commit the file.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

import pytest

from django_workflow import workflow
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.golden import definitions

FOLDER = Path(__file__).parent / f"v{version('django-durable-workflow')}"
NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)
Story = Callable[[Harness], Workflow]


def _finished(run: Workflow, harness: Harness) -> Workflow:
    harness.drain()
    for _ in range(50):
        harness.advance(timedelta(days=1))
    assert workflow.get(run).finished
    return run


def sequence(harness: Harness) -> Workflow:
    return _finished(definitions.sequence.start(3, factor=1e22), harness)


def sequence_asleep(harness: Harness) -> Workflow:
    run = definitions.sequence.start(3)
    harness.drain()
    return run


def failures(harness: Harness) -> Workflow:
    definitions.failures.clear()
    return _finished(definitions.failing.start("label"), harness)


def parallel(harness: Harness) -> Workflow:
    return _finished(definitions.parallel.start([1, 2, 3, 4]), harness)


def race_won_by_the_event(harness: Harness) -> Workflow:
    run = definitions.race.start()
    harness.drain()
    run.send_event(definitions.approved, True)
    return _finished(run, harness)


def race_won_by_the_timer(harness: Harness) -> Workflow:
    return _finished(definitions.race.start(), harness)


def family(harness: Harness) -> Workflow:
    return _finished(definitions.family.start(5), harness)


def continued(harness: Harness) -> Workflow:
    return _finished(definitions.continued.start(3), harness)


def patched(harness: Harness) -> Workflow:
    return _finished(definitions.patched.start(), harness)


def values(harness: Harness) -> Workflow:
    return _finished(definitions.values.start(Decimal("9.90"), NOON), harness)


def canceled(harness: Harness) -> Workflow:
    run = definitions.waiting.start()
    harness.drain()
    run.cancel("enough")
    return run


def canceled_with_rollbacks(harness: Harness) -> Workflow:
    run = definitions.waiting.start()
    harness.drain()
    run.cancel("undone", rollback=True)
    return _finished(run, harness)


def secrets_masked(harness: Harness) -> Workflow:
    return _finished(definitions.secrets.start("a-token-of-old", 1234), harness)


STORIES: list[Story] = [
    sequence,
    sequence_asleep,
    failures,
    parallel,
    race_won_by_the_event,
    race_won_by_the_timer,
    family,
    continued,
    patched,
    values,
    canceled,
    canceled_with_rollbacks,
    secrets_masked,
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_record(story: Story, workflow_harness: Harness) -> None:
    file = FOLDER / f"{story.__name__}.json"
    if file.exists():
        return
    workflow_harness.freeze(NOON)
    text = workflow.export(story(workflow_harness))
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="ascii")
