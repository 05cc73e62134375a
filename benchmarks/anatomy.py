"""Where the time of a step goes: `python -m benchmarks.anatomy [--database postgres]`.

One worker in one process works off W1a, W1b and W4; each statement is timed where it leaves Python, and so is each
COMMIT. What is left is Python's. Below stands what the machine needs at least: a round trip, and a commit of one row.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.databases import DATABASES, answering, temporary

WARM_UP = 20  # workflows
ROUNDS = 200  # of a round trip and a commit
WORK = {
    "W1a": ("mutations", 200, 10),
    "W1b": ("actions", 200, 10),
    "W4": ("parallel", 1, 400),
}  # by name: the workflow, how many, and of how many steps


def main() -> None:
    """Measure on the databases that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.anatomy", description=__doc__)
    parser.add_argument("--database", choices=DATABASES, default="postgres")
    database = parser.parse_args().database
    if database not in answering():
        parser.error(f"{database} does not answer")
    with temporary(database) as name:
        os.environ.update(
            BENCHMARK_DATABASE=database,
            BENCHMARK_DATABASE_NAME=name,
            DJANGO_SETTINGS_MODULE="benchmarks.settings",
        )
        import django
        from django.core.management import call_command
        from django.db import connection

        django.setup()
        call_command("migrate", verbosity=0)
        try:
            for label, work in WORK.items():
                _dissect(label, *work)
            _floor()
        finally:
            connection.close()


def _dissect(label: str, name: str, workflows: int, steps: int) -> None:
    from benchmarks.app import workflows as app
    from django_workflow.engine.drain import drain

    definition = getattr(app, name)
    for _ in range(min(WARM_UP, workflows)):
        definition.start(steps)
    drain(None)
    for _ in range(workflows):
        definition.start(steps)
    count = workflows * steps
    with _timed() as parts:
        began, cpu = time.perf_counter(), time.process_time()
        drain(None)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(
        f"\n{label}: {wall / count * 1e6:,.0f} µs for a step, {cpu / count * 1e6:,.0f} of them this process's CPU"
    )
    print(f"  {'statement':<58} {'for a step':>10} {'µs each':>9} {'µs for a step':>14}")
    in_database = 0.0
    for what, times in sorted(parts.items(), key=lambda part: -sum(part[1])):
        in_database += sum(times)
        each = statistics.median(times) * 1e6
        print(f"  {what:<58} {len(times) / count:>10.2f} {each:>9,.0f} {sum(times) / count * 1e6:>14,.0f}")
    print(f"  {'Python, between them':<58} {'':>10} {'':>9} {(wall - in_database) / count * 1e6:>14,.0f}")


@contextmanager
def _timed() -> Iterator[dict[str, list[float]]]:
    """How long each kind of statement took (seconds), by what it is."""
    from django.db import connection

    parts: dict[str, list[float]] = defaultdict(list)
    commit: Callable[[], None] = connection._commit  # type: ignore[attr-defined]  # the COMMIT itself

    def timed(what: str, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        try:
            return work()
        finally:
            parts[what].append(time.perf_counter() - began)

    def execute(send: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        return timed(_kind(str(sql)), lambda: send(sql, params, many, context))

    connection._commit = lambda: timed("COMMIT", commit)  # type: ignore[attr-defined]
    try:
        with connection.execute_wrapper(execute):
            yield parts
    finally:
        connection._commit = commit  # type: ignore[attr-defined]


def _kind(sql: str) -> str:
    """What a statement does, and to which tables, in the order in which it names them."""
    words = re.findall(r"\b(?:INSERT INTO|UPDATE|DELETE FROM|FROM|JOIN)\s+\"?(?:django_workflow_)?(\w+)", sql)
    tables = [word for word in dict.fromkeys(words) if word not in ("held", "due", "mine")]
    verbs = re.findall(r"\b(SAVEPOINT|RELEASE|ROLLBACK|BEGIN|SELECT|INSERT|UPDATE|DELETE)\b", sql)
    verb = verbs[0] if verbs else sql.split()[0]
    if sql.startswith("WITH"):
        verb = "+".join(dict.fromkeys(verb for verb in verbs if verb != "SELECT")) or "SELECT"
    return f"{verb} {', '.join(tables)}".strip()[:58]


def _floor() -> None:
    """A round trip, and a commit of one row: nothing durable is faster."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE floor (number integer)")
        trip = statistics.median(_times(lambda: cursor.execute("SELECT 1"))) * 1e6
        commit = statistics.median(_times(lambda: cursor.execute("INSERT INTO floor VALUES (1)"))) * 1e6
        cursor.execute("DROP TABLE floor")
    print(f"\nat least: {trip:,.0f} µs for a round trip, {commit:,.0f} µs for a row and its commit")


def _times(work: Callable[[], Any]) -> list[float]:
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return times


if __name__ == "__main__":
    main()
