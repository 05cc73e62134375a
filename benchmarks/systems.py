"""The systems that are measured, as the runner sees them: a program each, on an empty database of its own.

Which peers there are, and by which interpreter each is run: `peers/adapters.py`.
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
from typing import IO, Any, NoReturn

from benchmarks.databases import temporary
from benchmarks.driver import Idle, Kind, Statements, Unsupported, Worked

ROOT = Path(__file__).resolve().parent.parent
DRIVER_STOPS_SECONDS = 60


@dataclass(frozen=True)
class System:
    """One thing to measure: a program on a kind of database, with a way to wake its workers."""

    name: str
    database: str  # "": it keeps what it stores by itself
    queue: str
    command: Sequence[str]  # the driver's, without arguments
    environment: Mapping[str, str]
    tells_kinds_apart: bool = False  # True: queries and mutations cost something else than actions
    is_peer: bool = True  # True: what goes wrong with it is noted, and the run goes on
    notes: Sequence[str] = ()  # in what its work differs from ours

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
        tells_kinds_apart=True,
        is_peer=False,
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

    def sleepers(self, number: int, spread: float) -> list[float]:
        """See `Driver.sleepers`."""
        seconds: list[float] = self._call("sleepers", number=number, spread=spread)
        return seconds

    def fill(self, finished: int, sleeping: int) -> None:
        """See `Driver.fill`."""
        self._call("fill", finished=finished, sleeping=sleeping)

    def idle(self, seconds: float) -> Idle:
        """See `Driver.idle`."""
        return Idle(**self._call("idle", seconds=seconds))

    def _call(self, name: str, **arguments: Any) -> Any:
        try:
            print(json.dumps({"call": name, "arguments": arguments}), file=self._calls, flush=True)
            line = self._answers.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self._failed(f"its driver ended during {name}({arguments})", "")
        answer = json.loads(line)
        if "unsupported" in answer:
            raise Unsupported(answer["unsupported"])
        if "error" in answer:
            self._failed(f"{name}({arguments}) failed", answer["error"])
        return answer["answer"]

    def _failed(self, what: str, traceback: str) -> NoReturn:
        """A failure of ours ends the run; one of a peer is noted, and said at once."""
        text = f"{self.system.label}: {what}.\n{traceback}"
        if not self.system.is_peer:
            raise SystemExit(text)
        print(text, file=sys.stderr, flush=True)
        raise Unsupported(": ".join([what, *traceback.strip().splitlines()[-1:]]))


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
            _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    # The end of its input is a driver's sign to stop its workers and itself.
    try:
        process.communicate(timeout=DRIVER_STOPS_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    except BrokenPipeError:
        process.wait(DRIVER_STOPS_SECONDS)
