"""Events between threads: P5, and R8, R11, R16, R20 and R21 where they are about events."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.test import override_settings

from django_workflow import Completed, Event, StepContext, workflow
from django_workflow.engine.drain import drain, known, take_one
from django_workflow.exceptions import LimitReached, WorkflowFinished
from django_workflow.journal import claims, processes
from django_workflow.models import Event as SentEvent
from django_workflow.models import Workflow
from django_workflow.testing import Harness, SimulatedCrash
from tests.engine import bodies
from tests.engine.committed import committed
from tests.engine.elsewhere import (
    PATIENCE,
    Elsewhere,
    before_statements,
    elsewhere,
    is_fence,
    may_be_locked,
    wait,
)
from tests.shop.models import Entry

pytestmark = committed
NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PAST_A_LEASE = timedelta(seconds=31)
GO: Event[Any] = Event("rules.go")


@workflow.define(name="rules.events.wait")
async def wait_a_minute(step: StepContext) -> Any:
    """Waits for a minute, and writes what came."""
    try:
        came = await step.wait_for_event(GO, timeout=MINUTE)
    except TimeoutError:
        came = "nothing"
    await step.run_mutation(bodies.write, came)
    return came


@workflow.define(name="rules.events.act")
async def act_and_look(step: StepContext) -> Any:
    """An action, and whether an event is there when it has ended."""
    got = await step.run_action(bodies.act, "acted")
    try:
        return [got, await step.wait_for_event(GO, timeout=0)]
    except TimeoutError:
        return [got, "nothing"]


@workflow.define(name="rules.events.take")
async def take(step: StepContext, many: int) -> Any:
    """So many events, each written, and an action in between."""
    taken = []
    for number in range(many):
        value = await step.wait_for_event(GO)
        taken.append(value)
        await step.run_mutation(bodies.write, str(value))
        await step.run_action(bodies.act, str(number))
    return taken


@workflow.define(name="rules.events.tell")
async def tell(step: StepContext, other: str) -> Any:
    """Sends to another workflow by a mutation, and waits for that one to do the same."""
    other = other or str(await step.wait_for_event("other"))
    await step.run_mutation(bodies.write, other)
    return await step.wait_for_event(GO)


@pytest.fixture
def workflow_harness(transactional_db: None) -> Iterator[Harness]:
    """The harness, on a database on which other threads see what is committed."""
    with Harness() as harness:
        yield harness


def taken(run: Workflow) -> list[Any]:
    events = SentEvent.objects.filter(workflow=run).exclude(consumed_at=None).order_by("consumed_by__number")
    assert None not in events.values_list("consumed_by", flat=True)
    return [event.value for event in events]


# ── R8 ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_r8_an_event_steals_no_live_lease_and_is_not_lost_by_it(workflow_harness: Harness) -> None:
    workflow_harness.freeze(NOON)
    run = wait_a_minute.start()
    workflow_harness.drain()
    run.send_event(GO, "x")
    (claimed,) = claims.claim_workflows(processes.token(), None, known(), 1)
    run.send_event(GO, "y")
    run.refresh_from_db()
    assert (run.lease_owner, run.due_at) == (claimed.token, NOON + timedelta(seconds=30))
    assert run.wakes == claimed.wakes + 1
    assert elsewhere(lambda: drain(None)) == 0
    workflow_harness.advance(PAST_A_LEASE)
    assert workflow_harness.result(run) == "x"


def test_r8_r9_no_interleaving_of_an_event_and_a_turn_loses_the_event(workflow_harness: Harness) -> None:
    """The turn has something else to do; the event comes before each of its statements."""
    workflow_harness.freeze(NOON)
    points = 0
    for point in count():
        run = take.start(2)
        run.send_event(GO, "first")
        sent = before_statement(point, partial(run.send_event, GO, "second"))
        # No clock is moved from here on: whoever is not due now never will be.
        workflow_harness.drain()
        if not sent:
            break
        points += 1
        assert workflow.status(run) == Completed(["first", "second"]), f"lost before {sent}"
        assert taken(run) == ["first", "second"]
        workflow_harness.assert_replays(run)
    assert points > 3


def before_statement(point: int, call: Callable[[], Any], only: Callable[[str], bool] | None = None) -> str:
    """Drain, and call elsewhere before the drain's n-th statement that leaves room for it.

    Returns the statement; "" when there were fewer.
    """
    seen, hit = 0, ""

    def hook(sql: str) -> None:
        nonlocal seen, hit
        if hit or may_be_locked(sql) or (only is not None and not only(sql)):
            return
        if seen == point:
            hit = sql
            elsewhere(call)
        seen += 1

    with before_statements(hook):
        drain(None)
    return hit


# ── R16 ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_r16_an_event_at_the_very_deadline_wins(workflow_harness: Harness) -> None:
    workflow_harness.freeze(NOON)
    at, after = wait_a_minute.start(), wait_a_minute.start()
    workflow_harness.drain()
    workflow_harness.freeze(NOON + MINUTE)
    at.send_event(GO, "at the deadline")
    workflow_harness.freeze(NOON + MINUTE + timedelta(milliseconds=1))
    after.send_event(GO, "after it")
    workflow_harness.drain()
    assert workflow_harness.result(at) == "at the deadline"
    assert workflow_harness.result(after) == "nothing"
    assert (taken(at), taken(after)) == (["at the deadline"], [])


def test_r16_an_event_in_time_wins_though_it_comes_while_the_turn_gives_the_wait_up(
    workflow_harness: Harness,
) -> None:
    """At each place of the turn before its fence; what the turn has done for the timeout is undone."""
    hit: list[str] = []
    for point in count():
        Entry.objects.all().delete()
        start = NOON + timedelta(days=point)
        workflow_harness.freeze(start)
        run = wait_a_minute.start()
        workflow_harness.drain()
        workflow_harness.freeze(start + MINUTE)  # the deadline: what is sent now is in time
        before = statements_until_fence(point, partial(run.send_event, GO, "value"))
        if not before:
            break
        hit.append(before)
        workflow_harness.advance(MINUTE)  # past the turn's backoff
        assert workflow.status(run) == Completed("value"), f"lost before {before}"
        assert taken(run) == ["value"]
        assert list(Entry.objects.values_list("label", flat=True)) == ["value"]
        workflow_harness.assert_replays(run)
    if connection.vendor == "sqlite":
        assert hit  # from the transaction's begin on nobody else writes
    else:
        assert any("workflow_event" in sql for sql in hit)
        assert is_fence(hit[-1])  # the last moment at which anyone can


def statements_until_fence(point: int, call: Callable[[], Any]) -> str:
    """Drain; call elsewhere before its n-th statement from the claim on, up to its first fence."""
    seen, hit, claimed, over = 0, "", False, False

    def hook(sql: str) -> None:
        nonlocal seen, hit, claimed, over
        if not claimed:
            claimed = "workflow_step" in sql  # the journal is loaded next: the claim has been committed
        if not claimed or over or hit:
            return
        if connection.vendor == "sqlite" and (sql.startswith("BEGIN") or connection.in_atomic_block):
            over = sql != "BEGIN"
            if connection.in_atomic_block:
                return
        if seen == point:
            hit = sql
            elsewhere(call)
        seen += 1
        over = over or is_fence(sql)

    with before_statements(hook):
        drain(None)
    return hit


def test_r16_a_commit_that_an_event_has_overtaken_is_not_tried_again(workflow_harness: Harness) -> None:
    """The event is there to stay: the same writes would be refused each time."""
    workflow_harness.freeze(NOON)
    run = act_and_look.start()
    with workflow_harness.replace(bodies.act, with_=lambda label: label):
        tried: list[str] = []

        def hook(sql: str) -> None:
            begins = sql.startswith("BEGIN") if connection.vendor == "sqlite" else is_fence(sql)
            step = run.steps().first()
            if begins and step is not None and step.state == "completed":
                tried.append(sql)
                if len(tried) == 1:
                    elsewhere(lambda: run.send_event(GO, "in time"))

        with before_statements(hook):
            assert take_one(run.id)
    assert len(tried) == 1
    workflow_harness.advance(MINUTE)
    assert workflow.status(run) == Completed(["acted", "in time"])


def test_r16_r11_a_turn_given_up_for_an_event_repeats_no_action(workflow_harness: Harness) -> None:
    """The action's result is in hand when its wait is given up: it is committed by itself first."""
    workflow_harness.freeze(NOON)
    run = act_and_look.start()
    ran: list[str] = []

    def body(label: str) -> str:
        ran.append(label)
        return label

    sends: list[str] = []

    def hook(sql: str) -> None:
        # Behind the action: the turn looks for events, finds none, and is about to commit the timeout.
        last = "workflow_event" in sql and ran and not sends
        if last and not (connection.vendor == "sqlite" and connection.in_atomic_block):
            looked.append(sql)
        if ran and not sends and len(looked) > 1 and not may_be_locked_now(sql):
            sends.append(sql)
            elsewhere(lambda: run.send_event(GO, "in time"))

    looked: list[str] = []
    with workflow_harness.replace(bodies.act, with_=body), before_statements(hook):
        drain(None)
        workflow_harness.advance(MINUTE)
    assert sends
    assert ran == ["acted"]
    assert workflow.status(run) == Completed(["acted", "in time"])
    assert workflow_harness.journal(run)[0].attempts == 1


