"""A turn: one worker, one workflow, one go.

    outer   load → advance → commit → release, fenced
    inner   replay the handler from its journal; then, as long as it goes on: deliver the next answer that is
            ready, or run the next body, and let the handler take it from there

Nothing of a turn counts until a commit behind its fence. Whatever happens between two commits (a crash, a
deadlock, a lost lease), the next turn starts from the journal and comes to the same place, since the handler
is deterministic. What that leaves to get right is the order of a few writes; the rules that it must obey stand
where the code obeys them: of bodies in `bodies`, of writes in `commit`, of endings in `endings`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django_workflow.conf import settings
from django_workflow.engine import completion, rollbacks
from django_workflow.engine.attempts import TurnAborted
from django_workflow.engine.bodies import Bodies
from django_workflow.engine.commit import Writer
from django_workflow.engine.draft import Draft
from django_workflow.engine.leases import Held, LeaseLost
from django_workflow.engine.mailbox import Mailbox
from django_workflow.engine.places import Place
from django_workflow.engine.recovery import (
    Poisonous,
    backoff,
    completion_given_up,
    completion_kills,
    is_inline,
    is_poisonous,
)
from django_workflow.engine.transaction import CommitRefused
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
from django_workflow.handler.replay import Replay, asked_alike, recorded_answer
from django_workflow.journal import holding, steps, wakes, workflows
from django_workflow.journal.claims import Known, Turnable
from django_workflow.journal.clock import Now
from django_workflow.journal.database import passes
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
        apart: whether async actions are left to the executor of this process.
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
        apart: bool = False,
    ) -> None:
        self._claim = claim
        self._clock = claim.clock
        self._one_by_one = one_by_one
        self._definition = _definition(claim)
        self._deadline = claim.deadline_at or _first_deadline(claim)
        self._began_at = claim.started_at or claim.clock.now()
        # Only a restart and a fork leave a workflow that has begun without the fingerprint of any code.
        self._resumed_at = claim.clock.now() if claim.started_at and not claim.fingerprint else None
        self._replay = Replay(self._definition, claim.args, journal, self._world())
        self.place = Place(pool_of(self._definition), known, claim)
        self._draft = Draft(claim, journal, self.place.pool)
        self._mail = Mailbox(claim, self._draft)
        self.writer = Writer(
            claim, self._definition, self._draft, self._replay, held, self.place, self._deadline
        )
        self._bodies = Bodies(
            claim,
            self._draft,
            self.writer,
            held,
            self.place,
            self._deadline,
            hand_back_rest,
            timed=timed,
            apart=apart,
            one_by_one=one_by_one,
        )
        self._noted = 0  # commands that were looked at for what needs a row at once
        self._handled_cancels: set[int] = set()

    def take(self) -> int:
        """Take the turn. Returns how many bodies were run. Raises `LeaseLost`, `TurnAborted`, `CommitRefused`."""
        try:
            self._end(self._advance())
        except BaseException as error:
            self.writer.transaction.roll_back(error)
            raise
        finally:
            self._replay.close()
        return self._bodies.count

    # ── inner ───────────────────────────────────────────────────────────────────────────────────────────────

    def _advance(self) -> Outcome:
        if is_poisonous(self._claim, self._draft.journal()):
            return Finished(error=Poisonous(self._claim))
        outcome = self._replay.start()
        while isinstance(outcome, Blocked):
            self._note_asked(outcome)
            if self._deadline is not None and self._deadline <= self._clock.now():
                seconds = self._claim.timeout or 0
                return Finished(error=WorkflowTimedOut(self._claim.id, timedelta(seconds=seconds)))
            number = self._next_answer(outcome)
            if number is None:
                number = self._bodies.settle_next(self._commands(outcome.waiting))
            if number is None:
                break
            outcome = self._deliver(number, outcome)
            if settings.ALWAYS_SUSPEND:
                break
        self._note_asked(outcome)
        return self._checked(outcome)

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

    def _next_answer(self, outcome: Blocked) -> int | None:
        """The step whose answer is there, and became ready first."""
        offers = self._mail.offers(outcome.waiting)
        number = self._draft.ready(outcome.waiting, self._clock.now(), offers)
        if number is None or number in offers or not self._draft.waits([number]):
            return number
        # A wait whose time is over. R11: what is in hand is committed first, since the commit that writes the timeout
        # is refused when an event turns out to have been in time. Then look once more: the last look is older than that.
        if self.writer.has_result:
            self.writer.commit()
        self._mail.look()
        return self._draft.ready(outcome.waiting, self._clock.now(), self._mail.offers(outcome.waiting))

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
        offer = self._mail.offers(outcome.waiting).get(step.number)
        if step.kind == StepKind.SLEEP:
            self._draft.wake(step.number)
        elif offer is not None:
            self._mail.take(offer)
            self._draft.consume(step.number, offer, self._clock.now())
        else:
            self._draft.time_out(step.number)

    def _commands(self, waiting: Sequence[int]) -> list[Command]:
        return [self._replay.commands[number - 1] for number in waiting]

    def _checked(self, outcome: Outcome) -> Outcome:
        """With `CHECK_DETERMINISM`: replay what this turn did, and see that it comes out alike."""
        if not settings.CHECK_DETERMINISM or isinstance(outcome, Violated):
            return outcome
        again = Replay(self._definition, self._claim.args, self._draft.journal(), self._world(committed=True))
        try:
            repeated = again.start()
        finally:
            again.close()
        if isinstance(repeated, Violated):
            return repeated
        if type(repeated) is not type(outcome) or not asked_alike(again.commands, self._replay.commands):
            return Violated(
                NotDeterministic(
                    f"the handler of {self._claim.definition} did something else when it was replayed",
                    "let everything that changes from one time to the next come from its steps",
                )
            )
        return outcome

    def _world(self, *, committed: bool | None = None) -> World:
        claim = self._claim
        return world_of(
            claim.id,
            self._definition,
            began_at=self._began_at,
            resumed_at=self._resumed_at,
            committed=claim.started_at is not None if committed is None else committed,
            seed=claim.seed,
            depth=claim.depth,
        )

    # ── outer ───────────────────────────────────────────────────────────────────────────────────────────────

    def _end(self, outcome: Outcome) -> None:
        match outcome:
            case Blocked():
                self._release(outcome)
            case Finished(result, None):
                self._return(result)
            case Finished(_, error) if error is not None:
                self._fail(_error_text(error))
            case Violated(DeterminismViolation() | NotDeterministic() as error) if _parks():
                self._park(str(error))
            case Violated(error):
                self._fail(_error_text(error), keep_commands=False)
            case Continued(args):
                self._continue(args)

    def _release(self, outcome: Blocked) -> None:
        """The handler waits: write what it waits for, and when to look again."""
        now = self._clock.now()
        waited_for = self._commands(outcome.waiting)
        timers = [self._draft.nearest_timer(), self._deadline]
        stays = settings.ALWAYS_SUSPEND or self._bodies.paused
        branches = 0
        for command in waited_for:
            step = self._draft.get(command.number)
            if step is not None:
                if step.state == StepState.RUNNING and is_inline(step):
                    timers.append(now)  # interrupted, and held up by a pause: the next turn begins it again
            elif stays and self._bodies.may_run(command, waited_for):
                timers.append(now)  # the next turn runs it
            else:
                self._draft.add(command, command.due_at or now)
                branches += 1
                self._call_elsewhere(command)
        if settings.ALWAYS_SUSPEND:
            offers = self._mail.offers(outcome.waiting)
            if self._draft.ready(outcome.waiting, now, offers) is not None:
                timers.append(now)
        nearest = min((timer for timer in timers if timer is not None), default=None)
        self.writer.leave(interruptions=0, **holding.release_columns(self._claim, nearest))
        if branches > 1:
            wakes.ask(self._claim.cluster)  # this worker goes on with one of them; others can take the rest

    def _call_elsewhere(self, command: Command) -> None:
        if command.cluster is not None and command.cluster != self._claim.cluster:
            wakes.ask(command.cluster)

    def _park(self, reason: str) -> None:
        """The code doesn't fit the journal: keep what bodies have done so far (R11), and wait for a restart."""
        logger.error("workflow %s is paused until it is restarted: %s", self._claim.id, reason)
        self.writer.leave(paused=reason, due_at=None, lease_owner=None, setbacks=0)

    def _continue(self, args: str) -> None:
        """The handler goes on as new: a fresh journal, and whatever its old one still had in flight is dropped (R30)."""
        generation = self._claim.generation + 1
        self.writer.leave(
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

    def _return(self, result: Any) -> None:
        """The handler's result; one that can't be stored is its failure."""
        what = f"the result of {self._claim.definition}"
        try:
            text = self._definition.signature.encode_result(result, what=what, limit=settings.VALUE_LIMIT)
        except DjangoWorkflowError as error:
            self._fail(_error_text(error))
        else:
            self._cancel_unwritten()
            self._finish("complete", result_text=text)

    def _fail(self, error_text: str, *, keep_commands: bool = True) -> None:
        """The handler's failure: the ending, or first the rollbacks that it owes (R29)."""
        if keep_commands:
            self._cancel_unwritten()
        if not self._draft.owes_rollbacks:
            self._finish("fail", error_text=error_text)
            return
        self.writer.leave(
            cancel_rest=True,
            fails=True,
            error_text=error_text,
            **workflows.unwinding(WorkflowState.FAILED),
        )
        wakes.ask(self._claim.cluster)

    def _finish(self, edge: str, result_text: str | None = None, error_text: str | None = None) -> None:
        """The one ending of this generation (P7), with everything that it leaves behind settled (R18)."""
        ending: dict[str, Any] = {
            "edge": edge,
            "cancel_rest": self._draft.leaves_something,
            "fails": edge == "fail",
        }
        ending |= workflows.ended(edge)
        ending |= {"result_text": result_text, "error_text": error_text}
        if not self._claim.on_complete:
            self.writer.leave(**ending)
            return
        if self.writer.has_result or self._one_by_one or self._claim.taken_over:
            self.writer.commit()  # R11: `on_complete` is a body, too; R15: what is reached is not lost by it
        self.writer.check_lease()
        if completion_kills(self._claim, got_on=self.writer.got_on):
            error: str | None = encode_error(completion_given_up(self._claim))
        else:
            error = self._complete(edge, result_text, error_text)
        try:
            self.writer.leave(**ending, on_complete_error_text=error)
        except CommitRefused as refused:
            if not self._one_by_one:
                raise
            # R14: the transaction had this body alone, so the refusal is its failure.
            error = _error_text(refused.__cause__ or refused)
            self.writer.leave(**ending, on_complete_error_text=error)

    def _complete(self, edge: str, result_text: str | None, error_text: str | None) -> str | None:
        """Run `on_complete` in the turn's transaction, before the fence (R18)."""
        ended = completion.ended_as(
            edge,
            (self._claim.definition, self._claim.version),
            result_text=result_text,
            error_text=error_text,
            custom_text=self.writer.custom,
        )
        self.writer.transaction.open()
        return completion.run(self._claim.on_complete, self._claim.id, ended)

    def _cancel_unwritten(self) -> None:
        for command in self._replay.commands:
            if self._draft.get(command.number) is None:
                self._draft.cancel(command, self._clock.now())


def _first_deadline(claim: Turnable) -> datetime | None:
    """Counted from the first turn; of the workflow as a whole, however often it goes on as new."""
    return None if claim.timeout is None else claim.clock.now() + timedelta(seconds=claim.timeout)


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
    apart: bool = False,
) -> int:
    """Take a claimed workflow's turn; whatever happens in it, the workflow is released or left to its lease.

    Returns how many bodies were run.
    """
    try:
        if claim.ending is not None:
            return rollbacks.take(claim, journal, held, pool_of(_definition(claim)))
        return _take(claim, journal, held, hand_back_rest, known, timed=timed, apart=apart)
    except LeaseLost as lost:
        logger.info("%s", lost)
    except TurnAborted as aborted:
        logger.warning("the turn of workflow %s is repeated: %s", claim.id, aborted)
        holding.set_back(claim, backoff(claim.setbacks))
    except Exception as error:
        if passes(error):
            logger.warning("the turn of workflow %s is repeated: it met %r", claim.id, error)
        else:
            logger.exception("%s", InternalError(f"the turn of workflow {claim.id} failed; it is repeated"))
        holding.set_back(claim, backoff(claim.setbacks))
    return 0


def _take(
    claim: Turnable,
    journal: Sequence[Recorded],
    held: Held,
    hand_back_rest: Callable[[], None],
    known: Known,
    *,
    timed: bool = True,
    apart: bool = False,
) -> int:
    turn = Turn(claim, journal, held, hand_back_rest, known, timed=timed, apart=apart)
    try:
        return _leaving_pool(turn)
    except CommitRefused as refused:
        logger.info("workflow %s: %s; once more, with a transaction for each body", claim.id, refused)
        fresh = steps.load([claim.id]).get(claim.id, [])
        claim = turn.writer.claim_as_committed()
        again = Turn(claim, fresh, held, hand_back_rest, known, one_by_one=True, timed=timed, apart=apart)
        return _leaving_pool(again)


def _leaving_pool(turn: Turn) -> int:
    try:
        return turn.take()
    except (LeaseLost, TurnAborted, CommitRefused, Exception):
        turn.place.leave()  # a process that dies here leaves that to the lease
        raise
