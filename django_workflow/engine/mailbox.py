"""The events that wait for one workflow, as a turn hands them to the steps that wait for events (P5, R16)."""

from __future__ import annotations

from collections.abc import Iterable

from django_workflow.engine.draft import Draft
from django_workflow.journal import events
from django_workflow.journal.claims import Turnable
from django_workflow.journal.events import Sent


class Mailbox:
    """Looked into when a step first waits: a workflow without events costs no statement.

    That is after the claim; whatever is sent later counts as an input, and the turn is followed by another one (R9).
    """

    def __init__(self, claim: Turnable, draft: Draft) -> None:
        self._claim = claim
        self._draft = draft
        self._sent: list[Sent] | None = None

    def offers(self, waiting: Iterable[int]) -> dict[int, Sent]:
        """Of the steps waited for, those that get an event, and which."""
        waits = self._draft.waits(waiting)
        if not waits:
            return {}
        if self._sent is None:
            self.look()
        return events.match(waits, self._sent or ())

    def look(self) -> None:
        """Look into it (again)."""
        # What steps of this turn have taken is only written with its next commit.
        self._sent = [
            event for event in events.unconsumed(self._claim.id) if event.id not in self._draft.taken
        ]

    def take(self, event: Sent) -> None:
        """A step takes this one."""
        if self._sent is not None:
            self._sent.remove(event)
