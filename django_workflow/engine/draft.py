"""What a turn will have written to the journal when it commits.

A draft is the journal as loaded, with the turn's changes on top. It is written behind the turn's fence, in a
few statements, and then is the journal (R12).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django_workflow.handler.commands import Answer, Command, Recorded
from django_workflow.handler.replay import as_recorded
from django_workflow.journal import steps
from django_workflow.states import StepKind, StepState, move_step

SETTLED = frozenset({StepState.COMPLETED, StepState.FAILED})


class Draft:
    """The steps of one workflow, by number, and which of them the database doesn't know yet.

    Args:
        workflow_id: whose journal.
        cluster: where its parallel steps are to run.
        journal: as loaded.

    """

    def __init__(self, workflow_id: UUID, cluster: str, journal: Sequence[Recorded]) -> None:
        self._workflow_id = workflow_id
        self._cluster = cluster
        self._steps = {step.number: step for step in journal}
        self._new: set[int] = set()
        self._changed: set[int] = set()  # steps that run inside the turn
        self._delivered: set[int] = set()  # steps that others settled
        self._canceled: set[int] = set()  # steps that others may still settle
        self._next_seq = 1 + max((step.seq or 0 for step in journal), default=0)
        self._stored: set[int] = set(self._steps)  # numbers that have a row

    def get(self, number: int) -> Recorded | None:
        """The step as it will be, or None when the journal has none."""
        return self._steps.get(number)

    def journal(self) -> list[Recorded]:
        """All steps, as they will be."""
        return [self._steps[number] for number in sorted(self._steps)]

    # ── what a turn changes ─────────────────────────────────────────────────────────────────────────────────

    def add(self, command: Command, due_at: datetime | None) -> None:
        """A step that settles outside of this turn: pending, due at `due_at`."""
        self._put(as_recorded(command, due_at=due_at))

    def start(self, command: Command, at: datetime) -> Recorded:
        """One more attempt at an action inside the turn, begun at `at`."""
        step = self._steps.get(command.number) or as_recorded(command)
        state = move_step(StepState(step.state), "start")
        return self._put(step._replace(state=state, attempts=step.attempts + 1, started_at=at, due_at=None))

    def interrupted(self, step: Recorded, at: datetime) -> Recorded:
        """The last attempt of an action inside a turn never ended."""
        history = steps.add_attempt(step.history, step.attempts, step.started_at, at, "interrupted")
        return self._put(step._replace(history=history))

    def settle(self, command: Command, answer: Answer, started_at: datetime, at: datetime) -> None:
        """A body inside the turn has ended."""
        step = self._steps.get(command.number) or as_recorded(command, attempts=answer.attempts)
        failed = answer.state is StepState.FAILED
        self._put(
            step._replace(
                state=move_step(StepState(step.state), "fail" if failed else "complete"),
                result=None if failed else answer.text,
                error=answer.text if failed else None,
                history=steps.add_attempt(
                    step.history,
                    step.attempts,
                    started_at,
                    at,
                    str(answer.state),
                    answer.text if failed else None,
                ),
                due_at=None,
                started_at=started_at,
                completed_at=at,
            )
        )

    def back_off(self, command: Command, answer: Answer, started_at: datetime, at: datetime) -> None:
        """An attempt inside the turn has failed, and the next one is for whoever claims the step when it is due."""
        step = self._steps.get(command.number) or as_recorded(command, attempts=answer.attempts)
        history = steps.add_attempt(step.history, step.attempts, started_at, at, "failed", answer.text)
        # The table's way: the attempt was begun, whether or not that had a row, and is set back.
        state = move_step(move_step(StepState(step.state), "start"), "set_back")
        due_at = at + timedelta(seconds=answer.retry_in or 0)
        self._put(step._replace(state=state, due_at=due_at, started_at=started_at, history=history))

    def forget(self, number: int) -> None:
        """What was to be written of a step's only attempt was refused with its transaction."""
        self._new.discard(number)
        del self._steps[number]

    def wake(self, number: int) -> None:
        """A sleep is over."""
        step = self._steps[number]
        self._put(
            step._replace(
                state=move_step(StepState(step.state), "complete"), due_at=None, completed_at=step.due_at
            )
        )

    def deliver(self, number: int, at: datetime) -> None:
        """The handler has got its answer, at `at`."""
        step = self._steps[number]._replace(seq=self._next_seq, delivered_at=at)
        self._next_seq += 1
        mine = number in self._new or number in self._changed or step.kind == StepKind.SLEEP
        self._steps[number] = step
        if number in self._stored:
            (self._changed if mine else self._delivered).add(number)

    def cancel(self, command: Command, at: datetime) -> None:
        """The handler gave up waiting for it (R17)."""
        step = self._steps.get(command.number)
        if step is None:
            self._put(as_recorded(command, state=StepState.CANCELED, due_at=None, completed_at=at))
        elif step.state in steps.UNSETTLED:
            canceled = step._replace(
                state=move_step(StepState(step.state), "cancel"),
                due_at=None,
                lease_owner=None,
                completed_at=at,
            )
            self._steps[step.number] = canceled
            if step.number in self._stored:
                self._canceled.add(step.number)

    def _put(self, step: Recorded) -> Recorded:
        self._steps[step.number] = step
        (self._changed if step.number in self._stored else self._new).add(step.number)
        return step

    # ── what is asked of it ─────────────────────────────────────────────────────────────────────────────────

    def nearest_timer(self) -> datetime | None:
        """When the next sleep of the journal is over (R9)."""
        pending = (
            step.due_at
            for step in self._steps.values()
            if step.kind == StepKind.SLEEP and step.state == StepState.PENDING
        )
        return min((due_at for due_at in pending if due_at is not None), default=None)

    def ready(self, waiting: Iterable[int], now: datetime) -> int | None:
        """Of the steps waited for, the one whose answer became ready first (R16); None when none is."""
        answers = ((self._ready_at(number, now), number) for number in waiting)
        first = min(((at, number) for at, number in answers if at is not None), default=None)
        return first[1] if first else None

    def _ready_at(self, number: int, now: datetime) -> datetime | None:
        step = self._steps.get(number)
        if step is None or step.seq is not None:
            return None
        if step.state not in steps.UNSETTLED:
            return step.completed_at
        if step.kind == StepKind.SLEEP and step.due_at is not None and step.due_at <= now:
            return step.due_at
        return None

    @property
    def leaves_something(self) -> bool:
        """True iff steps are unsettled."""
        return any(step.state in steps.UNSETTLED for step in self._steps.values())

    @property
    def settled_something(self) -> bool:
        """True iff a step has settled, or was delivered, since the last write."""
        fresh = self._new | self._changed
        return bool(self._delivered) or any(self._steps[number].state in SETTLED for number in fresh)

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────

    def write(self) -> None:
        """Write all changes, in the caller's transaction, after its fence (R12, R20)."""
        if self._new:
            steps.insert(
                self._workflow_id, self._cluster, [self._steps[number] for number in sorted(self._new)]
            )
        for number in sorted(self._changed):
            steps.update(self._workflow_id, self._steps[number])
        if self._delivered:
            steps.deliver(self._workflow_id, [self._steps[number] for number in sorted(self._delivered)])
        if self._canceled:
            steps.cancel(self._workflow_id, sorted(self._canceled))

    def written(self) -> None:
        """The transaction has committed."""
        self._stored |= self._new
        self._new.clear()
        self._changed.clear()
        self._delivered.clear()
        self._canceled.clear()
