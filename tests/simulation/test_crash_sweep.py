"""Die before and after every commit, recover, and compare with the life without a crash.

Every shape of `shapes.py` is lived once without a crash, which counts its commits; then once for each commit and each
side of it. P1, P2, P3, P9, P10 and P12 (no wake-up is ever sent here: all of them are lost).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.test import override_settings

from django_workflow import Completed
from django_workflow.engine.drain import drain
from django_workflow.engine.statements import writing_word
from django_workflow.models import Event, Step, Workflow
from django_workflow.testing import Harness, SimulatedCrash
from tests.engine.committed import committed
from tests.engine.elsewhere import Elsewhere, lose_connection
from tests.shop.models import Entry
from tests.simulation import invariants, shapes
from tests.simulation.sampling import sampled
from tests.simulation.shapes import SHAPES

pytestmark = [committed, pytest.mark.slow]

NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)
PAST_A_LEASE = timedelta(seconds=31)
A_WHILE = timedelta(seconds=61)
ROUNDS = 25
SERVER = settings.DATABASE in ("postgres", "mariadb")
MODES: dict[str, dict[str, Any]] = {"live": {}, "suspended": {"ALWAYS_SUSPEND": True}}


@pytest.fixture
def workflow_harness(transactional_db: None) -> Iterator[Harness]:
    """The harness, with real commits and a clock that stands where the test puts it."""
    with Harness() as harness:
        harness.freeze(NOON)
        yield harness


@pytest.fixture(params=sorted(MODES))
def mode(request: pytest.FixtureRequest) -> Iterator[str]:
    # One transaction for each turn's bodies, however slow the machine: a sweep has to meet the same commits again.
    with override_settings(DJANGO_WORKFLOW={"TURN_COMMIT_MS": 1e9, **MODES[request.param]}):
        yield request.param


@dataclass
class Life:
    """One workflow from its start to its end."""

    run: Workflow
    tag: str
    crashes: int = 0
    points: tuple[int, ...] = ()  # the commits that had something to commit
    seed: str = ""  # changes when it goes on as new

    def went_on_as_new(self) -> bool:
        """True iff it has begun a fresh journal since this was asked last."""
        seed = Workflow.objects.values_list("seed", flat=True).get(id=self.run.id)
        before, self.seed = self.seed, seed
        return seed != before

    @property
    def end(self) -> tuple[Any, ...]:
        """How it ended, in what every life of a shape has in common."""
        self.run.refresh_from_db()
        error = self.run.error
        return self.run.state, self.run.result_text, (error.type, error.message) if error else None

    @property
    def rows(self) -> Counter[str]:
        """What its steps, its children's and `on_complete` have written, by their labels."""
        labels = Entry.objects.filter(label__startswith=f"{self.tag}/").values_list("label", flat=True)
        return Counter(each.removeprefix(f"{self.tag}/") for each in labels)

    @property
    def family(self) -> list[Any]:
        """How its children have ended, in no order: two that began together may change places."""
        return sorted(
            (child.definition, child.args["key"], child.state, str(child.result_text))
            for child in Workflow.objects.filter(parent=self.run)
        )

    @property
    def events(self) -> list[Any]:
        """What was sent to it, and which step has taken it."""
        return [
            (event.name, event.value, event.consumed_by and event.consumed_by.number)
            for event in Event.objects.filter(workflow=self.run).select_related("consumed_by")
        ]

    @property
    def journal(self) -> list[Any]:
        """Its steps, the same."""
        return [
            (step.number, step.kind, step.name, step.args.get("key"), step.state, step.result_text)
            for step in Step.objects.filter(workflow=self.run).order_by("number")
        ]


def label(step: Step) -> str:
    return f"{step.args['tag']}/{step.args['key']}"


_tags = count(1)


