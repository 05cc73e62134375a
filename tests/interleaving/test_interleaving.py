"""Two to four workers on one workflow, in hundreds of orders that a seed chooses.

`SCHEDULES=1000 pytest tests/interleaving` plays so many of each scenario, from another seed on with `FROM=…`; a failure
names its seed, and `SEED=…` plays that one alone. Seeds that have ever failed stay in `REGRESSIONS`.
"""

import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from django_workflow.engine import drain
from django_workflow.engine.leases import heartbeat
from django_workflow.journal import clock
from django_workflow.testing import Harness
from tests.engine.committed import committed
from tests.interleaving import stage
from tests.interleaving.crew import SHOWN, Crew, Hung
from tests.interleaving.scenarios import SCENARIOS
from tests.interleaving.stage import Stage

pytestmark = [committed, pytest.mark.slow, pytest.mark.timeout(3600 if "SCHEDULES" in os.environ else 300)]

NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)
SCHEDULES = int(os.environ.get("SCHEDULES", "10"))  # of each scenario
FIRST = int(os.environ.get("FROM", "0"))

# By scenario: (database, seed) of schedules that have found something.
REGRESSIONS: dict[str, tuple[tuple[str, int], ...]] = {}


@pytest.fixture
def move(monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> Iterator[Callable[[float], None]]:
    """Passes time: the durable clock's, and the workers' own, by which they tell how old their leases are."""
    passed = 0.0

    def pass_time(seconds: float) -> None:
        nonlocal passed
        passed += seconds
        harness.freeze(harness.now() + timedelta(seconds=seconds))

    real = clock.monotonic
    for name, module in list(sys.modules.items()):
        if name.startswith("django_workflow.") and getattr(module, "monotonic", None) is real:
            monkeypatch.setattr(module, "monotonic", lambda: real() + passed)
    # What depends on how fast the machine is would make a seed mean something else each time.
    monkeypatch.setattr(drain, "BURST_SECONDS", 0.0)
    monkeypatch.setattr(drain, "BURST_TURNS", 0.0)
    monkeypatch.setattr(drain, "TAKEOVER_SECONDS", 0.0)
    with Harness() as harness, heartbeat.paused(), override_settings(DJANGO_WORKFLOW={"TURN_COMMIT_MS": 1e9}):
        harness.freeze(NOON)
        pass_time.harness = harness  # type: ignore[attr-defined]
        yield pass_time


def seeds(scenario: str) -> list[int]:
    if "SEED" in os.environ:
        return [int(os.environ["SEED"])]
    kept = [
        seed for database, seed in REGRESSIONS.get(scenario, ()) if database in (settings.DATABASE, "any")
    ]
    return [*kept, *range(FIRST, FIRST + SCHEDULES)]


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_p3_p7_p9_p12_in_whatever_order(move: Any, scenario: str) -> None:
    with Crew(4) as crew:
        for seed in seeds(scenario):
            play(scenario, seed, crew, move)


def play(scenario: str, seed: int, crew: Crew, move: Any) -> None:
    """Play one schedule of one scenario."""
    stage.ran.clear()
    stage.wrong.clear()
    stage.inside.clear()
    scene = SCENARIOS[scenario](Stage(move.harness, crew, move))
    try:
        try:
            scene.send(crew.run(seed, next(scene)))
        except StopIteration:
            return
    except (Exception, Hung) as error:
        told = "\n  ".join(crew.trace[-SHOWN:])
        raise AssertionError(
            f"SEED={seed} DATABASE={settings.DATABASE} pytest tests/interleaving -k {scenario}\n"
            f"{type(error).__name__}: {error}\n  {told}"
        ) from error
