"""Behaviours 25 to 27, and 10 where events race: what is sent is kept, in order, and taken once (P5)."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.test import override_settings

from django_workflow import (
    Canceled,
    Completed,
    Event,
    Failed,
    InProgress,
    StepContext,
    action,
    mutation,
    query,
    workflow,
)
from django_workflow.exceptions import (
    DeterminismViolation,
    DuplicateDefinition,
    EventFailed,
    InvalidArguments,
    InvalidDefinition,
    LimitReached,
    NotStorable,
    PayloadTooLarge,
    QueryWrote,
    WorkflowFinished,
    WorkflowNotFound,
    dotted_path,
)
from django_workflow.models import Event as SentEvent
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.behaviours.bodies import CardDeclined, act, as_failure, calls, rows, write
from tests.behaviours.code import deploy, deployed
from tests.behaviours.conftest import NOON

pytestmark = pytest.mark.usefixtures("any_mode")
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass
class Verdict:
    by: str
    amount: Decimal
    notes: tuple[str, ...] = ()


APPROVED: Event[bool] = Event("events.approved", bool)
COUNTED: Event[int | None] = Event("events.counted", int | None)
JUDGED: Event[Verdict] = Event("events.judged", Verdict)
PRICED: Event[Decimal] = Event("events.priced", Decimal)


def unconsumed(run: Workflow) -> list[Any]:
    return [event.value for event in SentEvent.objects.filter(workflow=run).unconsumed().order_by("id")]


# ── 25: before, during, in order ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("when", ["before the first turn", "while it sleeps", "during the wait"])
def test_25_an_event_is_delivered_whenever_it_was_sent(frozen: Harness, when: str) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.sleep(HOUR)
        return [await step.wait_for_event("go"), await step.run_action(act, "after")]

    run = deployed.start()
    if when != "before the first turn":
        frozen.drain()
    if when == "during the wait":
        frozen.advance(HOUR)
    assert isinstance(workflow.status(run), InProgress)
    workflow.send_event(run.id, "go", {"by": ["Ann", 1, None]})
    assert calls == []
    frozen.drain()
    if when != "during the wait":
        frozen.advance(HOUR)
    assert frozen.result(run) == [{"by": ["Ann", 1, None]}, "after"]
    _, waited, _ = frozen.journal(run)
    (event,) = SentEvent.objects.filter(workflow=run)
    assert (waited.kind, waited.name, waited.state, waited.attempts) == ("event", "go", "completed", 0)
    assert (event.consumed_by_id, event.consumed_at, event.sent_at.year) == (waited.id, NOON + HOUR, 2031)
    frozen.assert_replays(run)


def test_25_an_event_wakes_a_workflow_that_nothing_else_would(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await step.wait_for_event("go")

    run = deployed.start()
    frozen.drain()
    assert workflow.get(run).due_at is None
    frozen.advance(365 * DAY)
    assert isinstance(workflow.status(run), InProgress)
    workflow.send_event(str(run.id), "go")
    assert workflow.get(run).due_at == NOON + 365 * DAY
    frozen.drain()
    assert workflow.status(run) == Completed(None)


def test_25_the_status_shows_what_it_waits_for(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await asyncio.gather(
            step.wait_for_event("one", timeout=HOUR), step.using(name="the other").wait_for_event("two")
        )

    run = deployed.start()
    frozen.drain()
    status = workflow.status(run)
    assert isinstance(status, InProgress)
    assert [(each.number, each.name, each.kind, each.state, each.due_at) for each in status.running] == [
        (1, "one", "event", "pending", NOON + HOUR),
        (2, "the other", "event", "pending", None),
    ]


def test_25_two_waits_take_two_events_in_order(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        first = await step.wait_for_event("go")
        await step.run_mutation(write, "between")
        return [first, await step.wait_for_event("go")]

    before, during = deployed.start(), deployed.start()
    for value in ("a", "b", "c"):
        workflow.send_event(before, "go", value)
    workflow_harness.drain()
    for value in ("a", "b"):
        workflow.send_event(during, "go", value)
        workflow_harness.drain()
    assert workflow_harness.result(before) == workflow_harness.result(during) == ["a", "b"]
    assert (unconsumed(before), unconsumed(during)) == (["c"], [])
    workflow_harness.assert_replays(before)


def test_25_waits_at_once_take_events_in_the_order_in_which_they_were_asked(
    workflow_harness: Harness,
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await asyncio.gather(
            step.wait_for_event("go"),
            step.wait_for_event("other"),
            step.wait_for_event("go"),
            step.wait_for_event("go"),
        )

    run = deployed.start()
    workflow.send_event(run, "go", 1)
    workflow_harness.drain()
    workflow.send_event(run, "go", 2)
    workflow.send_event(run, "go", 3)
    workflow_harness.drain()
    workflow.send_event(run, "other", 4)
    workflow_harness.drain()
    assert workflow_harness.result(run) == [1, 4, 2, 3]
    assert [step.seq for step in workflow_harness.journal(run)] == [1, 4, 2, 3]
    workflow_harness.assert_replays(run)


@pytest.mark.slow
def test_25_hundreds_of_events_are_taken_once_each_and_in_order(workflow_harness: Harness) -> None:
    many = 150

    @deploy
    async def handler(step: StepContext) -> Any:
        return [await step.wait_for_event("item") for _ in range(many)]

    run = deployed.start()
    for number in range(many):
        if number == many // 2:
            workflow_harness.drain()
        workflow.send_event(run, "item", number)
    workflow_harness.drain()
    assert workflow_harness.result(run) == list(range(many))
    assert SentEvent.objects.filter(workflow=run).values("consumed_by").distinct().count() == many


def test_25_a_wait_takes_no_event_of_another_name_or_workflow(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await step.wait_for_event("Go")

    run, other = deployed.start(), deployed.start()
    workflow_harness.drain()
    # Names that some databases take for equal.
    for name in ("go", "GO", "Go ", "Gó", "other"):
        workflow.send_event(run, name, name)
    workflow.send_event(other, "Go", "the other's")
    workflow_harness.drain()
    assert isinstance(workflow.status(run), InProgress)
    assert workflow_harness.result(other) == "the other's"
    workflow.send_event(run, "Go", "mine")
    workflow_harness.drain()
    assert workflow_harness.result(run) == "mine"
    assert unconsumed(run) == ["go", "GO", "Go ", "Gó", "other"]


def test_25_names_that_differ_in_case_time_out_each_by_itself(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await asyncio.gather(
            wait_or(step, "Go", 60),
            wait_or(step, "go", 30),
        )

    run = deployed.start()
    frozen.drain()
    frozen.freeze(NOON + timedelta(seconds=45))
    workflow.send_event(run, "go", "too late for the one, of another name for the other")
    frozen.freeze(NOON + HOUR)
    frozen.drain()
    assert frozen.result(run) == ["nothing", "nothing"]
    assert len(unconsumed(run)) == 1


async def wait_or(step: StepContext, name: Any, timeout: Any) -> Any:
    try:
        return await step.wait_for_event(name, timeout=timeout)
    except TimeoutError:
        return "nothing"


# ── 25: timeouts ────────────────────────────────────────────────────────────────────────────────────────────


def test_25_a_timeout_fires_and_can_be_caught(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        try:
            await step.wait_for_event("go", timeout=HOUR)
        except TimeoutError as error:
            failed = as_failure(error)
            await step.sleep(1)  # seen once more, from the journal
            return [failed.number, failed.step_name, str(error), step.now().isoformat()]

    run = deployed.start()
    frozen.drain()
    assert workflow.get(run).due_at == NOON + HOUR
    frozen.advance(HOUR - SECOND)
    assert isinstance(workflow.status(run), InProgress)
    frozen.advance(SECOND)
    frozen.advance(SECOND)
    number, name, text, now = frozen.result(run)
    assert (number, name, now) == (1, "go", (NOON + HOUR + SECOND).isoformat())
    assert "no event 'go' was sent within 3600 s" in text
    waited = frozen.journal(run)[0]
    assert (waited.state, waited.completed_at) == ("failed", NOON + HOUR)
    frozen.assert_replays(run)


def test_25_a_timeout_that_nobody_catches_fails_the_workflow(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.wait_for_event("go", timeout=60)

    status = workflow_harness.run(deployed)
    assert isinstance(status, Failed)
    assert (status.error.type, status.error.step) == ("builtins.TimeoutError", 1)
    assert status.error.message == "no event 'go' was sent within 60 s"


def test_25_an_event_after_the_timeout_stays_for_the_next_wait(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        first = await wait_or(step, "go", MINUTE)
        await step.sleep(HOUR)
        return [first, await step.wait_for_event("go")]

    run = deployed.start()
    frozen.drain()
    frozen.advance(2 * MINUTE)
    workflow.send_event(run, "go", "late")
    frozen.drain()
    assert isinstance(workflow.status(run), InProgress)
    frozen.advance(HOUR)
    assert frozen.result(run) == ["nothing", "late"]
    frozen.assert_replays(run)


@pytest.mark.parametrize("offset", [-30, -1, 0, 1, 30])
def test_25_r16_however_late_the_workflow_looks_the_deadline_decides(frozen: Harness, offset: int) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return [await wait_or(step, "go", MINUTE), await wait_or(step, "go", 0)]

    run = deployed.start()
    frozen.drain()
    frozen.freeze(NOON + MINUTE + timedelta(seconds=offset))
    workflow.send_event(run, "go", "value")
    frozen.freeze(NOON + 5 * DAY)  # nobody was there to look
    frozen.drain()
    in_time = offset <= 0
    assert frozen.result(run) == (["value", "nothing"] if in_time else ["nothing", "value"])
    frozen.assert_replays(run)


def test_25_a_wait_with_timeout_zero_takes_what_is_there_and_never_waits(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.sleep(HOUR)
        return [await wait_or(step, "go", timeout) for timeout in (0, 0.0, timedelta(0), -5, -DAY)]

    run = deployed.start()
    workflow.send_event(run, "go", 1)
    frozen.drain()
    workflow.send_event(run, "go", 2)
    frozen.advance(HOUR)
    assert frozen.result(run) == [1, 2, "nothing", "nothing", "nothing"]
    frozen.assert_replays(run)


def test_25_a_wait_without_timeout_in_between_of_two_that_have_one(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await asyncio.gather(
            wait_or(step, "go", MINUTE), step.wait_for_event("go"), wait_or(step, "go", HOUR)
        )

    run = deployed.start()
    frozen.drain()
    frozen.freeze(NOON + 2 * MINUTE)
    workflow.send_event(run, "go", "a")
    workflow.send_event(run, "go", "b")
    frozen.drain()
    assert frozen.result(run) == ["nothing", "a", "b"]
    assert [step.seq for step in frozen.journal(run)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "timeout", "told"),
    [
        (12, None, "event: 12"),
        ("", None, "event: ''"),
        ("a\nb", None, "event: 'a"),
        ("n" * 201, None, "event: 'nnn"),
        (None, None, "event: None"),
        ("go", "soon", "timeout: 'soon'"),
        ("go", float("nan"), "timeout: nan"),
        ("go", True, "timeout: True"),
        ("go", 10**12, "year 9999"),
        ("go", timedelta.max, "year 9999"),
    ],
)
def test_25_a_wait_for_nothing_that_can_be_waited_for_is_refused(
    workflow_harness: Harness, name: Any, timeout: Any, told: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        try:
            await step.wait_for_event(name, timeout)
        except InvalidArguments as error:
            return str(error)

    status = workflow_harness.run(deployed)
    assert isinstance(status, Completed)
    assert "step.wait_for_event()" in status.result
    assert told in status.result


@pytest.mark.parametrize(("name", "timeout"), [("stop", 60), ("go", 61), ("go", None)])
def test_12_a_wait_that_was_changed_is_a_violation(
    workflow_harness: Harness, name: str, timeout: int | None
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.wait_for_event("go", timeout=60)

    run = deployed.start()
    workflow_harness.drain()

    @deploy
    async def changed(step: StepContext) -> Any:
        await step.wait_for_event(name, timeout=timeout)

    workflow.send_event(run, "go")
    workflow_harness.drain()
    status = workflow.status(run)
    assert isinstance(status, Failed)
    assert status.error.type == dotted_path(DeterminismViolation)
    assert len(SentEvent.objects.filter(workflow=run).unconsumed()) == 1


# ── 26: what is sent ────────────────────────────────────────────────────────────────────────────────────────


def waiting(harness: Harness, count: int = 1) -> Workflow:
    """A workflow that waits for `count` events `go`, one after the other."""

    @deploy
    async def handler(step: StepContext) -> Any:
        return [await step.wait_for_event("go") for _ in range(count)]

    run = deployed.start()
    harness.drain()
    return run


def test_26_sent_in_a_transaction_that_rolls_back_it_never_arrives(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    before = workflow.get(run)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        workflow.send_event(run, "go", "never")
        raise ZeroDivisionError
    after = workflow.get(run)
    assert (after.wakes, after.due_at) == (before.wakes, before.due_at)
    assert not SentEvent.objects.exists()
    workflow_harness.drain()
    assert isinstance(workflow.status(run), InProgress)
    with transaction.atomic():
        workflow.send_event(run, "go", "once")
    workflow_harness.drain()
    assert workflow_harness.result(run) == ["once"]


def test_26_the_same_key_twice_delivers_once(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness, 2)
    first = workflow.send_event(run, "go", 1, key="delivery-1")
    again = workflow.send_event(run, "go", "other value", key="delivery-1")
    assert (again.id, again.value, again.key) == (first.id, 1, "delivery-1")
    workflow_harness.drain()
    late = workflow.send_event(run, "go", 2, key="delivery-1")  # the first has been taken meanwhile
    assert late.id == first.id
    assert late.consumed_at is not None
    workflow_harness.drain()
    assert isinstance(workflow.status(run), InProgress)
    assert workflow.send_event(run, "go", 2, key="Delivery-1").id != first.id  # other case, other key
    workflow_harness.drain()
    assert workflow_harness.result(run) == [1, 2]
    assert SentEvent.objects.count() == 2


def test_26_a_key_is_one_workflows_own_and_does_not_outlive_a_rollback(workflow_harness: Harness) -> None:
    one, other = waiting(workflow_harness), waiting(workflow_harness)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        workflow.send_event(one, "go", "never", key="k")
        raise ZeroDivisionError
    workflow.send_event(one, "go", 1, key="k")
    workflow.send_event(other, "go", 2, key="k")
    workflow_harness.drain()
    assert (workflow_harness.result(one), workflow_harness.result(other)) == ([1], [2])


def test_26_without_a_key_the_same_event_is_another_one(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness, 2)
    workflow.send_event(run, "go", "same")
    workflow.send_event(run, "go", "same")
    workflow_harness.drain()
    assert workflow_harness.result(run) == ["same", "same"]


@pytest.mark.parametrize(
    ("event", "value"),
    [
        (APPROVED, "perhaps"),
        (APPROVED, None),
        (APPROVED, 2),
        ("events.approved", "perhaps"),
        (COUNTED, "many"),
        (COUNTED, 1.5),
        (JUDGED, {"by": "Ann"}),
        (JUDGED, "Ann"),
        ("events.judged", {"by": "Ann", "amount": "much"}),
        (PRICED, "cheap"),
    ],
)
def test_26_a_value_of_another_type_is_refused_at_the_sender(
    workflow_harness: Harness, event: Any, value: Any
) -> None:
    run = waiting(workflow_harness)
    wakes = workflow.get(run).wakes
    with pytest.raises(InvalidArguments, match="value"):
        workflow.send_event(run, event, value)
    assert not SentEvent.objects.exists()
    assert workflow.get(run).wakes == wakes


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"event": 12}, "event: 12"),
        ({"event": ""}, "event: ''"),
        ({"event": "go\0"}, "event: 'go"),
        ({"event": "n" * 201}, "event: 'nnn"),
        ({"event": "go", "value": 1, "error": "no"}, "value and error"),
        ({"event": "go", "error": 12}, "error: 12"),
        ({"event": "go", "error": ValueError}, "error: <class 'ValueError'>"),
        ({"event": "go", "key": ""}, "key: ''"),
        ({"event": "go", "key": 7}, "key: 7"),
        ({"event": "go", "key": "k" * 201}, "key: 'kkk"),
        ({"event": "go", "key": "a\0b"}, "key: 'a"),
        ({"event": "go", "value": 1, "error": "no", "key": 7}, "key: 7"),
    ],
)
def test_26_what_can_not_be_sent_is_refused_and_nothing_stored(
    workflow_harness: Harness, given: dict[str, Any], told: str
) -> None:
    run = waiting(workflow_harness)
    with pytest.raises(InvalidArguments) as refused:
        workflow.send_event(run, **given)
    assert told in str(refused.value)
    assert not SentEvent.objects.exists()


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}, b"bytes", {"a": {object()}}])
def test_26_a_value_that_the_journal_can_not_keep_is_refused(workflow_harness: Harness, value: Any) -> None:
    run = waiting(workflow_harness)
    with pytest.raises((NotStorable, InvalidArguments), match=r"go|value"):
        workflow.send_event(run, "go", value)
    assert not SentEvent.objects.exists()


def test_26_a_value_over_the_limit_is_refused(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    with override_settings(DJANGO_WORKFLOW={"VALUE_LIMIT": 100}):
        workflow.send_event(run, "go", "x" * 98)
        with pytest.raises(PayloadTooLarge, match="'go'"):
            workflow.send_event(run, "go", "x" * 99)
    assert SentEvent.objects.count() == 1


def test_26_to_a_finished_workflow_is_a_typed_error(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, how: str) -> None:
        if how == "failed":
            raise ValueError
        if how == "canceled":
            await step.wait_for_event("go")

    for how in ("completed", "failed", "canceled"):
        run = deployed.start(how)
        workflow_harness.drain()
        if how == "canceled":
            run.cancel()
        for key in (None, "k"):
            with pytest.raises(WorkflowFinished, match=how):
                workflow.send_event(run, "go", key=key)
    assert not SentEvent.objects.exists()


def test_26_a_repetition_is_accepted_when_the_workflow_has_finished_meanwhile(
    workflow_harness: Harness,
) -> None:
    run = waiting(workflow_harness)
    first = workflow.send_event(run, "go", 1, key="delivery-1")
    workflow_harness.drain()
    assert workflow_harness.result(run) == [1]
    assert workflow.send_event(run, "go", 1, key="delivery-1").id == first.id
    with pytest.raises(WorkflowFinished):
        workflow.send_event(run, "go", 1, key="delivery-2")


def test_26_to_an_unknown_workflow_is_a_typed_error(workflow_harness: Harness) -> None:
    run = deployed.start()
    workflow_harness.drain()
    run.cleanup()
    for unknown in (run, run.id, str(run.id), "no id", ""):
        with pytest.raises(WorkflowNotFound):
            workflow.send_event(unknown, "go")
    assert not SentEvent.objects.exists()


def test_26_so_many_events_wait_at_most(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness, 4)
    with override_settings(DJANGO_WORKFLOW={"PENDING_EVENT_LIMIT": 3}):
        for number in range(3):
            workflow.send_event(run, "go", number, key=str(number))
        wakes = workflow.get(run).wakes
        with pytest.raises(LimitReached, match="PENDING_EVENT_LIMIT = 3"):
            workflow.send_event(run, "go", 3)
        with pytest.raises(LimitReached), transaction.atomic():
            workflow.send_event(run, "go", 3)
        assert workflow.get(run).wakes == wakes
        assert workflow.send_event(run, "go", 0, key="0").value == 0  # a repetition adds nothing
        workflow_harness.drain()
        workflow.send_event(run, "go", 3)  # what was taken no longer counts
    workflow_harness.drain()
    assert workflow_harness.result(run) == [0, 1, 2, 3]


def test_26_the_event_that_comes_back_can_be_read(frozen: Harness) -> None:
    run = waiting(frozen)
    sent = workflow.send_event(run, JUDGED, Verdict("Ann", Decimal("1.10")), key="k")
    assert (sent.workflow_id, sent.name, sent.key) == (run.id, "events.judged", "k")
    assert sent.value == {"by": "Ann", "amount": "1.10", "notes": []}
    assert (sent.error, sent.consumed_at, sent.sent_at) == (None, None, NOON)


# ── types ───────────────────────────────────────────────────────────────────────────────────────────────────

VALUES: list[tuple[Event[Any], Any]] = [
    (APPROVED, True),
    (APPROVED, False),
    (COUNTED, 3),
    (COUNTED, None),
    (JUDGED, Verdict("Ann", Decimal("1.10"), ("a", "b"))),
    (PRICED, Decimal("1E+3")),
]
TOLD: list[Any] = []


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize(("event", "value"), VALUES)
def test_a_value_comes_back_as_what_it_was(
    workflow_harness: Harness, event: Event[Any], value: Any, by_name: bool
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        told = await step.wait_for_event(event.name if by_name else event)
        TOLD.append((type(told), told))
        await step.sleep(1)

    TOLD.clear()
    run = deployed.start()
    workflow.send_event(run, event.name if by_name else event, value)
    workflow_harness.drain()
    workflow_harness.advance(MINUTE)
    assert workflow.status(run) == Completed(None)
    assert len(TOLD) >= 2  # live, and on replay
    assert set(map(repr, TOLD)) == {repr((type(value), value))}


def test_an_event_without_a_type_takes_any_json(workflow_harness: Harness) -> None:
    anything: Event[Any] = Event("events.anything")
    run = waiting(workflow_harness)
    assert workflow.send_event(run, anything, [1, {"a": None}]).value == [1, {"a": None}]
    workflow.send_event(run, "go", "\U0001f600 \0")
    workflow_harness.drain()
    assert workflow_harness.result(run) == ["\U0001f600 \0"]


def test_the_same_name_with_another_type_is_a_duplicate() -> None:
    assert Event("events.approved", bool) == APPROVED
    assert Event("events.counted", int | None) == COUNTED
    for other in (int, bool | None, Any):
        with pytest.raises(DuplicateDefinition, match=r"events\.approved"):
            Event("events.approved", other)
    Event("events.Approved", int)


@pytest.mark.parametrize("name", ["", "a\nb", "n" * 201, 12, None, b"go"])
def test_an_event_needs_a_name(name: Any) -> None:
    with pytest.raises(InvalidDefinition, match="name"):
        Event(name, bool)


# ── 27: while something else runs, and errors ───────────────────────────────────────────────────────────────


@action
def send_from_an_action(workflow_id: str, value: Any) -> None:
    calls.append("sent")
    workflow.send_event(workflow_id, "go", value)


@mutation
def send_from_a_mutation(workflow_id: str, value: Any) -> None:
    calls.append("sent")
    workflow.send_event(workflow_id, "go", value)


@mutation
def send_and_raise(workflow_id: str, value: Any) -> None:
    calls.append("sent")
    workflow.send_event(workflow_id, "go", value)
    raise CardDeclined("after it was sent")


@query
def send_from_a_query(workflow_id: str, value: Any) -> None:
    workflow.send_event(workflow_id, "go", value)


@pytest.mark.parametrize("inline", [None, False])
@pytest.mark.parametrize("kind", ["action", "mutation"])
def test_27_an_event_that_its_own_step_sends_is_kept(
    workflow_harness: Harness, kind: str, inline: bool | None
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        context = step.using(inline=inline)
        if kind == "action":
            await context.run_action(send_from_an_action, str(step.workflow_id), "own")
        else:
            await context.run_mutation(send_from_a_mutation, str(step.workflow_id), "own")
        await step.run_action(act, "something else")
        return await step.wait_for_event("go")

    run = deployed.start()
    workflow_harness.drain()
    assert workflow_harness.result(run) == "own"
    assert calls.count("sent") == 1
    workflow_harness.assert_replays(run)


@pytest.mark.parametrize("inline", [None, False])
def test_27_an_event_sent_by_a_mutation_that_fails_never_was(
    workflow_harness: Harness, inline: bool | None
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        try:
            await step.using(inline=inline).run_mutation(send_and_raise, str(step.workflow_id), "never")
        except CardDeclined:
            return await wait_or(step, "go", HOUR)

    assert workflow_harness.run(deployed) == Completed("nothing")
    assert not SentEvent.objects.exists()


@pytest.mark.parametrize("inline", [None, False])
def test_27_a_query_may_not_send(workflow_harness: Harness, inline: bool | None) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        try:
            await step.using(inline=inline).run_query(send_from_a_query, str(step.workflow_id), 1)
        except QueryWrote:
            return await wait_or(step, "go", 0)

    assert workflow_harness.run(deployed) == Completed("nothing")
    assert not SentEvent.objects.exists()


def test_27_a_wait_beside_the_step_that_sends_gets_it(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await asyncio.gather(
            step.wait_for_event("go"),
            step.run_mutation(send_from_a_mutation, str(step.workflow_id), "from beside"),
        )

    run = deployed.start()
    workflow_harness.drain()
    assert workflow_harness.result(run) == ["from beside", None]
    workflow_harness.assert_replays(run)


SEEN: list[Any] = []


@pytest.mark.parametrize(
    ("error", "type_", "message", "text"),
    [
        ("out of stock", dotted_path(EventFailed), "out of stock", "carries an error: out of stock"),
        (CardDeclined("no money"), dotted_path(CardDeclined), "no money", "CardDeclined: no money"),
        (TimeoutError("the sender's"), "builtins.TimeoutError", "the sender's", "TimeoutError: the sender's"),
        ("", dotted_path(EventFailed), "", "carries an error"),
    ],
)
def test_27_an_error_sent_instead_of_a_value_raises_at_the_wait_live_and_on_replay(
    workflow_harness: Harness, error: Any, type_: str, message: str, text: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        try:
            await step.wait_for_event(APPROVED, timeout=HOUR)
        except EventFailed as failed:
            SEEN.append((failed.event, failed.number, failed.error.type, failed.error.message, str(failed)))
            await step.sleep(1)
            return "caught"
        return "nothing raised"

    SEEN.clear()
    run = deployed.start()
    sent = workflow.send_event(run, APPROVED, error=error)
    assert sent.value is None
    assert sent.error is not None
    assert (sent.error.type, sent.error.message) == (type_, message)
    workflow_harness.drain()
    workflow_harness.advance(MINUTE)
    assert workflow_harness.result(run) == "caught"
    assert len(SEEN) >= 2
    assert len(set(SEEN)) == 1
    event, number, told_type, told, whole = SEEN[0]
    assert (event, number, told_type, told) == ("events.approved", 1, type_, message)
    assert text in whole
    assert workflow_harness.journal(run)[0].state == "failed"


def test_27_an_error_that_nobody_catches_fails_the_workflow(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.run_action(act)
        await step.wait_for_event("go")

    run = deployed.start()
    try:
        raise CardDeclined("no money")
    except CardDeclined as declined:
        workflow.send_event(run, "go", error=declined)
    workflow_harness.drain()
    status = workflow.status(run)
    assert isinstance(status, Failed)
    assert (status.error.type, status.error.step) == (dotted_path(EventFailed), 2)
    assert "no money" in status.error.message
    assert "test_27_an_error_that_nobody_catches" in status.error.traceback  # where the sender raised it


def test_27_an_event_is_kept_while_everything_is_paused(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness, 2)
    workflow.pause("maintenance")
    workflow.send_event(run, "go", 1)
    workflow_harness.drain()
    status = workflow.status(run)
    assert isinstance(status, InProgress)
    assert status.paused == "maintenance"
    assert unconsumed(run) == [1]
    workflow.send_event(run, "go", 2)
    workflow.resume()
    workflow_harness.drain()
    assert workflow_harness.result(run) == [1, 2]


def test_27_an_event_to_a_parked_workflow_waits_for_its_restart(
    workflow_harness: Harness, any_mode: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.wait_for_event("first")
        return await step.wait_for_event("go")

    run = deployed.start()
    workflow_harness.drain()

    @deploy
    async def broken(step: StepContext) -> Any:
        return await step.wait_for_event("another")

    with override_settings(DJANGO_WORKFLOW={"ON_DETERMINISM_VIOLATION": "pause"}):
        workflow.send_event(run, "first")
        workflow_harness.drain()
        status = workflow.status(run)
        assert isinstance(status, InProgress)
        assert status.paused
        workflow.send_event(run, "go", "kept")
        assert workflow.get(run).due_at is None  # R8
        assert workflow_harness.advance(DAY) == 0
    deploy(handler)
    workflow.restart(run)
    workflow_harness.drain()
    assert workflow_harness.result(run) == "kept"


def test_27_an_event_starts_no_workflow_before_its_time(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return [step.now().isoformat(), await step.wait_for_event("go", timeout=0)]

    run = deployed.using(run_at=NOON + HOUR).start()
    workflow.send_event(run, "go", "early")
    assert workflow.get(run).due_at == NOON + HOUR
    assert frozen.drain() == 0
    frozen.advance(HOUR)
    assert frozen.result(run) == [(NOON + HOUR).isoformat(), "early"]


def test_27_what_nobody_took_is_on_record_when_the_workflow_ends(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    workflow.send_event(run, "go", 1)
    workflow.send_event(run, "go", 2)
    workflow.send_event(run, "other", 3)
    workflow_harness.drain()
    assert workflow_harness.result(run) == [1]
    assert unconsumed(run) == [2, 3]
    assert run.cleanup()
    assert not SentEvent.objects.exists()


def test_28_a_wait_of_a_canceled_workflow_takes_nothing_more(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    workflow.send_event(run, "go", "sent")
    assert workflow.cancel(run, "enough")
    workflow_harness.drain()
    assert workflow.status(run) == Canceled("enough")
    assert [step.state for step in workflow_harness.journal(run)] == ["canceled"]
    assert unconsumed(run) == ["sent"]


# ── 10: races ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sent_after", [None, 30, 60, 61, 90])
@pytest.mark.parametrize("late", [False, True])
def test_10_an_event_against_a_sleep_ends_one_way_for_ever(
    frozen: Harness, sent_after: int | None, late: bool
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        first = await step.first_completed(step.wait_for_event("go"), step.sleep(60))
        await step.run_mutation(write, "after the race")
        await step.sleep(HOUR)
        return [*first, await wait_or(step, "go", 0)]

    run = deployed.start()
    frozen.drain()
    for second in (30, 60, 61, 90):
        frozen.freeze(NOON + timedelta(seconds=second))
        if second == sent_after:
            workflow.send_event(run, "go", "value")
        if not late:
            frozen.drain()
    frozen.advance(2 * HOUR)
    frozen.advance(2 * HOUR)
    in_time = sent_after is not None and sent_after <= 60
    later = "nothing" if sent_after is None else "value"
    assert frozen.result(run) == ([0, "value", "nothing"] if in_time else [1, None, later])
    states = [step.state for step in frozen.journal(run)][:2]
    assert states == (["completed", "canceled"] if in_time else ["canceled", "completed"])
    assert rows("after the race") == 1
    frozen.assert_replays(run)


def test_10_an_asyncio_timeout_around_a_wait_gives_it_up_and_the_event_stays(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        try:
            async with asyncio.timeout(60):
                first = await step.wait_for_event("go")
        except TimeoutError:
            first = "timeout"
        return [first, await step.wait_for_event("go")]

    run = deployed.start()
    frozen.drain()
    frozen.advance(MINUTE)
    workflow.send_event(run, "go", "late")
    frozen.drain()
    assert frozen.result(run) == ["timeout", "late"]
    assert [step.state for step in frozen.journal(run)] == ["completed", "canceled", "completed"]
    frozen.assert_replays(run)


def test_10_of_two_events_the_first_sent_wins(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        winner, value = await step.first_completed(step.wait_for_event("yes"), step.wait_for_event("no"))
        return [winner, value, await wait_or(step, "yes", 0)]

    run = deployed.start()
    frozen.drain()
    workflow.send_event(run, "no", "n")
    frozen.freeze(NOON + SECOND)
    workflow.send_event(run, "yes", "y")
    frozen.drain()
    assert frozen.result(run) == [1, "n", "y"]
    frozen.assert_replays(run)


def test_10_a_loser_takes_no_event_even_when_it_comes_in_the_same_turn(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        winner, _ = await step.first_completed(step.run_mutation(write, "won"), step.wait_for_event("go"))
        return [winner, await step.wait_for_event("go")]

    run = deployed.start()
    frozen.drain()
    workflow.send_event(run, "go", "kept")
    frozen.drain()
    assert frozen.result(run) == [0, "kept"]


def test_10_events_as_they_come(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        waits = [step.wait_for_event(name) for name in ("a", "b", "c")]
        return [await task async for task in step.as_completed(*waits)]

    run = deployed.start()
    workflow_harness.drain()
    for name in ("c", "a", "b"):
        workflow.send_event(run, name, name)
        workflow_harness.drain()
    assert workflow_harness.result(run) == ["c", "a", "b"]
    workflow_harness.assert_replays(run)


# ── the doors ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.django_db(transaction=True)
def test_every_way_to_send(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness, 6)

    async def send() -> None:
        await workflow.asend_event(run.id, "go", 3)
        await run.asend_event("go", 4)
        with pytest.raises(WorkflowNotFound):
            await workflow.asend_event("no id", "go")
        with pytest.raises(InvalidArguments):
            await run.asend_event(APPROVED, "perhaps", key="k")

    workflow.send_event(run, "go", 1)
    run.send_event("go", 2)
    async_to_sync(send)()
    assert run.send_event("go", 5, key="k").id == run.send_event("go", 5, key="k").id
    async_to_sync(run.asend_event)("go", 6, key="another")
    workflow_harness.drain()
    assert workflow_harness.result(run) == [1, 2, 3, 4, 5, 6]


def test_the_harness_runs_on_until_only_an_event_can_wake_it(frozen: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.sleep(30 * DAY)
        first = await wait_or(step, "never", 90 * DAY)
        return [first, await step.wait_for_event("go")]

    status = frozen.run(deployed)
    assert isinstance(status, InProgress)
    assert [(each.kind, each.name) for each in status.running] == [("event", "go")]
    assert frozen.now() == NOON + 120 * DAY
    run = workflow.list(deployed).get()
    run.send_event("go", "at last")
    frozen.drain()
    assert frozen.result(run) == ["nothing", "at last"]
