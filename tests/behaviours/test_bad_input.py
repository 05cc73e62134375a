"""Every refused call says what was wrong, names the value, and has changed nothing (P13)."""

import functools
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from django_workflow import Completed, Failed, StepContext, WorkflowManager, action, mutation, query, workflow
from django_workflow.exceptions import (
    DuplicateDefinition,
    InvalidArguments,
    PayloadTooLarge,
    StepKindMismatch,
    UnknownDefinition,
    UsageError,
    WorkflowNotFound,
)
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.behaviours.bodies import act, calls, change, look
from tests.behaviours.code import deploy, deployed
from tests.engine.committed import committed
from tests.shop.models import Entry
from tests.shop.workflows import echo

NAIVE = datetime(2031, 1, 1)
AWARE = datetime(2031, 1, 1, tzinfo=UTC)

# ── ids ─────────────────────────────────────────────────────────────────────────────────────────────────────

UNKNOWN: list[Any] = [
    UUID(int=0),
    UUID("01a2039e-39a8-7000-b9aa-1830462e3df4"),
    "01a2039e-39a8-7000-b9aa-1830462e3df4",
    "{01A2039E39A87000B9AA1830462E3DF4}",
    "garbage",
    "",
    "\0",
    "\ud800",
    "x" * 10_000,
    None,
    0,
    1.5,
    True,
    b"01a2039e-39a8-7000-b9aa-1830462e3df4",
    [],
    {},
    object,
    echo,
    math.nan,
]
CALLS: dict[str, Callable[[Any], Any]] = {
    "status": workflow.status,
    "get": workflow.get,
    "cancel": workflow.cancel,
    "cleanup": workflow.cleanup,
    "steps": workflow.steps,
    "join": lambda unknown: workflow.join(unknown, timeout=0),
}


@committed
def test_an_unknown_id_is_workflow_not_found_naming_it() -> None:
    for unknown in UNKNOWN:
        for name, call in CALLS.items():
            if name == "cleanup" and not _is_garbage(unknown):
                assert call(unknown) is False, unknown  # the contract: gone already
                continue
            with pytest.raises(WorkflowNotFound) as refused:
                call(unknown)
            assert isinstance(refused.value, LookupError)
            assert refused.value.id == unknown or isinstance(unknown, str) or refused.value.id is unknown
            assert len(str(refused.value)) < 400
            str(refused.value).encode("utf-8", "surrogatepass")


def _is_garbage(unknown: Any) -> bool:
    try:
        UUID(str(unknown))
    except ValueError:
        return True
    return not isinstance(unknown, str | UUID)


@committed
def test_a_workflow_that_is_gone_is_not_found_by_its_row_either() -> None:
    run = echo.start(1)
    workflow.cancel(run)
    workflow.cleanup(run)
    for name, call in CALLS.items():
        if name == "cleanup":
            continue
        with pytest.raises(WorkflowNotFound, match=str(run.id)):
            call(run)
    for method in (run.status, run.cancel, run.steps):
        with pytest.raises(WorkflowNotFound, match=str(run.id)):
            method()


@pytest.mark.django_db
def test_every_spelling_of_a_uuid_is_an_id() -> None:
    run = echo.start(1)
    for spelling in (run, run.id, str(run.id), str(run.id).upper(), run.id.hex, run.id.urn, f"{{{run.id}}}"):
        assert workflow.get(spelling) == run


@pytest.mark.django_db
@pytest.mark.parametrize("reason", [None, 5, b"x", ["x"], uuid4(), object()], ids=repr)
def test_a_reason_that_is_no_text_is_refused_and_nothing_is_canceled(reason: Any) -> None:
    run = echo.start(1)
    with pytest.raises(InvalidArguments, match="reason"):
        workflow.cancel(run, reason)
    assert workflow.get(run).state == "in_progress"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "reason", ["nul \0", "surrogate \ud800", "😀", "x" * 100_000, "'; DROP TABLE x; --", "%s"]
)
def test_a_reason_of_odd_text_is_kept_or_refused_but_nothing_breaks(reason: str) -> None:
    run = echo.start(1)
    try:
        assert workflow.cancel(run, reason) is True
    except UsageError:
        assert workflow.get(run).state == "in_progress"
    else:
        assert workflow.get(run).state == "canceled"
        assert workflow.get(run).reason[:3] == reason[:3]


@pytest.mark.django_db
@pytest.mark.parametrize("state", ["running", "", "COMPLETED", 5, ["failed"], {}, object()], ids=repr)
def test_list_refuses_a_state_that_does_not_exist(state: Any) -> None:
    with pytest.raises(InvalidArguments, match="state"):
        workflow.list(state=state)


