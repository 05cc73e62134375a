"""Which workflow is meant, and whether it is the caller's own."""

from __future__ import annotations

import re
from uuid import UUID

from django_workflow.engine.current import inside
from django_workflow.exceptions import UsageError, WorkflowNotFound
from django_workflow.journal.database import alias
from django_workflow.models import Workflow

Id = UUID | str | Workflow

# What no text column of all databases takes: NUL, and halves of surrogate pairs.
UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def identify(workflow_id: Id) -> UUID:
    """The id in an argument that names a workflow. Raises `WorkflowNotFound` for what can't be one."""
    if isinstance(workflow_id, Workflow):
        return workflow_id.id
    if isinstance(workflow_id, UUID):
        return workflow_id
    try:
        return UUID(workflow_id)
    except (ValueError, AttributeError, TypeError):
        raise WorkflowNotFound(workflow_id) from None


def refuse_itself(workflow_id: UUID, verb: str) -> None:
    # R19: the turn would meet its own fence, roll this very call back, and begin again for ever. An action's body
    # is outside of the turn's transaction, and to its own workflow what any other caller is.
    for what, here in inside():
        ancestor: UUID | None = here
        while ancestor is not None and ancestor != workflow_id:
            parents = Workflow.objects.using(alias()).filter(id=ancestor)
            ancestor = parents.values_list("parent_id", flat=True).first()
        if ancestor is None:
            continue
        whose = (
            "its own workflow"
            if here == workflow_id
            else f"workflow {workflow_id}, which it is a descendant of"
        )
        remedy = (
            "do it after the commit, by transaction.on_commit()"
            if what == "on_complete"
            else "return or raise, and let the handler end it, or do it in an action"
        )
        raise UsageError(f"{what} of workflow {here} can't {verb} {whose}; {remedy}")


def storable(text: str) -> str:
    return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)
