"""What a handler can touch besides its steps: options, time, dice, log, custom status; and what may be a step."""

import asyncio
import functools
import logging
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from django_workflow.exceptions import (
    DjangoWorkflowError,
    InvalidArguments,
    LimitReached,
    NotStorable,
    PayloadTooLarge,
    StepKindMismatch,
    UsageError,
)
from django_workflow.handler.commands import Command, Limits
from django_workflow.handler.context import StepContext
from django_workflow.handler.functions import function_path, import_function
from django_workflow.states import StepKind
from tests.handler.bodies import Holder, act, double, echo, other, read, write
from tests.handler.drive import BEGAN, ROOMY, WORKFLOW, Live, assert_replays, define, live, replayed

# ── using() ─────────────────────────────────────────────────────────────────────────────────────────────────────


def first_command(handler: Any) -> Command:
    with Live(handler) as run:
        return run.replay.commands[0]


def test_options_are_of_the_copy_chain_and_the_later_one_wins() -> None:
    async def handler(step: StepContext) -> None:
        base = step.using(name="base", inline=False)
        changed = base.using(name="changed", unstable_args=True).using(unstable_args=False)
        await asyncio.gather(
            step.run_action(echo),
            base.run_action(echo),
            changed.run_action(echo),
            base.using(inline=True).run_action(echo),
        )

    with Live(handler) as run:
        asked = [
            (command.name, command.inline, command.unstable_args, command.due_at)
            for command in run.replay.commands
        ]
    assert asked == [
        ("echo", None, False, None),
        ("base", False, False, None),
        ("changed", False, False, None),
        ("base", True, False, None),
    ]


def test_run_at_and_run_after_replace_each_other() -> None:
    moment = datetime(2026, 6, 1, 12, tzinfo=timezone(timedelta(hours=2)))

    async def handler(step: StepContext) -> None:
        late = step.using(run_after=90)
        await asyncio.gather(
            late.run_action(echo),
            step.using(run_after=timedelta(minutes=1)).run_action(echo),
            late.using(run_at=moment).run_action(echo),
            late.using(run_at=moment).using(run_after=2).run_action(echo),
        )

    with Live(handler) as run:
        due = [command.due_at for command in run.replay.commands]
    assert due == [
        BEGAN + timedelta(seconds=90),
        BEGAN + timedelta(minutes=1),
        datetime(2026, 6, 1, 10, tzinfo=UTC),
        BEGAN + timedelta(seconds=2),
    ]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"run_at": datetime(2026, 1, 1)}, "datetime.datetime(2026, 1, 1"),
        ({"run_at": "tomorrow"}, "'tomorrow'"),
        ({"run_after": "5"}, "'5'"),
        ({"run_after": math.nan}, "nan"),
        ({"run_after": math.inf}, "inf"),
        ({"run_after": True}, "True"),
        ({"run_at": BEGAN, "run_after": 5}, "run_at and run_after"),
        ({"inline": 1}, "1"),
        ({"inline": "yes"}, "'yes'"),
        ({"unstable_args": 0}, "0"),
    ],
)
def test_a_bad_option_is_refused_and_named(options: dict[str, Any], named: str) -> None:
    """P13."""

    async def handler(step: StepContext) -> None:
        step.using(**options)

    with pytest.raises(InvalidArguments) as refused:
        _ = live(handler).result
    assert named in str(refused.value)
    assert next(iter(options)) in str(refused.value)


@pytest.mark.parametrize("name", ["", "x" * 201, "two\nlines", 5, "\0"])
def test_a_bad_step_name_is_refused_and_named(name: Any) -> None:
    async def handler(step: StepContext) -> None:
        step.using(name=name)

    with pytest.raises(UsageError) as refused:
        _ = live(handler).result
    assert repr(name) in str(refused.value)