@pytest.mark.django_db
@pytest.mark.parametrize("definition", [5, b"shop.echo", object(), look, ["shop.echo"]], ids=repr)
def test_list_refuses_what_is_no_definition(definition: Any) -> None:
    with pytest.raises(UsageError) as refused:
        workflow.list(definition)
    assert repr(definition)[:20] in str(refused.value)


@committed
@pytest.mark.parametrize("timeout", ["soon", True, math.nan, [], Decimal(1), object()], ids=repr)
def test_join_refuses_a_timeout_that_is_no_duration(timeout: Any) -> None:
    run = echo.start(1)
    with pytest.raises(InvalidArguments, match="timeout"):
        workflow.join(run, timeout)


# ── starting ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.django_db
@pytest.mark.parametrize("definition", [None, 5, look, object(), b"shop.echo", echo.handler], ids=repr)
def test_start_refuses_what_is_no_definition(definition: Any) -> None:
    with pytest.raises(InvalidArguments) as refused:
        workflow.start(definition, 1)
    assert repr(definition)[:20] in str(refused.value)
    assert Workflow.objects.count() == 0


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["", "shop.eco", "nowhere.nothing", "x" * 10_000, "\0"])
def test_start_by_an_unknown_name_says_which_and_what_is_near(name: str) -> None:
    with pytest.raises(UnknownDefinition) as refused:
        workflow.start(name, 1)
    assert repr(name)[:20] in str(refused.value)
    if name == "shop.eco":
        assert "'shop.echo'" in str(refused.value)
    assert Workflow.objects.count() == 0


START_OPTIONS: list[tuple[str, Any]] = [
    ("run_at", NAIVE),
    ("run_at", "2031-01-01"),
    ("run_at", 5),
    ("run_at", AWARE.date()),
    ("run_at", True),
    ("run_at", datetime.max.replace(tzinfo=timezone(-timedelta(hours=12)))),
    ("run_at", datetime.min.replace(tzinfo=timezone(timedelta(hours=12)))),
    ("run_after", "soon"),
    ("run_after", True),
    ("run_after", math.nan),
    ("run_after", math.inf),
    ("run_after", []),
    ("run_after", AWARE),
    ("run_after", 1e300),
    ("run_after", timedelta.max),
    ("priority", 1.5),
    ("priority", True),
    ("priority", "high"),
    ("priority", 2**31),
    ("priority", -(2**40)),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("option", "value"), START_OPTIONS, ids=repr)
def test_a_start_option_that_does_not_fit_is_refused_naming_it(option: str, value: Any) -> None:
    with pytest.raises(InvalidArguments) as refused:
        echo.using(**{option: value}).start(1)
    assert option in str(refused.value)
    assert Workflow.objects.count() == 0


