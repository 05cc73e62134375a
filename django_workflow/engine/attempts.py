"""Runs the body of a step once and says how it went.

A body's own failure is an `Answer`. What is nobody's fault (a deadlock, a lost connection) is `TurnAborted`,
even when the body swallowed it, since the transaction is gone with it (R13). What is neither, like a
`KeyboardInterrupt`, passes through: the process is dying, and the attempt counts as interrupted.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from asgiref.sync import async_to_sync
from django.db import DatabaseError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError

from django_workflow.conf import settings
from django_workflow.engine import statements
from django_workflow.exceptions import (
    DjangoWorkflowError,
    ErrorInfo,
    QueryWrote,
    StepInterrupted,
    UsageError,
    describe_error,
)
from django_workflow.handler.commands import Answer
from django_workflow.handler.definition import import_function
from django_workflow.journal.database import alias, breaks, connection, passes
from django_workflow.payloads import encode_error, signature_of
from django_workflow.states import StepKind, StepState

# What a body may raise and still have ended. Everything else that is no `Exception` ends the process.
FAILURES = (Exception, SystemExit, GeneratorExit, asyncio.CancelledError, BaseExceptionGroup)

# Dotted path → the function to call in its place. Only the testing tools put something here.
stand_ins: dict[str, Callable[..., Any]] = {}


class TurnAborted(Exception):
    """The transaction is gone, and it is nobody's fault: give the turn up and try again."""


class Body:
    """One attempt at a step: what to call, with what."""

    def __init__(self, number: int, name: str, function: str, args: str) -> None:
        self.function = function
        self._what = f"step {number} ({name})"
        self._target = import_function(function)
        self._args = args

    def run_alone(self, attempt: int) -> Answer:
        """An action: outside of any transaction of ours."""
        try:
            return Answer(StepState.COMPLETED, self._call(), attempt)
        except FAILURES as error:
            return failure(error, attempt)

    def run_in_transaction(self, kind: StepKind, attempt: int) -> Answer:
        """A query or mutation: in the open transaction of the journal's database, behind a savepoint.

        Raises `TurnAborted` when the transaction can't go on.
        """
        here = connection()
        watch = Watch(self.function, kind)
        returned = False
        try:
            with watch.over_all_databases(), transaction.atomic(using=alias()):
                result = self._call()
                _find_hidden_failure(here, watch)
                returned = True
        except FAILURES as error:
            if watch.passed or passes(error) or here.needs_rollback or here.closed_in_transaction or returned:
                # `returned`: the savepoint itself failed.
                raise TurnAborted(f"{self._what} met {watch.passed or error!r}") from error
            return failure(watch.wrote or error, attempt)
        return Answer(StepState.COMPLETED, result, attempt)

    def run_unprotected(self, attempt: int) -> Answer:
        """A query on its own, where there is no transaction yet that a failure could spoil."""
        watch = Watch(self.function, StepKind.QUERY)
        try:
            with watch.over_all_databases():
                result = self._call()
        except FAILURES as error:
            if watch.passed or passes(error):
                raise TurnAborted(f"{self._what} met {watch.passed or error!r}") from error
            return failure(watch.wrote or error, attempt)
        if watch.passed:
            raise TurnAborted(f"{self._what} met {watch.passed!r}")
        return failure(watch.wrote, attempt) if watch.wrote else Answer(StepState.COMPLETED, result, attempt)

    def _call(self) -> str:
        """The body's result as JSON text. Raises what it raises, and `NotStorable`, `PayloadTooLarge`."""
        signature = signature_of(self._target)
        args, kwargs = signature.decode_arguments(self._args)
        target = stand_ins.get(self.function, self._target)
        result = target(*args, **kwargs)
        if inspect.isawaitable(result):
            # In this thread: the ORM's async methods then use this very connection and its transaction (R31).
            result = async_to_sync(_await)(result)
        return signature.encode_result(result, what=f"the result of {self._what}", limit=settings.VALUE_LIMIT)


async def _await(awaitable: Any) -> Any:
    return await awaitable


def failure(error: BaseException, attempt: int) -> Answer:
    """The answer of a body that raised."""
    return Answer(StepState.FAILED, encode_error(describe_error(error)), attempt)


def interrupted(number: int, name: str, attempts: int) -> Answer:
    """The answer of a step whose every attempt took its worker with it."""
    return Answer(
        StepState.FAILED,
        encode_error(
            ErrorInfo(
                type=f"{StepInterrupted.__module__}.{StepInterrupted.__qualname__}",
                message=f"step {number} ({name}) was begun {attempts} times and each time its worker died before it "
                "ended; its outcome is unknown. Look into what its body does to the process",
                traceback="",
                step=number,
            )
        ),
        attempts,
    )


class Watch:
    """Looks at every statement of a body: refuses what its kind may not do, and remembers what it swallowed."""

    def __init__(self, function: str, kind: StepKind) -> None:
        self._function = function
        self._reads_only = kind == StepKind.QUERY
        self.passed: BaseException | None = None
        self.wrote: DjangoWorkflowError | None = None

    @contextmanager
    def over_all_databases(self) -> Iterator[None]:
        """Watch the connections of this thread."""
        with ExitStack() as stack:
            for name in connections:
                stack.enter_context(connections[name].execute_wrapper(self))
            yield

    def __call__(self, execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        refusal = self._refusal(sql, context["connection"])
        if refusal is not None:
            self.wrote = refusal
            raise refusal
        try:
            return execute(sql, params, many, context)
        except DatabaseError as error:
            if breaks(error):
                self.passed = error
            raise

    def _refusal(self, sql: Any, here: BaseDatabaseWrapper) -> DjangoWorkflowError | None:
        if self._reads_only:
            word = statements.writing_word(sql)
            return QueryWrote(self._function, word) if word else None
        if here.vendor == "mysql" and statements.changes_schema(sql):
            return UsageError(
                f"the mutation {self._function} changes the schema ({statements.first_word(sql)}), which commits "
                "the transaction on MariaDB and MySQL; do it in an action or a migration"
            )
        return None


def _find_hidden_failure(here: BaseDatabaseWrapper, watch: Watch) -> None:
    """Raise what a body swallowed although nothing that it wrote since will be kept."""
    if watch.passed is not None:
        raise watch.passed
    if watch.wrote is not None:
        raise watch.wrote
    if here.needs_rollback or _in_error(here):
        here.needs_rollback = False  # of this savepoint: it is rolled back by what is raised here
        raise TransactionManagementError(
            "the body caught an error of the database and went on in the transaction that the error had broken; "
            "put what may fail into an atomic() block of its own"
        )


def _in_error(here: BaseDatabaseWrapper) -> bool:
    if here.vendor != "postgresql" or here.connection is None:
        return False
    # 3 is INERROR, in psycopg as in libpq.
    return int(here.connection.info.transaction_status) == 3
