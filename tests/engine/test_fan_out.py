"""Many parallel steps: answers that arrived meanwhile are taken in one turn (architecture §6)."""

import asyncio

import pytest

from django_workflow import Completed, StepContext, action, workflow
from django_workflow.engine import drain
from django_workflow.testing import Harness


@action
def double(value: int) -> int:
    return 2 * value


@workflow.define(name="fan_out.many")
async def many(step: StepContext, count: int) -> int:
    return sum(await asyncio.gather(*(step.run_action(double, value) for value in range(count))))


def test_a_workflow_is_not_replayed_for_each_of_its_parallel_steps(
    workflow_harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "BURST_SECONDS", 1e9)  # a slow machine runs fewer of them in a burst
    started = many.start(100)
    # All bodies, and the turns before and after them.
    assert workflow_harness.drain() == 100 + 2
    assert started.status() == Completed(sum(2 * value for value in range(100)))


def test_a_step_that_takes_long_holds_up_no_turn(
    workflow_harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "BURST_SECONDS", 0.0)  # so every step is a long one
    monkeypatch.setattr(drain, "BURST_TURNS", 0.0)
    started = many.start(5)
    assert workflow_harness.drain() == 5 + 1 + 5
    assert started.status() == Completed(20)


def test_steps_are_run_for_longer_where_a_turn_takes_long(
    workflow_harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "BURST_SECONDS", 0.0)
    monkeypatch.setattr(drain, "BURST_TURNS", 1e9)  # every turn is a long one
    monkeypatch.setattr(drain, "BURST_MOST", 1e9)
    started = many.start(40)
    assert workflow_harness.drain() == 40 + 2
    assert isinstance(started.status(), Completed)