def live(harness: Harness, shape: str, *crashes: tuple[int, bool]) -> Life:
    """Live a workflow through to its end; die at each of `crashes`: (commit, whether after it)."""
    tag = f"{shape} {next(_tags)}"
    life = Life(SHAPES[shape].start(tag), tag)
    left = list(crashes)
    settled: dict[int, Any] = {}
    log_from = len(shapes.ran)
    harness.crash_at(*left.pop(0)) if left else harness.crash_at(0)
    step = timedelta(0)
    with recording(harness) as points:
        for _ in range(ROUNDS):
            try:
                harness.advance(step)
                step = A_WHILE
            except SimulatedCrash:
                life.crashes += 1
                assert_settled_stays(settled, life, log_from)
                settled, log_from = settled_rows(life), len(shapes.ran)
                harness.crash_at(*left.pop(0)) if left else harness.crash_at(0)
                step = PAST_A_LEASE
            if Workflow.objects.exclude(state="in_progress").filter(id=life.run.id).exists():
                break
    harness.crash_at(0)
    assert_settled_stays(settled, life, log_from)
    life.points = tuple(sorted(points))
    return life


class recording:  # noqa: N801  reads as a verb
    """The numbers of the commits that have something to commit."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self._points: set[int] = set()

    def __enter__(self) -> set[int]:
        connection.execute_wrappers.append(self._look)
        return self._points

    def __exit__(self, *error: object) -> None:
        connection.execute_wrappers.remove(self._look)

    def _look(self, execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if writing_word(sql):
            self._points.add(self._harness.commits + connection.in_atomic_block)
        return execute(sql, params, many, context)


def settled_rows(life: Life) -> dict[int, Any]:
    """What is settled now, without its delivery, which may still be written."""
    rows: list[dict[str, Any]] = list(
        Step.objects.filter(workflow=life.run, state__in=invariants.SETTLED).values()  # type: ignore[arg-type]
    )
    delivery = ("seq", "delivered_at")
    return {row["number"]: {key: row[key] for key in row if key not in delivery} for row in rows}


def assert_settled_stays(settled: dict[int, Any], life: Life, log_from: int) -> None:
    """P3: what was settled at the crash is as it was, and none of its bodies ran since."""
    if life.went_on_as_new():
        return  # its steps are gone, as they should be
    now = settled_rows(life)
    assert {number: now.get(number) for number in settled} == settled
    keys = {
        label(step)
        for step in Step.objects.filter(workflow=life.run, number__in=settled, kind__in=invariants.BODIES)
    }
    assert keys.isdisjoint(shapes.ran[log_from:]), "P3: the body of a settled step ran again"


def assert_same_life(harness: Harness, life: Life, without: Life) -> None:
    assert life.end == without.end
    assert life.journal == without.journal
    assert life.rows == without.rows, "P2, P7"
    assert life.family == without.family
    assert life.events == without.events, "P5"
    invariants.check([life.run, *Workflow.objects.filter(parent=life.run)], harness, label)
    assert_attempts_are_counted(life)
    written = {
        label(step) for step in Step.objects.filter(workflow=life.run, kind="mutation", state="completed")
    }
    assert written <= {f"{life.tag}/{each}" for each in life.rows}


def assert_attempts_are_counted(life: Life) -> None:
    """P4: no body ran uncounted; a count without a body is a death between the two."""
    bodies = Counter(each for each in shapes.ran if each.startswith(f"{life.tag}/"))
    for step in Step.objects.filter(workflow=life.run, kind="action"):
        runs = bodies[label(step)]
        assert runs <= step.attempts <= runs + life.crashes, (
            f"P4: {step}: {step.attempts} attempts, {runs} bodies"
        )


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_p2_p3_p10_a_crash_at_any_commit_changes_nothing(
    workflow_harness: Harness, shape: str, mode: str
) -> None:
    without = live(workflow_harness, shape)
    assert_same_life(workflow_harness, without, without)
    for point in sampled(without.points, f"{shape} {mode}"):
        # Where every turn ends after one step, to die after a commit is to die before the next one.
        for after in (False, True) if mode == "live" else (False,):
            life = live(workflow_harness, shape, (point, after))
            assert life.crashes == 1, f"there was no commit {point}"
            assert_same_life(workflow_harness, life, without)


@pytest.mark.parametrize("shape", ["sequence", "alone"])
def test_p2_p3_a_crash_upon_a_crash_changes_nothing(workflow_harness: Harness, shape: str) -> None:
    """The one that takes over dies at each of its own first commits."""
    with override_settings(DJANGO_WORKFLOW={"TURN_COMMIT_MS": 1e9}):
        without = live(workflow_harness, shape)
        twice = 0
        points = sampled(without.points, shape)
        for point in points:
            for second in ((1, True), (2, False)):
                life = live(workflow_harness, shape, (point, False), second)
                twice += life.crashes == 2
                assert_same_life(workflow_harness, life, without)
    assert twice >= len(points)  # after the last crashes there is little left to die at


if SERVER:

    @pytest.mark.parametrize("arrives", [False, True])
    def test_p2_p3_r18_a_commit_that_is_lost_sight_of_changes_nothing(
        workflow_harness: Harness, monkeypatch: pytest.MonkeyPatch, arrives: bool
    ) -> None:
        """The connection goes at a COMMIT, and nobody knows whether it arrived. The worker lives on."""
        lost: list[int] = []
        points: list[int] = []
        commit = connection._commit  # type: ignore[attr-defined]  # the COMMIT itself, below Django's own

        def lose() -> None:
            if workflow_harness.commits != points[-1] or points[-1] in lost:
                commit()
                return
            lost.append(points[-1])
            if arrives:
                commit()
            lose_connection()
            if not arrives:
                commit()  # says so itself
            raise OperationalError(2013, "server closed the connection unexpectedly")

        with override_settings(DJANGO_WORKFLOW={"TURN_COMMIT_MS": 1e9}):
            without = live(workflow_harness, "sequence")
            points.append(0)
            monkeypatch.setattr(connection, "_commit", lose)
            for point in without.points:
                points.append(point)
                life = live(workflow_harness, "sequence")
                life.crashes = 1  # as far as attempts may be counted whose bodies never began
                assert_same_life(workflow_harness, life, without)
        assert len(lost) >= 4


def test_p9_p12_two_workers_at_once_live_the_same_lives(workflow_harness: Harness) -> None:
    """Every wake-up comes twice, and each half of them at the same moment."""
    without = {shape: live(workflow_harness, shape) for shape in SHAPES}
    lives = [
        Life(SHAPES[shape].start(tag := f"{shape} {next(_tags)}"), tag) for shape in SHAPES for _ in range(2)
    ]
    for _ in range(ROUNDS):
        workers = [Elsewhere(lambda: drain(None)) for _ in range(2)]
        done = [worker.result() for worker in workers]
        workflow_harness.freeze(workflow_harness.now() + PAST_A_LEASE)
        if not any(done) and not Workflow.objects.in_progress().exists():
            break
    for life in lives:
        assert_same_life(workflow_harness, life, without[life.tag.split()[0]])
        bodies = Counter(each for each in shapes.ran if each.startswith(f"{life.tag}/"))
        assert set(bodies.values()) == {1}, "a body ran twice without a crash"


@pytest.mark.parametrize("after", [False, True])
def test_p1_a_crash_at_the_start_leaves_all_of_it_or_nothing(workflow_harness: Harness, after: bool) -> None:
    workflow_harness.crash_at(1, after)
    with pytest.raises(SimulatedCrash), transaction.atomic():
        Entry.objects.create(label="order")
        run = SHAPES["sequence"].start("start")
    workflow_harness.drain()
    assert Entry.objects.filter(label="order").count() == after
    assert Workflow.objects.count() == after
    if after:
        assert isinstance(Workflow.objects.get(id=run.id).status(), Completed)
        invariants.check([run], workflow_harness, label)
