"""How far workflows are, in words for their users: read from the journal, for a whole page at once.

Users are told the errors that were written for them. Any other may say more than they should know: a path, an address.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django_workflow.models import Workflow
from django_workflow.states import WorkflowState

# Of the errors that are shown: what is wrong with the user's own document, and what another user has decided.
FOR_USERS = ("UnreadableDocument", "Refused")
WORDS = {
    WorkflowState.IN_PROGRESS: "in progress",
    WorkflowState.COMPLETED: "completed",
    WorkflowState.FAILED: "failed",
    WorkflowState.CANCELED: "canceled",
}


@dataclass(frozen=True)
class Progress:
    """What a page says of a workflow.

    `state`: a word. `note`: what it is at, or why it failed. `done` and `of`: None unless it counts.
    """

    state: str
    note: str = ""
    done: int | None = None
    of: int | None = None

    @property
    def ended(self) -> bool:
        """True iff nothing will change any more."""
        return self.state != WORDS[WorkflowState.IN_PROGRESS]


def progress_of(workflow_ids: Iterable[UUID | None]) -> dict[UUID | None, Progress]:
    """Return the progress of each, by one query. None, or an unknown one, is that of no workflow."""
    ids = set(workflow_ids)
    runs = Workflow.objects.only("state", "custom_text", "error_text").in_bulk(ids - {None})
    return {pk: in_words(runs.get(pk)) for pk in ids}


def in_words(run: Workflow | None) -> Progress:
    """Put a workflow's state and its custom status, a text or `{"done": …, "of": …}`, into words."""
    if run is None:  # cleaned up, or there never was one
        return Progress("no workflow")
    state = WORDS[WorkflowState(run.state)]
    if run.state == WorkflowState.FAILED:
        return Progress(state, reason(run))
    custom: Any = run.custom
    if isinstance(custom, dict):
        return Progress(state, done=custom["done"], of=custom["of"])
    return Progress(state, custom or "")


def reason(run: Workflow) -> str:
    """Why it failed, as far as users are told."""
    assert run.error is not None
    return run.error.message if run.error.type.rpartition(".")[2] in FOR_USERS else ""
