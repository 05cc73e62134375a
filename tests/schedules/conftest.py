"""A clock that stands still at noon, and django-q2's rule for missed ticks in the test's hand."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django_q.conf import Conf

from django_workflow.testing import Harness

NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)  # a Tuesday

CatchUp = Callable[[bool], None]


@pytest.fixture
def frozen(workflow_harness: Harness) -> Harness:
    """The harness with its clock standing still at `NOON`."""
    workflow_harness.freeze(NOON)
    return workflow_harness


@pytest.fixture
def catch_up(monkeypatch: pytest.MonkeyPatch) -> CatchUp:
    """Sets django-q2's `catch_up`, which it reads once, at its import."""

    def set_it(on: bool) -> None:
        monkeypatch.setattr(Conf, "CATCH_UP", on)

    set_it(True)
    return set_it