@pytest.mark.django_db
@pytest.mark.parametrize(
    "moment", [datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)], ids=["last", "first"]
)
def test_the_first_and_the_last_moment_of_the_calendar_are_moments(
    workflow_harness: Harness, moment: datetime
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.sleep_until(moment)

    ends = moment.year == 1
    runs = [deployed.start(), echo.using(run_at=moment).start(1)]
    workflow_harness.drain()
    assert [workflow.get(run).finished for run in runs] == [ends, ends]


@pytest.mark.django_db
@pytest.mark.parametrize("run_after", [0, -1, -1e9, timedelta(days=-400_000), timedelta.min], ids=repr)
def test_a_start_after_zero_or_less_is_a_start_now(workflow_harness: Harness, run_after: Any) -> None:
    run = echo.using(run_after=run_after).start(1)
    workflow_harness.drain()
    assert workflow.status(run) == Completed(1)


@pytest.mark.django_db
def test_run_at_and_run_after_exclude_each_other() -> None:
    with pytest.raises(InvalidArguments, match="run_at and run_after"):
        echo.using(run_at=AWARE, run_after=5)
    chained = echo.using(run_at=AWARE).using(run_after=0)  # later wins
    assert chained.start(1).due_at != AWARE


@pytest.mark.parametrize("option", ["kee", "timeouts", "retries", "nme"])
def test_an_unknown_start_option_is_a_type_error_naming_it(option: str) -> None:
    with pytest.raises(TypeError, match=option):
        cast(Any, echo).using(**{option: 1})


@pytest.mark.django_db
def test_oversized_arguments_are_refused_naming_size_and_limit() -> None:
    with pytest.raises(PayloadTooLarge) as refused:
        echo.start("x" * 2_000_000)
    assert refused.value.limit == 1024 * 1024
    assert "1,048,576" in str(refused.value)
    assert "shop.echo" in str(refused.value)
    assert Workflow.objects.count() == 0


# ── defining ────────────────────────────────────────────────────────────────────────────────────────────────


def sync_handler(step: StepContext) -> None:
    """Not async."""


async def generator_handler(step: StepContext) -> Any:
    yield 1


async def no_context() -> None:
    """No parameter at all."""


async def context_by_name_only(*, step: StepContext) -> None:
    """Its context can't be given by position."""


class Handler:
    async def __call__(self, step: StepContext) -> None:
        """An object, not a function."""


HANDLERS: list[Any] = [
    sync_handler,
    generator_handler,
    no_context,
    context_by_name_only,
    Handler(),
    Handler,
    functools.partial(deployed.handler),
    lambda step: None,
    5,
    None,
    "handler",
    staticmethod(deployed.handler),
]


@pytest.mark.parametrize(
    "handler", HANDLERS, ids=lambda handler: getattr(handler, "__name__", repr(handler))[:30]
)
def test_what_can_not_be_a_handler_is_a_type_error_at_decoration(handler: Any) -> None:
    with pytest.raises(TypeError) as refused:
        workflow.define(name="behaviours.bad")(handler)
    assert "async def" in str(refused.value) or "step context" in str(refused.value)
    with pytest.raises(UnknownDefinition):
        workflow.start("behaviours.bad")


@pytest.mark.parametrize("name", ["", 5, "x" * 201, "a\nb", "nul\0", None, b"x", ["x"]], ids=repr)
def test_a_name_that_does_not_fit_is_refused(name: Any) -> None:
    async def handler(step: StepContext) -> None:
        """Never defined."""

    with pytest.raises(TypeError) as refused:
        workflow.define(name=name)(handler)
    assert repr(name)[:20] in str(refused.value) or "name=" in str(refused.value)


@pytest.mark.parametrize("version", [0, -1, "1", 1.0, True, None, [1]], ids=repr)
def test_a_version_that_does_not_fit_is_refused(version: Any) -> None:
    async def handler(step: StepContext) -> None:
        """Never defined."""

    with pytest.raises(TypeError, match="version"):
        workflow.define(name="behaviours.version", version=version)(handler)


def test_a_handler_in_no_installed_app_needs_a_name() -> None:
    async def handler(step: StepContext) -> None:
        """Never defined."""

    handler.__module__ = "nowhere.at_all"
    with pytest.raises(TypeError, match="name="):
        workflow.define(handler)


def test_one_name_and_version_twice_is_a_duplicate_that_says_where_the_first_is() -> None:
    async def other(step: StepContext) -> None:
        """Never defined."""

    with pytest.raises(DuplicateDefinition) as refused:
        workflow.define(name="behaviours.deployed")(other)
    assert "behaviours.deployed" in str(refused.value)
    assert "code.py" in str(refused.value)


def test_a_definition_can_not_be_called() -> None:
    with pytest.raises(TypeError, match="start"):
        echo(1)


@pytest.mark.parametrize("mark", [query, mutation, action])
@pytest.mark.parametrize(
    "thing", [5, None, len, Entry, functools.partial(look), staticmethod(look)], ids=repr
)
def test_a_mark_on_what_is_no_function_is_a_type_error(mark: Any, thing: Any) -> None:
    with pytest.raises(TypeError) as refused:
        mark(thing)
    assert str(mark.__name__) in str(refused.value)


@pytest.mark.parametrize("name", ["", 5, None, "x" * 101, "a\nb"], ids=repr)
def test_a_manager_with_a_bad_name_or_cluster_is_refused(name: Any) -> None:
    with pytest.raises(UsageError, match="name="):
        WorkflowManager(name)
    if name is not None:
        with pytest.raises(UsageError, match="cluster="):
            WorkflowManager("good", cluster=name)


# ── in a handler ────────────────────────────────────────────────────────────────────────────────────────────


class Shop:
    def method(self) -> int:
        return 1

    @classmethod
    def of_class(cls) -> int:
        return 1

    @staticmethod
    def static() -> int:
        return 7


def wrapped(value: int) -> int:
    return value


inner = wrapped


def _replaced() -> Any:
    @functools.wraps(wrapped)
    def wrapper(value: int) -> int:
        return inner(value)

    return wrapper


def local() -> Any:
    def closure() -> int:
        return 1

    return closure


def takes(number: int, *, name: str = "") -> int:
    return number


IN_A_HANDLER: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "lambda": (lambda s: s.run_action(lambda: 1), InvalidArguments, "lambda"),
    "closure": (lambda s: s.run_action(local()), InvalidArguments, "closure"),
    "bound method": (lambda s: s.run_action(Shop().method), InvalidArguments, "method"),
    "classmethod": (lambda s: s.run_action(Shop.of_class), InvalidArguments, "method"),
    "partial": (lambda s: s.run_action(functools.partial(act, 1)), InvalidArguments, "partial"),
    "builtin": (lambda s: s.run_action(len, "x"), InvalidArguments, "len"),
    "class": (lambda s: s.run_action(Entry), InvalidArguments, "Entry"),
    "wrapper": (lambda s: s.run_action(_replaced(), 1), InvalidArguments, "wrapped"),
    "definition": (lambda s: s.run_action(echo, 1), InvalidArguments, "shop.echo"),
    "number": (lambda s: s.run_action(5), InvalidArguments, "5"),
    "nothing": (lambda s: s.run_action(None), InvalidArguments, "None"),
    "text": (lambda s: s.run_action("act"), InvalidArguments, "act"),
    "called already": (lambda s: s.run_action(takes(1)), InvalidArguments, "1"),
    "unhashable": (lambda s: s.run_action([act]), InvalidArguments, "list"),
    "query as action": (lambda s: s.run_action(look), StepKindMismatch, "run_query"),
    "query as mutation": (lambda s: s.run_mutation(look), StepKindMismatch, "run_query"),
    "mutation as query": (lambda s: s.run_query(change), StepKindMismatch, "run_mutation"),
    "action as query": (lambda s: s.run_query(act), StepKindMismatch, "run_action"),
    "missing argument": (lambda s: s.run_action(takes), InvalidArguments, "number: is missing"),
    "wrong argument": (lambda s: s.run_action(takes, "x"), InvalidArguments, "'x'"),
    "unknown argument": (lambda s: s.run_action(takes, 1, nam="x"), InvalidArguments, "nam"),
    "too many": (lambda s: s.run_action(takes, 1, 2), InvalidArguments, "2"),
    "oversize": (lambda s: s.run_action(act, "x" * 2_000_000), PayloadTooLarge, "1,048,576"),
    "sleep bool": (lambda s: s.sleep(True), InvalidArguments, "True"),
    "sleep text": (lambda s: s.sleep("1"), InvalidArguments, "'1'"),
    "sleep none": (lambda s: s.sleep(None), InvalidArguments, "None"),
    "sleep nan": (lambda s: s.sleep(math.nan), InvalidArguments, "nan"),
    "sleep infinity": (lambda s: s.sleep(math.inf), InvalidArguments, "inf"),
    "sleep decimal": (lambda s: s.sleep(Decimal(1)), InvalidArguments, "Decimal"),
    "sleep datetime": (lambda s: s.sleep(AWARE), InvalidArguments, "2031"),
    "sleep too long": (lambda s: s.sleep(timedelta.max), InvalidArguments, "9999"),
    "sleep far too long": (lambda s: s.sleep(1e300), InvalidArguments, "9999"),
    "sleep huge int": (lambda s: s.sleep(10**400), InvalidArguments, "sleep"),
    "until naive": (lambda s: s.sleep_until(NAIVE), InvalidArguments, "2031"),
    "until past the calendar": (
        lambda s: s.sleep_until(datetime.max.replace(tzinfo=timezone(-timedelta(hours=12)))),
        InvalidArguments,
        "9999",
    ),
    "run_at past the calendar": (
        lambda s: s.using(run_at=datetime.max.replace(tzinfo=timezone(-timedelta(hours=12)))),
        InvalidArguments,
        "9999",
    ),
    "until seconds": (lambda s: s.sleep_until(5), InvalidArguments, "5"),
    "until date": (lambda s: s.sleep_until(AWARE.date()), InvalidArguments, "2031"),
    "until none": (lambda s: s.sleep_until(None), InvalidArguments, "None"),
    "name empty": (lambda s: s.using(name=""), UsageError, "name"),
    "name number": (lambda s: s.using(name=5), UsageError, "5"),
    "name long": (lambda s: s.using(name="x" * 201), UsageError, "name"),
    "name nul": (lambda s: s.using(name="a\0"), UsageError, "name"),
    "run_at naive": (lambda s: s.using(run_at=NAIVE), InvalidArguments, "2031"),
    "run_at text": (lambda s: s.using(run_at="x"), InvalidArguments, "'x'"),
    "run_after bool": (lambda s: s.using(run_after=True), InvalidArguments, "True"),
    "run_after text": (lambda s: s.using(run_after="x"), InvalidArguments, "'x'"),
    "run_after nan": (lambda s: s.using(run_after=math.nan), InvalidArguments, "nan"),
    "run_after too long": (
        lambda s: s.using(run_after=timedelta.max).run_action(act),
        InvalidArguments,
        "run_after",
    ),
    "run_after far too long": (
        lambda s: s.using(run_after=1e300).run_action(act),
        InvalidArguments,
        "run_after",
    ),
    "both": (lambda s: s.using(run_at=AWARE, run_after=1), InvalidArguments, "run_at and run_after"),
    "inline number": (lambda s: s.using(inline=1), InvalidArguments, "inline"),
    "unstable_args text": (lambda s: s.using(unstable_args="no"), InvalidArguments, "unstable_args"),
    "unknown option": (lambda s: s.using(nme="x"), TypeError, "nme"),
    "no function": (lambda s: s.run_action(), TypeError, "fn"),
}


