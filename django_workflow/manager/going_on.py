"""What lets a workflow go on: events, and lives of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django_workflow.conf import settings
from django_workflow.engine import lives
from django_workflow.exceptions import (
    ErrorInfo,
    EventFailed,
    InvalidArguments,
    WorkflowFinished,
    WorkflowNotFound,
    describe_error,
    dotted_path,
)
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.handler.events import Event as EventType
from django_workflow.handler.events import event_of
from django_workflow.journal import events
from django_workflow.keys import key_problem
from django_workflow.manager.asking import Asking
from django_workflow.manager.identity import Id, identify, refuse_itself
from django_workflow.models import Event, StepQuerySet, Workflow
from django_workflow.payloads import encode_error


class GoingOn(Asking):
    """Verbs that go on."""

    def send_event(
        self,
        workflow_id: Id,
        event: str | EventType[Any],
        value: Any = None,
        *,
        error: str | BaseException | None = None,
        key: str | None = None,
    ) -> Event:
        """Send an event to a workflow, in the caller's transaction. It is kept until a step waits for it (P5).

        Args:
            workflow_id: to which one.
            event: an `Event`, or the name of one; then the value is checked against the `Event` of that name, if
                there is one.
            value: by the event's type.
            error: a text or an exception, in place of a value: it is raised where the event is waited for.
            key: the same key again delivers nothing and returns the first event.

        Returns:
            The event.

        Raises:
            InvalidArguments: a value of another type, or value and error together.
            NotStorable, PayloadTooLarge: the journal can't keep the value.
            LimitReached: `PENDING_EVENT_LIMIT` events wait already.
            WorkflowFinished, WorkflowNotFound: nobody will ever take it.

        """
        pk = identify(workflow_id)
        kind = event_of(event, "send_event()")
        value_text, error_text = _encode_event(kind, value, error, key)
        sent = events.send(pk, kind.name, value_text, error_text, key)
        if sent is None:
            raise WorkflowFinished(pk, self.get(pk).state)
        return sent

    def restart(
        self,
        workflow_id: Id,
        from_step: int | str | Callable[..., Any] | WorkflowDefinition[Any, Any] | None = None,
        *,
        from_failure: bool = False,
    ) -> Workflow:
        """Run the handler of a finished or paused workflow again, on what is kept of its journal.

        Args:
            workflow_id: which one.
            from_step: drop the journal from this step on: a number, or the last step of a name or function. None: keep
                all of it; a failure on record is then raised again, so this is for handlers whose code was fixed.
            from_failure: drop it from the last failed step on.

        Returns:
            The workflow as it is now.

        Raises:
            WorkflowInProgress: it has not finished, nor is it paused.
            StepNotFound: it has no such step.
            WorkflowNotFound: there is no such workflow.

        """
        if from_step is not None and from_failure:
            raise InvalidArguments("restart()", ["from_step and from_failure: give one of them, not both"])
        pk = identify(workflow_id)
        refuse_itself(pk, "restart")
        run = lives.restart(pk, from_step, from_failure)
        if run is None:
            raise WorkflowNotFound(pk)
        return run

    def fork(
        self, workflow_id: Id, from_step: int | str | Callable[..., Any] | WorkflowDefinition[Any, Any]
    ) -> Workflow:
        """Start a new workflow with the settled steps of another one below `from_step`; that one is not touched.

        It takes over labels, context and options, not the key.

        Raises:
            StepNotFound: there is no such step.
            WorkflowNotFound: there is no such workflow.

        """
        pk = identify(workflow_id)
        run = lives.fork(pk, from_step)
        if run is None:
            raise WorkflowNotFound(pk)
        return run

    def dropped(
        self,
        workflow_id: Id,
        from_step: int | str | Callable[..., Any] | WorkflowDefinition[Any, Any] | None = None,
        *,
        from_failure: bool = False,
    ) -> StepQuerySet:
        """The steps that a restart with these arguments would drop, in their order; a fork leaves out the same ones.

        Raises:
            StepNotFound: it has no such step.
            WorkflowNotFound: there is no such workflow.

        """
        pk = identify(workflow_id)
        found = lives.dropped(pk, from_step, from_failure)
        if found is None:
            raise WorkflowNotFound(pk)
        return found.order_by("number")


def _encode_event(
    event: EventType[Any], value: Any, error: str | BaseException | None, key: str | None
) -> tuple[str | None, str | None]:
    """The texts of value and error; one of them is None."""
    problems = []
    if error is not None and value is not None:
        problems.append("value and error: give one of them, not both")
    if error is not None and not isinstance(error, str | BaseException):
        problems.append(f"error: {error!r} is neither a text nor an exception")
    if key is not None and (problem := key_problem(key)) is not None:
        problems.append(problem)
    if problems:
        raise InvalidArguments("send_event()", problems)
    if error is None:
        return event.encode(value, limit=settings.VALUE_LIMIT), None
    if isinstance(error, str):
        return None, encode_error(ErrorInfo(dotted_path(EventFailed), error, "", None))
    told = describe_error(error)
    return None, encode_error(ErrorInfo(told.type, told.message, told.traceback, None))
