"""Drives Restate: its server, two processes that serve the workflows, and a client that calls them over HTTP."""

import asyncio
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks import slow_server
from benchmarks.cpu import cpu_seconds
from benchmarks.driver import NAP_SECONDS, Driver, Idle, Kind, Worked, due_times, serve
from benchmarks.peers.http_client import Client

FLOWS = {
    "mutations": "actions",
    "actions": "actions",
    "naps": "naps",
    "waits": "waits",
    "parallel": "parallel",
}
# What its documentation recommends for production.
HYPERCORN = """h2_max_concurrent_streams = 2147483647
keep_alive_max_requests = 2147483647
keep_alive_timeout = 2147483647
"""
CALLERS = 50  # that wait for answers at once; for W6 as many as there are calls
WARM_UP = 3
SETTLE_SECONDS = 3.0
START_SECONDS = 60.0
STARTS_A_SECOND = 200  # of sleepers, that surely fall asleep
LEAD_SECONDS = 3.0
LATE_SECONDS = 300.0  # after the last is due, before a run is given up


class Restate(Driver):
    """Restate, for the runner. Its server has its own storage in the run's folder, with its defaults (fsync on)."""

    def __init__(self) -> None:
        slow_server.start()
        folder = Path(os.environ["BENCHMARK_DATABASE_NAME"])
        self._ingress, admin, node = _free_port(), _free_port(), _free_port()
        with (folder / "server.log").open("w") as log:
            self._server = subprocess.Popen(
                [
                    Path(os.environ["BENCHMARK_PEER_FOLDER"]) / "npm/node_modules/.bin/restate-server",
                    "--no-logo",
                    "--listen-mode=tcp",
                ],
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "RESTATE_BASE_DIR": str(folder / "data"),
                    "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
                    "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{self._ingress}",
                    "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
                    "RESTATE_DISABLE_TELEMETRY": "true",
                },
            )
        service = _free_port()
        config = folder / "hypercorn.toml"
        config.write_text(
            f'bind = "127.0.0.1:{service}"\nworkers = {os.environ["BENCHMARK_WORKERS"]}\n{HYPERCORN}'
        )
        with (folder / "services.log").open("w") as log:
            self._services = subprocess.Popen(
                [
                    *(sys.executable, "-m", "hypercorn", "--config", str(config)),
                    "benchmarks.peers.restate_driver:app()",
                ],
                stdout=log,
                stderr=log,
            )
        self._warm: set[Kind] = set()
        asyncio.run(self._register(admin, service))

    async def _register(self, admin: int, service: int) -> None:
        """Once both are up: tell the server where the workflows are."""
        gives_up_at = time.monotonic() + START_SECONDS
        while True:
            try:
                async with Client(admin) as client:
                    await client.post("/deployments", {"uri": f"http://127.0.0.1:{service}"})
                async with Client(self._ingress) as client:
                    await client.post("/benchmarks/actions", 1)
                return
            except (OSError, RuntimeError, asyncio.IncompleteReadError):
                if time.monotonic() > gives_up_at or self._server.poll() is not None:
                    raise
                await asyncio.sleep(0.2)

    def batch(self, workflows: int, steps: int, kind: Kind) -> Worked:
        """See `Driver.batch`."""
        if kind not in self._warm:
            self._warm.add(kind)
            asyncio.run(self._call(4, 2, kind))
        before = cpu_seconds([self._services.pid])
        began = time.monotonic()
        asyncio.run(self._call(workflows, steps, kind))
        seconds = time.monotonic() - began
        after = cpu_seconds([self._services.pid])
        return Worked(seconds, None if before is None or after is None else after - before)

    async def _call(self, workflows: int, steps: int, kind: Kind) -> None:
        done = await self._call_each(
            f"/benchmarks/{FLOWS[kind]}", [steps] * workflows, workflows if kind == "waits" else CALLERS
        )
        if done != [steps] * workflows:
            raise RuntimeError(f"{workflows} workflows of {steps} steps returned {done}")

    async def _call_each(self, path: str, arguments: Sequence[Any], callers: int) -> list[Any]:
        """Call a workflow with each argument, so many at a time; what each returned."""
        left = list(enumerate(arguments))[::-1]
        done: list[Any] = [None] * len(arguments)

        async def caller() -> None:
            async with Client(self._ingress) as client:
                while left:
                    place, argument = left.pop()
                    done[place] = await client.post(path, argument)

        await asyncio.gather(*(caller() for _ in range(min(callers, len(arguments)))))
        return done

    def latency(self, times: int) -> list[float]:
        """See `Driver.latency`."""
        return asyncio.run(self._time(times))

    async def _time(self, times: int) -> list[float]:
        seconds = []
        async with Client(self._ingress) as client:
            for _ in range(WARM_UP + times):
                await asyncio.sleep(random.uniform(0.1, 0.3))
                began = time.monotonic()
                await client.post("/benchmarks/actions", 1)
                seconds.append(time.monotonic() - began)
        return seconds[WARM_UP:]

    def sleepers(self, number: int, spread: float) -> list[float]:
        """See `Driver.sleepers`. They are sent; what they return is fetched when the last is due."""
        due = due_times(time.time(), number, spread, LEAD_SECONDS + number / STARTS_A_SECOND)
        sent = asyncio.run(self._call_each("/benchmarks/sleeper/send", due, CALLERS))
        if time.time() > due[0]:
            raise RuntimeError(f"{number} sleepers did not fall asleep in time")
        time.sleep(max(0.0, due[-1] - time.time()))
        paths = [f"/restate/invocation/{each['invocationId']}/attach" for each in sent]
        came = asyncio.run(asyncio.wait_for(self._fetch(paths), LATE_SECONDS))
        return [at - wanted for at, wanted in zip(came, due, strict=True)]

    async def _fetch(self, paths: Sequence[str]) -> list[float]:
        async with Client(self._ingress) as client:
            return [await client.get(path) for path in paths]

    def idle(self, seconds: float) -> Idle:
        """See `Driver.idle`: server and services together."""
        time.sleep(SETTLE_SECONDS)
        pids = [self._server.pid, self._services.pid]
        before = cpu_seconds(pids)
        time.sleep(seconds)
        after = cpu_seconds(pids)
        return Idle(seconds, None if before is None or after is None else after - before)

    def close(self) -> None:
        """See `Driver.close`."""
        for process in (self._services, self._server):
            process.terminate()
            process.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ── the services ────────────────────────────────────────────────────────────────────────────────────────────────


