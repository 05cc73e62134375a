"""What `status()` returns: four frozen values, told apart by class or by their `type`."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from django_workflow.exceptions import ErrorInfo
from django_workflow.states import StepKind, StepState


@dataclass(frozen=True)
class RunningStep:
    """A step that has not settled. `due_at`: when it is due (or when its lease ends); null for one that runs inline."""

    number: int
    name: str
    kind: StepKind
    state: StepState
    attempts: int
    started_at: datetime | None
    due_at: datetime | None


@dataclass(frozen=True)
class InProgress:
    """The workflow has not ended. `running`: its unsettled steps in journal order; `paused`: why it is held."""

    running: tuple[RunningStep, ...] = ()
    custom: Any = None
    paused: str | None = None
    canceling: bool = False
    type: Literal["in_progress"] = field(default="in_progress", init=False)


@dataclass(frozen=True)
class Completed:
    """The handler returned `result`."""

    result: Any = None
    custom: Any = None
    type: Literal["completed"] = field(default="completed", init=False)


@dataclass(frozen=True)
class Failed:
    """The handler raised; `error` says what."""

    error: ErrorInfo
    custom: Any = None
    type: Literal["failed"] = field(default="failed", init=False)


@dataclass(frozen=True)
class Canceled:
    """Somebody canceled it, for `reason`."""

    reason: str = ""
    custom: Any = None
    type: Literal["canceled"] = field(default="canceled", init=False)


Status = InProgress | Completed | Failed | Canceled
