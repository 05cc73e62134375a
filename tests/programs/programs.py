"""Draws programs for which the oracle knows what must come of them.

Rules of this file: who wins a race or beats a timeout differs by `APART` seconds, which is more than all crashes of a life
cost; a status is told only where nothing runs beside it; every step and event has a name of its own.
"""

from __future__ import annotations

from functools import cache
from itertools import count
from typing import Any

from hypothesis import strategies as st

from tests.programs.oracle import Program

APART = 10_000.0
DEPTH = 3

Drawn = st.SearchStrategy[Any]

_kinds = st.sampled_from(["action", "mutation", "query"])
_places = st.sampled_from([None, None, False])  # inline
_outcomes = st.sampled_from([[0, 1], [0, 1], [1, 2], [2, 3], [99, 1], [99, 2]])  # failures, attempts
_seconds = st.sampled_from([APART, 2 * APART, 3 * APART])


def programs() -> Drawn:
    """Whole programs, with their steps numbered."""
    several = st.lists(_programs(DEPTH, brief=False, alone=True), min_size=2, max_size=5)
    return several.map(lambda several: _numbered(["seq", several]))


def _leaves(brief: bool, alone: bool) -> Drawn:
    steps = st.builds(
        lambda kind, outcome, place: ["step", kind, "", *outcome, place], _kinds, _outcomes, _places
    )
    drawn = [
        steps,
        steps,
        st.builds(lambda how: ["event", "", how], st.sampled_from(["before", "idle", "error", "never"])),
        st.builds(
            lambda fails, limit: ["map", "", fails, limit],
            st.lists(st.booleans(), min_size=1, max_size=4),
            st.integers(1, 3),
        ),
    ]
    if not brief:
        drawn.append(_seconds.map(lambda seconds: ["sleep", seconds]))
    if alone:
        drawn.append(st.integers(0, 9).map(lambda value: ["status", {"at": value}]))
    return st.one_of(*drawn)


@cache
def _programs(depth: int, *, brief: bool, alone: bool) -> Drawn:
    """`brief`: it takes less than APART. `alone`: nothing runs beside it."""
    leaves = _leaves(brief, alone)
    if not depth:
        return leaves
    same = _programs(depth - 1, brief=brief, alone=alone)
    beside = _programs(depth - 1, brief=brief, alone=False)
    short = _programs(depth - 1, brief=True, alone=False)
    drawn = [
        leaves,
        st.lists(same, min_size=2, max_size=4).map(lambda several: ["seq", several]),
        st.lists(beside, min_size=2, max_size=3).map(lambda several: ["gather", several]),
        st.tuples(same, same).map(lambda two: ["try", *two]),
        st.tuples(same, same).map(lambda two: ["finally", *two]),
    ]
    if depth > 1:
        below = st.lists(_programs(depth - 2, brief=brief, alone=True), min_size=1, max_size=3)
        drawn.append(below.map(lambda several: ["child", ["seq", several]]))
    if not brief:
        racers = st.lists(
            st.tuples(_seconds, short).map(list), min_size=1, max_size=3, unique_by=lambda one: one[0]
        )
        drawn += [
            racers.map(lambda several: ["race", several]),
            st.tuples(st.permutations([APART, 2 * APART]), short).map(
                lambda drawn: ["within", *drawn[0], drawn[1]]
            ),
        ]
    return st.one_of(*drawn)


def _numbered(program: Program) -> Program:
    numbers = count(1)

    def walk(part: Any) -> Any:
        if not isinstance(part, list):
            return part
        match part:
            case ["step", kind, "", *rest]:
                return ["step", kind, f"k{next(numbers)}", *rest]
            case ["map", "", *rest]:
                return ["map", f"k{next(numbers)}", *rest]
            case ["event", "", how]:
                return ["event", f"e{next(numbers)}", how]
            case _:
                return [walk(each) for each in part]

    return list(walk(program))


def events(program: Any, *, below: bool = False) -> dict[str, tuple[str, bool]]:
    """All events that it waits for: how each comes, and whether it is a child's."""
    found: dict[str, tuple[str, bool]] = {}
    if isinstance(program, list) and program:
        if program[0] == "event":
            return {program[1]: (program[2], below)}
        for each in program:
            found |= events(each, below=below or program[0] == "child")
    return found
