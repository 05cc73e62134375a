"""The pytest plugin (entry point `pytest11`): the fixture `workflow_harness`. Imports no Django at load."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from django_workflow.testing.harness import Harness


@pytest.fixture
def workflow_harness(db: None) -> Iterator[Harness]:
    """The real engine in this process: `drain()`, `advance()`, `result()` … See `django_workflow.testing.Harness`."""
    from django_workflow.testing.harness import Harness

    with Harness() as harness:
        yield harness
