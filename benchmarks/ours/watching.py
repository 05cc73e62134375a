"""A cluster that has nothing to do, watched: its statements, told apart by who sent them, and its CPU time."""

import os
import tempfile
import threading
from pathlib import Path
from threading import Event
from typing import Any

from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from benchmarks.cpu import cpu_seconds
from benchmarks.driver import Idle
from benchmarks.ours.processes import Cluster

FILE = "BENCHMARK_COUNT"  # the variable that names the file into which processes write a letter for each statement
OURS, POLLS = b"o", b"q"
SETTLE_SECONDS = 3.0  # until a cluster that has just started has nothing to do


def count_here() -> None:
    """Count the statements of this process and of those that it forks, if the environment asks for it."""
    if FILE in os.environ:
        connection_created.connect(_count, dispatch_uid=FILE)


def _count(*, connection: BaseDatabaseWrapper, **_: object) -> None:
    if _note not in connection.execute_wrappers:
        connection.execute_wrappers.append(_note)


def _note(execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    # Our own ticker reads a table of django-q2 (its schedules); everybody else who does so is django-q2.
    its_own = "django_q" in str(sql) and not threading.current_thread().name.startswith("django_workflow")
    with Path(os.environ[FILE]).open("ab", buffering=0) as file:
        file.write(POLLS if its_own else OURS)
    return execute(sql, params, many, context)


def watch(name: str, workers: int, seconds: float) -> Idle:
    """Watch a cluster for so long, and then one of django-q2 alone, whose polling is in both."""
    with tempfile.NamedTemporaryFile(prefix="benchmarks-") as counted:
        file = Path(counted.name)
        cluster = Cluster(name, workers, **{FILE: counted.name})
        try:
            Event().wait(SETTLE_SECONDS)
            file.write_bytes(b"")
            before = _transactions()
            cpu = _cpu_for(cluster, seconds)
            after = _transactions()
            letters = file.read_bytes()
        finally:
            cluster.stop()
    return Idle(
        seconds,
        cpu,
        letters.count(OURS),
        letters.count(POLLS),
        None if before is None or after is None else after - before,
        _alone(name, workers, seconds),
    )


def _alone(name: str, workers: int, seconds: float) -> float | None:
    cluster = Cluster(name, workers, BENCHMARK_ALONE="yes")
    try:
        Event().wait(SETTLE_SECONDS)
        return _cpu_for(cluster, seconds)
    finally:
        cluster.stop()


def _cpu_for(cluster: Cluster, seconds: float) -> float | None:
    before = cpu_seconds([cluster.pid])
    Event().wait(seconds)
    after = cpu_seconds([cluster.pid])
    return None if before is None or after is None else after - before


def _transactions() -> int | None:
    """That the server has counted in this database so far."""
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        )
        return int(cursor.fetchone()[0])