# ── sleeping ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("duration", "args", "seconds"),
    [
        (5, '{"seconds":5.0}', 5),
        (5.0, '{"seconds":5.0}', 5),
        (timedelta(days=400), '{"seconds":34560000.0}', 34_560_000),
        (0, '{"seconds":0.0}', 0),
        (-3, '{"seconds":0.0}', 0),
        (timedelta(days=-1), '{"seconds":0.0}', 0),
    ],
)
def test_a_sleep_is_recorded_with_its_duration(duration: Any, args: str, seconds: float) -> None:
    """Behaviour 23: zero and negative ones are over at once, and journaled."""

    async def handler(step: StepContext) -> None:
        await step.sleep(duration)

    command = first_command(handler)
    assert (command.kind, command.name, command.function, command.args) == ("sleep", "sleep", "", args)
    assert command.due_at == BEGAN + timedelta(seconds=seconds)


@pytest.mark.parametrize("seconds", [7, 7.0])
def test_every_way_to_sleep_is_told_alike(seconds: float) -> None:
    async def by_step(step: StepContext) -> None:
        await step.sleep(seconds)

    async def by_asyncio(step: StepContext) -> None:
        await asyncio.sleep(seconds)

    assert first_command(by_step) == first_command(by_asyncio)


def test_sleep_until_is_an_instant() -> None:
    moment = datetime(2026, 3, 29, 2, 30, tzinfo=timezone(timedelta(hours=1)))

    async def handler(step: StepContext) -> None:
        await step.using(name="nap").sleep_until(moment)

    command = first_command(handler)
    assert (command.name, command.args) == ("nap", '{"until":"2026-03-29T01:30:00+00:00"}')
    assert command.due_at == moment


@pytest.mark.parametrize(
    "call",
    [
        lambda step: step.sleep("5"),
        lambda step: step.sleep(math.nan),
        lambda step: step.sleep(math.inf),
        lambda step: step.sleep(True),
        lambda step: step.sleep(None),
        lambda step: step.sleep(1e15),
        lambda step: step.sleep_until(datetime(2026, 1, 1)),
        lambda step: step.sleep_until(5),
        lambda step: step.using(run_after=1e15).run_action(echo),
    ],
)
def test_a_bad_time_is_refused_and_nothing_is_asked(call: Callable[[StepContext], Any]) -> None:
    async def handler(step: StepContext) -> None:
        await call(step)

    run = live(handler)
    with pytest.raises(InvalidArguments):
        _ = run.result
    assert run.replay.commands == []


@pytest.mark.parametrize("seconds", [math.inf, 1e15])
def test_asyncio_sleep_beyond_all_time_is_an_error_of_the_handler(seconds: float) -> None:
    async def handler(step: StepContext) -> str:
        try:
            await asyncio.sleep(seconds)
        except OverflowError:
            return "too long"
        return "?"

    assert live(handler).result == "too long"


# ── what may be a step ──────────────────────────────────────────────────────────────────────────────────────────


