"""The systems that are measured, as the runner sees them: a program each, on an empty database of its own.

A peer comes in here: a function like `ours()` that says by which interpreter its driver is run.
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.databases import temporary
from benchmarks.driver import Kind, Statements, Worked

ROOT = Path(__file__).resolve().parent.parent
DRIVER_STOPS_SECONDS = 60


@dataclass(frozen=True)
class System:
    """One thing to measure: a program on a kind of database, with a way to wake its workers."""

    name: str
    database: str
    queue: str
    command: Sequence[str]  # the driver's, without arguments
    environment: Mapping[str, str]

    @property
    def label(self) -> str:
        """How tables and JSON name it."""
        return " ".join(part for part in (self.name, self.database, self.queue) if part)


def ours(database: str, workers: int, broker: str = "") -> System:
    """django_workflow on `database`; `broker`: which of django-q2's, where a cluster is to be measured."""
    return System(
        "django_workflow",
        database,
        broker,
        [sys.executable, "-m", "benchmarks.ours.driver"],
        {
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            "BENCHMARK_DATABASE": database,
            "BENCHMARK_BROKER": broker or "orm",
            "BENCHMARK_WORKERS": str(workers),
            "BENCHMARK_QUEUE": f"benchmarks-{os.getpid()}-{secrets.token_hex(3)}",
        },
    )


class Running:
    """A driver that runs: the calls of `driver.Driver`, answered by another process."""

    def __init__(self, system: System, process: subprocess.Popen[str]) -> None:
        self.system = system
        assert process.stdin is not None
        assert process.stdout is not None
        self._calls: IO[str] = process.stdin
        self._answers: IO[str] = process.stdout

    def batch(self, workflows: int, steps: int, kind: Kind) -> Worked:
        """See `Driver.batch`."""
        return Worked(**self._call("batch", workflows=workflows, steps=steps, kind=kind))

    def statements(self, workflows: int, steps: int, kind: Kind) -> Statements | None:
        """See `Driver.statements`."""
        answer = self._call("statements", workflows=workflows, steps=steps, kind=kind)
        return None if answer is None else Statements(**answer)

    def latency(self, times: int) -> list[float]:
        """See `Driver.latency`."""
        seconds: list[float] = self._call("latency", times=times)
        return seconds

    def _call(self, name: str, **arguments: Any) -> Any:
        print(json.dumps({"call": name, "arguments": arguments}), file=self._calls, flush=True)
        line = self._answers.readline()
        if not line:
            raise SystemExit(f"{self.system.label}: its driver ended during {name}({arguments}).")
        answer = json.loads(line)
        if "error" in answer:
            raise SystemExit(f"{self.system.label}: {name}({arguments}) failed.\n{answer['error']}")
        return answer["answer"]


@contextmanager
def running(system: System) -> Iterator[Running]:
    """Run a system's driver on a new database; both are gone when the block ends."""
    with temporary(system.database) as name:
        process = subprocess.Popen(
            list(system.command),
            cwd=ROOT,
            env={**os.environ, **system.environment, "BENCHMARK_DATABASE_NAME": name},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            yield Running(system, process)
        finally:
            # The end of its input is a driver's sign to stop its workers and itself.
            process.communicate(timeout=DRIVER_STOPS_SECONDS)
