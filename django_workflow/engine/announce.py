"""Tells Django's signals what has happened, once it is committed; a receiver that raises changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.dispatch import Signal

from django_workflow import signals
from django_workflow.exceptions import ErrorInfo
from django_workflow.journal.database import alias
from django_workflow.models import Workflow
from django_workflow.payloads import decode_error

OF_EDGE = {
    "complete": signals.workflow_completed,
    "fail": signals.workflow_failed,
    "cancel": signals.workflow_canceled,
}


def started(workflow_id: UUID, definition: str) -> None:
    """A workflow was started. In its transaction, as all of these are called."""
    _on_commit(signals.workflow_started, workflow_id, definition, dict)


def ended(workflow_id: UUID, definition: str, edge: str, *, error_text: str | None, reason: str) -> None:
    """A workflow has ended by this edge of its table."""

    def facts() -> dict[str, Any]:
        if edge == "fail":
            return {"error": _info(error_text)}
        return {"reason": reason} if edge == "cancel" else {}

    _on_commit(OF_EDGE[edge], workflow_id, definition, facts)


def step_failed(workflow_id: UUID, definition: str, number: int, name: str, error_text: str | None) -> None:
    """A step has failed for good."""
    _on_commit(
        signals.step_failed,
        workflow_id,
        definition,
        lambda: {"number": number, "name": name, "error": _info(error_text)},
    )


def _info(error_text: str | None) -> ErrorInfo:
    return decode_error(error_text or "{}")


def _on_commit(
    signal: Signal, workflow_id: UUID, definition: str, facts: Callable[[], dict[str, Any]]
) -> None:
    if signal.has_listeners(Workflow):
        send = partial(_send, signal, workflow_id, definition, facts)
        transaction.on_commit(send, using=alias(), robust=True)


def _send(signal: Signal, workflow_id: UUID, definition: str, facts: Callable[[], dict[str, Any]]) -> None:
    signal.send_robust(Workflow, workflow_id=workflow_id, definition=definition, **facts())