def wrapping(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


wrapped = wrapping(echo)
decorated_name = wrapping(other)


@wrapping
def properly_decorated(value: int) -> int:
    return value


def closure() -> Callable[..., Any]:
    def inside() -> None:
        """A worker can't import this."""

    return inside


async def a_handler(step: StepContext) -> None:
    """Of a definition."""


NOT_STEPS = [
    (lambda: None, "a lambda"),
    (closure(), "defined inside another function"),
    (Holder().method, "method"),
    (functools.partial(echo, 1), "partial"),
    (wrapped, "imports as something else"),
    (len, "builtin"),
    (Holder, "type"),
    (Holder(), "Holder"),
    ("tests.handler.bodies.echo", "str"),
    (None, "NoneType"),
    (define(a_handler), "is a workflow definition"),
]


@pytest.mark.parametrize(("function", "reason"), NOT_STEPS)
@pytest.mark.parametrize("run_as", ["run_query", "run_mutation", "run_action"])
def test_what_no_worker_could_import_is_no_step(function: Any, reason: str, run_as: str) -> None:
    """P13: refused with the reason, and nothing is asked."""

    async def handler(step: StepContext) -> None:
        await getattr(step, run_as)(function)

    run = live(handler)
    with pytest.raises(InvalidArguments) as refused:
        _ = run.result
    assert reason in str(refused.value)
    assert run.replay.commands == []


@pytest.mark.parametrize(
    ("function", "path"),
    [
        (echo, "tests.handler.bodies.echo"),
        (Holder.static, "tests.handler.bodies.Holder.static"),
        (properly_decorated, "tests.handler.test_context.properly_decorated"),
    ],
)
def test_a_function_of_a_module_or_a_class_is_found_by_its_path(function: Any, path: str) -> None:
    assert function_path(function, StepKind.ACTION) == path
    assert import_function(path) is function


@pytest.mark.parametrize(
    "path", ["nowhere.at_all", "tests.handler.bodies.missing", "tests.handler.bodies.Holder.missing", "x"]
)
def test_a_path_that_leads_nowhere_is_an_import_error(path: str) -> None:
    with pytest.raises(ImportError):
        import_function(path)


@pytest.mark.parametrize(
    ("function", "allowed"), [(read, "run_query"), (write, "run_mutation"), (act, "run_action")]
)
@pytest.mark.parametrize("run_as", ["run_query", "run_mutation", "run_action"])
def test_a_mark_is_held_against_the_call(function: Any, allowed: str, run_as: str) -> None:
    async def handler(step: StepContext) -> Any:
        return await getattr(step, run_as)(function, 5)

    run = live(handler)
    if run_as == allowed:
        assert run.result == 5
    else:
        with pytest.raises(StepKindMismatch, match=f"is marked @{allowed.removeprefix('run_')}"):
            _ = run.result


def test_bad_arguments_of_a_step_are_all_listed_and_nothing_is_asked() -> None:
    async def handler(step: StepContext) -> Any:
        try:
            await step.run_action(double, "two", 3)  # type: ignore[call-overload]
        except InvalidArguments as error:
            return [str(error), await step.run_action(double, 4)]

    run = live(handler)
    text, result = run.result
    assert "two" in text
    assert result == 8
    assert run.asked == ['double {"value":4}']


def test_what_can_not_be_stored_is_refused_and_nothing_is_asked() -> None:
    async def handler(step: StepContext) -> None:
        await step.run_action(echo, {"deep": [object()]})

    run = live(handler)
    with pytest.raises(NotStorable, match=r"step 1 \(echo\)"):
        _ = run.result
    assert run.replay.commands == []


# ── limits ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def many(step: StepContext, count: int) -> int:
    for number in range(count):
        await step.run_action(double, number)
    return count


def test_the_step_limit_is_reached_at_the_same_step_live_and_on_replay() -> None:
    limits = Limits(ROOMY.value, ROOMY.journal, steps=3)
    assert live(many, 3, limits=limits).result == 3
    with Live(many, 4, limits=limits) as run:
        run.finish()
    again = replayed(many, run.journal(), 4, limits=limits)
    for ended in (run, again):
        with pytest.raises(LimitReached, match="STEP_LIMIT = 3"):
            _ = ended.result
        assert len(ended.replay.commands) == 3


def test_what_is_on_record_is_within_its_limit_whatever_the_limit_is_now() -> None:
    journal = live(many, 4).journal()
    assert replayed(many, journal, 4, limits=Limits(ROOMY.value, 10, 2)).result == 4


async def grows(step: StepContext) -> int:
    for number in range(1000):
        try:
            await step.run_action(echo, "x" * 100)
        except LimitReached as error:
            assert "JOURNAL_LIMIT = 1000" in str(error)  # noqa: PT017
            return number
    return -1


def test_the_journal_limit_counts_arguments_and_answers_live_and_on_replay() -> None:
    limits = Limits(ROOMY.value, journal=1000, steps=ROOMY.steps)
    with Live(grows, limits=limits) as run:
        run.finish()
    # 112 bytes of arguments and 102 of an answer each: an answer is taken whatever its size, the next step is not
    assert run.result == 5
    assert run.replay.journal_size == 2 + 5 * (112 + 102)
    again = replayed(grows, run.journal(), limits=limits)
    assert again.result == 5
    assert again.replay.commands == run.replay.commands


def test_the_value_limit_is_held_against_arguments_and_custom_status() -> None:
    limits = Limits(50, ROOMY.journal, ROOMY.steps)

    async def handler(step: StepContext) -> None:
        await step.run_action(echo, "x" * 100)

    async def shows(step: StepContext) -> None:
        step.set_status("x" * 100)

    for refused in (handler, shows):
        with pytest.raises(PayloadTooLarge, match="limit of 50"):
            _ = live(refused, limits=limits).result


# ── log and custom status ───────────────────────────────────────────────────────────────────────────────────────


async def logs(step: StepContext) -> None:
    step.logger.debug("hidden")
    step.logger.info("first %s", "line", extra={"order": 7})
    await step.run_action(echo)
    try:
        raise LookupError("gone")
    except LookupError as error:
        step.logger.exception("caught")
        step.logger.warning("again", exc_info=error)
    step.logger.log(logging.INFO, "no error", exc_info=False, extra=None)
    await step.run_action(echo)


@pytest.fixture
def author_logger() -> Any:
    logger = logging.getLogger(__name__)
    level = logger.level
    logger.setLevel(logging.INFO)
    yield logger
    logger.setLevel(level)


def line_of(text: str) -> int:
    first = logs.__code__.co_firstlineno
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if number > first and text in line)


