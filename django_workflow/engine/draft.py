"""What a turn will have written to the journal when it commits.

A draft is the journal as loaded, with the turn's changes on top. It is written behind the turn's fence, in a
few statements, and then is the journal (R12).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django_workflow.engine.attempts import TurnOvertaken
from django_workflow.exceptions import ErrorInfo
from django_workflow.handler.commands import Answer, Command, Recorded
from django_workflow.handler.replay import as_recorded
from django_workflow.journal import events, steps
from django_workflow.journal.claims import Turnable
from django_workflow.journal.events import Sent, Wait
from django_workflow.payloads import encode_error
from django_workflow.states import BODY_KINDS, StepKind, StepState, move_step

SETTLED = frozenset({StepState.COMPLETED, StepState.FAILED})
# What a turn settles by itself: when its time has come, or its event.
TIMED = frozenset({StepKind.SLEEP, StepKind.EVENT})


class Draft:
    """The steps of one workflow, by number, and which of them the database doesn't know yet.

    Args:
        claim: whose journal.
        journal: as loaded.
        pool: the limited pool that its bodies belong to; "": none.

    """

    def __init__(self, claim: Turnable, journal: Sequence[Recorded], pool: str = "") -> None:
        self._workflow_id = claim.id
        self._claim = claim
        self._pool = pool
        self._steps = {step.number: step for step in journal}
        self._new: set[int] = set()
        self._changed: set[int] = set()  # steps that run inside the turn
        self._delivered: set[int] = set()  # steps that others settled
        self._canceled: set[int] = set()  # steps that others may still settle
        self._consumed: dict[int, Sent] = {}  # events, by the step that takes them
        self._overtime: list[Wait] = []  # waits that no event came for
        self.taken: set[int] = set()  # events, by primary key, that steps of this turn have taken
        # Commands whose children are to be started, and steps whose children are to be canceled; see `children()`.
        self._children: dict[int, Command] = {}
        self._orphans: set[int] = set()
        self._next_seq = 1 + max((step.seq or 0 for step in journal), default=0)
        self._stored: set[int] = set(self._steps)  # numbers that have a row

    def get(self, number: int) -> Recorded | None:
        """The step as it will be, or None when the journal has none."""
        return self._steps.get(number)

    def journal(self) -> list[Recorded]:
        """All steps, as they will be."""
        return [self._steps[number] for number in sorted(self._steps)]

    # ── what a turn changes ─────────────────────────────────────────────────────────────────────────────────

    def row(self, command: Command, **columns: Any) -> Recorded:
        """A row for a command, not yet part of the draft."""
        pool = self._pool if command.kind in BODY_KINDS else ""
        where = command.cluster or self._claim.cluster
        return as_recorded(
            command, **{"cluster": where, "pool": pool, "generation": self._claim.generation, **columns}
        )

    def add(self, command: Command, due_at: datetime | None) -> None:
        """A step that settles outside of this turn: pending, due at `due_at`."""
        self._put(self.row(command, due_at=due_at))

    def start_child(self, command: Command, at: datetime) -> None:
        """A step that waits for a child, which is to be started with it."""
        self._children[command.number] = command
        self._put(self.row(command, due_at=None, attempts=1, started_at=at))

    def mark(self, command: Command, at: datetime) -> None:
        """A marker: on record, and nothing to wait for."""
        self._put(self.row(command, state=StepState.COMPLETED, due_at=None, completed_at=at))

    def start(self, command: Command, at: datetime) -> Recorded:
        """One more attempt at an action inside the turn, begun at `at`."""
        step = self._steps.get(command.number) or self.row(command)
        state = move_step(StepState(step.state), "start")
        return self._put(step._replace(state=state, attempts=step.attempts + 1, started_at=at, due_at=None))

    def interrupted(self, step: Recorded, at: datetime) -> Recorded:
        """The last attempt of an action inside a turn never ended."""
        history = steps.add_attempt(step.history, step.attempts, step.started_at, at, "interrupted")
        return self._put(step._replace(history=history))

    def hand_over(self, step: Recorded, at: datetime) -> None:
        """An interrupted action that this turn may not begin again: for whoever claims it."""
        state = move_step(StepState(step.state), "set_back")
        self._put(step._replace(state=state, due_at=at))

    def settle(self, command: Command, answer: Answer, started_at: datetime, at: datetime) -> None:
        """A body inside the turn has ended."""
        step = self._steps.get(command.number) or self.row(command, attempts=answer.attempts)
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
        step = self._steps.get(command.number) or self.row(command, attempts=answer.attempts)
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

    def consume(self, number: int, event: Sent, at: datetime) -> None:
        """A step that waits for an event takes this one (P5)."""
        step = self._steps[number]
        self._consumed[number] = event
        self.taken.add(event.id)
        self._put(
            step._replace(
                state=move_step(StepState(step.state), "fail" if event.error is not None else "complete"),
                result=event.value,
                error=event.error,
                due_at=None,
                completed_at=at,
            )
        )

    def time_out(self, number: int) -> None:
        """No event came in time for the step that waits for one."""
        step = self._steps[number]
        wait = wait_of(step)
        self._overtime.append(wait)
        seconds = json.loads(step.args)["timeout"]
        text = f"no event {wait.event!r} was sent within {seconds:g} s"
        self._put(
            step._replace(
                state=move_step(StepState(step.state), "fail"),
                error=encode_error(ErrorInfo("builtins.TimeoutError", text, "", number)),
                due_at=None,
                completed_at=step.due_at,
            )
        )

    def deliver(self, number: int, at: datetime) -> None:
        """The handler has got its answer, at `at`."""
        step = self._steps[number]._replace(seq=self._next_seq, delivered_at=at)
        self._next_seq += 1
        mine = number in self._new or number in self._changed
        self._steps[number] = step
        if number in self._stored:
            (self._changed if mine else self._delivered).add(number)

    def cancel(self, command: Command, at: datetime) -> None:
        """The handler gave up waiting for it (R17)."""
        step = self._steps.get(command.number)
        self._children.pop(command.number, None)
        if step is None:
            self._put(self.row(command, state=StepState.CANCELED, due_at=None, completed_at=at))
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
                if step.kind == StepKind.WORKFLOW:
                    self._orphans.add(step.number)

    def _put(self, step: Recorded) -> Recorded:
        self._steps[step.number] = step
        (self._changed if step.number in self._stored else self._new).add(step.number)
        return step

    # ── what is asked of it ─────────────────────────────────────────────────────────────────────────────────

    def nearest_timer(self) -> datetime | None:
        """When the next sleep, or the next wait for an event, of the journal is over (R9)."""
        pending = (
            step.due_at
            for step in self._steps.values()
            if step.kind in TIMED and step.state == StepState.PENDING
        )
        return min((due_at for due_at in pending if due_at is not None), default=None)

    def waits(self, waiting: Iterable[int]) -> list[Wait]:
        """Of the steps waited for, those that an event may settle, in journal order."""
        rows = (self._steps.get(number) for number in waiting)
        return [
            wait_of(step)
            for step in rows
            if step is not None and step.kind == StepKind.EVENT and step.state == StepState.PENDING
        ]

    def ready(self, waiting: Iterable[int], now: datetime, offers: Mapping[int, Sent]) -> int | None:
        """Of the steps waited for, the one whose answer became ready first (R16); None when none is.

        `offers`: the events that are there for them.
        """
        answers = (
            (offers[number].sent_at if number in offers else self._ready_at(number, now), number)
            for number in waiting
        )
        first = min(((at, number) for at, number in answers if at is not None), default=None)
        return first[1] if first else None

    def _ready_at(self, number: int, now: datetime) -> datetime | None:
        step = self._steps.get(number)
        if step is None or step.seq is not None:
            return None
        if step.state not in steps.UNSETTLED:
            return step.completed_at
        if step.kind in TIMED and step.due_at is not None and step.due_at <= now:
            return step.due_at
        return None

    @property
    def leaves_something(self) -> bool:
        """True iff steps are unsettled."""
        return any(step.state in steps.UNSETTLED for step in self._steps.values())

    @property
    def has_children(self) -> bool:
        """True iff a step may still wait for a child."""
        return any(step.kind == StepKind.WORKFLOW for step in self._steps.values())

    @property
    def owes_rollbacks(self) -> bool:
        """True iff a step that has ended is to be undone if the workflow fails."""
        return any(step.rollback and step.state in SETTLED for step in self._steps.values())

    @property
    def settled_something(self) -> bool:
        """True iff a step has settled, or was delivered, since the last write."""
        fresh = self._new | self._changed
        return bool(self._delivered) or any(self._steps[number].state in SETTLED for number in fresh)

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────

    def write(self) -> Changes:
        """Write all changes, in the caller's transaction, after its fence (R12, R20). Returns what else they entail."""
        changed, new = (
            [self._steps[number] for number in sorted(numbers)] for numbers in (self._changed, self._new)
        )
        ids = steps.update_and_insert(self._workflow_id, changed, new)
        if self._delivered:
            steps.deliver(self._workflow_id, [self._steps[number] for number in sorted(self._delivered)])
        if self._canceled:
            steps.cancel(self._workflow_id, sorted(self._canceled))
        for number, event in self._consumed.items():
            if not events.consume(self._workflow_id, number, event.id):
                raise TurnOvertaken(f"event {event.id} of workflow {self._workflow_id} is taken already")
        if self._overtime and events.came_in_time(self._workflow_id, self._overtime, self.taken):
            raise TurnOvertaken(f"an event came just in time for workflow {self._workflow_id}")
        missing = [number for number in (*self._children, *self._orphans) if number not in ids]
        if missing:
            ids |= steps.ids_of(self._workflow_id, missing)
        return Changes(
            [(command, ids[number]) for number, command in sorted(self._children.items())],
            [ids[number] for number in sorted(self._orphans)],
        )

    def rows(self) -> list[Recorded]:
        """The steps that `write()` would write, if that is all that it does; else none."""
        more = (
            self._delivered,
            self._canceled,
            self._consumed,
            self._overtime,
            self._children,
            self._orphans,
        )
        return [] if any(more) else [self._steps[number] for number in sorted(self._changed | self._new)]

    def written(self) -> None:
        """The transaction has committed."""
        self._stored |= self._new
        self._new.clear()
        self._changed.clear()
        self._delivered.clear()
        self._canceled.clear()
        self._consumed.clear()
        self._overtime.clear()
        self._children.clear()
        self._orphans.clear()


class Changes(NamedTuple):
    """What follows from the writes of a draft, for other workflows."""

    children: list[tuple[Command, int]]  # to start, each with its step's primary key
    orphans: list[int]  # steps, by primary key, whose children are to be canceled


def wait_of(step: Recorded) -> Wait:
    """What a step of kind `event` waits for."""
    return Wait(step.number, json.loads(step.args)["event"], step.due_at)