def app() -> Any:
    """What hypercorn serves."""
    import restate  # type: ignore[import-not-found]  # in its own environment

    service = restate.Service("benchmarks")
    for handler in (actions, naps, waits, parallel, sleeper):
        service.handler(handler.__name__)(handler)
    return restate.app(services=[service])


async def actions(ctx: Any, steps: int) -> int:
    """Steps, one after the other."""
    for number in range(steps):
        await ctx.run_typed("act", _act, number=number)
    return steps


async def naps(ctx: Any, steps: int) -> int:
    """Steps with a sleep after each."""
    for number in range(steps):
        await ctx.run_typed("act", _act, number=number)
        await ctx.sleep(timedelta(seconds=NAP_SECONDS))
    return steps


async def waits(ctx: Any, steps: int) -> int:
    """Steps that wait for a second each."""
    for number in range(steps):
        await ctx.run_typed("wait", _wait, number=number)
    return steps


async def parallel(ctx: Any, steps: int) -> int:
    """Steps, all at once."""
    import restate

    done = await restate.gather(
        *(ctx.run_typed(f"act-{number}", _act, number=number) for number in range(steps))
    )
    return len([await each for each in done])


async def sleeper(ctx: Any, due: float) -> float:
    """Sleeps, and tells when its step ran."""
    now = await ctx.run_typed("now", _now)
    await ctx.sleep(timedelta(seconds=max(0.0, due - now)))
    return float(await ctx.run_typed("stamp", _now))


async def _now() -> float:
    return time.time()


async def _act(number: int) -> dict[str, Any]:
    return {"number": number, "answer": "done"}


async def _wait(number: int) -> dict[str, Any]:
    return {"number": await slow_server.call(number), "answer": "waited"}


if __name__ == "__main__":
    serve(Restate())
