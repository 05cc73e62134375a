"""Lives one workflow from its start to its end, dying where it is told to, and says what came of it.

A life is lived in rounds: what is due is worked off, what comes from outside comes, and the clock goes on; past the
lease after a death. Two lives of a shape are held against each other by `outcome()`, which leaves out what a crash
may change: times, attempts, primary keys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count, zip_longest
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from django_workflow.engine import drain
from django_workflow.journal import pauses
from django_workflow.models import Event, Label, Lease, Slot, Step, Workflow
from django_workflow.testing import Harness
from tests.shop.models import Entry
from tests.simulation import invariants, shapes
from tests.simulation.corpus import SHAPES, Shape
from tests.simulation.death import Death, Deaths

PAST_A_LEASE = timedelta(seconds=31)
A_WHILE = timedelta(seconds=61)
ROUNDS = 25

_tags = count(1)


def new_tag(shape: str) -> str:
    """A tag that no other's is a part of."""
    return f"{shape} #{next(_tags):05}"


def label(step: Step) -> str:
    """What the body of a step writes to `ran`, and a mutation to its row."""
    return str(step.args["label"] if "label" in step.args else f"{step.args['tag']}/{step.args['key']}")


@dataclass
class Life:
    """One workflow of a shape, with its children and its copies."""

    shape: Shape
    tag: str
    run: Workflow | None = None  # None until its start has returned
    crashes: int = 0
    points: list[str] = field(default_factory=list)  # the statements and commits before it first died, or all
    commits: list[int] = field(default_factory=list)
    died_at: str = ""

    def everyone(self) -> list[Workflow]:
        """It, its children and its copies, in an order that all lives of a shape have in common."""
        found = Workflow.objects.filter(args_text__contains=f'"{self.tag}"')
        return sorted(
            found, key=lambda run: (run.definition, str(run.args.get("key")), run.created_at, run.id)
        )

    def outcome(self) -> dict[str, Any]:
        """How it came out, in what every life of a shape has in common."""
        everyone = self.everyone()
        rows = Entry.objects.filter(label__startswith=f"{self.tag}/").values_list("label", flat=True)
        return {
            "rows": Counter(each.removeprefix(f"{self.tag}/") for each in rows),
            # In no order: two that began together may change places.
            "workflows": sorted((_told(run) for run in everyone), key=repr),
        }

    def settled(self) -> dict[tuple[UUID, str, int], dict[str, Any]]:
        """What is settled now, without its delivery, which may still be written."""
        delivery = ("seq", "delivered_at")
        rows = Step.objects.filter(workflow__in=self.everyone(), state__in=invariants.SETTLED)
        return {
            (row["workflow_id"], row["workflow__seed"], row["number"]): {
                key: row[key] for key in row if key not in delivery
            }
            for row in rows.values(
                *(column.attname for column in Step._meta.concrete_fields), "workflow__seed"
            )
        }


def _told(run: Workflow) -> dict[str, Any]:
    error = run.error
    return {
        "definition": run.definition,
        "key": run.args.get("key"),
        "state": run.state,
        "reason": run.reason.replace(str(run.parent_id), "…"),
        "result": run.result_text,
        "error": error and (error.type, error.message.replace(str(run.id), "…")),
        "custom": run.custom_text,
        "on_complete's error": run.on_complete_error and run.on_complete_error.type,
        "labels": Label.objects.filter(workflow=run).count(),
        "events": [
            (event.name, event.value, event.consumed_by and event.consumed_by.number)
            for event in Event.objects.filter(workflow=run).order_by("id").select_related("consumed_by")
        ],
        # How far a child has come when it is canceled with its parent depends on who was faster.
        "journal": None
        if run.parent_id and run.state == "canceled"
        else [
            (step.number, step.kind, step.name, step.args.get("key"), step.state, step.result_text)
            for step in Step.objects.filter(workflow=run).order_by("number")
        ],
    }


