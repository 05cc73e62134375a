"""What a workflow is at. Nothing here changes anything."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from django_workflow.exceptions import InvalidArguments, UsageError, WorkflowNotFound
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.journal import pauses
from django_workflow.journal.clock import monotonic
from django_workflow.journal.database import alias, connection
from django_workflow.manager.identity import Id, identify
from django_workflow.models import Step, StepQuerySet, Workflow, WorkflowQuerySet
from django_workflow.states import StepKind, StepState, WorkflowState
from django_workflow.status import Canceled, Completed, Failed, InProgress, RunningStep, Status

# How often join() looks (seconds): often at first, seldom when it takes long.
JOIN_FIRST, JOIN_SLOWEST = 0.01, 0.25


class Asking:
    """Questions."""

    def status(self, workflow_id: Id) -> Status:
        """Where a workflow stands: `InProgress | Completed | Failed | Canceled`. Raises `WorkflowNotFound`."""
        run = self.get(workflow_id)
        match WorkflowState(run.state):
            case WorkflowState.COMPLETED:
                return Completed(run.result, run.custom)
            case WorkflowState.FAILED:
                error = run.error
                assert error is not None
                return Failed(error, run.custom)
            case WorkflowState.CANCELED:
                return Canceled(run.reason, run.custom)
            case WorkflowState.IN_PROGRESS:
                return self.progress(run)

    def progress(self, run: Workflow) -> InProgress:
        """What a workflow that has not ended, as this row has it, is at: its unsettled steps, and what holds it."""
        paused = run.paused if run.paused is not None else pauses.reason(run.cluster)
        return InProgress(_running_steps(run.id), run.custom, paused, run.ending is not None)

    def get(self, workflow_id: Id) -> Workflow:
        """The workflow as the database has it now. Raises `WorkflowNotFound`."""
        pk = identify(workflow_id)
        run = Workflow.objects.using(alias()).filter(id=pk).first()
        if run is None:
            raise WorkflowNotFound(pk)
        return run

    def list(
        self,
        definition: WorkflowDefinition[Any, Any] | str | None = None,
        state: str | None = None,
        labels: Mapping[str, Any] | None = None,
    ) -> WorkflowQuerySet:
        """Workflows, newest first.

        Args:
            definition: of this definition only (all versions), or of that name.
            state: `in_progress`, `completed`, `failed` or `canceled`.
            labels: that bear all of these labels.

        Raises:
            InvalidArguments: there is no such state, or that are no labels.

        """
        found = Workflow.objects.using(alias()).order_by("-created_at", "-id")
        if definition is not None:
            found = found.of(definition)
        if state is not None:
            if state not in tuple(WorkflowState):
                known = ", ".join(WorkflowState)
                raise InvalidArguments("list()", [f"state: {state!r} is none of {known}"])
            found = found.filter(state=state)
        if labels is not None:
            found = found.labeled(labels)
        return found

    def steps(self, workflow_id: Id) -> StepQuerySet:
        """The journal of a workflow, in its order. Raises `WorkflowNotFound`."""
        pk = identify(workflow_id)
        if not Workflow.objects.using(alias()).filter(id=pk).exists():
            raise WorkflowNotFound(pk)
        return Step.objects.using(alias()).filter(workflow_id=pk).order_by("number")

    def join(self, workflow_id: Id, timeout: float | timedelta | None = None) -> Status:
        """Block until a workflow has finished.

        Args:
            workflow_id: which one.
            timeout: real seconds, or a timedelta; None: for ever.

        Returns:
            Its status.

        Raises:
            TimeoutError: it has not finished in time.
            UsageError: inside a transaction, which would never see it finish.
            InvalidArguments: the timeout is no duration.
            WorkflowNotFound: there is no such workflow.

        """
        if connection().in_atomic_block:
            raise UsageError(
                "join() inside a transaction would wait for what the transaction can't see; call it after the commit"
            )
        seconds = _checked_timeout(timeout)
        ends_at = None if seconds is None else monotonic() + seconds
        pause = JOIN_FIRST
        while True:
            status = self.status(workflow_id)
            if not isinstance(status, InProgress):
                return status
            left = pause if ends_at is None else min(pause, ends_at - monotonic())
            if left <= 0:
                raise TimeoutError(f"workflow {identify(workflow_id)} has not finished within {seconds} s")
            threading.Event().wait(left)
            pause = min(pause * 1.5, JOIN_SLOWEST)


def _checked_timeout(timeout: Any) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, timedelta):
        return timeout.total_seconds()
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or math.isnan(timeout):
        raise InvalidArguments(
            "join()", [f"timeout: {timeout!r} is no duration; give seconds, a timedelta, or None"]
        )
    return float(timeout)


def _running_steps(workflow_id: UUID) -> tuple[RunningStep, ...]:
    rows = (
        Step.objects.using(alias())
        .filter(workflow_id=workflow_id)
        .unsettled()
        .order_by("number")
        .values_list("number", "name", "kind", "state", "attempts", "started_at", "due_at")
    )
    return tuple(
        RunningStep(number, name, StepKind(kind), StepState(state), attempts, started_at, due_at)
        for number, name, kind, state, attempts, started_at, due_at in rows
    )
