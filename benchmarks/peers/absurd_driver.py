"""Drives absurd: tasks are spawned into a queue, and its workers work them off.

Steps of a sequence are those of sync tasks; what waits or runs at once is an async task on a queue of its own, since a
worker is either sync or async.
"""

import asyncio
import os
import random
import sys
import threading
import time
from typing import Any

from benchmarks import slow_server
from benchmarks.cpu import cpu_seconds
from benchmarks.driver import NAP_SECONDS, Driver, Idle, Kind, Worked, due_times, serve
from benchmarks.peers import pg
from benchmarks.peers.processes import Workers, answer, own_cpu_seconds

SYNC, ASYNC = "steps", "calls"  # queues
TASKS = {
    "mutations": (SYNC, "actions"),
    "actions": (SYNC, "actions"),
    "naps": (SYNC, "naps"),
    "waits": (ASYNC, "waits"),
    "parallel": (ASYNC, "parallel"),
}
CONCURRENCY = 500  # of async tasks in a worker, as ours
POLL_SECONDS = 0.005  # how exactly the end of a batch is seen
GLANCE_SECONDS = 0.001  # and that of a single task
WARM_UP = 3
SETTLE_SECONDS = 2.0
STARTS_A_SECOND = 120  # of sleepers, that surely fall asleep
LEAD_SECONDS = 4.0
LATE_SECONDS = 300.0


class AbsurdDriver(Driver):
    """absurd, for the runner."""

    def __init__(self) -> None:
        from absurd_sdk import Absurd  # type: ignore[import-not-found]  # in its own environment
        from absurdctl import BUNDLED_SCHEMA_SQL  # type: ignore[import-not-found]  # in its own environment

        slow_server.start()
        self._database = pg.connect()
        self._database.execute(BUNDLED_SCHEMA_SQL)
        self._apps: dict[str, Any] = {queue: Absurd(pg.url(), queue_name=queue) for queue in (SYNC, ASYNC)}
        for queue, app in self._apps.items():
            app.create_queue(queue)
        self._workers = Workers("benchmarks.peers.absurd_driver", int(os.environ["BENCHMARK_WORKERS"]))
        self._warm: set[Kind] = set()

    def batch(self, workflows: int, steps: int, kind: Kind) -> Worked:
        """See `Driver.batch`."""
        if kind not in self._warm:
            self._warm.add(kind)
            self._work_off(4, 2, kind)
        return self._work_off(workflows, steps, kind)

    def _work_off(self, workflows: int, steps: int, kind: Kind) -> Worked:
        queue, task = TASKS[kind]
        for _ in range(workflows):
            self._spawn(queue, task, {"steps": steps})
        self._workers.call_all("prepare", queue=queue)
        began = time.monotonic()
        self._workers.call_all("begin")
        self._wait(queue, POLL_SECONDS)
        seconds = time.monotonic() - began
        cpu = self._workers.call_all("rest")
        self._check_and_clear(queue, workflows)
        return Worked(seconds, sum(cpu))

    def _spawn(self, queue: str, task: str, params: dict[str, Any]) -> str:
        return str(self._apps[queue].spawn(task, params, queue=queue)["task_id"])

    def _wait(self, queue: str, poll: float, patience: float = 900.0) -> None:
        """Until no task of a queue is left."""
        unfinished = (
            f"SELECT 1 FROM absurd.t_{queue} WHERE state NOT IN ('completed', 'failed', 'cancelled') LIMIT 1"  # noqa: S608  our own names
        )
        gives_up_at = time.monotonic() + patience
        while self._database.execute(unfinished).fetchone():
            if time.monotonic() > gives_up_at:
                raise TimeoutError(f"tasks of {queue} were not done within {patience:.0f} s")
            time.sleep(poll)

    def _check_and_clear(self, queue: str, workflows: int) -> None:
        completed = self._database.execute(
            f"SELECT count(*) FROM absurd.t_{queue} WHERE state = 'completed'"  # noqa: S608  our own names
        ).fetchone()[0]
        self._clear(queue)
        if completed != workflows:
            raise RuntimeError(f"of {workflows} tasks {completed} completed")

    def _clear(self, queue: str) -> None:
        tables = ", ".join(f"absurd.{letter}_{queue}" for letter in "trcew")
        self._database.execute(f"TRUNCATE {tables}")

    def latency(self, times: int) -> list[float]:
        """See `Driver.latency`."""
        self._begin()
        seconds = []
        for _ in range(WARM_UP + times):
            time.sleep(random.uniform(0.1, 0.3))
            began = time.monotonic()
            self._spawn(SYNC, "actions", {"steps": 1})
            self._wait(SYNC, GLANCE_SECONDS)
            seconds.append(time.monotonic() - began)
        self._workers.call_all("rest")
        self._clear(SYNC)
        return seconds[WARM_UP:]

    def sleepers(self, number: int, spread: float) -> list[float]:
        """See `Driver.sleepers`. If some were not asleep when the first was due: once more, with more time for it."""
        for patience in (1, 2, 4):
            self._begin()
            lead = patience * (LEAD_SECONDS + number / STARTS_A_SECOND)
            due = due_times(time.time(), number, spread, lead)
            for at in due:
                self._spawn(SYNC, "sleeper", {"due": at})
            asleep = self._all_sleep(number, due[0])
            if asleep:
                self._wait(SYNC, 0.1, patience=due[-1] - time.time() + LATE_SECONDS)
            self._workers.call_all("rest")
            found = self._database.execute(
                f"SELECT (completed_payload::text)::float8 - (params->>'due')::float8 FROM absurd.t_{SYNC}"  # noqa: S608
            ).fetchall()
            self._clear(SYNC)
            if asleep:
                return [float(late) for (late,) in found]
        raise RuntimeError(f"{number} sleepers did not fall asleep in time")

    def _all_sleep(self, number: int, until: float) -> bool:
        """Wait for it, until that time; False: they didn't."""
        sleeping = f"SELECT count(*) FROM absurd.r_{SYNC} WHERE state = 'sleeping'"  # noqa: S608  our own names
        while time.time() < until:
            if self._database.execute(sleeping).fetchone()[0] == number:
                return True
            time.sleep(0.05)
        return False

    def _begin(self) -> None:
        self._workers.call_all("prepare", queue=SYNC)
        self._workers.call_all("begin")

    def idle(self, seconds: float) -> Idle:
        """See `Driver.idle`."""
        self._begin()
        time.sleep(SETTLE_SECONDS)
        before, counted = cpu_seconds(self._workers.pids), pg.transactions(self._database)
        time.sleep(seconds)
        after, total = cpu_seconds(self._workers.pids), pg.transactions(self._database)
        self._workers.call_all("rest")
        used = None if before is None or after is None else after - before
        return Idle(seconds, used, transactions=total - counted)

    def close(self) -> None:
        """See `Driver.close`."""
        self._workers.stop()
        for app in self._apps.values():
            app.close()
        self._database.close()


