"""What a system must be able to do to be measured, and how the runner speaks with it.

A driver is a program of its own, in an environment of its own: one line of JSON on its standard input is a
call, one on its standard output the answer. This module needs the standard library only, so that any other
system's driver can use it from its own environment. A driver says what it measured; judging is the runner's.
"""

import json
import os
import sys
import traceback
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

# mutations: queries and mutations by turns. Other systems run their cheapest durable step for either kind.
Kind = Literal["mutations", "actions", "waits"]


@dataclass(frozen=True)
class Worked:
    """How long a batch took."""

    seconds: float  # from the word to begin until the last workflow was done
    cpu_seconds: float | None  # of all workers together; None: not known


@dataclass(frozen=True)
class Statements:
    """What a batch asked of the database, from starting its workflows until they were done."""

    statements: int
    savepoints: int  # SAVEPOINT, RELEASE and ROLLBACK TO
    commits: int  # of transactions of more than one statement: each is a BEGIN and a COMMIT
    by_text: dict[str, int] = field(default_factory=dict)


class Driver(Protocol):
    """One system, set up on an empty database. A call raises whatever went wrong."""

    def batch(self, workflows: int, steps: int, kind: Kind) -> Worked:
        """Start so many workflows of so many sequential steps; then let the workers work them off."""

    def statements(self, workflows: int, steps: int, kind: Kind) -> Statements | None:
        """The same in one process, counting statements; None: can't be told."""

    def latency(self, times: int) -> list[float]:
        """With workers idle: so many times, the seconds from starting a 1-step workflow until it has finished."""

    def close(self) -> None:
        """Stop everything."""


def serve(driver: Driver) -> None:
    """Answer calls until the standard input ends; then close the driver."""
    # What anything prints by itself must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        for line in sys.stdin:
            print(json.dumps(_answer(driver, json.loads(line))), file=answers, flush=True)
    finally:
        driver.close()


def _answer(driver: Driver, call: dict[str, Any]) -> dict[str, Any]:
    try:
        match call["call"]:
            case "batch":
                return {"answer": asdict(driver.batch(**call["arguments"]))}
            case "statements":
                counted = driver.statements(**call["arguments"])
                return {"answer": asdict(counted) if counted else None}
            case "latency":
                return {"answer": driver.latency(**call["arguments"])}
            case other:
                raise ValueError(f"a driver knows no call {other!r}; use batch, statements or latency")
    except Exception:  # noqa: BLE001 - the runner shows it, and ends
        return {"error": traceback.format_exc()}
