"""Runs the bodies that a turn runs itself: queries and mutations in its transaction, an action between two of them.

What may not run here is left to a row that any worker claims: what waits for its time, parallel actions, what needs
another cluster, a place in a pool, or a thread that can interrupt it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from django_workflow.conf import settings
from django_workflow.engine.attempts import Attempt, Body, given_up, interrupted
from django_workflow.engine.commit import Writer
from django_workflow.engine.current import begin
from django_workflow.engine.draft import Draft
from django_workflow.engine.leases import Held
from django_workflow.engine.places import Place
from django_workflow.engine.recovery import is_inline
from django_workflow.engine.transaction import CommitRefused
from django_workflow.handler.commands import Answer, Command, Recorded
from django_workflow.handler.functions import is_async
from django_workflow.journal import pauses, steps
from django_workflow.journal.claims import Turnable
from django_workflow.states import BODY_KINDS, StepKind, StepState


class Bodies:
    """The bodies of one turn.

    Args:
        claim: the workflow.
        draft: where their attempts and results go.
        writer: commits them.
        held: the lease that they run under.
        place: in a limited pool, which they need.
        deadline: of the workflow as a whole, or None.
        hand_back_rest: gives back what else was claimed, before a body that may take long (R3).
        timed: whether this thread can interrupt a body that has a timeout.
        apart: whether async actions are left to the executor of this process, which runs many at once.
        one_by_one: each gets a transaction of its own (R14).

    """

    def __init__(
        self,
        claim: Turnable,
        draft: Draft,
        writer: Writer,
        held: Held,
        place: Place,
        deadline: datetime | None,
        hand_back_rest: Callable[[], None],
        *,
        timed: bool,
        apart: bool,
        one_by_one: bool,
    ) -> None:
        self._claim = claim
        self._draft = draft
        self._writer = writer
        self._held = held
        self._place = place
        self._deadline = deadline
        self._hand_back_rest = hand_back_rest
        self._timed = timed
        self._apart = apart
        self._one_by_one = one_by_one
        self._clock = claim.clock
        self._pause = pauses.Watch(claim.cluster)
        self.paused = False  # True once a pause keeps this turn from running bodies
        self.count = 0  # of bodies that were run

    def settle_next(self, commands: Sequence[Command]) -> int | None:
        """Of what the handler waits for, run bodies until one settles its step. Its number, or None: none is left."""
        for command in commands:
            step = self._draft.get(command.number)
            if step is not None and step.state == StepState.RUNNING and is_inline(step):
                self._resume_action(command, step)
            elif step is not None or not self.may_run(command, commands) or not self._may_begin():
                continue
            elif command.kind == StepKind.ACTION:
                self._run_action(command)
            else:
                self._run_in_transaction(command)
            step = self._draft.get(command.number)
            if step is not None and step.state not in steps.UNSETTLED:
                return command.number
        return None

    def may_run(self, command: Command, waited_for: Sequence[Command]) -> bool:
        """Whether this turn is the place for a body that has not begun."""
        if command.inline is False or command.kind not in BODY_KINDS or self._place.lacking:
            return False
        if command.cluster is not None and command.cluster != self._claim.cluster:
            return False
        if command.due_at is not None and command.due_at > self._clock.now():
            return False
        if command.kind != StepKind.ACTION:
            return command.timeout is None  # interrupted, it would take the turn's transaction with it
        if not self._timed and (command.timeout is not None or self._deadline is not None):
            return False  # nothing could interrupt it, at its own time or (R6) at the workflow's deadline
        if self._apart and command.inline is None and is_async(command.function):
            return False
        # Others that are waited for could settle meanwhile, and the handler would go on late.
        return len(waited_for) == 1 or command.inline is True

    def _may_begin(self) -> bool:
        """Nothing is paused, and a limited pool has a place for this turn."""
        self.paused = self.paused or self._pause.holds()
        return not self.paused and self._place.take()

    # ── in the turn's transaction ───────────────────────────────────────────────────────────────────────────

    def _run_in_transaction(self, command: Command) -> None:
        """A query or mutation: its writes and its row share the turn's transaction (P2)."""
        if self._writer.has_result:
            self._writer.commit()  # R11: before any other body
        self._writer.check_lease()
        began_at = self._clock.now()
        body = Body(self._attempt(command, self._draft.row(command, attempts=1)))
        self.count += 1
        if command.kind == StepKind.QUERY and self._writer.transaction.spares_reads():
            answer = body.run_unprotected()  # R22
        else:
            self._writer.transaction.open()
            answer = body.run_in_transaction(command.kind)
        self._take_in(command, answer, began_at)
        if self._one_by_one:
            self._commit_one_body(command, body, began_at)
        elif self._writer.transaction.is_overdue():
            self._writer.commit()

    def _commit_one_body(self, command: Command, body: Body, began_at: datetime) -> None:
        try:
            self._writer.commit()
        except CommitRefused as refused:
            # R14: the transaction had this body alone, so the refusal is this step's failure.
            self._draft.forget(command.number)
            self._writer.failures.clear()
            self._take_in(command, body.refused(refused.__cause__ or refused), began_at)
            self._writer.commit()

    # ── outside of any transaction ──────────────────────────────────────────────────────────────────────────

    def _run_action(self, command: Command) -> None:
        """An action that is waited for alone: in this worker, outside of any transaction."""
        began_at = self._clock.now()
        step = self._draft.start(command, began_at)
        self._writer.commit()  # P4: the attempt is counted before it starts; what came before shares the commit
        self._hand_back_rest()  # R3
        self._writer.check_lease()  # R5
        body = Body(self._attempt(command, step))
        self.count += 1
        self._take_in(command, body.run_alone(), began_at)
        self._writer.has_result = True

    def _resume_action(self, command: Command, step: Recorded) -> None:
        """An action that was begun in an earlier turn and never ended: interrupted, so once more (P4)."""
        now = self._clock.now()
        if command.at_most_once:
            self._take_in(command, interrupted(self._attempt(command, step)), step.started_at or now)
            return
        if not self._may_begin():
            if self._place.lacking:
                self._draft.hand_over(self._draft.interrupted(step, now), now)
            return
        step = self._draft.interrupted(step, now)
        count = steps.interruptions(step.history)
        if count >= settings.INTERRUPTED_LIMIT:
            self._take_in(command, given_up(self._attempt(command, step), count), step.started_at or now)
        else:
            self._run_action(command)

    # ── attempts ────────────────────────────────────────────────────────────────────────────────────────────

    def _attempt(self, command: Command, step: Recorded) -> Attempt:
        return Attempt(
            begin(self._claim.id, command.number, command.kind, step.attempts, self._held, step.generation),
            command.name,
            command.function,
            command.args,
            steps.failures(step.history),
            command.retry,
            self._time_left(command),
        )

    def _time_left(self, command: Command) -> float | None:
        """Seconds for a body: its own timeout, and for an action what is left until the workflow's deadline (R6)."""
        if self._deadline is None or command.kind != StepKind.ACTION:
            return command.timeout
        left = max((self._deadline - self._clock.now()).total_seconds(), 0.001)
        return left if command.timeout is None else min(left, command.timeout)

    def _take_in(self, command: Command, answer: Answer, began_at: datetime) -> None:
        """An attempt inside the turn has ended."""
        now = self._clock.now()
        if answer.retry_in is not None:
            self._draft.back_off(command, answer, began_at, now)
            return
        self._draft.settle(command, answer, began_at, now)
        if answer.state is StepState.FAILED:
            self._writer.failures.append((command.number, command.name, answer.text))
