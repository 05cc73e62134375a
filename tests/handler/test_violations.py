"""What no handler may do, and no `except` can hide: asking for something else than the journal holds, and getting stuck."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from django_workflow.exceptions import DeterminismViolation, WorkflowStuck
from django_workflow.handler import loop
from django_workflow.handler.commands import Blocked, Violated
from django_workflow.handler.context import StepContext
from tests.handler.bodies import double, echo, fail, other
from tests.handler.drive import Live, answer_of, replayed

# ── another handler than the journal's (behaviour 12) ───────────────────────────────────────────────────────────


async def recorded(step: StepContext) -> Any:
    await step.run_action(echo, 1)
    await step.sleep(60)
    await step.run_query(echo, 2)
    return await step.run_mutation(echo, 3)


async def changed_kind(step: StepContext) -> None:
    await step.run_mutation(echo, 1)


async def changed_name(step: StepContext) -> None:
    await step.using(name="renamed").run_action(echo, 1)


async def changed_function(step: StepContext) -> None:
    await step.run_action(other, 1)


async def changed_function_under_one_name(step: StepContext) -> None:
    await step.using(name="echo").run_action(other, 1)


async def changed_argument(step: StepContext) -> None:
    await step.run_action(echo, 10)


async def changed_sleep(step: StepContext) -> None:
    await step.run_action(echo, 1)
    await step.sleep(61)


async def changed_sleep_to_asyncio(step: StepContext) -> None:
    await step.run_action(echo, 1)
    await asyncio.sleep(61)


async def changed_sleep_to_timeout(step: StepContext) -> None:
    await step.run_action(echo, 1)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(61):
            await step.run_query(echo, 2)


async def removed_in_the_middle(step: StepContext) -> None:
    await step.run_action(echo, 1)
    await step.run_query(echo, 2)


async def new_in_between(step: StepContext) -> None:
    await step.run_action(echo, 1)
    await step.run_action(echo, 1)
    await step.sleep(60)


async def removed_at_the_end(step: StepContext) -> None:
    await step.run_action(echo, 1)
    await step.sleep(60)
    await step.run_query(echo, 2)


async def removed_all(step: StepContext) -> None:
    return None


async def gave_up_what_was_delivered(step: StepContext) -> None:
    task = asyncio.create_task(step.run_action(echo, 1))
    await asyncio.sleep(0)
    task.cancel()
    await step.sleep(60)
    await step.run_query(echo, 2)


CHANGES: list[tuple[Callable[..., Any], int, str, str]] = [
    (changed_kind, 1, 'action echo {"value":1}', 'asked for mutation echo {"value":1}'),
    (changed_name, 1, 'action echo {"value":1}', 'action renamed = tests.handler.bodies.echo {"value":1}'),
    (changed_function, 1, 'action echo {"value":1}', 'asked for action other {"value":1}'),
    (changed_function_under_one_name, 1, "action echo", "action echo = tests.handler.bodies.other"),
    (changed_argument, 1, 'action echo {"value":1}', 'asked for action echo {"value":10}'),
    (changed_sleep, 2, 'sleep sleep {"seconds":60.0}', 'asked for sleep sleep {"seconds":61.0}'),
    (changed_sleep_to_asyncio, 2, 'sleep sleep {"seconds":60.0}', 'sleep sleep {"seconds":61.0}'),
    (changed_sleep_to_timeout, 2, 'sleep sleep {"seconds":60.0}', '{"seconds":61.0}'),
    (removed_in_the_middle, 2, 'sleep sleep {"seconds":60.0}', 'asked for query echo {"value":2}'),
    (new_in_between, 2, 'sleep sleep {"seconds":60.0}', 'asked for action echo {"value":1}'),
    (removed_at_the_end, 4, 'mutation echo {"value":3}', ""),
    (removed_all, 1, 'action echo {"value":1}', ""),
    (gave_up_what_was_delivered, 1, 'action echo {"value":1}', ""),
]


def journal_of_recorded() -> Any:
    with Live(recorded) as run:
        return run.finish().journal()


def assert_violated(run: Live, position: int, has: str, wants: str) -> None:
    error = run.violation
    assert isinstance(error, DeterminismViolation)
    assert not isinstance(error, Exception)
    assert error.position == position
    assert has in str(error.recorded)
    assert wants in str(error)
    assert f"step {position}" in str(error)


@pytest.mark.parametrize(("handler", "position", "has", "wants"), CHANGES)
def test_a_changed_handler_is_a_violation_that_says_where_and_what(
    handler: Any, position: int, has: str, wants: str
) -> None:
    """Behaviour 12."""
    assert_violated(replayed(handler, journal_of_recorded()), position, has, wants)


async def under_except_exception(step: StepContext, handler: Any) -> Any:
    try:
        return await handler(step)
    except Exception:  # noqa: BLE001
        return "hidden"


async def under_bare_except(step: StepContext, handler: Any) -> Any:
    try:
        return await handler(step)
    except:  # noqa: E722
        return "hidden"


async def under_except_and_more_steps(step: StepContext, handler: Any) -> Any:
    try:
        return await handler(step)
    except BaseException:  # noqa: BLE001
        await step.run_action(echo, 1)
        await asyncio.sleep(1)
        return await asyncio.gather(step.run_action(echo, 1), return_exceptions=True)


async def under_finally_return(step: StepContext, handler: Any) -> Any:
    try:
        return await handler(step)
    finally:
        return "hidden"  # noqa: B012, SIM107


async def under_gather(step: StepContext, handler: Any) -> Any:
    return await asyncio.gather(handler(step), return_exceptions=True)


async def under_a_retry_loop(step: StepContext, handler: Any) -> Any:
    while True:
        try:
            return await handler(step)
        except:  # noqa: E722, S110
            pass


HIDING = [
    under_except_exception,
    under_bare_except,
    under_except_and_more_steps,
    under_finally_return,
    under_gather,
    under_a_retry_loop,
]


@pytest.mark.filterwarnings("ignore:'return' in a 'finally' block")
@pytest.mark.parametrize("hide", HIDING)
@pytest.mark.parametrize(("handler", "position", "has", "wants"), CHANGES[:-1])
def test_a_violation_can_not_be_hidden(hide: Any, handler: Any, position: int, has: str, wants: str) -> None:
    """Behaviour 12: `except Exception`, a bare `except` and the like change nothing, and the journal doesn't grow."""

    async def hidden(step: StepContext) -> Any:
        return await hide(step, handler)

    journal = journal_of_recorded()
    run = replayed(hidden, journal)
    assert_violated(run, position, has, wants)
    assert len(run.replay.commands) <= len(journal)


