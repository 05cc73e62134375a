"""Processes that work for the driver: plain workers, and a real django-q2 cluster."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

from django_workflow.models import Process

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 30.0  # for a process to start or to stop
BATCH_SECONDS = 900.0  # for a batch
ALONE = "BENCHMARK_ALONE"  # the variable that leaves this project out of a cluster


class Workers:
    """Plain workers: see `worker`."""

    def __init__(self, number: int) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.ours.worker"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
            )
            for _ in range(number)
        ]
        for process in self._processes:
            self._hear(process)

    def work_until(self, done: Callable[[], bool], command: bytes = b"g") -> tuple[float, float]:
        """Let them work until `done()`. Returns the seconds to the last piece of work, and their CPU seconds."""
        began_at = last_at = monotonic()
        self._tell(command)
        while not done():
            for process in self._speaking(within=began_at + BATCH_SECONDS - monotonic()):
                last_at = max(last_at, self._hear(process)["done_at"])
        self._tell(b"r")
        cpu_seconds = 0.0
        for process in self._processes:
            while "cpu_seconds" not in (heard := self._hear(process)):
                last_at = max(last_at, heard["done_at"])
            cpu_seconds += heard["cpu_seconds"]
        return last_at - began_at, cpu_seconds

    def stop(self) -> None:
        """End them."""
        for process in self._processes:
            process.communicate(timeout=PATIENCE_SECONDS)

    def _tell(self, command: bytes) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(command)

    def _speaking(self, within: float) -> list[subprocess.Popen[bytes]]:
        by_pipe = {process.stdout.fileno(): process for process in self._processes if process.stdout}
        heard, _, _ = select.select(by_pipe, [], [], max(within, 0))
        if not heard:
            raise TimeoutError(f"the batch was not done within {BATCH_SECONDS:.0f} seconds")
        return [by_pipe[pipe] for pipe in heard]

    def _hear(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker {process.pid} has ended, with exit code {process.wait()}")
        said: dict[str, Any] = json.loads(line)
        return said


class Cluster:
    """`manage.py qcluster`, in a process group of its own."""

    def __init__(self, name: str, workers: int, **environment: str) -> None:
        self._main = subprocess.Popen(
            [sys.executable, "-m", "django", "qcluster"],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if ALONE in environment:  # it has no table in which it could tell of itself
            return
        self._wait_until(
            lambda: Process.objects.filter(cluster=name).count() >= workers, f"{workers} workers of {name}"
        )

    @property
    def pid(self) -> int:
        """The process that all others descend from."""
        return self._main.pid

    def stop(self) -> None:
        """End it as a service manager does; by force if it doesn't."""
        self._main.send_signal(signal.SIGTERM)
        try:
            self._main.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._main.pid, signal.SIGKILL)
            self._main.wait()
        Process.objects.all().delete()

    def _wait_until(self, true: Callable[[], bool], what: str) -> None:
        gives_up_at = monotonic() + PATIENCE_SECONDS
        while not true():
            if self._main.poll() is not None or monotonic() > gives_up_at:
                self.stop()
                raise RuntimeError(f"the cluster did not come up: waited for {what}")
            Event().wait(0.05)
