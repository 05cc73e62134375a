"""Drives DBOS: workflows are called in the worker processes, each of which is an application with DBOS in it."""

import asyncio
import logging
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks import slow_server
from benchmarks.cpu import cpu_seconds
from benchmarks.driver import NAP_SECONDS, Driver, Idle, Kind, Worked, due_times, serve
from benchmarks.peers import pg
from benchmarks.peers.processes import Workers, answer, own_cpu_seconds, shares

ON_POSTGRES = os.environ["BENCHMARK_DATABASE"] == "postgres"
WARM_UP = 3
SETTLE_SECONDS = 3.0
STARTS_A_SECOND = 80  # of sleepers, that surely fall asleep
LEAD_SECONDS = 5.0


class Dbos(Driver):
    """DBOS, for the runner."""

    def __init__(self) -> None:
        slow_server.start()
        self._number = int(os.environ["BENCHMARK_WORKERS"])
        self._workers = Workers("benchmarks.peers.dbos_driver", self._number)
        self._warm: set[Kind] = set()

    def batch(self, workflows: int, steps: int, kind: Kind) -> Worked:
        """See `Driver.batch`."""
        if kind not in self._warm:
            self._warm.add(kind)
            self._work_off(2 * self._number, 2, kind)
        return self._work_off(workflows, steps, kind)

    def _work_off(self, workflows: int, steps: int, kind: Kind) -> Worked:
        dealt = [share for share in shares(workflows, self._number) if share]
        began = time.monotonic()
        cpu = self._workers.call(
            "run", [{"workflows": share, "steps": steps, "kind": kind} for share in dealt]
        )
        return Worked(time.monotonic() - began, sum(cpu))

    def latency(self, times: int) -> list[float]:
        """See `Driver.latency`: in the process that calls the workflow, which is the one that runs it."""
        (seconds,) = self._workers.call("time", [{"times": times}])
        return list(seconds)

    def sleepers(self, number: int, spread: float) -> list[float]:
        """See `Driver.sleepers`. If some were not asleep when the first was due: once more, with more time for it."""
        for patience in (1, 2, 4):
            lead = patience * (LEAD_SECONDS + number / STARTS_A_SECOND)
            due = due_times(time.time(), number, spread, lead)
            dealt = [{"due": due[place :: self._number]} for place in range(self._number)]
            said = self._workers.call("sleep", dealt)
            if max(began for began, _ in said) < due[0]:
                return [late for _, share in said for late in share]
        raise RuntimeError(f"{number} sleepers did not fall asleep in time")

    def idle(self, seconds: float) -> Idle:
        """See `Driver.idle`."""
        time.sleep(SETTLE_SECONDS)
        server = pg.connect() if ON_POSTGRES else None
        before, counted = cpu_seconds(self._workers.pids), pg.transactions(server) if server else 0
        time.sleep(seconds)
        after = cpu_seconds(self._workers.pids)
        used = None if before is None or after is None else after - before
        return Idle(seconds, used, transactions=pg.transactions(server) - counted if server else None)

    def close(self) -> None:
        """See `Driver.close`."""
        self._workers.stop()


# ── in a worker ─────────────────────────────────────────────────────────────────────────────────────────────────


class Application:
    """A process with DBOS in it. Its async workflows run on a loop of its own."""

    def __init__(self, place: str) -> None:
        from dbos import DBOS  # type: ignore[import-not-found]  # in its own environment

        self._dbos: Any = DBOS
        name = os.environ["BENCHMARK_DATABASE_NAME"]
        storage = (
            pg.url().replace("postgresql://", "postgresql+psycopg://") if ON_POSTGRES else f"sqlite:///{name}"
        )
        DBOS(
            config={
                "name": "benchmarks",
                "system_database_url": storage,
                "executor_id": f"worker-{place}",
                "application_version": "1",
                "log_level": "ERROR",
            }
        )
        self._began = 0.0  # when the last sleeper began
        self._flows = self._define()
        DBOS.launch()
        self._loop = asyncio.new_event_loop()

    def _define(self) -> dict[str, Callable[..., Any]]:
        dbos = self._dbos
        act = dbos.step(name="act")(_act)
        wait = dbos.step(name="wait")(_wait)
        stamp = dbos.step(name="stamp")(_stamp)

        def actions(steps: int) -> int:
            for number in range(steps):
                act(number)
            return steps

        def naps(steps: int) -> int:
            for number in range(steps):
                act(number)
                dbos.sleep(NAP_SECONDS)
            return steps

        async def waits(steps: int) -> int:
            for number in range(steps):
                await wait(number)
            return steps

        act_async = dbos.step(name="act_async")(_act_async)

        async def parallel(steps: int) -> int:
            return len(await asyncio.gather(*(act_async(number) for number in range(steps))))

        async def sleeper(due: float) -> float:
            self._began = max(self._began, time.time())
            await dbos.sleep_async(max(0.0, due - time.time()))
            return float(await stamp())

        flows = (actions, naps, waits, parallel, sleeper)
        return {each.__name__: dbos.workflow(name=each.__name__)(each) for each in flows}

    def run(self, workflows: int, steps: int, kind: Kind) -> float:
        """Call so many, and wait for all; returns the CPU seconds."""
        began = own_cpu_seconds()
        flow = self._flows["actions" if kind == "mutations" else kind]
        if asyncio.iscoroutinefunction(flow):
            done = self._loop.run_until_complete(self._run_async(flow, [steps] * workflows))
        else:
            handles = [self._dbos.start_workflow(flow, steps) for _ in range(workflows)]
            done = [handle.get_result() for handle in handles]
        if done != [steps] * workflows:
            raise RuntimeError(f"{workflows} workflows of {steps} steps returned {done}")
        return own_cpu_seconds() - began

    async def _run_async(self, flow: Callable[..., Any], arguments: list[Any]) -> list[Any]:
        handles = await asyncio.gather(*(self._dbos.start_workflow_async(flow, each) for each in arguments))
        return list(await asyncio.gather(*(handle.get_result() for handle in handles)))

    def time(self, times: int) -> list[float]:
        """From calling a workflow of one step until it has returned."""
        seconds = []
        for _ in range(WARM_UP + times):
            time.sleep(random.uniform(0.1, 0.3))
            began = time.monotonic()
            self._dbos.start_workflow(self._flows["actions"], 1).get_result()
            seconds.append(time.monotonic() - began)
        return seconds[WARM_UP:]

    def sleep(self, due: list[float]) -> tuple[float, list[float]]:
        """When the last one began, and how late each came."""
        came = self._loop.run_until_complete(self._run_async(self._flows["sleeper"], due))
        return self._began, [at - wanted for at, wanted in zip(came, due, strict=True)]


def _act(number: int) -> dict[str, Any]:
    return {"number": number, "answer": "done"}


async def _act_async(number: int) -> dict[str, Any]:
    return {"number": number, "answer": "done"}


async def _stamp() -> float:
    return time.time()


async def _wait(number: int) -> dict[str, Any]:
    return {"number": await slow_server.call(number), "answer": "waited"}


def _work(place: str) -> None:
    logging.disable(logging.WARNING)
    application = Application(place)
    answer({"run": application.run, "time": application.time, "sleep": application.sleep})


if __name__ == "__main__":
    _work(sys.argv[2]) if sys.argv[1:2] == ["worker"] else serve(Dbos())
