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
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import Error

from django_workflow.conf import settings
from django_workflow.engine import announce, completion, endings, lives, rollbacks, starting
from django_workflow.engine.attempts import Attempt, Body, TurnAborted, given_up, interrupted
from django_workflow.engine.current import begin
from django_workflow.engine.draft import Draft
from django_workflow.engine.leases import Held, LeaseLost
from django_workflow.engine.recovery import Poisonous, backoff, is_inline, is_poisonous
from django_workflow.engine.transaction import CommitRefused, TurnTransaction
from django_workflow.engine.world import world_of
from django_workflow.exceptions import (
    DeterminismViolation,
    DjangoWorkflowError,
    InternalError,
    NotDeterministic,
    WorkflowTimedOut,
    describe_error,
)
from django_workflow.handler import registry
from django_workflow.handler.commands import (
    Answer,
    Blocked,
    Command,
    Continued,
    Finished,
    Outcome,
    Recorded,
    Violated,
    World,
)
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.handler.replay import Replay, as_recorded, recorded_answer
from django_workflow.journal import claims, events, pauses, slots, steps, wakes, workflows
from django_workflow.journal.claims import Known, Turnable
from django_workflow.journal.clock import Now, monotonic
from django_workflow.journal.events import Sent
from django_workflow.payloads import encode_error
from django_workflow.states import BODY_KINDS, StepKind, StepState, WorkflowState

logger = logging.getLogger("django_workflow.engine")


