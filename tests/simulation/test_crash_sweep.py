"""Die before and after every statement and every commit, recover, and compare with the life without a crash.

Every shape of the corpus is lived once without a crash, which numbers its statements and commits; then once for each
of them and each side of it. P1, P2, P3, P9, P10 and P12 (no wake-up is ever sent here: all of them are lost).
`SWEEP=all` takes every point; else a sample by `SWEEP_SEED`, which is the day's if nothing is said.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.test import override_settings

from django_workflow import Completed
from django_workflow.engine.drain import drain
from django_workflow.engine.statements import text
from django_workflow.journal import workflows
from django_workflow.models import Slot, Workflow
from django_workflow.testing import Harness, SimulatedCrash
from tests.engine.committed import committed
from tests.engine.elsewhere import Elsewhere, lose_connection
from tests.shop.models import Entry
from tests.simulation import invariants, shapes
from tests.simulation.corpus import SHAPES
from tests.simulation.death import COMMIT, Death, Deaths
from tests.simulation.lives import PAST_A_LEASE, ROUNDS, Life, assert_same_life, label, live, new_tag
from tests.simulation.sampling import ALL, SEED, sampled

pytestmark = [committed, pytest.mark.slow, *([pytest.mark.timeout(3600)] if ALL else [])]

NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)
SERVER = settings.DATABASE in ("postgres", "mariadb")
# One transaction for each turn's bodies, however slow the machine: a sweep has to meet the same points again.
UNHURRIED = {"TURN_COMMIT_MS": 1e9}
TOGETHER = ("sequence", "parallel", "sleeps", "finally", "failures", "alone", "events", "children", "saga")
logger = logging.getLogger("tests.simulation")
ENOUGH = 10  # lives that went wrong, and the rest of a sweep is left


@pytest.fixture
def workflow_harness(transactional_db: None) -> Iterator[Harness]:
    """The harness, with real commits and a clock that stands where the test puts it."""
    with Harness() as harness, override_settings(DJANGO_WORKFLOW=UNHURRIED):
        harness.freeze(NOON)
        yield harness


def without_a_crash(harness: Harness, shape: str) -> tuple[Life, dict[str, Any]]:
    """A life, and what came of it. The second one: the first makes what all share, like the places of a pool, and a
    connection asks for its server's version once."""
    live(harness, shape)
    life = live(harness, shape)
    without = life.outcome()
    assert_same_life(harness, life, without)
    return life, without


def forget_all() -> None:
    """What a life has left would slow down those that follow, or disturb them."""
    workflows.erase(list(Workflow.objects.values_list("id", flat=True)))
    Slot.objects.update(lease_owner=None, due_at=None)
    Entry.objects.all()._raw_delete(connection.alias)
    shapes.ran.clear()


def sweep(
    harness: Harness, shape: str, crashes: Sequence[tuple[tuple[int, bool], ...]], without: dict[str, Any]
) -> int:
    """Live once for each of `crashes`; all that comes out differently is told. How many deaths there were."""
    wrong: list[str] = []
    deaths = 0
    for each in crashes:
        try:
            life = live(harness, shape, *each)
            deaths += life.crashes
            assert life.crashes, f"there was no point {each[0]}"
            assert_same_life(harness, life, without)
        except AssertionError as error:
            wrong.append(f"{shape}, dead at {each}:\n{error}")
        forget_all()
        if len(wrong) == ENOUGH:
            break
    told = "\n\n".join(wrong)
    assert not wrong, f"SWEEP_SEED={SEED}: {len(wrong)} lives of at most {len(crashes)} went wrong\n{told}"
    return deaths


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_p2_p3_p10_a_death_at_any_statement_changes_nothing(workflow_harness: Harness, shape: str) -> None:
    life, without = without_a_crash(workflow_harness, shape)
    points = range(1, len(life.points) + 1)
    commits = [(point, after) for point in life.commits for after in (False, True)]
    statements = [
        (point, after) for point in points for after in (False, True) if (point, after) not in commits
    ]
    assert COMMIT in life.points
    deaths = sweep(
        workflow_harness,
        shape,
        [(each,) for each in sampled(commits, f"{shape} commits", 3) + sampled(statements, shape, 3)],
        without,
    )
    logger.info(f"sweep: {shape}: {len(points)} points, {len(life.commits)} commits, {deaths} deaths")


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_p2_p3_p10_a_death_at_any_commit_changes_nothing_where_every_turn_ends_after_one_step(
    workflow_harness: Harness, shape: str
) -> None:
    with override_settings(DJANGO_WORKFLOW={**UNHURRIED, "ALWAYS_SUSPEND": True}):
        life, without = without_a_crash(workflow_harness, shape)
        # To die after a commit is to die before the next one, where a turn does nothing else.
        commits = sampled([((point, False),) for point in life.commits], f"{shape} suspended", 2)
        deaths = sweep(workflow_harness, shape, commits, without)
    logger.info(f"sweep: {shape}, suspended: {len(life.commits)} commits, {deaths} deaths")


