"""Runs `on_complete`: once for each ending, in the ending's own transaction, behind a savepoint (P7).

What it raises is the workflow's to show, never its undoing: its writes are rolled back, its error is stored, the
ending stands. What is nobody's fault (a deadlock) gives the whole transaction up, ending included, as in any body.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from asgiref.sync import async_to_sync

from django_workflow.engine.attempts import FAILURES, Watch, in_savepoint
from django_workflow.engine.current import ending
from django_workflow.exceptions import ErrorInfo, describe_error
from django_workflow.handler import registry
from django_workflow.handler.functions import import_function
from django_workflow.journal.database import alias
from django_workflow.models import Workflow
from django_workflow.payloads import decode_error, decode_plain, encode_error
from django_workflow.states import StepKind
from django_workflow.status import Canceled, Completed, Failed

logger = logging.getLogger("django_workflow.engine")

Ended = Completed | Failed | Canceled

_refusal: ContextVar[BaseException | None] = ContextVar("django_workflow_refusal", default=None)


def run(path: str, workflow_id: UUID, ended: Ended) -> str | None:
    """Call the function at `path` with the ended workflow. In an open transaction.

    Within `refusing()` it is not called: its commit was refused already.

    Returns:
        Its error as JSON text; None when it ended well.

    Raises:
        TurnAborted: the transaction is gone, and it is nobody's fault.

    """
    if (refusal := _refusal.get()) is not None:
        return encode_error(describe_error(refusal))
    rows = Workflow.objects.using(alias()).filter(id=workflow_id)
    context = rows.values_list("context_text", flat=True).first()
    what = f"on_complete of workflow {workflow_id}"

    def call() -> Any:
        result = import_function(path)(
            workflow_id, ended, decode_plain(context) if context is not None else None
        )
        return async_to_sync(_await)(result) if inspect.isawaitable(result) else result

    try:
        with ending(workflow_id):
            in_savepoint(what, Watch(path, StepKind.MUTATION), call)
    except FAILURES as error:
        logger.exception(
            "%s (%s) failed; the ending stands, and retry_on_complete() runs it again", what, path
        )
        return encode_error(describe_error(error))
    return None


async def _await(awaitable: Any) -> Any:
    return await awaitable


@contextmanager
def refusing(error: BaseException) -> Iterator[None]:
    """Repeat a transaction whose commit the database has refused for what an `on_complete` in it wrote (R14).

    A cancel may run several, of a workflow and its children; which of them is to blame nobody can tell.
    """
    token = _refusal.set(error)
    try:
        yield
    finally:
        _refusal.reset(token)


def ended_as(
    edge: str,
    definition: tuple[str, int],
    *,
    result_text: str | None = None,
    error_text: str | None = None,
    reason: str = "",
    custom_text: str | None = None,
) -> Ended:
    """What `on_complete` is told of an ending by this edge."""
    custom = decode_plain(custom_text) if custom_text is not None else None
    if edge == "complete":
        known = registry.find(*definition)
        text = result_text if result_text is not None else "null"
        result = known.signature.decode_result(text) if known is not None else decode_plain(text)
        return Completed(result, custom)
    if edge == "fail":
        return Failed(decode_error(error_text) if error_text else ErrorInfo("", "", ""), custom)
    return Canceled(reason, custom)
