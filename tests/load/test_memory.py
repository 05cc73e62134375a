"""A worker that lives long: what it holds after many turns is what it held after the first of them."""

import gc
import os
import threading
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest
from django.db import connections

from django_workflow import workflow
from django_workflow.engine.drain import drain
from django_workflow.engine.leases import heartbeat
from django_workflow.handler import registry
from django_workflow.journal import wakes
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.engine.committed import committed
from tests.load.conftest import measured
from tests.load.definitions import turns
from tests.load.size import ALL, SIZE

pytestmark = [committed, pytest.mark.timeout(7200 if ALL else 120)]

LIVES: Final = 2  # turns of each workflow: it sleeps between two of them
GROWTH: Final = 1.03 if ALL else 1.10  # of the resident memory; a tenth of few turns is chance
OBJECTS: Final = 2_000  # that Python's collector knows, more or less, whatever the number of turns


def test_memory_stays_flat_over_many_turns(workflow_harness: Harness) -> None:
    held: dict[int, tuple[float, int, int, int]] = {}
    total = 0
    with wakes.sent_by(None):
        while total < SIZE.turns:
            workflow.start_many(turns, [(LIVES - 1,)] * (SIZE.warm // LIVES))
            for _ in range(LIVES):
                drain("")
                workflow_harness.advance(timedelta(seconds=2))
            assert not Workflow.objects.in_progress().exists()
            total += SIZE.warm
            held[total] = _held()
            measured(f"memory after {total:,} turns", f"{held[total][0]:.1f} MB, {held[total][1]:,} objects")
    (memory, objects, threads, known), *_, last = held.values()
    assert len(held) > 1
    assert last[0] <= GROWTH * memory, held
    assert abs(last[1] - objects) <= OBJECTS, held
    assert last[2:] == (threads, known), held
    assert heartbeat.left_behind == []


def _held() -> tuple[float, int, int, int]:
    """Resident megabytes, objects, threads with this one's connections, and what the registry knows."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    megabytes = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    threads = threading.active_count() + len(connections.all(initialized_only=True))
    return megabytes, len(gc.get_objects()), threads, len(registry.known()) + len(registry.fingerprints())
