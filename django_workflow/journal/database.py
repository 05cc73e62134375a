"""Which database holds the journal, and which of its errors pass by themselves."""

from __future__ import annotations

import functools
from collections.abc import Callable
from threading import Event
from typing import Any, ParamSpec, TypeVar

from django.db import DatabaseError, Error, InterfaceError, OperationalError, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_workflow.models import Workflow

P = ParamSpec("P")
R = TypeVar("R")

# PostgreSQL: serialization failure, deadlock, lock not available; and every class of "the server went away".
PASSING_SQLSTATES = ("40001", "40P01", "55P03", "57P01", "57P02", "57P03", "57P05", "08")
# MariaDB and MySQL: lock wait timeout, deadlock, too many connections, shutdown, connection lost (several).
PASSING_MYSQL = frozenset(
    {
        1205,
        1213,
        1020,
        1040,
        1053,
        1077,
        1079,
        1152,
        1158,
        1159,
        1160,
        1161,
        1927,
        2002,
        2003,
        2006,
        2013,
        2055,
    }
)
RETRIES = 5


def alias() -> str:
    """The alias of the database that holds the journal."""
    return router.db_for_write(Workflow)


def connection() -> BaseDatabaseWrapper:
    """This thread's connection to the journal's database."""
    return connections[alias()]


def passes(error: BaseException | None) -> bool:
    """True for an error of the database that is nobody's fault and goes away: a deadlock, a lock, a lost connection."""
    seen: set[int] = set()  # an exception may be its own cause
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, InterfaceError):
            return _interface_passes(error)
        if isinstance(error, DatabaseError):
            cause = error.__cause__
            sqlstate = getattr(cause, "sqlstate", None)
            if sqlstate is not None:
                return str(sqlstate).startswith(PASSING_SQLSTATES)
            if isinstance(error, OperationalError):
                return _operational_passes(error)
            return False
        error = error.__cause__
    return False


def breaks(error: Error) -> bool:
    """True for a passing error that took the whole transaction with it, caught or not (R13).

    A lock that was not to be had is the one that leaves the transaction as it was before its statement.
    """
    sqlstate = getattr(error.__cause__, "sqlstate", None)
    waited_in_vain = sqlstate == "55P03" or (bool(error.args) and error.args[0] == 1205)
    return passes(error) and not waited_in_vain


def _interface_passes(error: InterfaceError) -> bool:
    # The drivers' word for a connection that is closed; PyMySQL says (0, ""). A cursor that is closed is a bug.
    return bool(error.args and error.args[0] == 0) or "connection" in str(error).lower()


def _operational_passes(error: OperationalError) -> bool:
    code = error.args[0] if error.args else None
    if isinstance(code, int):
        return code in PASSING_MYSQL
    text = str(error).lower()
    # psycopg has no SQLSTATE for a connection that broke; SQLite's module has no codes on Python 3.10's level.
    return any(sign in text for sign in ("locked", "busy", "connection", "server closed", "consuming input"))


def retrying(function: Callable[P, R]) -> Callable[P, R]:
    """Repeat a whole transaction that met a deadlock or a lock (R20), unless it is part of the caller's own."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for attempt in range(1, RETRIES + 1):
            here = connection()
            if here.in_atomic_block:
                return function(*args, **kwargs)
            try:
                return function(*args, **kwargs)
            except Error as error:
                if attempt == RETRIES or not passes(error):
                    raise
                here.close_if_unusable_or_obsolete()
                pause(0.02 * 2**attempt)
        raise AssertionError("unreachable")

    return call


def pause(seconds: float) -> None:
    """Wait for real seconds, between two attempts on the database."""
    Event().wait(seconds)


def atomic() -> Any:
    """A transaction on the journal's database."""
    return transaction.atomic(using=alias())
