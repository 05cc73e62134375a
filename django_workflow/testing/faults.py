"""Deaths on demand: an armed fault counts commits and "kills the process" at one of them.

What dies with a process goes with it: the open transaction is rolled back (its connection is gone), hooks of
the transaction don't run, and the exception is none that the engine catches.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from django_workflow.engine.statements import writing_word


class SimulatedCrash(BaseException):
    """The process "died" here."""


class CommitFault:
    """Counts the commits of one connection; can be armed to die at one.

    A commit is the end of a transaction, or a statement that writes outside of one.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._commit: Callable[[], None] = connection.commit
        self._dies_at = 0
        self._after = False
        self.commits = 0

    def install(self) -> None:
        """Begin to count."""
        self._connection.commit = self._on_commit  # type: ignore[method-assign]
        self._connection.execute_wrappers.append(self._on_execute)

    def remove(self) -> None:
        """Leave the connection as it was."""
        del self._connection.commit
        self._connection.execute_wrappers.remove(self._on_execute)

    def arm(self, n: int, *, after: bool) -> None:
        """Die before (or right after) the n-th commit from now; 0 disarms."""
        self.commits = 0
        self._dies_at = n
        self._after = after

    def _on_commit(self) -> None:
        self._before(self._connection.rollback)
        self._commit()
        self._behind()

    def _on_execute(self, execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        commits = not self._connection.in_atomic_block and writing_word(sql) is not None
        if not commits:
            return execute(sql, params, many, context)
        self._before(lambda: None)
        result = execute(sql, params, many, context)
        self._behind()
        return result

    def _before(self, undo: Callable[[], None]) -> None:
        self.commits += 1
        if self.commits == self._dies_at and not self._after:
            self._dies_at = 0
            undo()
            raise SimulatedCrash(f"before commit {self.commits}")

    def _behind(self) -> None:
        if self.commits == self._dies_at and self._after:
            self._dies_at = 0
            self._connection.run_on_commit = []
            raise SimulatedCrash(f"after commit {self.commits}")