def may_be_locked_now(sql: str) -> bool:
    if connection.vendor == "sqlite":
        return connection.in_atomic_block
    return connection.in_atomic_block and not is_fence(sql)


def test_r16_a_sender_that_commits_while_the_fence_waits_for_it_is_in_time(workflow_harness: Harness) -> None:
    """The sender has the row, and its event is sent, when the turn arrives at its fence."""
    if connection.vendor == "sqlite":
        return_to_the_one_writer(workflow_harness)
        return
    workflow_harness.freeze(NOON)
    run = wait_a_minute.start()
    workflow_harness.drain()
    workflow_harness.freeze(NOON + MINUTE)
    sent, at_fence = threading.Event(), threading.Event()
    senders: list[Elsewhere[None]] = []

    def send() -> None:
        with transaction.atomic():
            run.send_event(GO, "value")
            sent.set()
            wait(at_fence)

    def hook(sql: str) -> None:
        if "workflow_step" in sql and not senders:  # claimed
            senders.append(Elsewhere(send))
            wait(sent)
        elif is_fence(sql):
            at_fence.set()

    with before_statements(hook):
        drain(None)
    senders[0].result()
    workflow_harness.advance(MINUTE)
    assert workflow.status(run) == Completed("value")
    assert list(Entry.objects.values_list("label", flat=True)) == ["value"]