@pytest.mark.usefixtures("either_mode")
def test_a_bad_call_in_a_handler_is_refused_where_it_stands_and_leaves_no_step(
    workflow_harness: Harness,
) -> None:
    @deploy
    async def handler(step: StepContext) -> dict[str, str]:
        texts = {}
        await step.run_action(act, "before")
        for which, (call, refused, _) in IN_A_HANDLER.items():
            try:
                await call(step)
            except refused as error:
                texts[which] = str(error)
        await step.run_action(act, "after")
        return texts

    run = deployed.start()
    workflow_harness.drain()
    texts = workflow_harness.result(run)
    assert {
        which for which, (_, _, said) in IN_A_HANDLER.items() if said not in texts.get(which, "")
    } == set()
    assert [step.args["value"] for step in workflow_harness.journal(run)] == ["before", "after"]
    assert calls == [("act", "before"), ("act", "after")]
    workflow_harness.assert_replays(run)


@pytest.mark.parametrize(
    "which", ["lambda", "query as action", "missing argument", "sleep bool", "until naive"]
)
def test_a_bad_call_that_goes_uncaught_fails_the_workflow_saying_so(
    workflow_harness: Harness, which: str
) -> None:
    call, refused, said = IN_A_HANDLER[which]

    @deploy
    async def handler(step: StepContext) -> None:
        await call(step)

    run = deployed.start()
    workflow_harness.drain()
    status = workflow.status(run)
    assert isinstance(status, Failed)
    assert status.error.type == f"django_workflow.exceptions.{refused.__name__}"
    assert said in status.error.message
    assert workflow_harness.journal(run) == []


