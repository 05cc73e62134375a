"""How long it takes until what a dead process held is somebody else's, and not only free.

Rules of this file: a token says who holds a row; it is read right before the process is killed and looked for in a thread of
its own. What the database or the survivors went through meanwhile is noted, since such times say nothing of takeover.
"""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event, Lock
from time import monotonic
from typing import Any

from django.db import Error, connection

from django_workflow import workflow
from django_workflow.models import Process, Step, Workflow
from tests.cluster.app.workflows import holds
from tests.cluster.holding import held_by, open_the_gate
from tests.cluster.qcluster import DEADLINE

POLL_SECONDS = 0.03


def takeover_in_quiet(label: str) -> float:
    """Kill a worker in the action of the only workflow there is; returns the seconds until that begins again elsewhere."""
    run = holds.start(label)
    os.kill(held_by(label), signal.SIGKILL)
    killed_at = monotonic()
    held_by(label, times=2)
    seconds = monotonic() - killed_at
    open_the_gate(label)
    workflow.join(run, DEADLINE)
    return seconds


@dataclass
class _Held:
    """A row that a process held when it died."""

    rows: Any  # the model
    id: Any
    token: str | None
    killed_as: str
    since: float
    disturbed: bool = False


class Takeovers:
    """Watches the rows of those who are killed."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}  # by how they were killed; undisturbed ones
        self.disturbed: list[float] = []
        self._doomed: list[str] = []  # the beginnings of their tokens
        self._held: list[_Held] = []
        self._lock = Lock()
        self._stopped = Event()

    def about_to_die(self, pids: Sequence[int]) -> None:
        """Say who is killed next."""
        self._doomed = [f"{row.id.hex}:" for row in Process.objects.filter(pid__in=pids)]

    def have_died(self, killed_as: str, survivors: int) -> None:
        """They have been killed just now, and so many workers live that could take over."""
        now = monotonic()
        held = [
            _Held(rows, row_id, token, killed_as, now, disturbed=not survivors)
            for rows in (Workflow, Step)
            for doomed in self._doomed
            for row_id, token in rows.objects.filter(lease_owner__startswith=doomed).values_list(
                "id", "lease_owner"
            )
        ]
        with self._lock:
            self._held += held

    def disturb(self) -> None:
        """Something else happens now, which may hold up those who are about to take over."""
        with self._lock:
            for each in self._held:
                each.disturbed = True

    def watch(self) -> None:
        """Watch until `stop()`. For a thread."""
        while not self._stopped.wait(POLL_SECONDS):
            try:
                self._look()
            except Error:
                self.disturb()
                connection.close()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()

    def _look(self) -> None:
        with self._lock:
            waiting = list(self._held)
        for each in waiting:
            if not each.rows.objects.filter(id=each.id, lease_owner=each.token).exists():
                self._taken(each, monotonic() - each.since)

    def _taken(self, held: _Held, seconds: float) -> None:
        with self._lock:
            self._held.remove(held)
        if held.disturbed:
            self.disturbed.append(seconds)
        else:
            self.seconds.setdefault(held.killed_as, []).append(seconds)
