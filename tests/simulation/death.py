"""Deaths at a statement: the process is gone before or after any SQL statement or COMMIT of one connection.

Rules of this file: what dies with a process goes with it. Its transaction is rolled back, its on_commit hooks don't
run, and whatever code still runs while the exception passes through it reaches the database no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from django_workflow.engine.statements import first_word, text, writing_word

COMMIT = "COMMIT"


class Death(BaseException):
    """The process "died" here. No code of ours catches it."""


class Deaths:
    """Numbers the statements and commits of a connection, from 1, and dies at one of them."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self._commit: Callable[[], None] = connection.commit
        self._counts = False
        self._dead = False
        self._at = 0  # the point to die at; 0: none
        self._after = False
        self._wrote = False  # True iff the open transaction has written something
        self.points: list[str] = []  # what there was at each point, by its text
        self.commits: list[int] = []  # of these, by number, the ones that made writes durable

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Look at all that goes over the connection."""
        self._connection.commit = self._on_commit  # type: ignore[method-assign]
        self._connection.execute_wrappers.append(self._on_execute)
        try:
            yield
        finally:
            self._connection.execute_wrappers.remove(self._on_execute)
            self._connection.commit = self._commit  # type: ignore[method-assign]

    def arm(self, point: int, *, after: bool) -> None:
        """Count from 1 again, and die before (or right after) `point`; 0: nowhere."""
        self.points, self.commits = [], []
        self._at, self._after = point, after
        self._wrote = False

    @contextmanager
    def counting(self) -> Iterator[None]:
        """What happens in here is the process that may die; it lives again when this begins anew."""
        self._counts, self._dead = True, False
        try:
            yield
        finally:
            self._counts = self._dead = False

    def _on_execute(self, execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if not self._counts:
            return execute(sql, params, many, context)
        if self._dead:
            if first_word(sql) in ("ROLLBACK", "RELEASE"):
                return None  # Django's own way out of its savepoints
            raise Death(f"a dead process asks for {text(sql)[:80]}")
        self._note(text(sql), durable=not self._connection.in_atomic_block and writing_word(sql) is not None)
        self._wrote = self._wrote or writing_word(sql) is not None
        self._die_if(after=False)
        result = execute(sql, params, many, context)
        self._die_if(after=True)
        return result

    def _on_commit(self) -> None:
        if not self._counts:
            self._commit()
            return
        if self._dead:
            raise Death("a dead process commits")
        self._note(COMMIT, durable=self._wrote)
        self._wrote = False
        self._die_if(after=False)
        self._commit()
        self._die_if(after=True)

    def _note(self, what: str, *, durable: bool) -> None:
        self.points.append(what)
        if durable:
            self.commits.append(len(self.points))

    def _die_if(self, *, after: bool) -> None:
        if len(self.points) != self._at or self._after != after:
            return
        self._dead = True
        self._connection.run_on_commit = []
        # The driver's own: Django doesn't know of a BEGIN that it has not seen come back.
        self._connection.connection.rollback()
        raise Death(f"{'after' if after else 'before'} point {self._at}: {self.points[-1]}")