# ── in a worker ─────────────────────────────────────────────────────────────────────────────────────────────────


class Worker:
    """A process with absurd's own worker in a thread, between the calls `begin` and `rest`."""

    def __init__(self) -> None:
        self._app: Any = None
        self._thread: threading.Thread | None = None
        self._cpu = 0.0

    def prepare(self, queue: str) -> None:
        """Make what is needed to begin; a sync worker connects by that."""
        from absurd_sdk import Absurd, AsyncAbsurd

        if queue == SYNC:
            self._app = Absurd(pg.url(), queue_name=queue)
            for task in (actions, naps, sleeper):
                self._app.register_task(name=task.__name__)(task)
            work = self._app.start_worker
        else:
            self._app = AsyncAbsurd(pg.url(), queue_name=queue)
            for each in (waits, parallel):
                self._app.register_task(name=each.__name__)(each)
            work = self._work_async
        self._thread = threading.Thread(target=work)

    def begin(self) -> None:
        """Start the worker."""
        assert self._thread is not None
        self._cpu = own_cpu_seconds()
        self._thread.start()

    def _work_async(self) -> None:
        async def work() -> None:
            await self._app.start_worker(concurrency=CONCURRENCY)
            await self._app.close()

        asyncio.run(work())

    def rest(self) -> float:
        """Stop the worker; returns the CPU seconds since it began."""
        assert self._thread is not None
        self._app.stop_worker()
        self._thread.join()
        if not asyncio.iscoroutinefunction(self._app.close):
            self._app.close()
        return own_cpu_seconds() - self._cpu


def actions(params: Any, ctx: Any) -> int:
    """Steps, one after the other."""
    for number in range(params["steps"]):
        ctx.step("act", lambda number=number: {"number": number, "answer": "done"})
    return int(params["steps"])


def naps(params: Any, ctx: Any) -> int:
    """Steps with a sleep after each."""
    for number in range(params["steps"]):
        ctx.step("act", lambda number=number: {"number": number, "answer": "done"})
        ctx.sleep_for("nap", NAP_SECONDS)
    return int(params["steps"])


def sleeper(params: Any, ctx: Any) -> float:
    """Sleeps, and tells when its step ran."""
    ctx.sleep_until("sleep", params["due"])
    return float(ctx.step("stamp", time.time))


async def waits(params: Any, ctx: Any) -> int:
    """Steps that wait for a second each."""
    for number in range(params["steps"]):
        await ctx.step("wait", lambda number=number: _wait(number))
    return int(params["steps"])


async def _wait(number: int) -> dict[str, Any]:
    return {"number": await slow_server.call(number), "answer": "waited"}


async def parallel(params: Any, ctx: Any) -> int:
    """Steps, all at once."""
    return len(
        await asyncio.gather(
            *(
                ctx.step(f"act-{number}", lambda number=number: _act(number))
                for number in range(params["steps"])
            )
        )
    )


async def _act(number: int) -> dict[str, Any]:
    return {"number": number, "answer": "done"}


def _work() -> None:
    worker = Worker()
    answer({"prepare": worker.prepare, "begin": worker.begin, "rest": worker.rest})


if __name__ == "__main__":
    _work() if sys.argv[1:2] == ["worker"] else serve(AbsurdDriver())
