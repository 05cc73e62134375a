"""A turn: one worker, one workflow, one go.

    outer   load → advance → commit → release, fenced
    inner   replay the handler from its journal; then, as long as it goes on: deliver the next answer that is
            ready, or run the next body, and let the handler take it from there

Nothing of a turn counts until a commit behind its fence. Whatever happens between two commits (a crash, a
deadlock, a lost lease), the next turn starts from the journal and comes to the same place, since the handler
is deterministic. What that leaves to get right is the order of a few writes; the rules that it must obey stand
where the code obeys them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from django_workflow.conf import settings
from django_workflow.engine.attempts import Attempt, Body, TurnAborted, given_up, interrupted
from django_workflow.engine.current import begin
from django_workflow.engine.draft import Draft
from django_workflow.engine.leases import Held
from django_workflow.engine.recovery import Poisonous, backoff, is_inline, is_poisonous
from django_workflow.engine.transaction import CommitRefused, TurnTransaction
from django_workflow.engine.world import world_of
from django_workflow.exceptions import (
    DjangoWorkflowError,
    InternalError,
    NotDeterministic,
    describe_error,
)
from django_workflow.handler import registry
from django_workflow.handler.commands import (
    Answer,
    Blocked,
    Command,
    Finished,
    Outcome,
    Recorded,
    Violated,
)
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.handler.replay import Replay, as_recorded, recorded_answer
from django_workflow.journal import claims, steps, wakes
from django_workflow.journal.claims import Turnable
from django_workflow.journal.clock import Now, monotonic
from django_workflow.payloads import encode_error
from django_workflow.states import StepKind, StepState, WorkflowState, move_workflow

logger = logging.getLogger("django_workflow.engine")


class LeaseLost(Exception):
    """The fence did not match: somebody canceled the workflow or took it over. Nothing was written."""


class Turn:
    """One turn of one claimed workflow.

    Args:
        claim: the workflow, as it was at the claim.
        journal: its steps, loaded after the claim.
        held: the claim's lease.
        hand_back_rest: gives back what else was claimed with it, before a body that may take long.
        timed: whether this thread can interrupt a body that has a timeout.
        one_by_one: every body gets a transaction of its own, to find the one whose commit is refused (R14).

    """

    def __init__(
        self,
        claim: Turnable,
        journal: Sequence[Recorded],
        held: Held,
        hand_back_rest: Callable[[], None],
        *,
        one_by_one: bool = False,
        timed: bool = True,
    ) -> None:
        self._timed = timed
        self._claim = claim
        self._definition = _definition(claim)
        self._held = held
        self._hand_back_rest = hand_back_rest
        self._one_by_one = one_by_one
        self._clock = claim.clock
        self._draft = Draft(claim.id, claim.cluster, journal)
        began_at = claim.started_at or claim.clock.now()
        world = world_of(
            claim.id, self._definition, began_at=began_at, committed=claim.started_at is not None
        )
        self._replay = Replay(self._definition, claim.args, journal, world)
        self._transaction = TurnTransaction()
        self._uncommitted_result = False  # an action's body has returned and its result is not committed yet
        self._handled_cancels: set[int] = set()
        self._bodies = 0
        self._renewed_at: float | None = None  # when this turn last committed (monotonic seconds)
        self.started_at = claim.started_at  # as committed

    def take(self) -> int:
        """Take the turn. Returns how many bodies were run. Raises `LeaseLost`, `TurnAborted`, `CommitRefused`."""
        try:
            self._end(self._advance())
        except BaseException as error:
            self._transaction.roll_back(error)
            raise
        finally:
            self._replay.close()
        return self._bodies

    # ── inner ───────────────────────────────────────────────────────────────────────────────────────────────

    def _advance(self) -> Outcome:
        if is_poisonous(self._claim, self._draft.journal()):
            return Finished(error=Poisonous(self._claim))
        outcome = self._replay.start()
        while isinstance(outcome, Blocked):
            self._note_cancels()
            self._note_sleeps(outcome)
            number = self._draft.ready(outcome.waiting, self._clock.now())
            if number is None:
                number = self._settle_next(outcome)
            if number is None:
                break
            outcome = self._deliver(number)
            if settings.ALWAYS_SUSPEND:
                break
        self._note_cancels()
        return self._checked(outcome)

    def _settle_next(self, outcome: Blocked) -> int | None:
        """Run bodies that this turn may run until one settles its step. Returns its number, or None: end the turn."""
        for command in self._commands(outcome.waiting):
            step = self._draft.get(command.number)
            if step is not None and step.state == StepState.RUNNING and is_inline(step):
                self._resume_action(command, step)
            elif step is not None or not self._may_run_inline(command, outcome):
                continue
            elif command.kind == StepKind.ACTION:
                self._run_action(command)
            else:
                self._run_in_transaction(command)
            step = self._draft.get(command.number)
            if step is not None and step.state not in steps.UNSETTLED:
                return command.number
        return None

    def _may_run_inline(self, command: Command, outcome: Blocked) -> bool:
        if command.inline is False or command.kind == StepKind.SLEEP:
            return False
        if command.due_at is not None and command.due_at > self._clock.now():
            return False
        if command.timeout is not None and (command.kind != StepKind.ACTION or not self._timed):
            return False  # interrupted, it would take the turn's transaction with it; or nothing could interrupt it
        if command.kind == StepKind.ACTION:
            # Others that are waited for could settle meanwhile, and the handler would go on late.
            return outcome.waiting == (command.number,) or command.inline is True
        return True

    def _run_in_transaction(self, command: Command) -> None:
        """A query or mutation: its writes and its row share the turn's transaction (P2)."""
        if self._uncommitted_result:
            self._commit()  # R11: before any other body
        self._check_lease()
        began_at = self._clock.now()
        body = Body(self._attempt(command, as_recorded(command, attempts=1)))
        self._bodies += 1
        if command.kind == StepKind.QUERY and self._transaction.spares_reads():
            answer = body.run_unprotected()  # R22
        else:
            self._transaction.open()
            answer = body.run_in_transaction(command.kind)
        self._take_in(command, answer, began_at)
        if self._one_by_one:
            self._commit_one_body(command, body, began_at)
        elif self._transaction.is_overdue():
            self._commit()

    def _commit_one_body(self, command: Command, body: Body, began_at: datetime) -> None:
        try:
            self._commit()
        except CommitRefused as refused:
            # R14: the transaction had this body alone, so the refusal is this step's failure.
            self._draft.forget(command.number)
            self._take_in(command, body.refused(refused.__cause__ or refused), began_at)
            self._commit()

    def _run_action(self, command: Command) -> None:
        """An action that is waited for alone: in this worker, outside of any transaction."""
        began_at = self._clock.now()
        step = self._draft.start(command, began_at)
        self._commit()  # P4: the attempt is counted before it starts; what came before shares the commit
        self._hand_back_rest()  # R3
        self._check_lease()  # R5
        body = Body(self._attempt(command, step))
        self._bodies += 1
        self._take_in(command, body.run_alone(), began_at)
        self._uncommitted_result = True

    def _resume_action(self, command: Command, step: Recorded) -> None:
        """An action that was begun in an earlier turn and never ended: interrupted, so once more (P4)."""
        now = self._clock.now()
        if command.at_most_once:
            self._take_in(command, interrupted(self._attempt(command, step)), step.started_at or now)
            return
        step = self._draft.interrupted(step, now)
        count = steps.interruptions(step.history)
        if count >= settings.INTERRUPTED_LIMIT:
            self._take_in(command, given_up(self._attempt(command, step), count), step.started_at or now)
        else:
            self._run_action(command)

    def _attempt(self, command: Command, step: Recorded) -> Attempt:
        return Attempt(
            begin(self._claim.id, command.number, command.kind, step.attempts, self._held),
            command.name,
            command.function,
            command.args,
            steps.failures(step.history),
            command.retry,
            command.timeout,
        )

    def _take_in(self, command: Command, answer: Answer, began_at: datetime) -> None:
        """An attempt inside the turn has ended."""
        now = self._clock.now()
        if answer.retry_in is None:
            self._draft.settle(command, answer, began_at, now)
        else:
            self._draft.back_off(command, answer, began_at, now)

    def _deliver(self, number: int) -> Outcome:
        now = self._clock.now()
        step = self._draft.get(number)
        if step is None:
            raise InternalError(f"step {number} of workflow {self._claim.id} is ready and has no row")
        if step.kind == StepKind.SLEEP:
            self._draft.wake(number)
            step = self._draft.get(number) or step
        outcome = self._replay.deliver(number, recorded_answer(step), now)
        self._draft.deliver(number, self._replay.delivered[-1].at)
        return outcome

    def _note_cancels(self) -> None:
        for number in sorted(self._replay.canceled - self._handled_cancels):
            self._handled_cancels.add(number)
            self._draft.cancel(self._replay.commands[number - 1], self._clock.now())

    def _note_sleeps(self, outcome: Blocked) -> None:
        for command in self._commands(outcome.waiting):
            if command.kind == StepKind.SLEEP and self._draft.get(command.number) is None:
                self._draft.add(command, command.due_at)

    def _commands(self, waiting: Sequence[int]) -> list[Command]:
        return [self._replay.commands[number - 1] for number in waiting]

    def _checked(self, outcome: Outcome) -> Outcome:
        """With `CHECK_DETERMINISM`: replay what this turn did, and see that it comes out alike."""
        if not settings.CHECK_DETERMINISM or isinstance(outcome, Violated):
            return outcome
        world = world_of(
            self._claim.id, self._definition, began_at=self._replay.world.began_at, committed=True
        )
        again = Replay(self._definition, self._claim.args, self._draft.journal(), world)
        try:
            repeated = again.start()
        finally:
            again.close()
        if isinstance(repeated, Violated):
            return repeated
        if type(repeated) is not type(outcome) or again.commands != self._replay.commands:
            return Violated(
                NotDeterministic(
                    f"the handler of {self._claim.definition} did something else when it was replayed",
                    "let everything that changes from one time to the next come from its steps",
                )
            )
        return outcome

    # ── outer ───────────────────────────────────────────────────────────────────────────────────────────────

    def _end(self, outcome: Outcome) -> None:
        match outcome:
            case Blocked():
                self._release(outcome)
            case Finished(result, None):
                self._finish(*self._encoded(result))
            case Finished(_, error) if error is not None:
                self._finish("fail", error_text=_error_text(error))
            case Violated(error):
                self._finish("fail", error_text=_error_text(error), keep_commands=False)

    def _encoded(self, result: Any) -> tuple[str, str | None, str | None]:
        try:
            text = self._definition.signature.encode_result(
                result, what=f"the result of {self._claim.definition}", limit=settings.VALUE_LIMIT
            )
        except DjangoWorkflowError as error:
            return "fail", None, _error_text(error)
        return "complete", text, None

    def _release(self, outcome: Blocked) -> None:
        """The handler waits: write what it waits for, and when to look again."""
        nearest = None
        branches = 0
        for command in self._commands(outcome.waiting):
            if self._draft.get(command.number) is not None:
                continue
            if settings.ALWAYS_SUSPEND and self._may_run_inline(command, outcome):
                nearest = self._clock.now()  # the next turn runs it
            else:
                self._draft.add(command, command.due_at or self._clock.now())
                branches += 1
        if settings.ALWAYS_SUSPEND and self._draft.ready(outcome.waiting, self._clock.now()) is not None:
            nearest = self._clock.now()
        timer = self._draft.nearest_timer()
        if nearest is None or (timer is not None and timer < nearest):
            nearest = timer
        self._commit(interruptions=0, **claims.release_columns(self._claim, nearest))
        if branches > 1:
            wakes.ask(self._claim.cluster)  # this worker goes on with one of them; others can take the rest

    def _finish(
        self,
        edge: str,
        result_text: str | None = None,
        error_text: str | None = None,
        *,
        keep_commands: bool = True,
    ) -> None:
        """The one ending of this generation (P7), with everything that it leaves behind settled (R18)."""
        if keep_commands:
            for command in self._replay.commands:
                if self._draft.get(command.number) is None:
                    self._draft.cancel(command, self._clock.now())
        self._commit(
            cancel_rest=self._draft.leaves_something,
            state=move_workflow(WorkflowState.IN_PROGRESS, edge),
            result_text=result_text,
            error_text=error_text,
            completed_at=Now(),
            due_at=None,
            lease_owner=None,
            setbacks=0,
        )

    def _commit(self, *, cancel_rest: bool = False, **columns: Any) -> None:
        """Write everything so far, fenced, and go on (or end, with the columns that end it)."""
        if self.started_at is None:
            columns["started_at"] = self._replay.world.began_at
        if self._draft.settled_something:
            columns["interruptions"] = 0  # R15: it gets on
        if self._replay.custom is not None:
            columns["custom_text"] = self._replay.custom
        asked_at = monotonic()

        def write() -> None:
            # R2, R12, R20: the fence first, then rows that refer to it.
            if not claims.fence(self._claim, **columns):
                raise LeaseLost(f"workflow {self._claim.id} is no longer {self._claim.token}'s")
            self._draft.write()
            if cancel_rest:
                steps.cancel_all(self._claim.id)

        self._transaction.commit(write, lambda: self._held.may_begin(self._renewed_at))
        self._renewed_at = (
            asked_at  # of this workflow alone: the batch's other leases are as old as they were
        )
        self._draft.written()
        self.started_at = self._replay.world.began_at
        self._replay.custom = None
        self._uncommitted_result = False
        for author_logger, record in self._replay.take_logs():
            author_logger.handle(record)

    def _check_lease(self) -> None:
        if not self._held.may_begin(self._renewed_at):  # R5
            raise LeaseLost(f"the lease {self._claim.token} of workflow {self._claim.id} ran out")


