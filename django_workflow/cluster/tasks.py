"""The dotted paths that stand in queue payloads. Nothing escapes them: django-q2 would repeat or lose the worker."""

from __future__ import annotations

import logging

from django.db import connections

from django_workflow.cluster import agenda, lifecycle
from django_workflow.conf import settings
from django_workflow.engine.drain import drain as drain_engine
from django_workflow.engine.executor import executor

logger = logging.getLogger("django_workflow.cluster")


def drain(cluster: object = "", *_: object) -> None:
    """Answer a wake-up: work off what is due in `cluster`, for `DRAIN_SECONDS` at most.

    Args:
        cluster: the name as rows have it; anything that can't be one is ignored.
    """
    if not isinstance(cluster, str) or len(cluster) > 100:
        logger.warning(
            "A wake-up that django_workflow didn't send was ignored: its cluster is a %s.", type(cluster)
        )
        return
    if lifecycle.orphaned():
        lifecycle.leave(cluster)
    try:
        drain_engine(
            cluster,
            seconds=settings.DRAIN_SECONDS,
            stop=lifecycle.stopping,
            executor=executor if lifecycle.in_worker() else None,
        )
    except Exception:
        logger.exception(
            "A drain of the cluster %r ended early; what it held goes on when its leases end.", cluster
        )
        _drop_broken_connections()
    except BaseException:
        if not lifecycle.in_worker():
            raise
        # django-q2 catches Exception only; anything else would end the worker with its message unanswered.
        logger.exception("A drain of the cluster %r was interrupted.", cluster)
        _drop_broken_connections()
    lifecycle.nudge()


def go_on() -> None:
    """Work off what is due, async actions aside: in a worker that django-q2 has recycled, until the last of these ends.

    They may take minutes, nobody takes the worker's place before it is gone, and the others may be recycled, too.
    """
    if lifecycle.stopping():
        return
    try:
        for name in lifecycle.names():
            drain_engine(name, seconds=settings.DRAIN_SECONDS, stop=lifecycle.stopping, executor=executor)
    except BaseException:
        logger.exception("A drain of a worker that is recycled ended early.")
        _drop_broken_connections()
    lifecycle.nudge()


def tick(*_: object, **__: object) -> None:
    """Answer django-q2's own firing of a schedule: start what is due, if the ticker has not done it already.

    What the message says doesn't matter: when it was sent late, twice or for a schedule that is gone, nothing is due.
    """
    if lifecycle.orphaned():
        lifecycle.leave("")
    try:
        agenda.start_due(settings.DRAIN_SECONDS)
    except Exception:
        logger.exception("A look at the schedules ended early; the ticker takes another one.")
        _drop_broken_connections()
    except BaseException:
        if not lifecycle.in_worker():
            raise
        logger.exception("A look at the schedules was interrupted.")
        _drop_broken_connections()


def _drop_broken_connections() -> None:
    for connection in connections.all(initialized_only=True):
        connection.close_if_unusable_or_obsolete()