def test_a_violation_in_a_task_that_nobody_awaits_counts() -> None:
    async def handler(step: StepContext) -> None:
        held = asyncio.create_task(changed_sleep(step))
        await asyncio.Event().wait()
        await held

    with Live(recorded) as run:
        run.settle(1)
    journal = run.journal()
    with Live(handler, journal=journal, committed=True) as again:
        assert_violated(again, 2, 'sleep sleep {"seconds":60.0}', '{"seconds":61.0}')


def test_a_violation_in_a_plain_callback_counts() -> None:
    async def handler_of(step: StepContext, seconds: int) -> None:
        running = asyncio.get_running_loop()
        running.call_soon(running.call_later, seconds, print)
        await step.run_action(echo)

    async def before(step: StepContext) -> None:
        await handler_of(step, 5)

    async def after(step: StepContext) -> None:
        await handler_of(step, 6)

    with Live(before) as run:
        journal = run.journal()
    error = replayed(after, journal).violation
    assert isinstance(error, DeterminismViolation)


def test_a_pending_step_is_compared_too() -> None:
    with Live(recorded) as run:
        run.settle(1)
    assert_violated(replayed(changed_sleep, run.journal()), 2, '{"seconds":60.0}', '{"seconds":61.0}')


def test_a_blocked_handler_must_have_asked_for_all_that_is_recorded() -> None:
    async def before(step: StepContext) -> None:
        await asyncio.gather(step.run_action(echo, 1), step.run_action(echo, 2))

    async def after(step: StepContext) -> None:
        await step.run_action(echo, 1)

    with Live(before) as run:
        journal = run.journal()
    assert_violated(replayed(after, journal), 2, 'action echo {"value":2}', "")


def test_a_handler_that_waits_for_what_it_once_gave_up_is_a_violation() -> None:
    """No answer will ever come for a step that was settled as canceled."""

    async def gives_up(step: StepContext) -> None:
        loser = asyncio.create_task(step.run_action(echo, "loser"))
        await step.sleep(5)
        loser.cancel()
        await step.run_action(echo, "next")

    async def waits_for_what_was_given_up(step: StepContext) -> None:
        loser = asyncio.create_task(step.run_action(echo, "loser"))
        await step.sleep(5)
        await asyncio.gather(step.run_action(echo, "next"), loser)

    with Live(gives_up) as run:
        run.settle(1)
        assert run.replay.canceled == {2}
    assert_violated(replayed(waits_for_what_was_given_up, run.journal()), 2, "loser", "waits for it")


def test_a_handler_with_more_steps_at_its_end_goes_on() -> None:
    """What comes after the journal is new, and no violation."""

    async def longer(step: StepContext) -> Any:
        await recorded(step)
        return await step.run_action(double, 4)

    with Live(recorded) as run:
        journal = run.finish().journal()
    with Live(longer, journal=journal) as again:
        assert again.finish().result == 8


