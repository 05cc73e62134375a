"""What a system can be asked, and how the runner speaks with it.

A driver is a program of its own, in an environment of its own: one line of JSON on its standard input is a
call, one on its standard output the answer. This module needs the standard library only, so that any other
system's driver can use it from its own environment. A driver says what it measured; judging is the runner's.
"""

import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, Literal

# What the steps of a batch are. Other systems run their cheapest durable step for mutations and actions alike.
#   mutations  queries and mutations by turns, one after the other
#   actions    actions, one after the other
#   waits      async actions that wait for a second at a socket, one after the other
#   naps       mutations with a sleep of a millisecond after each
#   parallel   actions, all at once, and their join
Kind = Literal["mutations", "actions", "waits", "naps", "parallel"]
KINDS: tuple[Kind, ...] = ("mutations", "actions", "waits", "naps", "parallel")

SLOW_CALL_SECONDS = 1.0  # what each call of `waits` takes
NAP_SECONDS = 0.001


class Unsupported(Exception):
    """This system can't be asked that; the text says why."""


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


@dataclass(frozen=True)
class Idle:
    """What a system does while nothing is due."""

    seconds: float  # for which it was watched
    cpu_seconds: float | None  # of all its processes; None: not known
    statements: int | None = None  # that the engine sent; None: they can't be counted
    polls: int | None = None  # statements that its queue sent, where that is another library
    transactions: int | None = (
        None  # that the database server counted; None: there is none, or it doesn't count
    )
    cpu_seconds_without: float | None = None  # of that queue alone, for as long; None: there is none


class Driver:
    """One system, set up on an empty database. A call raises whatever went wrong."""

    def batch(self, workflows: int, steps: int, kind: Kind) -> Worked:
        """Start so many workflows of so many steps; then let the workers work them off."""
        raise Unsupported(f"batches of {kind} can't be run")

    def statements(self, workflows: int, steps: int, kind: Kind) -> Statements | None:
        """The same in one process, counting statements; None: can't be told."""
        return None

    def latency(self, times: int) -> list[float]:
        """With workers idle: so many times, the seconds from starting a 1-step workflow until it has finished."""
        raise Unsupported("single workflows can't be timed")

    def sleepers(self, number: int, spread: float) -> list[float]:
        """So many workflows that sleep and then run one step: for each, how late that step came (seconds).

        Args:
            number: how many.
            spread: seconds over which the ends of their sleeps are spread evenly; 0: all end at one instant.

        """
        raise Unsupported("there are no durable sleeps")

    def fill(self, finished: int, sleeping: int) -> None:
        """Put so many finished and so many sleeping workflows into the tables, which then stay."""
        raise Unsupported("its tables can't be filled from outside")

    def idle(self, seconds: float) -> Idle:
        """Watch workers that have nothing to do for so long."""
        raise Unsupported("idle workers can't be watched")

    def close(self) -> None:
        """Stop everything."""


CALLS = ("batch", "statements", "latency", "sleepers", "fill", "idle")


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
        if call["call"] not in CALLS:
            raise ValueError(f"a driver knows no call {call['call']!r}; use one of {', '.join(CALLS)}")
        answer = getattr(driver, call["call"])(**call["arguments"])
        return {"answer": asdict(answer) if is_dataclass(answer) else answer}  # type: ignore[arg-type]
    except Unsupported as error:
        return {"unsupported": str(error)}
    except Exception:  # noqa: BLE001 - the runner shows it, and ends
        return {"error": traceback.format_exc()}


def due_times(now: float, number: int, spread: float, lead: float) -> Sequence[float]:
    """When each of so many sleepers is due: `lead` seconds after `now`, or spread evenly from then on."""
    return [now + lead + spread * place / number for place in range(number)]
