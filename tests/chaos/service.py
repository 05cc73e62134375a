"""A cluster under a service manager, which starts it again when it has ended, and kills it when it doesn't stop."""

import os
import signal
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

from tests.cluster.qcluster import QCluster, members

STOP_SECONDS = 15.0  # systemd's TimeoutStopSec


class Service:
    """One of the clusters, whatever becomes of its processes."""

    def __init__(self, log: Path, random: Random, **options: Any) -> None:
        self.cluster = QCluster(log, **options)
        self.enforced = 0  # stops that the cluster didn't come to by itself
        self.starts = 0
        self._random = random
        self._groups: list[int] = []
        self._start_at: float | None = None
        self._kill_at: float | None = None

    def start(self) -> None:
        """Start it."""
        self._start_at = self._kill_at = None
        self.cluster.launch()
        self.starts += 1
        self._groups.append(self.cluster.main)

    def tend(self) -> None:
        """Do what a service manager does, a little later than at once."""
        now = monotonic()
        if self.cluster.is_running():
            if self._kill_at is not None and now >= self._kill_at:
                self.enforced += 1
                self.kill()
        elif self._start_at is None:
            self._start_at = now + self._random.uniform(0.0, 2.0)
        elif now >= self._start_at:
            self.start()

    def stop(self, *, all_at_once: bool = False) -> None:
        """Ask it to stop: its main process, or all of its processes at once."""
        if all_at_once:
            os.killpg(self.cluster.main, signal.SIGTERM)
        else:
            os.kill(self.cluster.main, signal.SIGTERM)
        self._kill_at = self._kill_at or monotonic() + STOP_SECONDS

    def kill(self) -> None:
        """Kill all that it consists of."""
        self.cluster.kill()
        self._start_at = self._kill_at = None

    def end(self) -> None:
        """Kill all that there ever was of it: orphans, too."""
        self.kill()
        for group in self._groups:
            for pid in members(group):
                if b"qcluster" in (Path("/proc") / str(pid) / "cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)

    def is_stopping(self) -> bool:
        """True while it is asked to stop, or is down."""
        return self._kill_at is not None or not self.cluster.is_running()