def return_to_the_one_writer(harness: Harness) -> None:
    """SQLite has one writer: a sender's transaction that is open keeps the claim itself waiting."""
    harness.freeze(NOON)
    run = wait_a_minute.start()
    harness.drain()
    harness.freeze(NOON + MINUTE)
    sent, claiming = threading.Event(), threading.Event()

    def send() -> None:
        with transaction.atomic():
            run.send_event(GO, "value")
            sent.set()
            wait(claiming)

    sender = Elsewhere(send)
    wait(sent)
    with before_statements(lambda sql: claiming.set() if sql.startswith("BEGIN") else None):
        harness.drain()
    sender.result()
    harness.drain()
    assert workflow.status(run) == Completed("value")


# ── R20, R21 ────────────────────────────────────────────────────────────────────────────────────────────────


def test_r20_a_sender_updates_the_workflow_before_it_inserts(workflow_harness: Harness) -> None:
    run = take.start(1)
    statements: list[str] = []
    with before_statements(statements.append):
        run.send_event(GO, "x", key="k")
    writes = [sql for sql in statements if sql.startswith(("UPDATE", "INSERT"))]
    assert ["workflow_workflow" in writes[0], "workflow_event" in writes[1], len(writes)] == [True, True, 2]


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """The calls, each in a thread of its own, as much at once as threads can be. Raises what they raised."""
    barrier = threading.Barrier(len(calls), timeout=PATIENCE)

    def meet(call: Callable[[], Any]) -> Any:
        connection.ensure_connection()
        barrier.wait()
        return call()

    threads = [Elsewhere(partial(meet, call)) for call in calls]
    return [thread.result() for thread in threads]


