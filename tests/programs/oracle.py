"""What a program comes to, said without any engine: its result or failure, what its bodies do, its last status.

Rules of this file: pure, and nothing of `django_workflow`. A program is a list whose first word is its name (`programs.py`
draws them, `interpreter.py` runs them). Time is counted in seconds since the start; bodies take none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Program = list[Any]

RETRY_SECONDS = 1.0  # before each further attempt


class Failure(Exception):
    """A step's failure as the handler sees it: by the message of what its body raised."""


@dataclass
class Expected:
    """What a program comes to."""

    ending: str = "completed"
    result: Any = None  # of one that completes
    error: str = ""  # the message, of one that fails
    status: Any = None
    rows: Counter[str] = field(default_factory=Counter)  # that mutations leave, by key
    bodies: Counter[str] = field(default_factory=Counter)  # of actions and queries, without any crash
    never: set[str] = field(default_factory=set)  # keys of steps whose bodies never run
    seconds: float = 0.0  # that it takes


def expected(program: Program) -> Expected:
    """Say what comes of a program."""
    said = Expected()
    oracle = Oracle(said)
    try:
        said.result = oracle.run(program)
    except Failure as failure:
        said.ending, said.error = "failed", str(failure)
    said.seconds = oracle.now
    said.never = keys(program) - set(said.rows) - set(said.bodies) - oracle.tried
    return said


def keys(program: Program) -> set[str]:
    """The keys of all steps with a body."""
    name, *parts = program
    if name == "step":
        return {parts[1]}
    if name == "map":
        return {f"{parts[0]}/{item}" for item in range(len(parts[1]))}
    below = [part for part in parts if _is_program(part)]
    below += [each for part in parts if isinstance(part, list) for each in part if _is_program(each)]
    return {key for each in below for key in keys(each)}


def _is_program(part: Any) -> bool:
    return isinstance(part, list) and bool(part) and isinstance(part[0], str)


class Oracle:
    """Goes through a program, with a clock of its own."""

    def __init__(self, said: Expected) -> None:
        self.said = said
        self.now = 0.0
        self.tried: set[str] = set()  # mutations that left nothing

    def run(self, program: Program) -> Any:
        """The result of a program. Raises `Failure`."""
        name, *parts = program
        doing: Callable[..., Any] = getattr(self, f"do_{name}")
        return doing(*parts)

    # ── leaves ──────────────────────────────────────────────────────────────────────────────────────────────

    def do_step(self, kind: str, key: str, failures: int, attempts: int, inline: bool | None) -> Any:
        """Fails so often before it succeeds; there are so many attempts."""
        begun = min(failures + 1, attempts)
        self.now += RETRY_SECONDS * (begun - 1)
        self.tried.add(key)
        if kind != "mutation":
            self.said.bodies[key] += begun
        if failures >= attempts:
            raise Failure(key)
        if kind == "mutation":
            self.said.rows[key] += 1
        return key

    def do_sleep(self, seconds: float) -> Any:
        self.now += seconds
        return "slept"

    def do_event(self, name: str, how: str) -> Any:
        """How it comes: with a value, as an error, or not within the wait's time."""
        if how == "never":
            self.now += 50.0
            raise Failure("no event")
        if how == "error":
            raise Failure(f"{name} is an error")
        return f"{name} came"

    def do_status(self, value: Any) -> Any:
        self.said.status = value
        return "told"

    def do_map(self, key: str, fails: list[bool], limit: int) -> Any:
        """Failures stand among the results."""
        for item in range(len(fails)):
            self.said.bodies[f"{key}/{item}"] += 1
        return [["failed", f"{key}/{item}"] if bad else f"{key}/{item}" for item, bad in enumerate(fails)]

    # ── what holds programs ─────────────────────────────────────────────────────────────────────────────────

    def do_seq(self, programs: list[Program]) -> Any:
        return [self.run(each) for each in programs]

    def do_gather(self, programs: list[Program]) -> Any:
        """All run to their ends, beside each other; failures stand among the results."""
        begin, ends, results = self.now, [self.now], []
        for each in programs:
            self.now = begin
            try:
                results.append(self.run(each))
            except Failure as failure:
                results.append(["failed", str(failure)])
            ends.append(self.now)
        self.now = max(ends)
        return results

    def do_race(self, racers: list[tuple[float, Program]]) -> Any:
        """Each begins with a sleep of its own; who sleeps least wins, and what the others had before them never runs."""
        first = min(range(len(racers)), key=lambda index: racers[index][0])
        seconds, program = racers[first]
        self.now += seconds
        return [first, self.run(program)]

    def do_within(self, seconds: float, sleep: float, program: Program) -> Any:
        """A timeout around a sleep and what comes after it."""
        if sleep > seconds:
            self.now += seconds
            return "too late"
        self.now += sleep
        return self.run(program)

    def do_try(self, program: Program, otherwise: Program) -> Any:
        try:
            return self.run(program)
        except Failure as failure:
            return ["caught", str(failure), self.run(otherwise)]

    def do_finally(self, program: Program, last: Program) -> Any:
        try:
            result = self.run(program)
        except Failure:
            self.run(last)
            raise
        return [result, self.run(last)]

    def do_child(self, program: Program) -> Any:
        """A workflow of its own, with a status of its own."""
        status = self.said.status
        try:
            return self.run(program)
        finally:
            self.said.status = status
