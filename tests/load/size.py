"""How much is in the tables: a sample in the suite, everything with ``LOAD=all``."""

import os
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Size:
    """Of one run."""

    finished: int  # workflows
    sleeping: int  # the same
    pruned: int  # of the finished ones, by a test of the retention; about 2.7 rows each
    steps: int  # of one workflow that is cleaned up
    reach: int  # what stands for the admin's `REACH`, so that it is less than what is in the tables
    turns: int
    warm: int  # turns after which memory is first looked at
    idle_seconds: float  # of a cluster; none in the suite


ALL: Final = os.environ.get("LOAD") == "all"
SIZE: Final = (
    Size(1_000_000, 100_000, 40_000, 100_000, 10_000, 100_000, 20_000, 60.0)
    if ALL
    else Size(4_000, 400, 100, 3_000, 200, 600, 200, 0.0)
)