def test_r20_events_sent_at_once_never_deadlock(workflow_harness: Harness) -> None:
    """In the callers' own transactions, where nothing would be retried."""
    run = take.start(1)

    def send(sender: int) -> None:
        for number in range(10):
            with transaction.atomic():
                run.send_event(GO, [sender, number])

    at_once(*(partial(send, sender) for sender in range(3)))
    values = [event.value for event in SentEvent.objects.order_by("id")]
    assert sorted(values) == [[sender, number] for sender in range(3) for number in range(10)]
    for sender in range(3):  # ids are in the order of the commits
        assert [number for who, number in values if who == sender] == list(range(10))
    run.refresh_from_db()
    assert run.wakes == 30


def test_26_the_same_key_twice_at_once_delivers_once(workflow_harness: Harness) -> None:
    run = take.start(1)
    for number in range(8):
        key = f"delivery {number}"
        ids = at_once(*(lambda: run.send_event(GO, number, key=key).id for _ in range(3)))  # noqa: B023
        assert len(set(ids)) == 1
    assert [event.value for event in SentEvent.objects.order_by("id")] == list(range(8))


def test_26_a_key_whose_first_sender_rolls_back_is_the_second_ones(workflow_harness: Harness) -> None:
    run = take.start(1)
    sent = threading.Event()
    go_on = threading.Event()

    def send_in_vain() -> None:
        with transaction.atomic():
            run.send_event(GO, "in vain", key="k")
            sent.set()
            wait(go_on)
            transaction.set_rollback(True)

    first = Elsewhere(send_in_vain)
    wait(sent)
    second = Elsewhere(lambda: run.send_event(GO, "for good", key="k"))
    go_on.set()
    first.result()
    second.result()
    workflow_harness.drain()
    assert workflow_harness.result(run) == ["for good"]


def test_26_the_limit_holds_for_senders_at_once(workflow_harness: Harness) -> None:
    run = take.start(1)

    def send() -> bool:
        try:
            run.send_event(GO, "x")
        except LimitReached:
            return False
        return True

    with override_settings(DJANGO_WORKFLOW={"PENDING_EVENT_LIMIT": 3}):
        assert sum(at_once(*(send for _ in range(6)))) == 3
    assert SentEvent.objects.count() == 3


if settings.DATABASE == "mariadb":

    def test_r21_a_sender_sees_the_key_that_others_have_committed_since_its_transaction_began(
        workflow_harness: Harness,
    ) -> None:
        run = take.start(1)
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        try:
            with transaction.atomic():
                assert SentEvent.objects.count() == 0  # the snapshot
                first = elsewhere(lambda: run.send_event(GO, "first", key="k").id)
                assert run.send_event(GO, "second", key="k").id == first
        finally:
            connection.close()
        assert [event.value for event in SentEvent.objects.all()] == ["first"]


