"""How workflows end before their time, and how they are forgotten."""

from __future__ import annotations

import builtins
from datetime import timedelta

from django_workflow.engine import endings
from django_workflow.exceptions import InvalidArguments, WorkflowInProgress, WorkflowNotFound
from django_workflow.journal import workflows
from django_workflow.journal.database import alias
from django_workflow.manager.asking import Asking
from django_workflow.manager.identity import Id, identify, refuse_itself, storable
from django_workflow.models import Workflow


class Ending(Asking):
    """Verbs that end."""

    def cancel(self, workflow_id: Id, reason: str = "", rollback: bool = False) -> bool:
        """End a workflow now: no new step starts, nothing late is written (P8). Its children are canceled, too.

        Args:
            workflow_id: which one.
            reason: for people.
            rollback: undo first what its steps have done that have a rollback (`step.using(rollback=…)`). It stays in
                progress, canceling, until they have ended.

        Returns:
            True if this call canceled it, False if it had finished (or was canceling already).

        Raises:
            WorkflowNotFound: there is no such workflow.
            InvalidArguments: the reason is no text.

        """
        problems: builtins.list[str] = []
        if not isinstance(reason, str):
            problems.append(f"reason: {reason!r} is no text")
        if not isinstance(rollback, bool):
            problems.append(f"rollback: {rollback!r} is neither True nor False")
        if problems:
            raise InvalidArguments("cancel()", problems)
        pk = identify(workflow_id)
        refuse_itself(pk, "cancel")
        if endings.cancel(pk, storable(reason), rollback=rollback):
            return True
        if not Workflow.objects.using(alias()).filter(id=pk).exists():
            raise WorkflowNotFound(pk)
        return False

    def cleanup(self, workflow_id: Id) -> bool:
        """Delete a finished workflow with everything that is its own.

        Returns:
            True if this call deleted it, False if it was gone already.

        Raises:
            WorkflowInProgress: it has not finished.

        """
        pk = identify(workflow_id)
        refuse_itself(pk, "clean up")
        try:
            if workflows.delete(pk):
                return True
        except workflows.StillRunning as running:
            raise WorkflowInProgress(running.workflow_id, f"clean up {pk}, whose child it is, and") from None
        if Workflow.objects.using(alias()).filter(id=pk).exists():
            raise WorkflowInProgress(pk, "clean up")
        return False

    def retry_on_complete(self, workflow_id: Id) -> bool:
        """Run `on_complete` again that has raised. The ending stays as it is.

        Returns:
            True if it ended well now; False if it raised again (the new error is stored), or had not failed.

        Raises:
            WorkflowInProgress: it has not finished.
            WorkflowNotFound: there is no such workflow.

        """
        run = self.get(workflow_id)
        if not run.finished:
            raise WorkflowInProgress(run.id, "run on_complete of")
        return endings.complete_again(run.id)

    def prune(self, older_than: timedelta, limit: int = 10_000) -> int:
        """Delete workflows that finished longer ago than that, with all that is their own.

        Children go with their parents. Each goes in a transaction of its own; what somebody else holds is left alone.

        Args:
            older_than: since they finished.
            limit: at most so many, the oldest first.

        Returns:
            How many were deleted, children not counted.

        """
        if not isinstance(older_than, timedelta) or older_than < timedelta(0):
            raise InvalidArguments("prune()", [f"older_than: {older_than!r} is no timedelta of zero or more"])
        return workflows.prune(older_than, limit)