def test_a_static_method_of_a_class_is_an_importable_function(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> int:
        return await step.run_action(Shop.static)

    assert workflow_harness.run(deployed) == Completed(7)


def test_a_step_that_is_never_awaited_warns_as_any_coroutine_does(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        step.run_action(act, "never")  # type: ignore[unused-coroutine]  # what is shown
        return "ended"

    with pytest.warns(RuntimeWarning, match="never awaited"):
        assert workflow_harness.run(deployed) == Completed("ended")
    assert calls == []


# ── the harness ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("moment", [NAIVE, "2031-01-01", None, 5, AWARE.date()], ids=repr)
def test_freeze_refuses_what_is_no_aware_datetime(workflow_harness: Harness, moment: Any) -> None:
    with pytest.raises(UsageError, match="freeze"):
        workflow_harness.freeze(moment)


@pytest.mark.parametrize("delta", [5, -timedelta(seconds=1), None, "1 day", True], ids=repr)
def test_advance_refuses_what_is_no_time_forward(workflow_harness: Harness, delta: Any) -> None:
    with pytest.raises(UsageError, match="advance"):
        workflow_harness.advance(delta)


@pytest.mark.parametrize("n", [-1, 1.5, True, "1", None], ids=repr)
def test_crash_at_refuses_what_is_no_count(workflow_harness: Harness, n: Any) -> None:
    with pytest.raises(UsageError, match="crash_at"):
        workflow_harness.crash_at(n)


def test_result_of_what_has_not_completed_says_how_it_stands(workflow_harness: Harness) -> None:
    run = echo.start(1)
    with pytest.raises(AssertionError, match="InProgress"):
        workflow_harness.result(run)
    with pytest.raises(WorkflowNotFound):
        workflow_harness.result("garbage")
    with pytest.raises(WorkflowNotFound):
        workflow_harness.assert_replays(uuid4())
