"""Runs the body of a step once and says how it went.

A body's own failure is an `Answer`. What is nobody's fault (a deadlock, a lost connection) is `TurnAborted`,
even when the body swallowed it, since the transaction is gone with it (R13). What is neither, like a
`KeyboardInterrupt`, passes through: the process is dying, and the attempt counts as interrupted.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from asgiref.sync import async_to_sync
from django.db import Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError

from django_workflow.conf import settings
from django_workflow.engine import statements
from django_workflow.engine.current import CurrentStep, running
from django_workflow.engine.deadline import BodyTimedOut, call_within
from django_workflow.exceptions import (
    DjangoWorkflowError,
    ErrorInfo,
    QueryWrote,
    StepFailed,
    StepInterrupted,
    StepTimedOut,
    UsageError,
    describe_error,
    dotted_path,
)
from django_workflow.handler.commands import Answer
from django_workflow.handler.functions import import_function
from django_workflow.journal.database import alias, breaks, connection, passes
from django_workflow.payloads import encode_error, signature_of
from django_workflow.retry import Retry
from django_workflow.states import StepKind, StepState

R = TypeVar("R")

# What a body may raise and still have ended. Everything else that is no `Exception` ends the process.
FAILURES = (Exception, SystemExit, GeneratorExit, asyncio.CancelledError, BaseExceptionGroup)

# Dotted path → the function to call in its place. Only the testing tools put something here.
stand_ins: dict[str, Callable[..., Any]] = {}


class TurnAborted(BaseException):
    """The transaction is gone, and it is nobody's fault: give the turn up and try again.

    No `Exception`: it passes through whatever tells a body's own failures from it.
    """


class TurnOvertaken(TurnAborted):
    """What the turn has decided is not so any more, and writing it again would change nothing: take it anew."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at a step: what to call, with what, and what comes of a failure."""

    step: CurrentStep
    name: str
    function: str  # dotted path
    args: str  # JSON text
    failures: int = 0  # attempts that failed before; interrupted ones are counted apart
    retry: Retry | None = None
    timeout: float | None = None  # seconds
    # What to call it with, where that isn't simply `args`.
    arguments: Callable[[], tuple[list[Any], dict[str, Any]]] | None = None

    @property
    def what(self) -> str:
        """The step, in an error text."""
        return f"step {self.step.number} ({self.name})"


class Body:
    """The body of a step, about to be run once. Raises `ImportError` when its function can't be imported."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._target = import_function(attempt.function)

    def run_alone(self) -> Answer:
        """An action: outside of any transaction of ours."""
        try:
            return self._completed(self._call())
        except BodyTimedOut:
            # Wherever it was: a connection in the middle of a statement is of no more use.
            _drop_connections()
            return self._timed_out()
        except FAILURES as error:
            return self._failed(error)

    async def run_in_loop(self) -> Answer:
        """An action that is an `async def`: on the loop that runs here, beside others."""
        try:
            return self._completed(await self._await())
        except BodyTimedOut:
            return self._timed_out()
        except FAILURES as error:
            return self._failed(error)

    def run_in_transaction(self, kind: StepKind) -> Answer:
        """A query or mutation: in the open transaction of the journal's database, behind a savepoint.

        Raises `TurnAborted` when the transaction can't go on, `BodyTimedOut` when it was interrupted.
        """
        try:
            result = in_savepoint(self._attempt.what, Watch(self._attempt.function, kind), self._call)
        except FAILURES as error:
            return self._failed(error)
        return self._completed(result)

    def run_unprotected(self) -> Answer:
        """A query on its own, where there is no transaction yet that a failure could spoil."""
        watch = Watch(self._attempt.function, StepKind.QUERY)
        try:
            with watch.over_all_databases():
                result = self._call()
        except FAILURES as error:
            if watch.passed or passes(error):
                raise TurnAborted(f"{self._attempt.what} met {watch.passed or error!r}") from error
            return self._failed(watch.wrote or error)
        if watch.passed:
            raise TurnAborted(f"{self._attempt.what} met {watch.passed!r}")
        return self._failed(watch.wrote) if watch.wrote else self._completed(result)

    def refused(self, error: BaseException) -> Answer:
        """The answer when the commit of the body's own transaction was refused (R14)."""
        return self._failed(error)

    def timed_out(self) -> Answer:
        """The answer when `run_in_transaction()` was interrupted, once its transaction is rolled back."""
        _drop_connections()
        return self._timed_out()

    def _completed(self, text: str) -> Answer:
        return Answer(StepState.COMPLETED, text, self._attempt.step.attempt)

    def _failed(self, error: BaseException) -> Answer:
        return failure(self._attempt, error, describe_error(error, self._attempt.step.number))

    def _timed_out(self) -> Answer:
        return own_failure(
            self._attempt, StepTimedOut, f"its body took longer than {self._attempt.timeout:g} s"
        )

    def _call(self) -> str:
        """The body's result as JSON text. Raises what it raises, and `NotStorable`, `PayloadTooLarge`."""
        attempt = self._attempt
        target, args, kwargs = self._prepared()

        def call() -> Any:
            result = target(*args, **kwargs)
            if inspect.isawaitable(result):
                # In this thread: the ORM's async methods then use this very connection and its transaction (R31).
                result = async_to_sync(_await)(result, attempt)
            return result

        with running(attempt.step):
            if attempt.timeout is None or inspect.iscoroutinefunction(target):
                result = call()
            else:
                result = call_within(attempt.timeout, call)
        return self._encoded(result)

    async def _await(self) -> str:
        """The same of an `async def`, on the loop that runs here."""
        target, args, kwargs = self._prepared()
        with running(self._attempt.step):
            result = target(*args, **kwargs)
            if inspect.isawaitable(result):  # a stand-in of a test may be a plain function
                result = await _await(result, self._attempt)
        return self._encoded(result)

    def _prepared(self) -> tuple[Callable[..., Any], list[Any], dict[str, Any]]:
        attempt = self._attempt
        decode = attempt.arguments or partial(signature_of(self._target).decode_arguments, attempt.args)
        return stand_ins.get(attempt.function, self._target), *decode()

    def _encoded(self, result: Any) -> str:
        what = f"the result of {self._attempt.what}"
        return signature_of(self._target).encode_result(result, what=what, limit=settings.VALUE_LIMIT)


