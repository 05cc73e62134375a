"""What goes wrong: each fault does one thing to what is there, chosen by the seed, and says what it did."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING

from django.db import connection

from tests.chaos.service import Service

if TYPE_CHECKING:
    from tests.chaos.takeovers import Takeovers
    from tests.cluster.own_servers import OwnPostgres, OwnRedis

LEASE_SECONDS = 4.0


@dataclass
class Stage:
    """What can be harmed."""

    random: Random
    services: list[Service]
    postgres: OwnPostgres | None
    redis: OwnRedis | None
    takeovers: Takeovers
    asleep: list[tuple[float, int]] = field(default_factory=list)  # until when, and who

    def some_service(self) -> Service | None:
        """One of the clusters that are at work."""
        running = [
            each for each in self.services if not each.is_stopping() and each.cluster.logged("ready for work")
        ]
        return self.random.choice(running) if running else None

    def survivors(self) -> int:
        """How many workers there are that could take over."""
        asleep = {pid for _, pid in self.asleep}
        running = [each.cluster.logged("ready for work") for each in self.services if not each.is_stopping()]
        return len({pid for pids in running for pid in pids} - asleep)

    def wake_up(self, *, all_of_them: bool = False) -> None:
        """Let go on who has slept long enough."""
        for each in [*self.asleep]:
            if all_of_them or monotonic() >= each[0]:
                self.asleep.remove(each)
                _signal(each[1], signal.SIGCONT)


Fault = Callable[[Stage], str | None]  # what it did, or None where there was nothing to do


def kill_a_worker(stage: Stage) -> str | None:
    return _kill_one(stage, "ready for work", "worker")


def kill_the_pusher(stage: Stage) -> str | None:
    return _kill_one(stage, "pushing tasks", None)


def kill_the_monitor(stage: Stage) -> str | None:
    return _kill_one(stage, "monitoring", None)


def kill_the_sentinel(stage: Stage) -> str | None:
    if (service := stage.some_service()) is None or not (pids := service.cluster.sentinels()):
        return None
    _signal(pids[0], signal.SIGKILL)
    return f"{pids[0]}"


def kill_a_cluster(stage: Stage) -> str | None:
    if (service := stage.some_service()) is None:
        return None
    workers = service.cluster.logged("ready for work")
    stage.takeovers.about_to_die(workers)
    service.kill()
    stage.takeovers.have_died("cluster", survivors=stage.survivors())
    return f"{len(workers)} workers"


def stop_a_cluster(stage: Stage) -> str | None:
    if (service := stage.some_service()) is None:
        return None
    service.stop()
    return f"{service.cluster.main}"


def terminate_a_group(stage: Stage) -> str | None:
    if (service := stage.some_service()) is None:
        return None
    service.stop(all_at_once=True)
    return f"{service.cluster.main}"


def put_a_worker_to_sleep(stage: Stage) -> str | None:
    """It may sleep through its lease, and then goes on with what it was at."""
    pid = _one(stage, "ready for work")
    if pid is None:
        return None
    seconds = stage.random.uniform(0.5, 2.5 * LEASE_SECONDS)
    _signal(pid, signal.SIGSTOP)
    stage.asleep.append((monotonic() + seconds, pid))
    return f"{pid} for {seconds:.1f} s"


def restart_the_database(stage: Stage) -> str | None:
    assert stage.postgres is not None
    immediately = stage.random.random() < 0.5
    away = stage.random.choice([0.0, 0.5, 3.0])
    stage.postgres.stop(signal.SIGQUIT if immediately else signal.SIGINT)
    Event().wait(away)
    stage.postgres.start()
    return f"{'immediate' if immediately else 'fast'}, away for {away} s"


def end_all_connections(stage: Stage) -> str | None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return f"{cursor.rowcount}"


def hold_the_database(stage: Stage) -> str | None:
    """Somebody's long transaction: nobody else can write."""
    seconds = stage.random.uniform(0.5, 3.0)
    with connection.cursor() as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        Event().wait(seconds)
        cursor.execute("ROLLBACK")
    return f"{seconds:.1f} s"


def empty_redis(stage: Stage) -> str | None:
    assert stage.redis is not None
    stage.redis.forget_everything()
    return ""


def restart_redis(stage: Stage) -> str | None:
    assert stage.redis is not None
    away = stage.random.choice([0.0, 1.0, 3.0])
    stage.redis.stop(signal.SIGKILL)
    Event().wait(away)
    stage.redis.start()
    return f"away for {away} s"


def weighted(stage: Stage) -> dict[Fault, int]:
    """The faults that there are here, and how often each comes."""
    faults: dict[Fault, int] = {
        kill_a_worker: 10,
        kill_the_pusher: 2,
        kill_the_monitor: 2,
        kill_the_sentinel: 1,
        kill_a_cluster: 2,
        stop_a_cluster: 2,
        terminate_a_group: 1,
        put_a_worker_to_sleep: 4,
    }
    if stage.postgres is not None:
        faults |= {restart_the_database: 3, end_all_connections: 3}
    else:
        faults |= {hold_the_database: 3}
    if stage.redis is not None:
        faults |= {empty_redis: 4, restart_redis: 2}
    return faults


def _one(stage: Stage, role: str) -> int | None:
    service = stage.some_service()
    pids = service.cluster.logged(role) if service is not None else []
    return stage.random.choice(pids) if pids else None


def _kill_one(stage: Stage, role: str, takeover: str | None) -> str | None:
    if (pid := _one(stage, role)) is None:
        return None
    if takeover:
        stage.takeovers.about_to_die([pid])
    _signal(pid, signal.SIGKILL)
    if takeover:
        stage.takeovers.have_died(takeover, survivors=stage.survivors())
    return f"{pid}"


def _signal(pid: int, which: signal.Signals) -> None:
    try:
        os.kill(pid, which)
    except ProcessLookupError:
        return  # it was faster


def in_a_thread(call: Callable[[], object]) -> Thread:
    """Run it beside the faults, with connections of its own."""

    def run() -> None:
        try:
            call()
        finally:
            connection.close()

    thread = Thread(target=run, daemon=True)
    thread.start()
    return thread
