"""What comes to a handler from outside of its own code, gathered for one replay."""

from __future__ import annotations

import asyncio
import random
import threading
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from django_workflow.conf import settings
from django_workflow.exceptions import NotDeterministic
from django_workflow.handler.commands import Limits, World
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.handler.loop import DeterministicLoop

# What a connection does that a handler must not: every way to its database goes through one of these.
_WAYS = ("ensure_connection", "connect", "cursor", "chunked_cursor")


class _Refusing(threading.local):
    """Connections that refuse, by alias: one set a thread, for all handlers."""

    def __init__(self) -> None:
        self.by_alias: dict[str, BaseDatabaseWrapper] = {}

    def get(self, alias: str) -> BaseDatabaseWrapper:
        """The connection that a handler gets for `alias`."""
        if alias not in self.by_alias:
            connection = connections.create_connection(alias)
            vars(connection).update(dict.fromkeys(_WAYS, _refuse))
            self.by_alias[alias] = connection
        return self.by_alias[alias]


_refusing = _Refusing()


def _refuse(*_: Any, **__: Any) -> NoReturn:
    what, hint = "the database in a handler", "move this into a step: a query or a mutation"
    loop = asyncio.get_running_loop()
    if isinstance(loop, DeterministicLoop):
        loop.refuse(what, hint)
    raise NotDeterministic(what, hint)


def refuse_database() -> None:
    """Give the handler whose context this is connections that refuse, so that no `except` of its own hides it.

    Django's async guard refuses the database too, by an exception that a handler may catch, and not where
    DJANGO_ALLOW_ASYNC_UNSAFE is set. Where a loop is running Django's connections are of the context, and a
    handler's context begins empty: what is put there is seen by the handler alone.
    """
    storage = connections._connections  # type: ignore[attr-defined]
    for alias in connections:
        if not hasattr(storage, alias):
            setattr(storage, alias, _refusing.get(alias))


class Dice:
    """Chance that falls alike on every replay: seeded by the workflow's id, or what stands for it."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(f"random {seed}")
        self._uuids = random.Random(f"uuid {seed}")

    def uuid4(self) -> UUID:
        """A random UUID."""
        return UUID(int=self._uuids.getrandbits(128), version=4)


def world_of(
    workflow_id: UUID,
    definition: WorkflowDefinition[Any, Any],
    *,
    began_at: datetime,
    committed: bool,
    seed: str = "",
    depth: int = 0,
    resumed_at: datetime | None = None,
) -> World:
    """The world of a workflow.

    Args:
        workflow_id: whose.
        definition: its definition.
        began_at: the time of its first turn.
        committed: whether a turn of it has ever committed.
        seed: of its dice, where it isn't its id.
        depth: levels of parents above it.
        resumed_at: the time of the first turn after a restart, or of a fork; else None.

    """
    return World(
        workflow_id=workflow_id,
        began_at=began_at,
        committed=committed,
        dice=Dice(seed or str(workflow_id)),
        limits=Limits(
            settings.VALUE_LIMIT, settings.JOURNAL_LIMIT, settings.STEP_LIMIT, settings.CHILD_DEPTH_LIMIT
        ),
        depth=depth,
        redact=(*settings.REDACT, *definition.redact),
        resumed_at=resumed_at,
        retry=definition.manager.retry,
        action_retry=definition.action_retry,
        prepare=refuse_database,
        check=settings.CHECK_DETERMINISM,
    )
