"""Random programs on the real engine, in several modes, against an oracle that knows no engine.

`PROGRAMS=1000 pytest tests/programs` draws so many for each mode, others each time; without it they are the same few
dozens on each run. What has ever failed is kept as an `@example`.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_workflow.engine.drain import drain
from django_workflow.testing import Harness
from tests.engine.committed import committed
from tests.interleaving.crew import Crew
from tests.programs.lives import Life
from tests.programs.oracle import Program, expected
from tests.programs.programs import programs

MANY = "PROGRAMS" in os.environ
pytestmark = [committed, pytest.mark.slow, pytest.mark.timeout(7200 if MANY else 300)]

NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)


def drawn(examples: int) -> Callable[[Any], Any]:
    if django_settings.DATABASE != "sqlite":  # a server takes longer
        examples //= 2
    return settings(
        max_examples=int(os.environ.get("PROGRAMS", examples)),
        deadline=None,
        derandomize=not MANY,
        database=None,
        # Examples share the database: each has workflows of its own.
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
        ],
    )


@pytest.fixture
def workflow_harness(transactional_db: None) -> Iterator[Harness]:
    """The harness, with real commits and a clock that stands where the test puts it."""
    with Harness() as harness:
        harness.freeze(NOON)
        yield harness


@contextmanager
def mode(**more: Any) -> Iterator[None]:
    with override_settings(DJANGO_WORKFLOW={"TURN_COMMIT_MS": 1e9, **more}):
        yield


@drawn(36)
@given(program=programs())
def test_a_program_comes_to_what_the_oracle_says(workflow_harness: Harness, program: Program) -> None:
    with mode():
        Life(workflow_harness, program).live().assert_as(expected(program))


@drawn(24)
@given(program=programs())
def test_behaviour_10_with_every_turn_cut_short(workflow_harness: Harness, program: Program) -> None:
    with mode(ALWAYS_SUSPEND=True):
        Life(workflow_harness, program).live().assert_as(expected(program))


@drawn(24)
@given(program=programs())
def test_p9_with_two_workers_that_take_turns(workflow_harness: Harness, program: Program) -> None:
    with Crew(2) as crew, mode():

        def work() -> None:
            done = 1
            while done:
                one = crew.run(0, {"one": piece})["one"].get()
                done = one + crew.run(0, {"nobody": lambda: None, "two": piece})["two"].get()

        Life(workflow_harness, program, work).live().assert_as(expected(program))


def piece() -> int:
    """One piece of work."""
    asked = iter([False])
    return drain(None, stop=lambda: next(asked, True))


@drawn(24)
@given(program=programs(), seed=st.integers(0, 2**32))
def test_p9_with_two_workers_at_once(workflow_harness: Harness, program: Program, seed: int) -> None:
    """Statement by statement, as the seed says."""
    with Crew(2) as crew, mode():

        def work() -> None:
            for ended in crew.run(seed, {"one": lambda: drain(None), "two": lambda: drain(None)}).values():
                ended.get()
            drain(None)

        Life(workflow_harness, program, work).live().assert_as(expected(program))


@drawn(36)
@given(
    program=programs(), crashes=st.lists(st.tuples(st.integers(1, 20), st.booleans()), min_size=1, max_size=3)
)
def test_p2_p3_p4_p11_with_crashes(
    workflow_harness: Harness, program: Program, crashes: list[tuple[int, bool]]
) -> None:
    with mode():
        Life(workflow_harness, program, crashes=crashes).live().assert_as(expected(program))