async def _await(awaitable: Any, attempt: Attempt) -> Any:
    limit = asyncio.timeout(attempt.timeout)
    try:
        async with limit:
            result = await awaitable
    except Exception as error:
        if limit.expired():
            raise BodyTimedOut from error
        raise
    finally:
        await attempt.step.reported()
    ends_at = limit.when()
    if limit.expired() or (ends_at is not None and asyncio.get_running_loop().time() > ends_at):
        raise BodyTimedOut  # it swallowed the cancellation, or never let it happen; what it returned is dropped
    return result


def _drop_connections() -> None:
    for here in connections.all(initialized_only=True):
        if not here.in_atomic_block:
            here.close()


def failure(attempt: Attempt, error: BaseException, info: ErrorInfo) -> Answer:
    """The answer of an attempt that failed with `error`; it says when the next one is due, if there is one."""
    number = attempt.step.attempt
    retry_in = None
    if attempt.retry is not None:
        retry_in = attempt.retry.delay(attempt.failures + 1, error, random.random)
    return Answer(StepState.FAILED, encode_error(info), number, retry_in)


def own_failure(attempt: Attempt, kind: type[StepFailed], message: str) -> Answer:
    """The answer of an attempt that the engine itself calls a failure, as `kind`."""
    info = ErrorInfo(dotted_path(kind), message, "", attempt.step.number)
    error = kind(attempt.name, attempt.step.number, attempt.step.attempt, info)
    return failure(attempt, error, info)


def interrupted(attempt: Attempt) -> Answer:
    """The answer of an at-most-once step whose worker died: nobody knows whether its body did its work."""
    return own_failure(
        attempt, StepInterrupted, "its worker died while its body ran, and its outcome is unknown"
    )


def given_up(attempt: Attempt, interruptions: int) -> Answer:
    """The answer of a step that takes its worker with it each time."""
    text = (
        f"its body was begun {interruptions} times in a row and each time its worker died before it ended; its "
        "outcome is unknown. Look into what it does to the process"
    )
    info = ErrorInfo(dotted_path(StepInterrupted), text, "", attempt.step.number)
    return Answer(StepState.FAILED, encode_error(info), attempt.step.attempt)


def in_savepoint(what: str, watch: Watch, call: Callable[[], R]) -> R:
    """Call a body behind a savepoint of the open transaction of the journal's database.

    Args:
        what: names it in errors.
        watch: refuses what its kind may not do.
        call: the body.

    Returns:
        What it returned.

    Raises:
        TurnAborted: the transaction can't go on (no `Exception` of the body's own; not one of `FAILURES`).
        BaseException: what the body raised; what it wrote is rolled back.

    """
    here = connection()
    returned = False
    try:
        with watch.over_all_databases(), transaction.atomic(using=alias()):
            result = call()
            _find_hidden_failure(here, watch)
            returned = True
    except FAILURES as error:
        if watch.passed or passes(error) or here.needs_rollback or here.closed_in_transaction or returned:
            # `returned`: the savepoint itself failed.
            raise TurnAborted(f"{what} met {watch.passed or error!r}") from error
        if watch.wrote is not None and watch.wrote is not error:
            raise watch.wrote from error
        raise
    return result


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
        except Error as error:
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
