"""Deleting much: in transactions of few rows, beside which work goes on.

"Without waiting long" is said by the database itself: the other worker gives up on any lock that it doesn't get within
`PATIENCE_SECONDS`, and that would fail the test.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic
from typing import Any, Final

import pytest
from django.db import connection, transaction
from django.test import override_settings

from django_workflow.cluster import retention
from django_workflow.engine.drain import drain
from django_workflow.journal import wakes
from django_workflow.manager import workflow
from django_workflow.models import Event, Step, Workflow
from tests.engine.elsewhere import Elsewhere
from tests.load import definitions, tables
from tests.load.conftest import measured
from tests.load.size import ALL, SIZE
from tests.load.tables import GAP, Filled

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(7200 if ALL else 120)]

PATIENCE_SECONDS: Final = 5
A_FAMILY: Final = 30  # rows: a root and its child, with a step, an event and two labels each, and some room
A_STATEMENT: Final = 1000


def test_42_retention_deletes_in_small_transactions_while_work_goes_on(filled_anew: Filled) -> None:
    before = Workflow.objects.count()
    keep = timedelta(seconds=GAP * (SIZE.finished - SIZE.pruned))
    with override_settings(DJANGO_WORKFLOW={"RETENTION": keep}), deletions() as deleted, at_work() as done:
        since = monotonic()
        gone = retention.sweep()
        seconds = monotonic() - since
    assert gone >= 0.9 * SIZE.pruned  # children go with their parents, and are not counted
    assert before - Workflow.objects.count() + len(done) >= 0.9 * SIZE.pruned
    assert max(deleted.by_transaction) <= A_FAMILY
    assert len(deleted.by_transaction) == gone
    measured("retention", f"{gone:,} roots in {seconds:.0f} s, {gone / seconds:.0f}/s, {_beside(done)}")


def test_33_a_large_workflow_is_cleaned_up_in_small_statements_while_work_goes_on(
    filled_anew: Filled,
) -> None:
    run = filled_anew.finished
    step = Step.objects.filter(workflow=run).values_list("id", flat=True)[0]
    tables.copy_steps(run, SIZE.steps)
    with deletions() as deleted, at_work() as done:
        since = monotonic()
        assert run.cleanup()
        seconds = monotonic() - since
    assert not Step.objects.filter(id=step).exists()
    assert not Event.objects.filter(workflow_id=run.id).exists()
    assert max(deleted.by_statement) <= A_STATEMENT
    assert len(deleted.by_transaction) == 1
    measured("cleanup", f"one workflow of {SIZE.steps:,} steps in {seconds:.1f} s, {_beside(done)}")


def _beside(done: list[float]) -> str:
    return f"{len(done)} workflows done beside it, the slowest in {max(done):.2f} s"


class Deletions:
    """How many rows went at once."""

    def __init__(self) -> None:
        self.by_statement: list[int] = []
        self.by_transaction: list[int] = []
        self._open = False

    def __call__(self, execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        """An execute wrapper of Django's."""
        result = execute(sql, params, many, context)
        if str(sql).startswith("DELETE"):
            rows = context["cursor"].rowcount
            self.by_statement.append(rows)
            if not self._open:
                self._open = True
                self.by_transaction.append(0)
                transaction.on_commit(self._committed)
            self.by_transaction[-1] += rows
        return result

    def _committed(self) -> None:
        self._open = False


@contextmanager
def deletions() -> Iterator[Deletions]:
    """Count on this thread's connection."""
    deleted = Deletions()
    with connection.execute_wrapper(deleted):
        yield deleted


@contextmanager
def at_work() -> Iterator[list[float]]:
    """Another worker that starts workflows and works them off, all the while; yields the seconds of each."""
    done: list[float] = []
    begun, over = threading.Event(), threading.Event()
    other = Elsewhere(lambda: _work(done, begun, over.is_set))
    assert begun.wait(PATIENCE_SECONDS * 10)
    try:
        yield done
    finally:
        over.set()
        other.result()
    assert done


def _work(done: list[float], begun: threading.Event, is_over: Callable[[], bool]) -> None:
    with connection.cursor() as cursor:
        match connection.vendor:
            case "postgresql":
                cursor.execute(f"SET lock_timeout = '{PATIENCE_SECONDS}s'")
            case "mysql":
                cursor.execute(f"SET SESSION innodb_lock_wait_timeout = {PATIENCE_SECONDS}")
            case _:
                cursor.execute(f"PRAGMA busy_timeout = {1000 * PATIENCE_SECONDS}")
    with wakes.sent_by(None):
        drain("")  # what was due before
        while not is_over() or not done:
            since = monotonic()
            run = definitions.common.start(len(done))
            begun.set()
            drain("")
            assert workflow.status(run).type == "completed"
            done.append(monotonic() - since)
