"""A worker in the test's own process: it drains with an executor, and is over when the test is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from threading import Event
from typing import Any

import pytest

from django_workflow import InProgress
from django_workflow.engine.drain import drain
from django_workflow.engine.executor import Executor
from django_workflow.journal import wakes
from django_workflow.journal.clock import monotonic
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.engine.elsewhere import PATIENCE
from tests.executor.bodies import Gate


class Worker:
    """Drains in the test's thread; async actions run on its executor's loop."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.executor = Executor()
        self._gates: list[Gate] = []
        self.woken: list[str] = []  # the clusters that wake-ups were asked for

    def gate(self) -> Gate:
        """A gate for bodies, which is open when the test is over."""
        self._gates.append(Gate())
        return self._gates[-1]

    def finish(self) -> None:
        """Open every gate, and end the worker."""
        for gate in self._gates:
            gate.open()
        self.executor.finish()

    def drain(self, seconds: float | None = None) -> int:
        """Work off what is due, as a wake-up does."""
        return drain(None, seconds=seconds, executor=self.executor)

    def later(self, by: timedelta) -> None:
        """Put the durable clock forward; nothing is worked off by that."""
        self.harness.freeze(self.harness.now() + by)

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Drain again and again until `condition()` is true; returns its value."""
        gives_up_at = monotonic() + PATIENCE
        while not (value := condition()):
            assert monotonic() < gives_up_at, f"never seen: {what}"
            self.drain()
            Event().wait(0.005)
        return value

    def ended(self, *runs: Workflow) -> None:
        """Drain until all these workflows have ended."""
        for run in runs:
            self.until(partial(self._has_ended, run), f"the end of {run}")

    def _has_ended(self, run: Workflow) -> bool:
        return not isinstance(run.status(), InProgress)


@contextmanager
def working() -> Iterator[Worker]:
    """A worker with a durable clock of its own, which begins as the database's."""
    with Harness() as harness:
        it = Worker(harness)
        with wakes.sent_by(it.woken.append):
            try:
                yield it
            finally:
                it.finish()


@pytest.fixture
def worker(transactional_db: None) -> Iterator[Worker]:
    with working() as it:
        yield it
