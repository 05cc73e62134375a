"""What comes to a handler from outside of its own code, gathered for one replay."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

from django.db import connections

from django_workflow.conf import settings
from django_workflow.exceptions import NotDeterministic
from django_workflow.handler.commands import Limits, Violate, World
from django_workflow.handler.definition import WorkflowDefinition

# What a connection does that a handler must not: every way to its database goes through one of these.
_WAYS = ("ensure_connection", "connect", "cursor", "chunked_cursor")


@contextmanager
def no_database(violate: Violate) -> Iterator[None]:
    """Refuse the database to the handler that is polled here, so that no `except` of its own hides it.

    Django's async guard refuses it too, by an exception that a handler may catch, and not where
    DJANGO_ALLOW_ASYNC_UNSAFE is set.
    """

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise violate(
            NotDeterministic("the handler uses the database", "move this into a step, a query or a mutation")
        )

    here = [vars(connection) for connection in connections.all()]
    before = [{way: attributes[way] for way in _WAYS if way in attributes} for attributes in here]
    for attributes in here:
        attributes.update(dict.fromkeys(_WAYS, refuse))
    try:
        yield
    finally:
        for attributes, replaced in zip(here, before, strict=True):
            for way in _WAYS:
                del attributes[way]
            attributes.update(replaced)


class Dice:
    """Chance that falls alike on every replay: seeded by the workflow's id."""

    def __init__(self, workflow_id: UUID) -> None:
        self.random = random.Random(f"random {workflow_id}")
        self._uuids = random.Random(f"uuid {workflow_id}")

    def uuid4(self) -> UUID:
        """A random UUID."""
        return UUID(int=self._uuids.getrandbits(128), version=4)


def world_of(
    workflow_id: UUID, definition: WorkflowDefinition[Any, Any], *, began_at: datetime, committed: bool
) -> World:
    """The world of a workflow.

    Args:
        workflow_id: whose.
        definition: its definition.
        began_at: the time of its first turn.
        committed: whether a turn of it has ever committed.

    """
    return World(
        workflow_id=workflow_id,
        began_at=began_at,
        committed=committed,
        dice=Dice(workflow_id),
        limits=Limits(settings.VALUE_LIMIT, settings.JOURNAL_LIMIT, settings.STEP_LIMIT),
        retry=definition.manager.retry,
        action_retry=definition.action_retry,
        guard=no_database,
        check=settings.CHECK_DETERMINISM,
    )
