"""The corpus: every shape of workflow that the sweeps live through, by name.

A shape is a definition, what happens to it from outside, and how it is started. Its result must not depend on its
tag, nor on how often a lease ran out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.models import Workflow
from tests.simulation import disturbed, shapes
from tests.simulation.disturbed import Act, at_once, has_ended, is_settled_in, sends, waits


@dataclass(frozen=True)
class Shape:
    """One shape."""

    definition: WorkflowDefinition[[str], Any]
    acts: tuple[Act, ...] = ()
    repeats: bool = False  # an act, which is explicit, lets settled steps run again
    labeled: bool = False

    def start(self, tag: str) -> Workflow:
        """Start one; called again after a crash, it finds the one that is there."""
        labels = {"tag": tag} if self.labeled else None
        return self.definition.using(key=tag, labels=labels).start(tag)


SHAPES: dict[str, Shape] = {
    **{name: Shape(definition) for name, definition in shapes.SHAPES.items()},
    "told": Shape(
        disturbed.told,
        (
            Act(at_once, sends("go", 1)),
            Act(waits("event", nth=2), sends("go", 2, 3)),
            Act(waits("event", nth=3), sends("stop", "now")),
            Act(waits("sleep"), sends("stop", "too late")),
        ),
    ),
    "canceled": Shape(disturbed.busy, (Act(is_settled_in, disturbed.cancels),)),
    "rolled back": Shape(disturbed.busy, (Act(is_settled_in, disturbed.cancels_with_rollback),)),
    "canceled in a turn": Shape(disturbed.canceled_in_a_turn),
    "bereft": Shape(disturbed.bereft, (Act(waits("workflow"), disturbed.cancels_the_child),)),
    "mended": Shape(
        disturbed.mended,
        (Act(at_once, sends("go", 1)), Act(has_ended, disturbed.mends_and_restarts)),
        repeats=True,
    ),
    "restarted": Shape(
        disturbed.again,
        (Act(at_once, sends("go", 1)), Act(has_ended, disturbed.parts_and_restarts)),
        repeats=True,
    ),
    "forked": Shape(
        disturbed.again,
        (Act(at_once, sends("go", 1, 2)), Act(has_ended, disturbed.forks)),
        repeats=True,
        labeled=True,
    ),
    "cleaned": Shape(
        disturbed.cleaned,
        (Act(waits("event"), sends("go", 1, 2)), Act(has_ended, disturbed.cleans_up)),
        labeled=True,
    ),
}
