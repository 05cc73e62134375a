"""A workflow that waits, its link, and clients as they meet it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from django_workflow import Event
from django_workflow.models import Event as SentEvent
from django_workflow.models import Step, Workflow
from django_workflow.testing import Harness
from tests.links.definitions import waits

NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"

Waiting = Callable[..., Workflow]


@pytest.fixture(autouse=True)
def nobody_has_asked_yet() -> None:
    """Rates count in the cache."""
    cache.clear()


@pytest.fixture
def frozen(workflow_harness: Harness) -> Harness:
    """The harness with its clock standing still at `NOON`."""
    workflow_harness.freeze(NOON)
    return workflow_harness


@pytest.fixture
def waiting(frozen: Harness) -> Waiting:
    """`waiting(event, times=1)`: a workflow that waits for an event."""

    def start(event: Event[Any] | str, times: int = 1) -> Workflow:
        run = waits.start(event if isinstance(event, str) else event.name, times)
        frozen.drain()
        return run

    return start


@pytest.fixture
def anybody() -> Client:
    """A program, without a session or a token against forgery."""
    return Client(enforce_csrf_checks=True)


@pytest.fixture
def browser() -> Client:
    """Somebody's browser, which has neither."""
    return Client(enforce_csrf_checks=True, headers={"accept": BROWSER})


def rows() -> tuple[Any, ...]:
    """All that a link could change."""
    return tuple(list(model.objects.order_by("pk").values()) for model in (Workflow, Step, SentEvent))


def values(run: Workflow) -> list[Any]:
    """What was sent to a workflow."""
    return [event.value for event in SentEvent.objects.filter(workflow=run)]