if settings.DATABASE != "sqlite":  # its one writer leaves no room for two open transactions

    def test_r13_r20_two_workflows_whose_mutations_send_to_each_other_both_get_on(
        workflow_harness: Harness,
    ) -> None:
        one = tell.start("")
        other = tell.start(str(one.id))
        one.send_event("other", str(other.id))
        both = threading.Barrier(2)
        met: list[str] = []

        def body(label: str) -> None:
            Entry.objects.create(label=label)
            first = len(met) < 2
            if first:
                met.append(label)
                both.wait(PATIENCE)  # both are claimed, so that neither claim finds the other's lock
            workflow.send_event(label, GO, "hello")
            if first:
                both.wait(PATIENCE)  # each holds the other's row now, and wants its own

        with workflow_harness.replace(bodies.write, with_=body):
            workers = [Elsewhere(lambda: take_one(one.id)), Elsewhere(lambda: take_one(other.id))]
            for worker in workers:
                worker.result()
            for _ in range(5):
                workflow_harness.advance(MINUTE)
        assert [workflow.status(run) for run in (one, other)] == [Completed("hello"), Completed("hello")]
        assert len(met) == 2
        assert Entry.objects.count() == 2
        assert SentEvent.objects.filter(name=GO.name).count() == 2


# ── P5 ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_p5_two_workers_take_each_event_once_and_in_order(workflow_harness: Harness) -> None:
    runs = [take.start(6) for _ in range(3)]

    def send_and_work() -> None:
        for run in runs:
            for number in range(3):
                run.send_event(GO, number)
                drain(None)

    at_once(send_and_work, send_and_work)
    workflow_harness.drain()
    for run in runs:
        assert sorted(workflow_harness.result(run)) == [0, 0, 1, 1, 2, 2]
        sent = [event.value for event in SentEvent.objects.filter(workflow=run).order_by("id")]
        assert workflow_harness.result(run) == taken(run) == sent  # first sent, first taken
        workflow_harness.assert_replays(run)


@pytest.mark.parametrize("mode", [{}, {"ALWAYS_SUSPEND": True}])
@pytest.mark.parametrize("after", [False, True])
def test_p5_a_crash_at_any_commit_neither_loses_an_event_nor_takes_it_twice(
    workflow_harness: Harness, after: bool, mode: dict[str, Any]
) -> None:
    workflow_harness.freeze(NOON)
    # One transaction for each turn's bodies, however slow the machine.
    with override_settings(DJANGO_WORKFLOW={"TURN_COMMIT_MS": 1e9, **mode}):
        for n in count(1):
            Entry.objects.all().delete()
            run = take.start(3)
            run.send_event(GO, "a")
            run.send_event(GO, "b")
            workflow_harness.crash_at(n, after=after)
            crashed = False
            sent_last = False
            for _ in range(8):
                try:
                    workflow_harness.advance(PAST_A_LEASE)
                    if not sent_last:
                        run.send_event(GO, "c", key="c")
                        sent_last = True
                except SimulatedCrash:
                    crashed = True
                if workflow.get(run).finished:
                    break
            workflow_harness.crash_at(0)
            assert workflow.status(run) == Completed(["a", "b", "c"]), f"crash at commit {n}"
            assert taken(run) == ["a", "b", "c"]
            assert sorted(Entry.objects.values_list("label", flat=True)) == ["a", "b", "c"]
            workflow_harness.assert_replays(run)
            if not crashed:
                break
        assert n > 6


def test_p5_an_event_to_a_workflow_that_ends_at_the_same_moment_is_taken_kept_or_refused(
    workflow_harness: Harness,
) -> None:
    """Sent before each statement of its last turn: never an event that was accepted and is gone."""
    accepted: list[bool] = []

    def send(run: Workflow) -> None:
        try:
            run.send_event(GO, "one more")
        except WorkflowFinished:
            accepted.append(False)
        else:
            accepted.append(True)

    for point in count():
        run = wait_a_minute.start()
        run.send_event(GO, "last")
        sent = before_statement(point, partial(send, run))
        workflow_harness.drain()
        assert workflow_harness.result(run) == "last"
        assert taken(run) == ["last"]
        if not sent:
            break
        left = [event.value for event in SentEvent.objects.filter(workflow=run).unconsumed()]
        assert left == (["one more"] if accepted[-1] else [])
    assert set(accepted) == {True, False}
