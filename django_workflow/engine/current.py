"""What a step body can know of itself: `current_step()`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from django_workflow.conf import settings
from django_workflow.exceptions import UsageError
from django_workflow.payloads import encode

_current: ContextVar[CurrentStep] = ContextVar("django_workflow_current_step")


class CurrentStep:
    """The step whose body is running.

    Attributes:
        workflow_id: the workflow's id.
        number: the step's number in its journal.
        attempt: which start of the body this is, from 1; interrupted ones count.
        details: what an earlier attempt said last by `heartbeat()`, or None.

    """

    def __init__(
        self,
        workflow_id: UUID,
        number: int,
        attempt: int,
        details: Any = None,
        *,
        is_lost: Callable[[], bool] = lambda: False,
        report: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.workflow_id = workflow_id
        self.number = number
        self.attempt = attempt
        self.details = details
        self._is_lost = is_lost
        self._report = report

    @property
    def idempotency_key(self) -> str:
        """A text that is equal in every attempt at this step and in no other step's: for a payment provider, say."""
        return f"{self.workflow_id}-{self.number}"

    @property
    def canceled(self) -> bool:
        """True once the result no longer counts: the workflow was canceled or taken over. Known within seconds."""
        return self._is_lost()

    def heartbeat(self, details: Any = None) -> None:
        """Say how far the body has come; the next attempt finds it in `details`. Any JSON.

        Raises:
            NotStorable, PayloadTooLarge: the journal can't keep it.

        """
        self._report(encode(details, what=f"the details of step {self.number}", limit=settings.VALUE_LIMIT))


def current_step() -> CurrentStep:
    """The step whose body is running here. Raises `UsageError` outside of a step body."""
    try:
        return _current.get()
    except LookupError:
        raise UsageError("current_step() is for step bodies; here no step is running") from None


@contextmanager
def running(step: CurrentStep) -> Iterator[None]:
    """Make `step` the current one while its body runs."""
    token = _current.set(step)
    try:
        yield
    finally:
        _current.reset(token)
