"""Which of many crash points a sweep dies at: all of them where `SWEEP=all` says so, else a sample.

The sample rotates: its seed is the day, unless `SWEEP_SEED` names another. A failure names the seed and comes again
with it; `make crash-sweep` takes all. A database server, where each life takes longer, gets the smaller share.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TypeVar

from django.conf import settings

T = TypeVar("T")

ALL = os.environ.get("SWEEP") == "all"
SHARE = 0.67 if settings.DATABASE == "sqlite" else 0.34  # of what a sweep would like
SEED = os.environ.get("SWEEP_SEED") or datetime.now(UTC).date().isoformat()


def sampled(points: Sequence[T], what: str, size: int) -> list[T]:
    """The points to die at, in their order: `size` of them, or this database's share of that."""
    if ALL:
        return list(points)
    chosen = random.Random(f"{SEED} {what}").sample(range(len(points)), min(size, len(points)))
    return [points[at] for at in sorted(chosen[: max(1, round(size * SHARE))])]
