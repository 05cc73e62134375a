"""Timeouts of bodies: the interrupt lands inside of the body or nowhere, and leaves nothing behind.

The sweep fires the alarm at every single bytecode of the engine's code around a body, and of the body itself, in two
ways: as the interpreter does when a signal comes there (the handler that is installed is called with that frame), and
by `signal.raise_signal`, which makes it come while some other function runs that this frame has called.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction

from django_workflow.engine import attempts, current, deadline
from django_workflow.engine.attempts import Attempt, Body
from django_workflow.engine.current import CurrentStep
from django_workflow.engine.deadline import BodyTimedOut, call_within
from django_workflow.handler.commands import Answer
from django_workflow.payloads import decode_error
from django_workflow.states import StepKind, StepState
from tests.engine.elsewhere import elsewhere
from tests.shop.models import Ledger

ENGINE = {attempts.__file__, current.__file__, deadline.__file__}
FAR = 3600.0  # no timer of its own ever fires in a sweep
SHORT = 0.1
TIMED_OUT = "django_workflow.exceptions.StepTimedOut"

fallen: list[int] = []  # alarms that went to whoever had the signal before
log: list[Any] = []


def previous_handler(signum: int, frame: FrameType | None) -> None:
    fallen.append(signum)


@pytest.fixture(autouse=True)
def alarms_of_its_own() -> Iterator[None]:
    """What the process does with alarms; a timer that somebody has set for the test's own time is put aside."""
    before = signal.signal(signal.SIGALRM, previous_handler)
    timer = signal.setitimer(signal.ITIMER_REAL, 0)
    fallen.clear()
    log.clear()
    yield
    signal.signal(signal.SIGALRM, before)
    signal.setitimer(signal.ITIMER_REAL, *timer)


def assert_nothing_left() -> None:
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is previous_handler


# ── bodies ──────────────────────────────────────────────────────────────────────────────────────────────────


def returns() -> str:
    log.append("began")
    log.append("ended")
    return "done"


def raises() -> str:
    log.append("began")
    raise ValueError("its own")


def swallows() -> str:
    """Goes on as if nothing had been."""
    for _ in range(2):
        try:
            log.append("began")
        except BaseException:  # noqa: BLE001  that is what it is here for
            log.append("swallowed")
    return "done"


def renames() -> str:
    try:
        log.append("began")
    except BaseException as error:
        raise ValueError("made something else of it") from error
    return "done"


def cleans_up() -> str:
    try:
        log.append("began")
        return "done"
    finally:
        log.append("cleaned up")


def calls_deeper() -> str:
    return "".join(deeper(letter) for letter in "done")


def deeper(letter: str) -> str:
    return letter


def writes() -> str:
    Ledger.objects.create(key="written")
    return "done"


def sleeps() -> str:
    time.sleep(60)
    return "done"


def receives() -> str:
    here, there = socket.socketpair()
    with here, there:
        return str(here.recv(1))


def spins() -> str:
    while True:
        pass


def sleeps_and_swallows() -> str:
    try:
        time.sleep(60)
    except BaseException:  # noqa: BLE001  that is what it is here for
        log.append("swallowed")
    return "done"


def sleeps_and_renames() -> str:
    try:
        time.sleep(60)
    except BaseException as error:
        raise ValueError("made something else of it") from error
    return "done"


def sleeps_twice() -> str:
    """Needs to be told twice."""
    for _ in range(2):
        try:
            time.sleep(60)
        except BaseException:
            if log:
                raise
            log.append("swallowed")
    return "done"


async def awaits() -> str:
    try:
        await asyncio.sleep(60)
    finally:
        log.append("canceled")
    return "done"


async def awaits_and_swallows() -> str:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        log.append("swallowed")
    return "done"


async def awaits_and_renames() -> str:
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError as error:
        raise ValueError("made something else of it") from error
    return "done"


async def never_awaits() -> str:
    late()
    return "done"


async def times_out_by_itself() -> str:
    async with asyncio.timeout(0.001):
        await asyncio.sleep(60)
    return "done"


def body_of(function: Callable[..., Any], timeout: float | None) -> Body:
    step = CurrentStep(uuid4(), 1, 1, in_transaction=False, is_lost=lambda: False, report=lambda text: None)
    path = f"{__name__}.{function.__name__}"
    return Body(Attempt(step, function.__name__, path, "{}", timeout=timeout))


def end_of(answer: Answer) -> str:
    """`completed`, or the type of the error."""
    if answer.state is StepState.COMPLETED:
        return "completed"
    return decode_error(answer.text or "").type


# ── the sweep ───────────────────────────────────────────────────────────────────────────────────────────────


class Alarm:
    """A tracer that fires the alarm at the n-th bytecode of what it looks at; at 0: never, it only counts."""

    def __init__(self, at: int, function: Callable[..., Any], *, raises: bool = False) -> None:
        self.at = at
        self.count = 0
        self.where = ""
        self._raises = raises
        self._bodies = {function.__code__, deeper.__code__, *_codes(function)}

    def trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        code = frame.f_code
        if code.co_filename not in ENGINE and code not in self._bodies:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.count += 1
            if self.count == self.at:
                self.where = code.co_name
                self._fire(frame)
        return self.trace

    def _fire(self, frame: FrameType) -> None:
        if self._raises:
            signal.raise_signal(signal.SIGALRM)
        else:
            handler = signal.getsignal(signal.SIGALRM)
            assert callable(handler)
            handler(signal.SIGALRM, frame)


