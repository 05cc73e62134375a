"""Verbs for who runs the cluster."""

from __future__ import annotations

import builtins
from datetime import datetime
from typing import Any

from django_workflow.exceptions import InvalidArguments
from django_workflow.handler import registry
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.health import Health
from django_workflow.journal import clock, health, pauses, wakes
from django_workflow.journal.database import connection
from django_workflow.manager.identity import storable


class Operating:
    """How things stand, and what holds them."""

    def clusters(self) -> tuple[str, ...]:
        """The names, as django-q2 has them, of the clusters of all managers with definitions; the default one first."""
        from django_workflow.cluster.wakeups import default_queue

        default = default_queue()
        return (default, *sorted(_clusters() - {"", default}))

    def health(self) -> Health:
        """Whether work gets done: the oldest due work, the ticker, live workers, pauses. A handful of statements."""
        return health.look()

    def now(self) -> datetime:
        """The time of the clock by which all rows are stamped (aware). One statement."""
        return clock.read(connection())

    def definitions(self) -> tuple[WorkflowDefinition[Any, Any], ...]:
        """All definitions that this process knows, by name and version."""
        return registry.definitions()

    def pause(self, reason: str, cluster: str | None = None) -> None:
        """Hold all turns and steps, of one cluster or (None) of all, until `resume()`; starts and events are still taken.

        What runs just then runs to its end. Again: changes the reason.
        """
        if not isinstance(reason, str) or not reason.strip():
            raise InvalidArguments("pause()", [f"reason: {reason!r} is no text that says why"])
        pauses.pause(storable(reason), _clusters_in_rows("pause()", cluster))

    def resume(self, cluster: str | None = None) -> bool:
        """End a `pause()` of the same cluster, or of all. True iff there was one."""
        names = _clusters_in_rows("resume()", cluster)
        held = pauses.resume(names)
        for each in _clusters() if cluster is None else names:
            wakes.ask(each or "")
        return held


def _clusters_in_rows(call: str, cluster: str | None) -> builtins.list[str | None]:
    """What rows may call a cluster: "" is django-q2's default one, and so is the name that Q_CLUSTER gives it."""
    if cluster is None:
        return [None]
    if not isinstance(cluster, str) or len(cluster) > 100:
        raise InvalidArguments(call, [f"cluster: {cluster!r} is no name of a cluster"])
    from django_workflow.cluster.wakeups import default_queue

    default = default_queue()
    return ["", default] if cluster in ("", default) else [cluster]


def _clusters() -> set[str]:
    return {"", *(definition.manager.cluster for definition in registry.definitions())}