class Turn:
    """One turn of one claimed workflow.

    Args:
        claim: the workflow, as it was at the claim.
        journal: its steps, loaded after the claim.
        held: the claim's lease.
        hand_back_rest: gives back what else was claimed with it, before a body that may take long.
        known: what this process can run.
        timed: whether this thread can interrupt a body that has a timeout.
        one_by_one: every body gets a transaction of its own, to find the one whose commit is refused (R14).

    """

    def __init__(
        self,
        claim: Turnable,
        journal: Sequence[Recorded],
        held: Held,
        hand_back_rest: Callable[[], None],
        known: Known,
        *,
        one_by_one: bool = False,
        timed: bool = True,
    ) -> None:
        self._timed = timed
        self._claim = claim
        self._definition = _definition(claim)
        self._held = held
        self._hand_back_rest = hand_back_rest
        self._known = known
        self._one_by_one = one_by_one
        self._clock = claim.clock
        self._pool = pool_of(self._definition)
        self._draft = Draft(claim, journal, self._pool)
        self._began_at: datetime | None = None
        self._deadline = claim.deadline_at or self._first_deadline()
        self._replay = Replay(self._definition, claim.args, journal, self._world())
        self._transaction = TurnTransaction()
        self._uncommitted_result = False  # an action's body has returned and its result is not committed yet
        self._handled_cancels: set[int] = set()
        self._custom = claim.custom  # the custom status as committed
        self._noted = 0  # commands that were looked at for what needs a row at once
        self._mail: list[Sent] | None = None  # events that no step has taken, once they were looked for
        self._pause = pauses.Watch(claim.cluster)
        self._held_up = False  # True once a pause keeps this turn from running bodies
        self._has_slot = False  # True while it holds a place in its limited pool
        self._crowded = False  # True once there was no place
        self._failures: list[
            tuple[int, str, str | None]
        ] = []  # steps that failed for good since the last commit
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

    def leave_pool(self) -> None:
        """Give back the place in the limited pool that a turn without an end still holds."""
        if self._has_slot:
            self._has_slot = False
            try:
                slots.give_back(self._claim.token)
            except Error:
                logger.warning("a place in the pool %r stays taken until its lease ends", self._pool)
            wakes.ask(self._claim.cluster)

    # ── inner ───────────────────────────────────────────────────────────────────────────────────────────────

    def _advance(self) -> Outcome:
        if is_poisonous(self._claim, self._draft.journal()):
            return Finished(error=Poisonous(self._claim))
        outcome = self._replay.start()
        while isinstance(outcome, Blocked):
            self._note_asked(outcome)
            if self._is_overdue():
                return Finished(
                    error=WorkflowTimedOut(self._claim.id, timedelta(seconds=self._claim.timeout or 0))
                )
            number = self._next_answer(outcome)
            if number is None:
                number = self._settle_next(outcome)
            if number is None:
                break
            outcome = self._deliver(number, outcome)
            if settings.ALWAYS_SUSPEND:
                break
        self._note_asked(outcome)
        return self._checked(outcome)

    def _next_answer(self, outcome: Blocked) -> int | None:
        """The step whose answer is there, and became ready first."""
        offers = self._offers(outcome)
        number = self._draft.ready(outcome.waiting, self._clock.now(), offers)
        if number is None or number in offers or not self._draft.waits([number]):
            return number
        # A wait whose time is over. R11: what is in hand is committed first, since the commit that writes the timeout
        # is refused when an event turns out to have been in time. Then look once more: the last look is older than that.
        if self._uncommitted_result:
            self._commit()
        self._mail = events.unconsumed(self._claim.id)
        return self._draft.ready(outcome.waiting, self._clock.now(), self._offers(outcome))

    def _offers(self, outcome: Blocked) -> dict[int, Sent]:
        """The events that are there for the steps waited for."""
        waits = self._draft.waits(outcome.waiting)
        if not waits:
            return {}
        if self._mail is None:
            self._mail = events.unconsumed(self._claim.id)
        return events.match(waits, self._mail)

    def _is_overdue(self) -> bool:
        return self._deadline is not None and self._deadline <= self._clock.now()

    def _first_deadline(self) -> datetime | None:
        """Counted from the first turn; of the workflow as a whole, however often it goes on as new."""
        timeout = self._claim.timeout
        return None if timeout is None else self._clock.now() + timedelta(seconds=timeout)

    def _settle_next(self, outcome: Blocked) -> int | None:
        """Run bodies that this turn may run until one settles its step. Returns its number, or None: end the turn."""
        for command in self._commands(outcome.waiting):
            step = self._draft.get(command.number)
            if step is not None and step.state == StepState.RUNNING and is_inline(step):
                if self._may_begin_body():
                    self._resume_action(command, step)
                elif self._crowded:
                    self._draft.hand_over(step, self._clock.now())
            elif step is not None or not self._may_run_inline(command, outcome) or not self._may_begin_body():
                continue
            elif command.kind == StepKind.ACTION:
                self._run_action(command)
            else:
                self._run_in_transaction(command)
            step = self._draft.get(command.number)
            if step is not None and step.state not in steps.UNSETTLED:
                return command.number
        return None

    def _may_begin_body(self) -> bool:
        """Nothing is paused, and a limited pool has a place for this turn (R23), which it keeps to its end."""
        self._held_up = self._held_up or self._pause.holds()
        if self._held_up:
            return False
        if self._pool and not self._has_slot and not self._crowded:
            self._has_slot = claims.take_slot(self._pool, self._known, self._claim.token)
            self._crowded = not self._has_slot
        return not self._pool or self._has_slot

    def _may_run_inline(self, command: Command, outcome: Blocked) -> bool:
        if command.inline is False or command.kind not in BODY_KINDS or self._crowded:
            return False
        if command.cluster is not None and command.cluster != self._claim.cluster:
            return False
        if command.due_at is not None and command.due_at > self._clock.now():
            return False
        if command.timeout is not None and (command.kind != StepKind.ACTION or not self._timed):
            return False  # interrupted, it would take the turn's transaction with it; or nothing could interrupt it
        if command.kind == StepKind.ACTION and self._deadline is not None and not self._timed:
            return False  # R6: nothing could interrupt it at the workflow's own deadline
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
            begin(
                self._claim.id,
                command.number,
                command.kind,
                step.attempts,
                self._held,
                step.generation or self._claim.generation,
            ),
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
        if answer.retry_in is None:
            self._draft.settle(command, answer, began_at, now)
            if answer.state is StepState.FAILED:
                self._failures.append((command.number, command.name, answer.text))
        else:
            self._draft.back_off(command, answer, began_at, now)

    def _deliver(self, number: int, outcome: Blocked) -> Outcome:
        now = self._clock.now()
        step = self._draft.get(number)
        if step is None:
            raise InternalError(f"step {number} of workflow {self._claim.id} is ready and has no row")
        if step.state in steps.UNSETTLED:
            self._settle_timed(step, outcome)
            step = self._draft.get(number) or step
        after = self._replay.deliver(number, recorded_answer(step), now)
        self._draft.deliver(number, self._replay.delivered[-1].at)
        return after

    def _settle_timed(self, step: Recorded, outcome: Blocked) -> None:
        """A sleep is over, a wait gets its event or none."""
        offer = self._offers(outcome).get(step.number)
        if step.kind == StepKind.SLEEP:
            self._draft.wake(step.number)
        elif offer is not None and self._mail is not None:
            self._mail.remove(offer)
            self._draft.consume(step.number, offer, self._clock.now())
        else:
            self._draft.time_out(step.number)

    def _note_asked(self, outcome: Outcome) -> None:
        """Put what the handler has asked for, given up or marked into the draft, as far as no body is needed for it."""
        now = self._clock.now()
        for command in self._replay.commands[self._noted :]:
            if command.kind == StepKind.MARKER and self._draft.get(command.number) is None:
                self._draft.mark(command, now)
        self._noted = len(self._replay.commands)
        for number in sorted(self._replay.canceled - self._handled_cancels):
            self._handled_cancels.add(number)
            self._draft.cancel(self._replay.commands[number - 1], now)
        for command in self._commands(outcome.waiting) if isinstance(outcome, Blocked) else ():
            if command.kind in BODY_KINDS or self._draft.get(command.number) is not None:
                continue
            if command.kind == StepKind.WORKFLOW:
                self._draft.start_child(command, now)
            else:
                self._draft.add(command, command.due_at)

    def _commands(self, waiting: Sequence[int]) -> list[Command]:
        return [self._replay.commands[number - 1] for number in waiting]

    def _checked(self, outcome: Outcome) -> Outcome:
        """With `CHECK_DETERMINISM`: replay what this turn did, and see that it comes out alike."""
        if not settings.CHECK_DETERMINISM or isinstance(outcome, Violated):
            return outcome
        world = self._world(committed=True)
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
                self._fail(_error_text(error))
            case Violated(DeterminismViolation() | NotDeterministic() as error) if _parks():
                self._park(str(error))
            case Violated(error):
                self._fail(_error_text(error), keep_commands=False)
            case Continued(args):
                self._continue(args)

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
        now = self._clock.now()
        timers = [self._draft.nearest_timer(), self._deadline]
        branches = 0
        for command in self._commands(outcome.waiting):
            step = self._draft.get(command.number)
            if step is not None:
                if step.state == StepState.RUNNING and is_inline(step):
                    timers.append(now)  # interrupted, and held up by a pause: the next turn begins it again
            elif (settings.ALWAYS_SUSPEND or self._held_up) and self._may_run_inline(command, outcome):
                timers.append(now)  # the next turn runs it
            else:
                self._draft.add(command, command.due_at or now)
                branches += 1
                self._call_elsewhere(command)
        if (
            settings.ALWAYS_SUSPEND
            and self._draft.ready(outcome.waiting, now, self._offers(outcome)) is not None
        ):
            timers.append(now)
        nearest = min((timer for timer in timers if timer is not None), default=None)
        self._commit(interruptions=0, leaves=True, **claims.release_columns(self._claim, nearest))
        if branches > 1:
            wakes.ask(self._claim.cluster)  # this worker goes on with one of them; others can take the rest

    def _call_elsewhere(self, command: Command) -> None:
        if command.cluster is not None and command.cluster != self._claim.cluster:
            wakes.ask(command.cluster)

    def _park(self, reason: str) -> None:
        """The code doesn't fit the journal: keep what bodies have done so far (R11), and wait for a restart."""
        logger.error("workflow %s is paused until it is restarted: %s", self._claim.id, reason)
        self._commit(leaves=True, paused=reason, due_at=None, lease_owner=None, setbacks=0)

    def _continue(self, args: str) -> None:
        """The handler goes on as new: a fresh journal, and whatever its old one still had in flight is dropped (R30)."""
        generation = self._claim.generation + 1
        self._commit(
            leaves=True,
            renews=True,
            args_text=args,
            generation=generation,
            started_at=None,
            seed=f"{self._claim.id}/{generation}",
            interruptions=0,
            setbacks=0,
            lease_owner=None,
            due_at=Now(),
        )
        wakes.ask(self._claim.cluster)

    def _fail(self, error_text: str, *, keep_commands: bool = True) -> None:
        if not self._draft.owes_rollbacks:
            self._finish("fail", error_text=error_text, keep_commands=keep_commands)
            return
        if keep_commands:
            self._cancel_unwritten()
        self._commit(
            cancel_rest=True, leaves=True, error_text=error_text, **workflows.unwinding(WorkflowState.FAILED)
        )
        wakes.ask(self._claim.cluster)

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
            self._cancel_unwritten()
        columns = {**workflows.ended(edge), "result_text": result_text, "error_text": error_text}
        finish = partial(
            self._commit, cancel_rest=self._draft.leaves_something, leaves=True, edge=edge, columns=columns
        )
        if not self._claim.on_complete:
            finish()
            return
        if self._uncommitted_result or self._one_by_one:
            self._commit()  # R11: `on_complete` is a body, too
        self._check_lease()
        columns["on_complete_error_text"] = self._complete(edge, result_text, error_text)
        try:
            finish()
        except CommitRefused as refused:
            if not self._one_by_one:
                raise
            # R14: the transaction had this body alone, so the refusal is its failure.
            columns["on_complete_error_text"] = _error_text(refused.__cause__ or refused)
            finish()

    def _complete(self, edge: str, result_text: str | None, error_text: str | None) -> str | None:
        """Run `on_complete` in the turn's transaction, before the fence (R18)."""
        ended = completion.ended_as(
            edge,
            (self._claim.definition, self._claim.version),
            result_text=result_text,
            error_text=error_text,
            custom_text=self._replay.custom or self._custom,
        )
        self._transaction.open()
        return completion.run(self._claim.on_complete, self._claim.id, ended)

    def _cancel_unwritten(self) -> None:
        for command in self._replay.commands:
            if self._draft.get(command.number) is None:
                self._draft.cancel(command, self._clock.now())

    def _commit(
        self,
        *,
        cancel_rest: bool = False,
        leaves: bool = False,
        renews: bool = False,
        edge: str = "",
        columns: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Write everything so far, fenced, and go on (or leave, with the columns that say how).

        Args:
            cancel_rest: settle all steps that are left as canceled.
            leaves: it is the last commit of the turn.
            renews: the workflow goes on with a fresh journal.
            edge: of the table, by which it ends; "": it doesn't.
            columns: of the workflow.
            more: the same.

        """
        columns = {**self._standing_columns(), **(columns or {}), **more}
        asked_at = monotonic()

        def write() -> None:
            # R2, R12, R20: the fence first (a parent's row before it), then rows that refer to it.
            if edge:
                endings.lock_parent(self._claim)
            if not claims.fence(self._claim, **columns):
                raise LeaseLost(f"workflow {self._claim.id} is no longer {self._claim.token}'s")
            self._write_steps(cancel_rest, renews)
            if renews:
                lives.drop_journal(self._claim.id)
            if edge:
                endings.settle_rest(
                    self._claim,
                    edge,
                    result_text=columns["result_text"],
                    error_text=columns["error_text"],
                )
            if leaves and self._has_slot:
                slots.give_back(self._claim.token)
                wakes.ask(self._claim.cluster)  # R10: a place is free

        self._transaction.commit(write, lambda: self._held.may_begin(self._renewed_at))
        self._renewed_at = (
            asked_at  # of this workflow alone: the batch's other leases are as old as they were
        )
        self._draft.written()
        self._failures.clear()
        self._has_slot = self._has_slot and not leaves
        self.started_at = self._replay.world.began_at
        self._custom = self._replay.custom or self._custom
        self._replay.custom = None
        self._uncommitted_result = False
        for author_logger, record in self._replay.take_logs():
            author_logger.handle(record)

    def _standing_columns(self) -> dict[str, Any]:
        """What every commit of this turn writes of the workflow, besides what it is for."""
        columns: dict[str, Any] = {}
        if self.started_at is None:
            columns["started_at"] = self._replay.world.began_at
        if self._deadline is not None and self._claim.deadline_at is None:
            columns["deadline_at"] = self._deadline
        if self._claim.fingerprint != self._definition.fingerprint:
            columns |= {"fingerprint": self._definition.fingerprint, "advanced_at": Now()}  # R27
        if self._draft.settled_something:
            columns["interruptions"] = 0  # R15: it gets on
        if self._replay.custom is not None:
            columns["custom_text"] = self._replay.custom
        return columns

    def _write_steps(self, cancel_rest: bool, renews: bool) -> None:
        """The draft, and what follows from it for children, behind the fence."""
        changes = self._draft.write()
        for command, step_id in changes.children if not renews else ():
            child = workflows.insert(starting.child(self._claim, command, step_id))
            announce.started(child.id, child.definition)
            wakes.ask(child.cluster)
        orphans = changes.orphans
        if cancel_rest:
            if self._draft.has_children:
                orphans = [*orphans, *steps.unsettled_children(self._claim.id)]
            steps.cancel_all(self._claim.id)
        endings.cancel_children(orphans, f"its parent, workflow {self._claim.id}, no longer waits for it")
        for number, name, error_text in self._failures:
            announce.step_failed(self._claim.id, self._claim.definition, number, name, error_text)

    def _world(self, *, committed: bool | None = None) -> World:
        claim = self._claim
        return world_of(
            claim.id,
            self._definition,
            began_at=claim.started_at or self._first_turn_at(),
            committed=claim.started_at is not None if committed is None else committed,
            seed=claim.seed,
            depth=claim.depth,
        )

    def _first_turn_at(self) -> datetime:
        """The handler's time in its first turn: one moment for the replay and for whoever checks it."""
        if self._began_at is None:
            self._began_at = self._clock.now()
        return self._began_at

    def _check_lease(self) -> None:
        if not self._held.may_begin(self._renewed_at):  # R5
            raise LeaseLost(f"the lease {self._claim.token} of workflow {self._claim.id} ran out")


def _parks() -> bool:
    return settings.ON_DETERMINISM_VIOLATION == "pause"


def pool_of(definition: WorkflowDefinition[Any, Any]) -> str:
    """The name of the definition's pool where it is a limited one, else ""."""
    manager = definition.manager
    return manager.name if manager is not None and manager.max_parallelism is not None else ""


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
    known: Known,
    *,
    timed: bool = True,
) -> int:
    """Take a claimed workflow's turn; whatever happens in it, the workflow is released or left to its lease.

    Returns how many bodies were run.
    """
    try:
        if claim.ending is not None:
            return rollbacks.take(claim, journal, held, pool_of(_definition(claim)))
        return _take(claim, journal, held, hand_back_rest, known, timed=timed)
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
    known: Known,
    *,
    timed: bool = True,
) -> int:
    turn = Turn(claim, journal, held, hand_back_rest, known, timed=timed)
    try:
        return _leaving_pool(turn)
    except CommitRefused as refused:
        logger.info("workflow %s: %s; once more, with a transaction for each body", claim.id, refused)
        fresh = steps.load([claim.id]).get(claim.id, [])
        claim = claim._replace(started_at=turn.started_at)
        again = Turn(claim, fresh, held, hand_back_rest, known, one_by_one=True, timed=timed)
        return _leaving_pool(again)


def _leaving_pool(turn: Turn) -> int:
    try:
        return turn.take()
    except (LeaseLost, TurnAborted, CommitRefused, Exception):
        turn.leave_pool()  # a process that dies here leaves that to the lease
        raise