def _definition(claim: Turnable) -> WorkflowDefinition[Any, Any]:
    definition = registry.find(claim.definition, claim.version)
    if definition is None:
        raise InternalError(f"workflow {claim.id} was claimed without {claim.definition} v{claim.version}")
    return definition


def _error_text(error: BaseException) -> str:
    return encode_error(error.info if isinstance(error, Poisonous) else describe_error(error))


# ── how a turn ends that did not get to its end ─────────────────────────────────────────────────────────────


def take(
    claim: Turnable,
    journal: Sequence[Recorded],
    held: Held,
    hand_back_rest: Callable[[], None],
    *,
    timed: bool = True,
) -> int:
    """Take a claimed workflow's turn; whatever happens in it, the workflow is released or left to its lease.

    Returns how many bodies were run.
    """
    try:
        return _take(claim, journal, held, hand_back_rest, timed=timed)
    except LeaseLost as lost:
        logger.info("%s", lost)
    except TurnAborted as aborted:
        logger.warning("the turn of workflow %s is repeated: %s", claim.id, aborted)
        claims.set_back(claim, backoff(claim.setbacks))
    except Exception:
        logger.exception("%s", InternalError(f"the turn of workflow {claim.id} failed; it is repeated"))
        claims.set_back(claim, backoff(claim.setbacks))
    return 0


def _take(
    claim: Turnable,
    journal: Sequence[Recorded],
    held: Held,
    hand_back_rest: Callable[[], None],
    *,
    timed: bool = True,
) -> int:
    turn = Turn(claim, journal, held, hand_back_rest, timed=timed)
    try:
        return turn.take()
    except CommitRefused as refused:
        logger.info("workflow %s: %s; once more, with a transaction for each body", claim.id, refused)
        fresh = steps.load([claim.id]).get(claim.id, [])
        claim = claim._replace(started_at=turn.started_at)
        return Turn(claim, fresh, held, hand_back_rest, one_by_one=True, timed=timed).take()