def test_the_first_violation_is_the_one_that_is_kept() -> None:
    async def handler(step: StepContext) -> None:
        with contextlib.suppress(BaseException):
            await step.run_action(echo, "first")
        with contextlib.suppress(BaseException):
            await asyncio.to_thread(print)
        await step.run_action(echo, "second")

    assert_violated(replayed(handler, journal_of_recorded()), 1, '{"value":1}', '{"value":"first"}')


def test_long_arguments_are_shortened_in_the_text() -> None:
    async def handler(step: StepContext) -> None:
        await step.run_action(echo, "x" * 10_000)

    text = str(replayed(handler, journal_of_recorded()).violation)
    assert "xxx" in text
    assert len(text) < 1_000


# ── stuck (behaviour 13) ────────────────────────────────────────────────────────────────────────────────────────


async def waits_for_an_event(step: StepContext) -> None:
    await asyncio.Event().wait()


async def waits_for_a_queue(step: StepContext) -> None:
    await asyncio.Queue[int]().get()


async def waits_for_a_future(step: StepContext) -> None:
    await asyncio.get_running_loop().create_future()


async def waits_for_locks(step: StepContext) -> None:
    one, two = asyncio.Lock(), asyncio.Lock()

    async def take(first: asyncio.Lock, second: asyncio.Lock) -> None:
        async with first:
            await step.run_action(echo)
            async with second:
                await step.run_action(echo)

    await asyncio.gather(take(one, two), take(two, one))


async def waits_for_a_task_that_waits(step: StepContext) -> None:
    async def forever() -> None:
        await asyncio.Condition().wait_for(lambda: False)

    with contextlib.suppress(BaseException):
        await step.run_action(fail)
    async with asyncio.TaskGroup() as group:
        group.create_task(forever())


async def waits_for_an_unlocked_condition(step: StepContext) -> None:
    condition = asyncio.Condition()
    async with condition:
        await condition.wait()


STUCK = [
    waits_for_an_event,
    waits_for_a_queue,
    waits_for_a_future,
    waits_for_locks,
    waits_for_an_unlocked_condition,
]


@pytest.mark.parametrize("handler", STUCK)
def test_a_handler_that_waits_for_what_never_comes_is_stuck(handler: Any) -> None:
    """Behaviour 13: it never hangs silently."""
    with Live(handler) as run:
        while isinstance(run.outcome, Blocked):
            run.settle(run.waiting[0])
        error = run.violation
    assert isinstance(error, WorkflowStuck)
    assert not isinstance(error, Exception)
    assert str(run.replay.world.workflow_id) in str(error)


def test_a_handler_that_waits_for_a_step_besides_is_not_stuck_yet() -> None:
    async def handler(step: StepContext) -> None:
        await asyncio.gather(waits_for_an_event(step), step.sleep(5))

    with Live(handler) as run:
        assert run.waiting == [1]
        run.settle(1)
        assert isinstance(run.violation, WorkflowStuck)


def test_stuck_on_replay_is_stuck_too() -> None:
    with Live(waits_for_locks) as run:
        run.settle(*run.waiting)
        assert isinstance(run.violation, WorkflowStuck)
    assert isinstance(replayed(waits_for_locks, run.journal()).violation, WorkflowStuck)


def test_a_handler_that_spins_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "POLL_LIMIT", 10_000)

    async def handler(step: StepContext) -> None:
        done = asyncio.ensure_future(step.run_action(echo))
        while not done.done():  # noqa: ASYNC110
            await asyncio.sleep(0)

    with Live(handler) as run:
        assert isinstance(run.violation, WorkflowStuck)
        assert "never comes to rest" in str(run.violation)


def test_a_handler_that_asks_again_and_again_for_what_is_refused_is_stuck() -> None:
    async def handler(step: StepContext) -> None:
        while True:
            try:
                return await step.run_action(echo, object())
            except Exception:  # noqa: BLE001, S112
                continue

    with Live(handler) as run:
        assert isinstance(run.outcome, Violated)
        assert isinstance(run.violation, WorkflowStuck)
        assert "again and again" in str(run.violation)
    assert run.replay.commands == []


def test_nothing_counts_after_a_violation() -> None:
    async def handler(step: StepContext) -> None:
        await step.run_action(echo, 1)
        with contextlib.suppress(BaseException):
            await asyncio.to_thread(print)
        step.logger.info("after")
        await step.run_action(echo, 2)

    with Live(handler) as run:
        run.deliver(1, answer_of(run.replay.commands[0]))
        assert isinstance(run.outcome, Violated)
        assert run.asked == ['echo {"value":1}']
