"""How a turn writes: one transaction after the other, each behind the turn's fence (R2, R12).

What a turn has in hand (the draft of its journal, the handler's status and log) becomes true with a commit or not
at all. A commit goes on, or it is the turn's last one, with the columns that say what becomes of the workflow.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django_workflow.engine import announce, completion, endings, lives, starting
from django_workflow.engine.draft import Draft
from django_workflow.engine.leases import Held, LeaseLost
from django_workflow.engine.places import Place
from django_workflow.engine.transaction import CommitRefused, TurnTransaction
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.handler.replay import Replay
from django_workflow.journal import clock, holding, steps, wakes, workflows
from django_workflow.journal.claims import Turnable
from django_workflow.journal.clock import Now, monotonic
from django_workflow.journal.database import connection


class Writer:
    """Writes one turn.

    Args:
        claim: the workflow.
        definition: its definition.
        draft: what is to be written of its steps.
        replay: what is to be written of its handler.
        held: the lease; a commit renews it.
        place: in a limited pool; the last commit gives it back.
        deadline: of the workflow as a whole, or None.

    """

    def __init__(
        self,
        claim: Turnable,
        definition: WorkflowDefinition[Any, Any],
        draft: Draft,
        replay: Replay,
        held: Held,
        place: Place,
        deadline: datetime | None,
    ) -> None:
        self._claim = claim
        self._definition = definition
        self._draft = draft
        self._replay = replay
        self._held = held
        self._place = place
        self._deadline = deadline
        self._renewed_at: float | None = None  # when this turn last committed (monotonic seconds)
        self._custom = claim.custom  # the custom status as committed
        self.transaction = TurnTransaction()
        self._has_standing = False  # whether this turn has committed what does not change in it
        self._renewed = False  # whether the last commit renewed the lease
        self.committed = claim.started_at is not None  # whether a turn of this life has ever committed
        self.got_on = False  # True once this turn has committed something that is settled (R15)
        self.has_result = False  # an action's body has returned and its result is not committed yet (R11)
        self.failures: list[
            tuple[int, str, str | None]
        ] = []  # steps that failed for good since the last commit

    @property
    def custom(self) -> str | None:
        """The custom status as it will be, as JSON text."""
        return self._replay.custom if self._replay.custom is not None else self._custom

    def check_lease(self) -> None:
        """Before a body: raise `LeaseLost` past the worker's own deadline (R5)."""
        if not self._held.may_begin(self._renewed_at):
            raise LeaseLost(f"the lease {self._claim.token} of workflow {self._claim.id} ran out")

    def commit(self, **columns: Any) -> None:
        """Write everything so far and go on."""
        self._commit(columns)

    def leave(
        self,
        *,
        edge: str = "",
        cancel_rest: bool = False,
        renews: bool = False,
        fails: bool = False,
        **columns: Any,
    ) -> None:
        """Write everything and end the turn.

        Args:
            edge: of the table, by which the workflow ends; "": it doesn't.
            cancel_rest: settle all steps that are left as canceled.
            renews: it goes on with a fresh journal.
            fails: its children are canceled with their rollbacks.
            columns: of the workflow.

        """
        self._commit(columns, edge=edge, cancel_rest=cancel_rest, renews=renews, fails=fails, leaves=True)

    def _commit(
        self,
        columns: dict[str, Any],
        *,
        edge: str = "",
        cancel_rest: bool = False,
        renews: bool = False,
        fails: bool = False,
        leaves: bool = False,
    ) -> None:
        columns = {**self._standing_columns(), **columns}
        gets_on = self._draft.settled_something
        asked_at = monotonic()

        def write() -> None:
            # R2, R12, R20: the fence first (a parent's row before it), then rows that refer to it.
            if edge:
                endings.lock_parent(self._claim)
            if not holding.fence(self._claim, **columns):
                raise self._lost()
            self._renewed = True
            self._write_steps(cancel_rest, renews, fails)
            if edge:
                texts = {text: columns[text] for text in ("result_text", "error_text")}
                endings.settle_rest(self._claim, edge, **texts)
            if leaves:
                self._place.write_back()
            else:
                self._place.renew()

        alone = not (edge or cancel_rest or renews or self._place.is_held or self.failures)
        at_once = self._statement(columns) if alone else None
        had_bodies = self.transaction.has_bodies
        try:
            self.transaction.commit(write, lambda: self._held.may_begin(self._renewed_at), at_once)
        except CommitRefused as refused:
            if had_bodies:
                raise
            # R14: what else can have written something wrong is `on_complete` of a child that this commit cancels.
            with completion.refusing(refused.__cause__ or refused):
                self.transaction.commit(write, lambda: self._held.may_begin(self._renewed_at))
        if self._renewed:
            # Of this workflow alone: the batch's other leases are as old as they were.
            self._renewed_at = asked_at
        self.got_on = self.got_on or gets_on
        self._written()
        if leaves:
            self._place.left()

    def _statement(self, columns: dict[str, Any]) -> Callable[[], None] | None:
        """The fence and what it lets through as one statement: a commit by itself. None where there is more to write."""
        rows = self._draft.rows()
        # A clock that stands still in a test is another than the one by which leases are fresh.
        renews = not (
            clock.runs() and self._held.is_fresh(self._renewed_at) and connection().vendor == "sqlite"
        )
        fence = holding.fencing(self._claim, renews=renews, **columns)
        if not steps.can_write_behind(fence, len(rows)):
            return None

        def write() -> None:
            if not steps.write_behind(fence, self._claim.id, rows):
                raise self._lost()
            self._renewed = renews

        return write

    def _lost(self) -> LeaseLost:
        return LeaseLost(f"workflow {self._claim.id} is no longer {self._claim.token}'s")

    def _standing_columns(self) -> dict[str, Any]:
        """What every commit of this turn writes of the workflow, besides what it is for."""
        columns: dict[str, Any] = {}
        if not self.committed:
            columns["started_at"] = self._replay.world.began_at
        if not self._has_standing and self._deadline is not None and self._claim.deadline_at is None:
            columns["deadline_at"] = self._deadline
        if not self._has_standing and self._claim.fingerprint != self._definition.fingerprint:
            columns |= {"fingerprint": self._definition.fingerprint, "advanced_at": Now()}  # R27
        if not self.got_on and self._claim.interruptions and self._draft.settled_something:
            columns["interruptions"] = 0  # R15: it gets on
        if self._replay.custom is not None:
            columns["custom_text"] = self._replay.custom
        return columns

    def _write_steps(self, cancel_rest: bool, renews: bool, fails: bool) -> None:
        """The draft, and what follows from it for other workflows."""
        changes = self._draft.write()
        if renews:
            lives.drop_journal(self._claim.id)
            return
        for command, step_id in changes.children:
            child = workflows.insert(starting.child(self._claim, command, step_id))
            announce.started(child.id, child.definition)
            wakes.ask(child.cluster)
        orphans = changes.orphans
        if cancel_rest:
            if self._draft.has_children:
                orphans = [*orphans, *steps.unsettled_children(self._claim.id)]
            steps.cancel_all(self._claim.id)
        reason = f"its parent, workflow {self._claim.id}, {'failed' if fails else 'no longer waits for it'}"
        endings.cancel_children(orphans, reason, rollback=fails)
        for number, name, error_text in self.failures:
            announce.step_failed(self._claim.id, self._claim.definition, number, name, error_text)

    def _written(self) -> None:
        self._draft.written()
        self.failures.clear()
        self.committed = self._has_standing = True
        self.has_result = False
        self._custom, self._replay.custom = self.custom, None
        for author_logger, record in self._replay.take_logs():
            author_logger.handle(record)

    def claim_as_committed(self) -> Turnable:
        """The claim, for a turn that begins anew after this one's last commit."""
        if not self.committed:
            return self._claim
        return self._claim._replace(
            started_at=self._replay.world.began_at, deadline_at=self._deadline, custom=self._custom
        )
