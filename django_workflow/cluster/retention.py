"""Retention: workflows that finished longer ago than `RETENTION` are deleted, in the leading ticker's name.

Rules of this file: it takes small bites in a thread of its own, since wake-ups must not wait for it, and stops
between two of them when the worker is to end.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from django.db import connections

from django_workflow.conf import settings
from django_workflow.journal import workflows
from django_workflow.journal.clock import monotonic
from django_workflow.journal.database import passes

logger = logging.getLogger("django_workflow.cluster")

BATCH: Final = 100  # workflows that are looked up at once; each is deleted in a transaction of its own
LONGEST_SECONDS: Final = 600.0  # between two sweeps …
SHORTEST_SECONDS: Final = 10.0  # … of which each is a statement at least


def sweep(stop: Callable[[], bool] = lambda: False) -> int:
    """Delete all that is older than the setting says; nothing without one. Returns how many roots are gone.

    Args:
        stop: asked between two batches; True ends the sweep.
    """
    gone = 0
    while settings.RETENTION is not None and not stop():
        batch = workflows.prune(settings.RETENTION, BATCH)
        gone += batch
        if batch < BATCH:
            break
    return gone


def interval() -> float | None:
    """Seconds between two sweeps, a tenth of the retention where that is short; None: nothing is swept."""
    if settings.RETENTION is None:
        return None
    return max(min(settings.RETENTION.total_seconds() / 10, LONGEST_SECONDS), SHORTEST_SECONDS)


class Sweeper:
    """Sweeps now and then, for a ticker."""

    def __init__(self, stopping: Callable[[], bool]) -> None:
        self._stopping = stopping
        self._due_at = 0.0  # monotonic seconds
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Begin a sweep if it is time for one. Returns at once."""
        every = interval()
        if every is None or monotonic() < self._due_at or (self._thread and self._thread.is_alive()):
            return
        self._due_at = monotonic() + every
        self._thread = threading.Thread(target=self._sweep, name="django_workflow retention", daemon=True)
        self._thread.start()

    def _sweep(self) -> None:
        try:
            if gone := sweep(self._stopping):
                logger.info("%d workflows that finished before the retention's time were deleted.", gone)
        except Exception as error:
            level = logging.INFO if passes(error) else logging.ERROR
            logger.log(level, "A sweep for the retention ended early; the next one goes on.", exc_info=error)
        finally:
            connections.close_all()