@contextmanager
def unhurried() -> Iterator[None]:
    """What is done in one round depends on no real clock, so that every life of a shape meets the same points."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drain, "BURST_SECONDS", 1e9)
        patch.setattr(drain, "TAKEOVER_SECONDS", 1e9)
        patch.setattr(pauses, "LOOK_SECONDS", 1e9)
        yield


class Living:
    """Lives one life."""

    def __init__(self, harness: Harness, name: str, crashes: Sequence[tuple[int, bool]]) -> None:
        self._harness = harness
        self._deaths = Deaths(connection)
        self._left = list(crashes)
        self._settled: dict[Any, Any] = {}
        self._log_from = len(shapes.ran)
        self.life = Life(SHAPES[name], new_tag(name))

    def live(self) -> Life:
        life = self.life
        acts = list(life.shape.acts)
        with unhurried(), self._deaths.installed():
            self._arm()
            self._surely(self._start)
            pause = timedelta(0)
            for _ in range(ROUNDS):
                assert life.run is not None
                while acts and acts[0].when(life.run):
                    does, run = acts.pop(0).does, life.run
                    self._surely(lambda does=does, run=run: does(run))  # type: ignore[misc]
                    self._look_again()  # restarts are explicit
                alive = self._mortal(lambda pause=pause: self._harness.advance(pause))  # type: ignore[misc]
                pause = A_WHILE if alive else PAST_A_LEASE
                if not acts and alive and not any(run.state == "in_progress" for run in life.everyone()):
                    break
            self._assert_settled_stays()
            self._keep_points()
        return life

    def _start(self) -> None:
        self.life.run = self.life.shape.start(self.life.tag)

    def _arm(self) -> None:
        point, after = self._left.pop(0) if self._left else (0, False)
        self._deaths.arm(point, after=after)

    def _mortal(self, work: Callable[[], object]) -> bool:
        """False: it died."""
        try:
            with self._deaths.counting():
                work()
        except Death as death:
            self._keep_points()
            self.life.crashes += 1
            self.life.died_at += f" {death}"
            self._assert_settled_stays()
            self._look_again()
            self._arm()
            return False
        return True

    def _surely(self, act: Callable[[], None]) -> None:
        """Done by a caller who, when it dies, does it again at once."""
        while not self._mortal(act):
            pass

    def _keep_points(self) -> None:
        if not self.life.crashes:
            self.life.points, self.life.commits = self._deaths.points, self._deaths.commits

    def _look_again(self) -> None:
        self._settled, self._log_from = self.life.settled(), len(shapes.ran)

    def _assert_settled_stays(self) -> None:
        """P3: what was settled at the crash is as it was, and none of its bodies ran since."""
        if not self._settled:
            return
        now = self.life.settled()
        there = {
            key: row for key, row in self._settled.items() if key in now or not self._gone(key[0], key[1])
        }
        assert {key: now.get(key) for key in there} == there, f"P3: after{self.life.died_at}"
        ids = [row["id"] for row in there.values() if row["kind"] in invariants.BODIES]
        keys = {label(step) for step in Step.objects.filter(id__in=ids)}
        if not self.life.shape.repeats:
            assert keys.isdisjoint(shapes.ran[self._log_from :]), "P3: the body of a settled step ran again"

    @staticmethod
    def _gone(workflow_id: UUID, seed: str) -> bool:
        """It has gone on as new, or is deleted: its steps are gone, as they should be."""
        return not Workflow.objects.filter(id=workflow_id, seed=seed).exists()


def live(harness: Harness, shape: str, *crashes: tuple[int, bool]) -> Life:
    """Live a workflow through to its end; die at each of `crashes`: (point, whether after it)."""
    return Living(harness, shape, crashes).live()


# ── what has to hold ────────────────────────────────────────────────────────────────────────────────────────


def assert_same_life(harness: Harness, life: Life, without: dict[str, Any]) -> None:
    """It came out like the one without a crash, `without`, and keeps the promises."""
    different = "\n".join(difference(life.outcome(), without))
    assert not different, f"another outcome after{life.died_at}:\n{different}"
    everyone = life.everyone()
    invariants.check(everyone, harness, None if life.shape.repeats else label)
    assert_attempts_are_counted(life, everyone)
    assert_no_orphans()


def difference(one: dict[str, Any], other: dict[str, Any]) -> Iterator[str]:
    """Where two outcomes differ, without all that they have in common."""
    if one["rows"] != other["rows"]:
        yield f"rows: too many {one['rows'] - other['rows']}, too few {other['rows'] - one['rows']}"
    missing: dict[str, Any] = {}
    for mine, its in zip_longest(one["workflows"], other["workflows"], fillvalue=missing):
        for key in {**mine, **its}:
            if mine.get(key) != its.get(key):
                yield f"{mine.get('definition')}: {key} is {mine.get(key)}, and not {its.get(key)}"


def assert_attempts_are_counted(life: Life, everyone: list[Workflow]) -> None:
    """P4: no body ran uncounted; a count without a body is a death between the two."""
    if life.shape.repeats:
        return
    bodies = Counter(each for each in shapes.ran if each.startswith(f"{life.tag}/"))
    for step in Step.objects.filter(workflow__in=everyone, kind="action"):
        runs = bodies[label(step)]
        assert runs <= step.attempts <= runs + life.crashes, (
            f"P4: {step}: {step.attempts} attempts, {runs} bodies, after{life.died_at}"
        )


def assert_no_orphans() -> None:
    """When everything has ended, nothing is held, due or nobody's."""
    ended = Workflow.objects.exclude(state="in_progress")
    assert not Workflow.objects.filter(state="in_progress").exists()
    assert not Step.objects.filter(state__in=("pending", "running")).exists()
    assert not Step.objects.exclude(due_at=None, lease_owner=None).exists()
    assert not ended.exclude(due_at=None, lease_owner=None).exists()
    assert not Slot.objects.exclude(lease_owner=None).exists()
    assert not Lease.objects.exclude(owner=None).exists()
    roots = Workflow.objects.filter(parent=None)
    assert not Workflow.objects.exclude(parent=None).exclude(parent__in=Workflow.objects.all()).exists()
    for rows in (Step, Event, Label):
        assert not rows.objects.exclude(workflow__in=Workflow.objects.all()).exists()
    assert not roots.filter(depth__gt=0).exists()