def _codes(function: Callable[..., Any]) -> list[Any]:
    """The code that is nested in a function's."""
    return [each for each in function.__code__.co_consts if hasattr(each, "co_code")]


def traced(function: Callable[[], Any], alarm: Alarm) -> Any:
    before = sys.gettrace()
    sys.settrace(alarm.trace)
    try:
        return function()
    finally:
        sys.settrace(before)


def sweep(
    function: Callable[..., Any], run: Callable[[Body], Answer], *, raises: bool
) -> dict[str, set[str]]:
    """Run a body once for each bytecode. How each time ended, by the name of the function where the alarm came."""
    run(body_of(function, FAR))  # what is imported and cached at the first time is not in the way
    counting = Alarm(0, function)
    traced(lambda: run(body_of(function, FAR)), counting)
    assert counting.count > 200
    ends: dict[str, set[str]] = {}
    fired = 0
    for at in range(1, counting.count + 1):
        alarm = Alarm(at, function, raises=raises)
        answer = traced(lambda: run(body_of(function, FAR)), alarm)
        assert_nothing_left()
        ends.setdefault(alarm.where, set()).add(end_of(answer))
        fired += bool(alarm.where)
    assert fired > 200
    return ends


def inside(function: Callable[..., Any]) -> set[str]:
    """The names of what belongs to the body's call: the last of the engine, the body itself, what it calls."""
    return {"body", "call", function.__name__, "deeper", "<genexpr>"}


@pytest.mark.parametrize("how", ["between two bytecodes", "below a frame"])
@pytest.mark.parametrize("function", [returns, raises, swallows, renames, cleans_up, calls_deeper])
def test_17_at_every_bytecode_the_interrupt_lands_inside_of_the_body_or_nowhere(
    function: Callable[..., Any], how: str
) -> None:
    ends = sweep(function, Body.run_alone, raises=how == "below a frame")
    own = "builtins.ValueError" if function is raises else "completed"
    for where, seen in ends.items():
        assert seen == ({TIMED_OUT} if where in inside(function) else {own}), where
    assert {"_interrupting", "call_within", "run_alone", "_call", "body", function.__name__} <= set(ends)
    assert fallen  # before it was armed, and after, the alarm went to whoever had it


@pytest.mark.django_db(transaction=True, available_apps=["django_workflow", "tests.shop"])
def test_17_r13_a_mutation_that_is_interrupted_anywhere_is_undone_with_its_transaction() -> None:
    def run(body: Body) -> Answer:
        Ledger.objects.all().delete()
        try:
            with transaction.atomic():
                answer = body.run_in_transaction(StepKind.MUTATION)
        except BodyTimedOut:
            answer = body.timed_out()
        assert Ledger.objects.count() == (answer.state is StepState.COMPLETED)
        return answer

    ends = sweep(writes, run, raises=False)
    watching = {
        "__call__",
        "_refusal",
    }  # the body's own statements go through them, and those of its savepoint
    for where, seen in ends.items():
        if where in watching:
            assert seen == {TIMED_OUT, "completed"}
        else:
            assert seen == ({TIMED_OUT} if where in inside(writes) else {"completed"}), where


def test_a_timer_that_somebody_has_set_is_set_again() -> None:
    signal.setitimer(signal.ITIMER_REAL, 1000, 7)
    assert call_within(FAR, returns) == "done"
    left, interval = signal.getitimer(signal.ITIMER_REAL)
    assert 0 < left <= 1000
    assert interval == 7
    assert signal.getsignal(signal.SIGALRM) is previous_handler


def test_a_timer_that_somebody_has_set_fires_late_rather_than_never() -> None:
    signal.setitimer(signal.ITIMER_REAL, SHORT / 2)
    with pytest.raises(BodyTimedOut):
        call_within(SHORT, sleeps)
    while not fallen:
        signal.pause()
    assert fallen == [signal.SIGALRM]
    assert_nothing_left()


# ── real alarms ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "function",
    [
        *(sleeps, receives, spins, sleeps_and_swallows, sleeps_and_renames, sleeps_twice),
        *(awaits, awaits_and_swallows, awaits_and_renames, never_awaits),
    ],
)
def test_17_a_body_that_takes_too_long_is_interrupted_wherever_it_is(function: Callable[..., Any]) -> None:
    answer = body_of(function, SHORT).run_alone()
    assert end_of(answer) == TIMED_OUT
    assert_nothing_left()
    assert fallen == []


def test_17_a_body_that_is_quick_enough_is_left_alone() -> None:
    for function in (returns, deeper_alone):
        assert end_of(body_of(function, FAR).run_alone()) == "completed"
    assert end_of(body_of(raises, FAR).run_alone()) == "builtins.ValueError"
    assert end_of(body_of(times_out_by_itself, FAR).run_alone()) == "builtins.TimeoutError"
    assert_nothing_left()


def deeper_alone() -> str:
    return deeper("x")


def test_17_what_ends_the_process_passes_through_and_leaves_nothing() -> None:
    def ends_the_process() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call_within(FAR, ends_the_process)
    assert_nothing_left()


def late() -> str:
    time.sleep(2 * SHORT)
    return "done"


def test_17_in_another_thread_what_comes_back_too_late_has_timed_out() -> None:
    assert threading.current_thread() is threading.main_thread()
    assert end_of(elsewhere(lambda: body_of(late, SHORT).run_alone())) == TIMED_OUT
    assert end_of(elsewhere(lambda: body_of(awaits, SHORT).run_alone())) == TIMED_OUT
    assert end_of(elsewhere(lambda: body_of(returns, FAR).run_alone())) == "completed"
    assert_nothing_left()
