"""Lives a program through on the real engine, in one of several ways, and holds what came of it against the oracle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from django_workflow.engine.drain import drain
from django_workflow.exceptions import WorkflowFinished
from django_workflow.journal import workflows
from django_workflow.manager import workflow
from django_workflow.models import Step, Workflow
from django_workflow.states import BODY_KINDS
from django_workflow.testing import Harness, SimulatedCrash
from tests.programs import interpreter
from tests.programs.oracle import Expected, Program
from tests.programs.programs import events
from tests.shop.models import Entry
from tests.simulation import invariants

Work = Callable[[], object]  # works off what is due

PAST_A_LEASE = timedelta(seconds=31)
ROUNDS = 200

_tags = count(1)


class Life:
    """One workflow that runs a program, from its start to its end.

    Args:
        harness: holds the durable clock, which stands still.
        program: what it runs.
        work: a worker, or several.
        crashes: the commits to die at: (which one, counted from the last death; whether after it).

    """

    def __init__(
        self,
        harness: Harness,
        program: Program,
        work: Work = lambda: drain(None),
        crashes: list[tuple[int, bool]] | None = None,
    ) -> None:
        self.harness = harness
        self.program = program
        self.tag = f"program {next(_tags)}"
        self.died = 0
        self._work = work
        self._crashes = list(crashes or [])
        self._events = events(program)

    def live(self) -> Life:
        """From the start to the end."""
        self._arm()
        doing = iter(self._rounds())
        while True:
            try:
                if next(doing, None) is None:
                    break
            except SimulatedCrash:
                self.died += 1
                self._arm()
                self.harness.freeze(self.harness.now() + PAST_A_LEASE)
                doing = iter(self._rounds())
        self.harness.crash_at(0)
        self.run = Workflow.objects.get(key=self.tag)
        return self

    def _arm(self) -> None:
        self.harness.crash_at(*self._crashes.pop(0)) if self._crashes else self.harness.crash_at(0)

    def _rounds(self) -> Any:
        """Everything that is left to do, again after a death."""
        run = interpreter.program.using(key=self.tag).start(self.tag, self.program)
        for name, (how, below) in self._events.items():
            if how == "before" and not below:
                self._send(run.id, name, how)
        for _ in range(ROUNDS):
            self._work()
            yield "worked"
            waiting = self._waiting(run)
            for workflow_id, name in waiting:
                self._send(workflow_id, name, self._events[name][0])
            if waiting:
                continue
            if workflow.status(run.id).type != "in_progress":
                return
            due = self._next_due()
            assert due is not None, f"P12: nothing can wake {run} any more: {workflow.status(run.id)}"
            self.harness.freeze(max(due, self.harness.now() + timedelta(milliseconds=1)))
        raise AssertionError(f"{run} doesn't come to its end: {workflow.status(run.id)}")

    def _send(self, workflow_id: Any, name: str, how: str) -> None:
        said: dict[str, Any] = (
            {"error": f"{name} is an error"} if how == "error" else {"value": f"{name} came"}
        )
        try:
            workflow.send_event(workflow_id, name, key=name, **said)
        except WorkflowFinished:
            assert self.died, "it had just been there"

    def _waiting(self, run: Workflow) -> list[tuple[Any, str]]:
        """Waits of this family for an event that is to come, and has not been sent."""
        pending = Step.objects.filter(workflow__in=self._family(run.id), kind="event", state="pending")
        rows = pending.values_list("workflow_id", "name")
        return [(owner, name) for owner, name in rows if self._events[name][0] != "never"]

    def _next_due(self) -> datetime | None:
        rows = Workflow.objects.in_progress().filter(due_at__isnull=False)
        steps = Step.objects.filter(kind__in=BODY_KINDS, due_at__isnull=False)
        due = [*rows.values_list("due_at", flat=True), *steps.values_list("due_at", flat=True)]
        return min((moment for moment in due if moment is not None), default=None)

    @staticmethod
    def _family(workflow_id: Any) -> list[Any]:
        return [workflow_id, *workflows.descendants([workflow_id])]

    # ── afterwards ──────────────────────────────────────────────────────────────────────────────────────────

    def assert_as(self, said: Expected) -> None:
        """All that the oracle has said, and the promises."""
        error = self.run.error
        assert (self.run.state, self.run.result, error.message if error else "") == (
            said.ending,
            said.result,
            said.error,
        )
        assert workflow.status(self.run.id).custom == said.status
        assert self._rows() == said.rows, "P2"
        ran = self._bodies()
        assert said.never.isdisjoint(ran), f"{said.never & set(ran)} should never have run"
        for key, times in said.bodies.items():
            assert ran[key] == times or (self.died and ran[key] > times), (
                f"P3, P4: {key} ran {ran[key]} times"
            )
        family = Workflow.objects.filter(id__in=self._family(self.run.id))
        invariants.check(family, self.harness, lambda step: f"{self.tag}/{step.args['key']}")

    def _rows(self) -> Counter[str]:
        labels = Entry.objects.filter(label__startswith=f"{self.tag}/").values_list("label", flat=True)
        return Counter(each.removeprefix(f"{self.tag}/") for each in labels)

    def _bodies(self) -> Counter[str]:
        start = f"{self.tag}/"
        return Counter(
            {
                name.removeprefix(start): times
                for name, times in interpreter.bodies.items()
                if name.startswith(start)
            }
        )
