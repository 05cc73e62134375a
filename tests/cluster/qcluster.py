"""A `manage.py qcluster` of its own for a test: started for real, watched, killed, and always cleaned up."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

from django.conf import settings
from django.db import connection

from django_workflow.journal import processes
from django_workflow.models import Process

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 20.0  # seconds after which a test gives up


def eventually(condition: Callable[[], Any], what: str, within: float = DEADLINE) -> Any:
    """Wait until `condition()` is true and return its value; fail with `what` was waited for."""
    gives_up_at = monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if monotonic() >= gives_up_at:
            raise AssertionError(f"not within {within:.0f} s: {what}")
        Event().wait(0.02)


class QCluster:
    """One cluster on the test's database: main process, sentinel, workers, pusher, monitor, one process group."""

    def __init__(
        self,
        log: Path,
        *,
        queue: str = "tests",
        alt: str = "",
        broker: str = "orm",
        variables: Mapping[str, str] | None = None,
        **workflow: Any,
    ) -> None:
        """Prepare it.

        Args:
            log: where its output goes.
            queue: the name of the default cluster.
            alt: the name of the alternative cluster that it is, if it is one.
            broker: `orm` or `redis`.
            variables: more of its environment.
            workflow: keys of the setting `DJANGO_WORKFLOW`.
        """
        self.name = alt or queue
        self.log = log
        self.environment = {
            **environment(queue=queue, alt=alt, broker=broker, workflow=workflow),
            **(variables or {}),
        }
        self._main: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until its workers are ready."""
        self.launch()
        eventually(lambda: len(self.workers()) == settings.Q_CLUSTER["workers"], f"workers of {self.name}")

    def launch(self) -> None:
        """Start it, and wait for nothing."""
        with self.log.open("ab") as log:
            self._main = subprocess.Popen(
                [sys.executable, "-m", "django", "qcluster"],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def main(self) -> int:
        """The pid of its main process."""
        assert self._main is not None
        return self._main.pid

    @property
    def sentinel(self) -> int:
        """The pid of its sentinel: the child of the main process."""
        (pid,) = self.sentinels()
        return pid

    def sentinels(self) -> list[int]:
        """The live children of the main process: its sentinel, or none."""
        return [pid for pid in _children(self.main) if _is_alive(pid)]

    @property
    def pusher(self) -> int:
        """The pid of the process that takes messages from the broker."""
        found: list[int] = eventually(lambda: self.logged("pushing tasks"), "its pusher")
        return found[-1]

    def logged(self, role: str) -> list[int]:
        """The pids of its live processes that have logged what they are: `ready for work`, `pushing tasks`, `monitoring`."""
        found = re.findall(rf"{role} at (\d+)", self.log.read_text(errors="replace"))
        return [pid for pid in map(int, dict.fromkeys(found)) if _group(pid) == self.main and _is_alive(pid)]

    def workers(self) -> list[int]:
        """The pids of its live workers that have registered themselves."""
        rows = [row for row in Process.objects.filter(cluster=self.name) if not processes.is_dead(row)]
        return sorted(row.pid for row in rows if _group(row.pid) == self.main)

    def terminate(self) -> None:
        """Ask it to stop, as a service manager does, and wait until it has."""
        os.kill(self.main, signal.SIGTERM)
        eventually(lambda: not self.is_running(), f"the end of {self.name}")

    def kill(self) -> None:
        """Kill all of its processes at once, as a power failure does. Twice does no harm."""
        if self._main is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._main.pid, signal.SIGKILL)
            self._main.wait()
            self._main = None

    def is_running(self) -> bool:
        """True while the main process lives."""
        return self._main is not None and self._main.poll() is None


def environment(
    *, queue: str = "tests", alt: str = "", broker: str = "orm", workflow: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """The environment of a process that works on the test's database."""
    server = {"PGHOST": "HOST", "PGPORT": "PORT"} if settings.DATABASE == "postgres" else {}
    return {
        **os.environ,
        **{variable: str(connection.settings_dict[key]) for variable, key in server.items()},
        "DJANGO_SETTINGS_MODULE": "tests.cluster.settings",
        "DATABASE": settings.DATABASE,
        "DATABASE_NAME": str(connection.settings_dict["NAME"]),
        "BROKER": broker,
        "QUEUE_NAME": queue,
        "DJANGO_WORKFLOW": json.dumps(workflow or {}),
        **({"Q_CLUSTER_NAME": alt} if alt else {}),
    }


def clock_off_by(seconds: float) -> dict[str, str]:
    """The variables of a process whose host's clock is wrong."""
    return {"PYTHONPATH": str(Path(__file__).parent / "clock"), "CLOCK_SHIFT": f"{seconds}"}


def python(code: str, env: Mapping[str, str]) -> str:
    """Run a piece of code with Django set up, in a process of its own; returns what it prints."""
    return subprocess.run(
        [sys.executable, "-c", f"import django; django.setup()\n{code}"],
        cwd=ROOT,
        env=env,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=DEADLINE,
    ).stdout.strip()


def members(group: int) -> list[int]:
    """The live processes of a process group."""
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return [pid for pid in pids if _group(pid) == group and _is_alive(pid)]


def _children(pid: int) -> list[int]:
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return [each for each in pids if _stat(each)[1:2] == [str(pid)]]


def _group(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[2]) if fields else None


def _is_alive(pid: int) -> bool:
    return _stat(pid)[:1] not in ([], ["Z"], ["X"])


def _stat(pid: int) -> list[str]:
    """State, parent, process group … of a process (proc(5)); nothing when there is none."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
