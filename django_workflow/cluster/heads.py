"""When to announce what is due in one cluster, and when to stop waiting for those who should take it.

Rules of this file: pure decisions from looks at the journal; no database, no broker, no clock of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Final

from django_workflow.journal.due import BEGINNING, Due

FIRST_WAIT: Final = 0.1  # seconds until a wake-up is repeated for work that nobody took …
LAST_WAIT: Final = 5.0  # … which double up to this
PROGRESS_WAIT: Final = 1.0  # the longest wait while somebody does take work
FIRST_PROBE: Final = 1.5  # seconds between two attempts to help oneself …
LAST_PROBE: Final = 30.0  # … which double up to this while they find nothing to do

# What to assume of a cluster that a crowded look may have left out.
HIDDEN: Final = Due(overdue=BEGINNING)


class Call(Enum):
    """What a look asks for."""

    NOTHING = auto()
    WAKE = auto()  # something became due
    WAKE_AGAIN = auto()  # something has been due for a while, and nobody takes it


@dataclass
class Head:
    """What is longest due in one cluster, and what was done about it. Times are monotonic seconds."""

    due: datetime | None = None  # null iff nothing is overdue
    since: float = 0.0  # when it became the head
    wait: float = FIRST_WAIT
    repeat_at: float = 0.0
    probe_wait: float = FIRST_PROBE
    probe_at: float = 0.0

    def take_in(self, due: Due, now: float) -> Call:
        """Take in what a look found of this cluster, and say what it asks for."""
        again = self._follow(due.overdue, now)
        if due.fresh is not None:
            return Call.WAKE
        return Call.WAKE_AGAIN if again else Call.NOTHING

    def _follow(self, overdue: datetime | None, now: float) -> bool:
        if overdue is None:
            self.due, self.wait = None, FIRST_WAIT
            return False
        if overdue != self.due:
            # Another head than before: somebody takes work, and needs no wake-up for the next piece.
            self.wait = FIRST_WAIT if self.due is None else min(self.wait * 2, PROGRESS_WAIT)
            self.due, self.since, self.repeat_at = overdue, now, now + self.wait
            return False
        if now < self.repeat_at:
            return False
        self.wait = min(self.wait * 2, LAST_WAIT)
        self.repeat_at = now + self.wait
        return True

    def is_neglected(self, now: float, patience: float) -> bool:
        """True iff it is time to see whether this process can do what nobody was woken for."""
        return self.due is not None and now - self.since >= patience and now >= self.probe_at

    def probed(self, now: float, done: int) -> None:
        """This process tried and did `done` pieces of work; none means that the head waits with good reason."""
        self.probe_wait = FIRST_PROBE if done else min(self.probe_wait * 2, LAST_PROBE)
        self.probe_at = now + self.probe_wait
