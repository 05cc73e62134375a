"""Counts what goes to the database through this thread's connection."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

from benchmarks.driver import Statements

SAVEPOINTS = ("SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT")
BEGIN = "BEGIN"
# Lists whose length depends on how much one statement carries: rows of an INSERT, values of an IN.
_ROWS = re.compile(r"(\((?:[^()]|\([^()]*\))*\))(?:, \((?:[^()]|\([^()]*\))*\))+")
_VALUES = re.compile(r"%s(?:, %s)+|(?<=IN \()%s(?=\))")
_SAVEPOINT_NAME = re.compile(r"[\"`]?s\d+_x\d+[\"`]?")


class Count:
    """What has been counted."""

    def __init__(self) -> None:
        self._statements: Counter[str] = Counter()
        self._savepoints = 0
        self._commits = 0

    def __call__(self, execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        """An execute wrapper of Django's."""
        text = str(sql)
        if text.startswith(SAVEPOINTS):
            self._savepoints += 1
        # SQLite's BEGIN goes this way, other databases' doesn't; it is counted with its COMMIT.
        elif not text.startswith(BEGIN):
            self._statements[_shape(text)] += 1
        return execute(sql, params, many, context)

    def commit(self) -> None:
        """A transaction of several statements was committed."""
        self._commits += 1

    def read(self) -> Statements:
        """All of it; texts by number, most first."""
        by_text = dict(self._statements.most_common())
        return Statements(sum(by_text.values()), self._savepoints, self._commits, by_text)


@contextmanager
def counting() -> Iterator[Count]:
    """Count while the block runs."""
    count = Count()
    commit = connection.commit

    def counted_commit() -> None:
        count.commit()
        commit()

    # No statement of Django's cursors, so no execute wrapper sees it.
    connection.commit = counted_commit  # type: ignore[method-assign]  # of this one connection
    try:
        with connection.execute_wrapper(count):
            yield count
    finally:
        del connection.commit


def _shape(text: str) -> str:
    """The statement without what differs from one time to the next."""
    return _ROWS.sub(r"\1, …", _VALUES.sub("%s, …", _SAVEPOINT_NAME.sub("s", text)))
