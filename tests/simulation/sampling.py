"""Which of many crash points a sweep dies at: all of them where `SWEEP=all` says so, else a sample.

The sample depends on the seed alone, so that a failure comes again; `make crash-sweep` takes all.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence

SAMPLE = 6


def sampled(points: Sequence[int], seed: str) -> list[int]:
    """The points to die at, in their order; the first and the last are always among them."""
    if os.environ.get("SWEEP") == "all" or len(points) <= SAMPLE:
        return list(points)
    between = random.Random(seed).sample(points[1:-1], SAMPLE - 2)
    return [points[0], *sorted(between), points[-1]]
