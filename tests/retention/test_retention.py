"""Behaviour 42: the retention deletes finished workflows only, in batches, without long locks, children with parents."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_workflow import Completed, InProgress, WorkflowDefinition, workflow
from django_workflow.cluster import retention
from django_workflow.exceptions import InvalidArguments, WorkflowNotFound
from django_workflow.journal import clock
from django_workflow.models import Step, Workflow
from django_workflow.testing import Harness, SimulatedCrash
from tests.engine.committed import committed
from tests.engine.elsewhere import Elsewhere, before_statements, elsewhere
from tests.retention.definitions import adopts, child, fails, family, grandchild, rows, waits

NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def frozen(workflow_harness: Harness) -> Harness:
    """The harness with its clock standing still at `NOON`."""
    workflow_harness.freeze(NOON)
    return workflow_harness


@pytest.fixture
def keep_a_day() -> Iterator[None]:
    with override_settings(DJANGO_WORKFLOW={"RETENTION": DAY}):
        yield


def left() -> set[str]:
    return set(Workflow.objects.values_list("definition", flat=True))


# ── what goes, what stays ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("keep_a_day")
def test_42_only_what_finished_longer_ago_goes_whatever_its_end(frozen: Harness) -> None:
    frozen.run(grandchild)
    frozen.run(fails)
    workflow.cancel(waits.start())
    old = waits.start()
    frozen.advance(DAY)
    frozen.run(family)  # long after
    assert left() == {
        "retention.grandchild",
        "retention.fails",
        "retention.waits",
        "retention.family",
        "retention.child",
    }
    frozen.advance(timedelta(microseconds=1))
    assert left() == {"retention.waits", "retention.family", "retention.child", "retention.grandchild"}
    assert isinstance(workflow.status(old), InProgress)
    assert workflow.list(waits).count() == 1
    assert workflow.list(family, state="completed").count() == 1


@pytest.mark.usefixtures("keep_a_day")
def test_42_in_progress_for_years_it_stays_and_its_age_counts_from_its_end(frozen: Harness) -> None:
    run = waits.start()
    frozen.advance(1000 * DAY)
    workflow.send_event(run, "go", 5)
    frozen.drain()
    assert frozen.result(run) == 5
    frozen.advance(DAY)
    assert frozen.result(run) == 5
    frozen.advance(DAY)
    assert rows() == (0, 0, 0, 0)


@pytest.mark.usefixtures("keep_a_day")
def test_42_all_that_is_its_own_goes_with_it_children_too(frozen: Harness) -> None:
    run = family.using(labels={"customer": 42}, key="k").start()
    waiting = waits.using(labels={"customer": 42}).start()
    frozen.drain()
    workflow.send_event(waiting, "go", 1)
    workflow.send_event(waiting, "go", 2)
    frozen.drain()
    assert rows() == (6, 2 + 2 + 2 + 1, 2, 2)
    frozen.advance(2 * DAY)
    assert rows() == (0, 0, 0, 0)
    # The key is free again.
    assert family.using(key="k").start().id != run.id


@pytest.mark.usefixtures("keep_a_day")
def test_42_a_child_that_finished_long_ago_stays_while_its_parent_is_in_progress(frozen: Harness) -> None:
    run = adopts.start()
    frozen.drain()
    frozen.advance(10 * DAY)
    assert workflow.list(grandchild, state="completed").count() == 1
    workflow.send_event(run, "go")
    frozen.drain()
    frozen.advance(2 * DAY)
    assert rows() == (0, 0, 0, 0)


@pytest.mark.usefixtures("keep_a_day")
def test_42_a_descendant_in_progress_keeps_the_whole_family(frozen: Harness) -> None:
    frozen.run(family)
    for each in workflow.list(grandchild):
        workflow.restart(each, from_step=1)
    assert workflow.prune(timedelta(0)) == 0
    assert Workflow.objects.count() == 5
    frozen.advance(2 * DAY)  # runs them, then prunes: by its root's age
    assert rows() == (0, 0, 0, 0)


def test_42_what_has_to_stay_does_not_hide_what_comes_after_it(frozen: Harness) -> None:
    for _ in range(3):
        frozen.run(family)
        frozen.advance(timedelta(seconds=1))
    for each in workflow.list(grandchild):
        workflow.restart(each, from_step=1)
    workflow.pause("so that they stay in progress")
    kept = Workflow.objects.count()
    for _ in range(3):
        workflow.cancel(waits.start())
        frozen.advance(timedelta(seconds=1))
    assert workflow.prune(timedelta(0), limit=2) == 2
    assert workflow.prune(timedelta(0), limit=2) == 1
    assert Workflow.objects.count() == kept


def test_42_nothing_is_deleted_without_the_setting(frozen: Harness) -> None:
    frozen.run(grandchild)
    frozen.advance(10_000 * DAY)
    assert Workflow.objects.count() == 1


@pytest.mark.usefixtures("keep_a_day")
def test_42_a_retention_longer_than_time_deletes_nothing(frozen: Harness) -> None:
    frozen.run(grandchild)
    frozen.advance(timedelta(seconds=1))
    with override_settings(DJANGO_WORKFLOW={"RETENTION": timedelta(days=999_999)}):
        frozen.drain()
    assert workflow.prune(timedelta.max) == 0
    assert Workflow.objects.count() == 1


# ── in batches ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_42_prune_takes_the_oldest_first_and_no_more_than_its_limit(frozen: Harness) -> None:
    runs = []
    for _ in range(5):
        runs.append(grandchild.start())
        frozen.drain()
        frozen.advance(timedelta(hours=1))
    assert workflow.prune(timedelta(hours=2), limit=2) == 2
    assert set(workflow.list(grandchild)) == set(runs[2:])
    assert workflow.prune(timedelta(hours=2)) == 1
    assert workflow.prune(timedelta(hours=2)) == 0
    assert set(workflow.list(grandchild)) == set(runs[3:])


@pytest.mark.parametrize("bad", [None, 5, timedelta(seconds=-1), "30d"])
def test_42_prune_refuses_what_is_no_age(frozen: Harness, bad: timedelta) -> None:
    frozen.run(grandchild)
    with pytest.raises(InvalidArguments, match="older_than"):
        workflow.prune(bad)
    assert Workflow.objects.count() == 1


@pytest.mark.usefixtures("keep_a_day")
def test_42_a_sweep_goes_on_until_a_batch_is_not_full(
    frozen: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    workflow.start_many(grandchild, [()] * 10)
    frozen.drain()
    frozen.freeze(NOON + 2 * DAY)
    answers = iter([False, False, True])  # told to stop before the third batch
    assert retention.sweep(lambda: next(answers)) == 6
    assert Workflow.objects.count() == 4
    assert retention.sweep() == 4


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("keep_a_day")
def test_42_each_root_goes_in_a_transaction_of_its_own(frozen: Harness) -> None:
    workflow.start_many(family, [()] * 3)
    frozen.drain()
    frozen.freeze(NOON + 2 * DAY)
    frozen.crash_at(2)
    with pytest.raises(SimulatedCrash):
        retention.sweep()
    assert workflow.list(family).count() == 2
    assert Workflow.objects.count() == 2 * 5
    assert retention.sweep() == 2
    assert rows() == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("kept", "seconds"),
    [(None, None), (DAY, 600.0), (timedelta(minutes=10), 60.0), (timedelta(seconds=1), 10.0)],
)
def test_a_ticker_sweeps_ten_times_in_a_short_retention_and_never_seldom(
    kept: timedelta | None, seconds: float | None
) -> None:
    with override_settings(DJANGO_WORKFLOW={"RETENTION": kept}):
        assert retention.interval() == seconds


# ── beside others ─────────────────────────────────────────────────────────────────────────────────────────────────


@committed
@pytest.mark.parametrize("whose", ["root", "descendant"])
def test_42_what_somebody_holds_is_left_alone_without_waiting(frozen: Harness, whose: str) -> None:
    frozen.run(family)
    frozen.run(grandchild)
    frozen.advance(DAY)
    held = workflow.list(family).get() if whose == "root" else workflow.list(child).first()
    assert held is not None
    with transaction.atomic():
        Workflow.objects.select_for_update().get(id=held.id)
        if connection.vendor != "sqlite":  # there the whole database is held, and whoever writes waits
            assert elsewhere(lambda: workflow.prune(timedelta(0))) == 1
            assert Workflow.objects.count() == 5
    workflow.prune(timedelta(0))
    assert rows() == (0, 0, 0, 0)


def restart_before(at: int, victim: Workflow) -> tuple[int, bool | None]:
    """Prune, and restart `victim` elsewhere before the statement `at`.

    Returns how many statements there were, and whether the restart found it; None: it was not tried.
    """
    statements, locks = 0, 0
    found: bool | None = None

    def restart() -> bool:
        try:
            workflow.restart(victim, from_step=1)
        except WorkflowNotFound:
            return False
        return True

    def hook(sql: str) -> None:
        nonlocal statements, locks, found
        statements += 1
        if not connection.in_atomic_block:
            locks = 0
        # Once its row is locked, the other one can do nothing but wait for this one.
        held = connection.in_atomic_block and (
            connection.vendor == "sqlite" or locks > (0 if victim.parent_id is None else 1)
        )
        if statements == at and not held:
            found = elsewhere(restart)
        locks += "FOR UPDATE" in sql

    with before_statements(hook):
        workflow.prune(timedelta(0))
    return statements, found


@committed
@pytest.mark.parametrize("whose", [family, child, grandchild], ids=lambda each: each.name)
def test_42_what_is_restarted_at_that_moment_stays_whole_or_was_gone_before(
    frozen: Harness, whose: WorkflowDefinition[[], None]
) -> None:
    def victim() -> Workflow:
        frozen.run(family)
        frozen.advance(timedelta(seconds=1))
        return workflow.list(whose.name).order_by("id")[0]

    alone, _ = restart_before(0, victim())
    outcomes = set()
    for at in range(1, alone + 1):
        restarted = victim()
        _, found = restart_before(at, restarted)
        if found:
            frozen.drain()
            assert workflow.status(restarted) == Completed(None)
            assert workflow.list(family, state="completed").count() == 1
            assert Workflow.objects.count() == 5
        frozen.advance(timedelta(seconds=1))
        workflow.prune(timedelta(0))
        assert rows() == (0, 0, 0, 0)
        outcomes.add(found)
    assert True in outcomes


@committed
def test_42_two_that_prune_at_once(frozen: Harness) -> None:
    workflow.start_many(family, [()] * 4)
    frozen.drain()
    frozen.advance(timedelta(seconds=1))
    seen = 0
    others: list[Elsewhere[int]] = []

    def prune_too(sql: str) -> None:
        nonlocal seen
        seen += 1
        if seen in (1, 8):
            others.append(Elsewhere(lambda: workflow.prune(timedelta(0))))

    with before_statements(prune_too):
        mine = workflow.prune(timedelta(0))
    assert mine + sum(each.result() for each in others) == 4
    assert rows() == (0, 0, 0, 0)


# ── what it costs ─────────────────────────────────────────────────────────────────────────────────────────────────


def many(count: int, **columns: object) -> None:
    Workflow.objects.bulk_create(
        [
            Workflow(id=clock.new_id(), definition="retention.grandchild", created_at=NOON, **columns)
            for _ in range(count)
        ],
        batch_size=500,
    )


@committed  # MariaDB commits before it analyzes
def test_42_it_finds_what_is_old_by_an_index_among_many_that_are_not(frozen: Harness) -> None:
    many(3000, state="completed", completed_at=NOON)
    many(3000, state="in_progress", due_at=NOON + 365 * DAY)
    many(5, state="failed", completed_at=NOON - 2 * DAY)
    with connection.cursor() as cursor:
        cursor.execute({"mysql": "ANALYZE TABLE django_workflow_workflow"}.get(connection.vendor, "ANALYZE"))
        with CaptureQueriesContext(connection) as captured:
            assert workflow.prune(10 * DAY) == 0
        (sql,) = (str(each["sql"]) for each in captured.captured_queries)
        cursor.execute(("EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN ") + sql)
        plan = "\n".join(str(row) for row in cursor.fetchall())
    assert "workflow_completed" in plan
    for whole in ("SCAN django_workflow_workflow", "Seq Scan", "'ALL'", "filesort"):
        assert whole not in plan
    if connection.vendor == "postgresql":
        assert "Index Cond: (completed_at <" in plan
    assert workflow.prune(DAY) == 5


def test_42_the_cost_of_one_does_not_grow_with_the_table(frozen: Harness) -> None:
    def statements() -> int:
        frozen.run(grandchild)
        frozen.freeze(frozen.now() + timedelta(seconds=1))
        with CaptureQueriesContext(connection) as captured:
            assert workflow.prune(timedelta(0)) == 1
        return len(captured)

    first = statements()
    many(500, state="completed", completed_at=NOON + 365 * DAY)
    assert statements() == first
    assert Step.objects.count() == 0
