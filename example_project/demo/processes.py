"""The processes that the demo starts, watches and stops. Each leads a process group of its own.

A group of its own keeps the terminal's Ctrl-C away from the workers, which SIGTERM to their main process stops
cleanly, and lets the demo clear away whatever a killed main process leaves behind.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from example_project.demo.child import DEMO_DIED

PROJECT = Path(__file__).resolve().parent.parent.parent
SHORT_LIFE = 15.0  # seconds
DEATHS = 3
POLL = 0.1  # seconds


class KeepsDying(Exception):
    """A process ends again and again soon after its start."""

    def __init__(self, name: str, log: Path) -> None:
        """Quote the end of the log, where the reason stands."""
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        super().__init__(f"The {name} ended {DEATHS} times right after its start. The end of {log}:\n{tail}")


class Child:
    """`manage.py COMMAND`, started again when it dies."""

    def __init__(self, name: str, command: Iterable[str], log: Path) -> None:
        """Prepare, but don't start.

        Args:
            name: what messages call it.
            command: what follows `manage.py`.
            log: the file to which its output is appended.
        """
        self.name = name
        self.command = [sys.executable, "-m", "example_project.demo.child", *command]
        self.log = log
        self.early_deaths = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of the main process and of its group, of the last start."""
        if self.process is None:
            raise RuntimeError(f"the {self.name} has not been started")
        return self.process.pid

    def start(self) -> None:
        """Start the process."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=PROJECT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent if sys.platform == "linux" else None,
            )
        self.started = time.monotonic()

    def restart_if_dead(self) -> str | None:
        """Start it again if it has ended, and say how it ended; None while it lives.

        Raises:
            KeepsDying: it has ended by itself three times in a row, each time within seconds.
        """
        if self.process is None or self.process.poll() is None:
            return None
        ending = how_it_ended(self.process.returncode)
        self.kill_group()
        killed = self.process.returncode == -signal.SIGKILL
        short = time.monotonic() - self.started < SHORT_LIFE
        self.early_deaths = self.early_deaths + 1 if short and not killed else 0
        if self.early_deaths == DEATHS:
            raise KeepsDying(self.name, self.log)
        self.start()
        return ending

    def terminate(self) -> None:
        """Ask the main process to stop; it stops its own children."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def wait(self, until: float, impatient: Callable[[], bool]) -> None:
        """Wait for the end; then kill what is left of the group.

        Args:
            until: the time, of the monotonic clock, when patience ends.
            impatient: asked all the while; True ends the wait.
        """
        if self.process is None:
            return
        while self.process.poll() is None and time.monotonic() < until and not impatient():
            time.sleep(POLL)
        self.kill_group()
        self.process.wait()

    def kill_group(self) -> None:
        """Kill every process of the group that is still there."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
            os.killpg(self.pid, signal.SIGKILL)


def stop(children: Iterable[Child], patience: float, impatient: Callable[[], bool]) -> None:
    """Stop all children, side by side, and leave none behind.

    Args:
        children: started or not.
        patience: seconds that they have altogether before they are killed.
        impatient: asked all the while; True kills at once.
    """
    children = list(children)
    until = time.monotonic() + patience
    for child in children:
        child.terminate()
    for child in children:
        child.wait(until, impatient)


def die_with_parent() -> None:
    """Have the kernel tell this process when the demo dies, even by SIGKILL (`man 2 prctl`); see `child`."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, DEMO_DIED)


def how_it_ended(code: int) -> str:
    """Put an exit code into words."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
