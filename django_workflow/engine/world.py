"""What comes to a handler from outside of its own code, gathered for one replay."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any
from uuid import UUID

from django_workflow.conf import settings
from django_workflow.handler.commands import Limits, World
from django_workflow.handler.definition import WorkflowDefinition


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
        check=settings.CHECK_DETERMINISM,
    )