@pytest.mark.usefixtures("author_logger")
def test_each_line_is_handed_out_once() -> None:
    """Behaviour 11."""
    with Live(logs) as run:
        first = run.replay.take_logs()
        assert [record.getMessage() for _, record in first] == ["first line"]
        assert run.replay.take_logs() == []
        journal = run.journal()
    with Live(logs, journal=journal) as again:
        assert again.replay.take_logs() == []
        again.settle(1)
        assert [record.getMessage() for _, record in again.replay.take_logs()] == [
            "caught",
            "again",
            "no error",
        ]
        again.settle(2)
        assert again.replay.take_logs() == []
        assert_replays(again, logs)
    assert replayed(logs, again.journal()).replay.take_logs() == []


@pytest.mark.usefixtures("author_logger")
def test_a_line_says_who_wrote_it_where_and_about_what() -> None:
    with Live(logs) as run:
        run.settle(1)
        (logger, first), (_, caught), (_, again), (_, no_error) = run.replay.take_logs()
    assert logger.name == first.name == __name__
    assert first.levelno == logging.INFO
    assert first.__dict__["order"] == 7
    assert first.__dict__["workflow_id"] == str(WORKFLOW)
    assert (first.pathname, first.lineno, first.funcName) == (__file__, line_of("first %s"), "logs")
    assert caught.lineno == line_of('exception("caught")')
    assert no_error.lineno == line_of("no error")
    for record in (caught, again):
        assert "LookupError: gone" in logging.Formatter().format(record)
    assert no_error.exc_info is None


def test_the_custom_status_is_the_last_one_set_and_not_set_again_on_replay() -> None:
    async def handler(step: StepContext) -> None:
        for done in range(3):
            step.set_status({"done": done, "of": 3})
            await step.run_action(echo)

    with Live(handler) as run:
        assert run.replay.custom == '{"done":0,"of":3}'
        run.settle(1)
        assert run.replay.custom == '{"done":1,"of":3}'
        journal = run.journal()
    with Live(handler, journal=journal) as again:
        assert again.replay.custom is None
        again.settle(2)
        assert again.replay.custom == '{"done":2,"of":3}'


def test_a_custom_status_that_can_not_be_stored_is_refused() -> None:
    async def handler(step: StepContext) -> None:
        step.set_status({"a": {1, 2}})

    with pytest.raises(NotStorable, match="the custom status"):
        _ = live(handler).result


def test_the_context_knows_its_workflow() -> None:
    async def handler(step: StepContext) -> list[str]:
        return [str(step.workflow_id), str(step.using(name="x").workflow_id), str(step.now().tzinfo)]

    assert live(handler).result == [str(WORKFLOW), str(WORKFLOW), "UTC"]


def test_every_refusal_is_an_error_of_the_package() -> None:
    async def handler(step: StepContext) -> None:
        await step.run_action(lambda: None)

    with pytest.raises(DjangoWorkflowError):
        _ = live(handler).result