@pytest.mark.parametrize("shape", ["sequence", "alone", "children", "rolled back"])
def test_p2_p3_a_death_upon_a_death_changes_nothing(workflow_harness: Harness, shape: str) -> None:
    """The one that takes over dies as well, at its first statements and later."""
    life, without = without_a_crash(workflow_harness, shape)
    points = [(point, after) for point in range(1, len(life.points) + 1) for after in (False, True)]
    pairs = [(first, (second, False)) for first in points[::3] for second in (4, 11, 17)]
    crashes = sampled(pairs, f"{shape} twice", 6)
    deaths = sweep(workflow_harness, shape, crashes, without)
    assert deaths > len(crashes)  # after the last crashes there is little left to die at
    logger.info(f"sweep: {shape}, twice: {len(crashes)} lives, {deaths} deaths")


if SERVER:

    @pytest.mark.parametrize("arrives", [False, True])
    def test_p2_p3_r18_a_commit_that_is_lost_sight_of_changes_nothing(
        workflow_harness: Harness, monkeypatch: pytest.MonkeyPatch, arrives: bool
    ) -> None:
        """The connection goes at a COMMIT, or at a statement that is one; nobody knows whether it arrived.

        The worker lives on.
        """
        _, without = without_a_crash(workflow_harness, "sequence")
        commits = 0
        at = 0
        lost = 0
        commit = connection._commit  # type: ignore[attr-defined]  # the COMMIT itself, below Django's own

        def lose(commit: Callable[[], Any] = commit) -> Any:
            nonlocal commits, lost
            commits += 1
            if commits != at:
                return commit()
            lost += 1
            if arrives:
                commit()
            lose_connection()
            if not arrives:
                commit()  # says so itself
            raise OperationalError(2013, "server closed the connection unexpectedly")

        def execute(send: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
            alone = not connection.in_atomic_block and text(sql).startswith("WITH held")
            return (
                lose(partial(send, sql, params, many, context)) if alone else send(sql, params, many, context)
            )

        monkeypatch.setattr(connection, "_commit", lose)
        with connection.execute_wrapper(execute):
            for at in range(2, 12):  # noqa: B007  the first is the start's, whose caller is told
                commits = 0
                life = live(workflow_harness, "sequence")
                life.crashes = 1  # as far as attempts may be counted whose bodies never began
                assert_same_life(workflow_harness, life, without)
        assert lost >= 4


def test_p9_p12_two_workers_at_once_live_the_same_lives(workflow_harness: Harness) -> None:
    """Every wake-up comes twice, and each half of them at the same moment."""
    without = {shape: without_a_crash(workflow_harness, shape)[1] for shape in TOGETHER}
    lives = [Life(SHAPES[shape], new_tag(shape)) for shape in TOGETHER for _ in range(2)]
    for life in lives:
        life.run = life.shape.start(life.tag)
    for _ in range(ROUNDS):
        workers = [Elsewhere(lambda: drain(None)) for _ in range(2)]
        done = [worker.result() for worker in workers]
        workflow_harness.freeze(workflow_harness.now() + PAST_A_LEASE)
        if not any(done) and not Workflow.objects.in_progress().exists():
            break
    for life in lives:
        assert_same_life(workflow_harness, life, without[life.tag.partition(" #")[0]])
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


def test_a_dead_process_reaches_the_database_no_more(transactional_db: None) -> None:
    """The tool itself: nothing that runs after a death is written, and nothing before it that was not committed."""
    deaths = Deaths(connection)
    with deaths.installed():
        deaths.arm(3, after=True)
        with pytest.raises(Death, match="a dead process"), deaths.counting():
            try:
                with transaction.atomic():
                    Entry.objects.create(label="lost")
                    with transaction.atomic():
                        Entry.objects.create(label="lost too")
            finally:
                Entry.objects.create(label="by the dead")
        deaths.arm(0, after=False)
        with deaths.counting(), transaction.atomic():
            Entry.objects.create(label="by the living")
        assert deaths.commits == [len(deaths.points)]
        assert deaths.points[-1] == COMMIT
    assert list(Entry.objects.values_list("label", flat=True)) == ["by the living"]
