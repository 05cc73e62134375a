"""Workers of a peer as processes that answer calls, one line of JSON each; the standard library only.

A driver speaks with its workers as the runner speaks with the driver. A call that takes long is sent to all
workers first, and then all answers are awaited.
"""

import json
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

PATIENCE_SECONDS = 60.0  # for a worker to stop


class Workers:
    """So many processes of one module, started with the argument `worker` and the place of each."""

    def __init__(self, module: str, number: int) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", module, "worker", str(place)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for place in range(number)
        ]
        for process in self._processes:
            self._hear(process)

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [process.pid for process in self._processes]

    def call(self, name: str, arguments: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Ask the first workers, one for each set of arguments; all work at once."""
        asked = self._processes[: len(arguments)]
        for process, each in zip(asked, arguments, strict=True):
            assert process.stdin is not None
            print(json.dumps({"call": name, "arguments": each}), file=process.stdin, flush=True)
        return [self._hear(process) for process in asked]

    def call_all(self, name: str, **arguments: Any) -> list[Any]:
        """Ask all workers the same."""
        return self.call(name, [arguments] * len(self._processes))

    def stop(self) -> None:
        """End them."""
        for process in self._processes:
            process.communicate(timeout=PATIENCE_SECONDS)

    def _hear(self, process: "subprocess.Popen[str]") -> Any:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker {process.pid} has ended, with exit code {process.wait()}")
        said = json.loads(line)
        if "error" in said:
            raise RuntimeError(f"the worker {process.pid} failed:\n{said['error']}")
        return said["answer"]


def answer(calls: Mapping[str, Callable[..., Any]]) -> None:
    """In a worker: say that it is ready, and answer calls until its input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps({"answer": "ready"}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            said = {"answer": calls[asked["call"]](**asked["arguments"])}
        except Exception:  # noqa: BLE001 - the driver passes it on to the runner
            said = {"error": traceback.format_exc()}
        print(json.dumps(said), file=answers, flush=True)


def own_cpu_seconds() -> float:
    """Of this process."""
    times = os.times()
    return times.user + times.system


def shares(number: int, workers: int) -> list[int]:
    """So many things, dealt out."""
    return [number // workers + (place < number % workers) for place in range(workers)]
