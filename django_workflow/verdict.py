"""What a replay against the code as it is now comes to: `Fits | Breaks`. Frozen values, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Fits:
    """The code asks for what is on record, or the workflow has never had a turn and its arguments fit."""

    workflow_id: UUID
    definition: str
    version: int
    paused: bool = False  # it is parked, and a restart would let it go on
    type: ClassVar[Literal["fits"]] = "fits"


@dataclass(frozen=True, slots=True)
class Breaks:
    """The code differs from the record."""

    workflow_id: UUID
    definition: str
    version: int
    number: int | None  # of the step at which they part; None: it is about the workflow as a whole
    recorded: str | None  # what is on record there; None: nothing
    asked: str | None  # what the code asked for, or what it has; None: nothing
    reason: str  # all of that in a sentence, with the remedy
    paused: bool = False  # it is parked already, and a restart would come to the same place
    type: ClassVar[Literal["breaks"]] = "breaks"


Verdict = Fits | Breaks
