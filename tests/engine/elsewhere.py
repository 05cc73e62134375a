"""Another worker: a thread with database connections of its own.

Rules of this file: no luck. A test says by its own calls and events what happens elsewhere and when; a thread
that doesn't come to its end within `PATIENCE` is a failure, not a wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from django.db import connection, connections

T = TypeVar("T")
PATIENCE = 60.0  # seconds; only ever used up by a deadlock


class Elsewhere(Generic[T]):
    """Runs `function` in another thread from now on."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._future: Future[T] = Future()
        self._function = function
        threading.Thread(target=self._run, name="elsewhere", daemon=True).start()

    def _run(self) -> None:
        try:
            self._future.set_result(self._function())
        except BaseException as error:  # noqa: BLE001  handed to whoever asks for the result
            self._future.set_exception(error)
        finally:
            connections.close_all()

    def result(self) -> T:
        """What the function returned, once it has; raises what it raised."""
        return self._future.result(PATIENCE)


def elsewhere(function: Callable[[], T]) -> T:
    """Run `function` in another thread, on other connections, and return its result."""
    return Elsewhere(function).result()


def wait(event: threading.Event) -> None:
    """Wait for what another thread is certain to do."""
    assert event.wait(PATIENCE), "the other thread never came to the point that this one waits for"


@contextmanager
def before_statements(hook: Callable[[str], None]) -> Iterator[None]:
    """Call `hook` with each statement that this thread is about to send, the hook's own not included."""
    inside = False

    def wrapper(execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        nonlocal inside
        if not inside:
            inside = True
            try:
                hook(str(sql))
            finally:
                inside = False
        return execute(sql, params, many, context)

    with connection.execute_wrapper(wrapper):
        yield


def is_fence(sql: str) -> bool:
    """True for the first write of a turn's commit."""
    if "workflow_workflow" not in sql or "generation" not in sql:
        return False
    # Alone, or in one statement with what it lets through (decision 38).
    return sql.startswith(("UPDATE", "WITH held AS (UPDATE")) or "WHERE EXISTS (SELECT 1 FROM" in sql


def may_be_locked(sql: str) -> bool:
    """True where another thread would have to wait for this one, about to send `sql` inside of a transaction.

    On SQLite that is any place in a transaction; elsewhere a turn locks its workflow's row with its fence.
    """
    if connection.vendor != "sqlite" and is_fence(sql):
        return False
    return connection.in_atomic_block or (connection.vendor == "sqlite" and not sql)


def lose_connection() -> None:
    """End this thread's connection from outside, where there is one that can be ended."""
    if connection.vendor == "sqlite":
        return
    with connection.cursor() as cursor:
        postgres = connection.vendor == "postgresql"
        cursor.execute("SELECT pg_backend_pid()" if postgres else "SELECT CONNECTION_ID()")
        (pid,) = cursor.fetchone()

    def kill() -> None:
        with connection.cursor() as cursor:
            # PostgreSQL waits until it is gone (milliseconds at the most).
            cursor.execute(
                "SELECT pg_terminate_backend(%s, 10000)" if postgres else "KILL CONNECTION %s", [pid]
            )

    elsewhere(kill)
