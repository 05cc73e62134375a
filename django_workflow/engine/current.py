"""What a step body can know of itself: `current_step()`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any
from uuid import UUID

from asgiref.sync import sync_to_async

from django_workflow.conf import settings
from django_workflow.engine.leases import Held
from django_workflow.exceptions import UsageError
from django_workflow.journal import steps
from django_workflow.payloads import decode_plain, encode
from django_workflow.states import StepKind

_current: ContextVar[CurrentStep] = ContextVar("django_workflow_current_step")
_ending: ContextVar[tuple[UUID, ...]] = ContextVar("django_workflow_ending", default=())


class CurrentStep:
    """The step whose body is running.

    Attributes:
        workflow_id: the workflow's id.
        number: the step's number in its journal.
        attempt: which start of the body this is, from 1; interrupted ones count.
        details: what an earlier attempt said last by `heartbeat()` (JSON), or None.
        in_transaction: whether the body runs in the transaction that settles the step.

    """

    def __init__(
        self,
        workflow_id: UUID,
        number: int,
        attempt: int,
        details: Any = None,
        *,
        in_transaction: bool,
        is_lost: Callable[[], bool],
        report: Callable[[str], Any],
        generation: int = 0,
    ) -> None:
        self.workflow_id = workflow_id
        self.number = number
        self.attempt = attempt
        self.details = details
        self.in_transaction = in_transaction
        self._generation = generation  # of its workflow, when the handler asked for it
        self._is_lost = is_lost
        self._report = report
        self._reports: list[asyncio.Task[Any]] = []

    @property
    def idempotency_key(self) -> str:
        """A text that is equal in every attempt at this step and in no other step's: for a payment provider, say."""
        # After a restart, or in a fresh journal, a step of the same number is another one.
        life = f"-{self._generation}" if self._generation else ""
        return f"{self.workflow_id}{life}-{self.number}"

    @property
    def canceled(self) -> bool:
        """True once the result no longer counts: the workflow was canceled or taken over. Known within seconds."""
        return self._is_lost()

    def heartbeat(self, details: Any = None) -> None:
        """Say how far the body has come; the next attempt finds it in `details`. Any JSON.

        Raises:
            NotStorable, PayloadTooLarge: the journal can't keep it.

        """
        text = encode(details, what=f"the details of step {self.number}", limit=settings.VALUE_LIMIT)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._report(text)
        else:
            # The ORM belongs to the thread that runs this body's sync parts.
            self._reports.append(loop.create_task(sync_to_async(self._report)(text)))

    async def reported(self) -> None:
        """Wait until everything that an async body has said is written."""
        await asyncio.gather(*self._reports)


def current_step() -> CurrentStep:
    """The step whose body is running here. Raises `UsageError` outside of a step body."""
    try:
        return _current.get()
    except LookupError:
        raise UsageError("current_step() is for step bodies; here no step is running") from None


def begin(
    workflow_id: UUID, number: int, kind: StepKind, attempt: int, held: Held, generation: int = 0
) -> CurrentStep:
    """The step as its body will see it, in the attempt that is about to begin."""
    said = steps.details(workflow_id, number) if attempt > 1 else None
    return CurrentStep(
        workflow_id,
        number,
        attempt,
        decode_plain(said) if said is not None else None,
        in_transaction=kind != StepKind.ACTION,
        is_lost=held.is_lost,
        report=partial(steps.report, workflow_id, number, attempt),
        generation=generation,
    )


def inside() -> list[tuple[str, UUID]]:
    """The bodies that run here in a transaction together with a workflow's journal: what each is, and whose (R19)."""
    step = _current.get(None)
    of_step = [("a query or mutation", step.workflow_id)] if step is not None and step.in_transaction else []
    return [*of_step, *(("on_complete", workflow_id) for workflow_id in _ending.get())]


@contextmanager
def ending(workflow_id: UUID) -> Iterator[None]:
    """Say that `on_complete` of a workflow runs."""
    token = _ending.set((*_ending.get(), workflow_id))
    try:
        yield
    finally:
        _ending.reset(token)


@contextmanager
def running(step: CurrentStep) -> Iterator[None]:
    """Make `step` the current one while its body runs."""
    token = _current.set(step)
    try:
        yield
    finally:
        _current.reset(token)
