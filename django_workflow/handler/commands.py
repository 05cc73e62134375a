"""What a handler can ask for, and what the journal can answer: frozen values, no behaviour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from django_workflow.retry import Retry
from django_workflow.states import StepKind, StepState

if TYPE_CHECKING:
    from random import Random
    from uuid import UUID

    from django_workflow.handler.options import StartOptions


@dataclass(frozen=True, slots=True)
class Command:
    """One thing that the handler asked for."""

    number: int  # the position at which it was asked, from 1
    kind: StepKind
    name: str
    function: str  # dotted path; "" for what has no body
    args: str  # JSON text
    due_at: datetime | None = None  # not before; for a sleep: when it is over
    inline: bool | None = None
    unstable_args: bool = False
    retry: Retry | None = None
    timeout: float | None = None  # seconds of the body; of a child: from its first turn
    at_most_once: bool = False
    rollback: str = ""  # dotted path of what undoes it; "": nothing
    cluster: str | None = None  # on which it is to run; None: on its workflow's
    child: Child | None = None  # what to start, for a child workflow


@dataclass(frozen=True, slots=True)
class Child:
    """What a step of kind `workflow` starts. Not compared on replay: what was started is on record."""

    version: int
    options: StartOptions


@dataclass(frozen=True, slots=True)
class Answer:
    """How an attempt ended: the JSON text of its result, or of its error."""

    state: StepState
    text: str | None
    attempts: int = 1
    retry_in: float | None = None  # seconds until the next attempt; None: the step has settled


class Recorded(NamedTuple):
    """A step as the journal holds it, columns in the order of `journal.steps.COLUMNS`."""

    id: int | None
    number: int
    kind: str
    name: str
    function: str
    args: str
    result: str | None
    error: str | None
    state: str
    attempts: int
    history: str
    due_at: datetime | None
    lease_owner: str | None
    seq: int | None
    delivered_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    retry: str | None = None
    timeout: float | None = None
    at_most_once: bool = False
    cluster: str = ""
    pool: str = ""
    rollback: str = ""
    generation: int = 0


class Dice(Protocol):
    """Chance that falls alike on every replay of a workflow."""

    random: Random

    def uuid4(self) -> UUID:
        """A random UUID."""


Violate = Callable[[BaseException], BaseException]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one workflow may take. Sizes in bytes of JSON text."""

    value: int
    journal: int
    steps: int
    depth: int = 20  # of children below a root


@dataclass(frozen=True, slots=True)
class World:
    """Everything that comes to a handler from outside of its own code."""

    workflow_id: UUID
    began_at: datetime  # the time of its first turn
    committed: bool  # whether a turn of this generation has ever committed
    dice: Dice
    limits: Limits
    check: bool = False  # watch for I/O while the handler is polled
    retry: Retry = field(default_factory=Retry)  # what `retry=True` means
    action_retry: Retry | None = None  # of an action that says nothing of it
    # Runs first in the handler's context, with its loop running.
    prepare: Callable[[], object] = lambda: None
    depth: int = 0  # 0 for a root, else its parent's and 1
    redact: tuple[str, ...] = ()  # names whose values no text shows
    # When a restart or a fork begins: what is asked for anew counts its time from here at the earliest. Else None.
    resumed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Blocked:
    """The handler waits for the answers of these steps, in journal order."""

    waiting: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """The handler ended: it returned `result`, or it raised `error`."""

    result: Any = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Violated:
    """The handler did what no handler may do; nothing of this turn counts."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Continued:
    """The handler goes on as new: with these arguments (JSON text) and a fresh journal."""

    args: str


Outcome = Blocked | Finished | Violated | Continued
