"""Behaviours 6, 7 and 8: what the journal keeps, what it refuses, and that nobody can change it behind its back."""

import enum
import io
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from django.test import override_settings
from django.utils.translation import gettext_lazy
from pydantic import BaseModel
from typing_extensions import TypedDict

from django_workflow import Completed, Failed, StepContext, mutation, workflow
from django_workflow.exceptions import InvalidArguments, NotStorable, PayloadTooLarge, UsageError
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.behaviours.bodies import act, as_failure, calls, change, look, rows, write
from tests.behaviours.code import deploy, deployed
from tests.shop.models import Entry

DAY = timedelta(days=1)


# ── 6: results that can't be stored ─────────────────────────────────────────────────────────────────────────

UNSTORABLE: dict[str, Callable[[], Any]] = {
    "object": object,
    "model instance": lambda: Entry(label="x"),
    "queryset": lambda: Entry.objects.all(),
    "open file": io.StringIO,
    "lock": threading.Lock,
    "class": lambda: Entry,
    "function": lambda: write,
    "lazy text": lambda: gettext_lazy("yes"),
    "generator": lambda: (n for n in range(3)),
    "exception": lambda: ValueError("x"),
    "set": lambda: {1},
    "bytes": lambda: b"x",
    "datetime": lambda: datetime(2031, 1, 1, tzinfo=UTC),
    "decimal": lambda: Decimal("1.5"),
    "number as key": lambda: {1: "one"},
    "nan": lambda: math.nan,
    "infinity": lambda: -math.inf,
    "deep in a list": lambda: {"a": [1, {"b": object()}]},
    "too deep": lambda: _nested(65),
    "cyclic": lambda: _cyclic(),
    "huge integer": lambda: 10**5000,
}


def _nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


def _cyclic() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def make(which: str) -> Any:
    calls.append(("make", which))
    return UNSTORABLE[which]()


@mutation
def write_and_make(which: str) -> Any:
    write("unstorable")
    return UNSTORABLE[which]()


@pytest.mark.usefixtures("any_mode")
def test_6_a_result_that_cannot_be_stored_fails_its_step_and_nothing_is_wedged(
    workflow_harness: Harness,
) -> None:
    @deploy
    async def handler(step: StepContext) -> list[Any]:
        told = []
        for which in sorted(UNSTORABLE):
            for runner, function in (
                ("run_query", make),
                ("run_action", make),
                ("run_mutation", write_and_make),
            ):
                try:
                    await getattr(step, runner)(function, which)
                except NotStorable as error:
                    failure = as_failure(error)
                    told.append(failure.error.message)
        await step.sleep(DAY)
        return [await step.run_action(act, "went on"), told]

    run = deployed.start()
    workflow_harness.drain()
    workflow_harness.advance(DAY)
    went_on, told = workflow_harness.result(run)
    assert went_on == "went on"
    assert len(told) == 3 * len(UNSTORABLE)
    for number, message in enumerate(told, 1):
        assert f"step {number} (" in message
        assert "cannot be stored: $" in message
    assert rows("unstorable") == 0
    assert [s.state for s in workflow_harness.journal(run)] == ["failed"] * len(told) + ["completed"] * 2
    assert [call[1] for call in calls if call[0] == "make"] == sorted([*UNSTORABLE, *UNSTORABLE])


def test_6_the_error_names_the_path_inside_the_value(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.run_action(make, "deep in a list")

    run = deployed.start()
    workflow_harness.drain()
    error = workflow.get(run).error
    assert error is not None
    assert error.type == "django_workflow.exceptions.NotStorable"
    assert "$.a[1].b" in error.message
    assert "object" in error.message


def big(size: int) -> str:
    return "x" * size


@mutation
def write_big(size: int) -> str:
    write("oversize")
    return "x" * size


@pytest.mark.parametrize("suspend", [False, True])
def test_6_an_oversized_result_names_step_size_and_limit(workflow_harness: Harness, suspend: bool) -> None:
    @deploy
    async def handler(step: StepContext) -> list[Any]:
        told = []
        for runner, function in (("run_query", big), ("run_action", big), ("run_mutation", write_big)):
            try:
                await getattr(step, runner)(function, 1000)
            except PayloadTooLarge as error:
                failure = as_failure(error)
                told.append(failure.error.message)
        return [len(await step.run_action(big, 998)), *told]

    with override_settings(DJANGO_WORKFLOW={"VALUE_LIMIT": 1000, "ALWAYS_SUSPEND": suspend}):
        run = deployed.start()
        workflow_harness.drain()
    size, *told = workflow_harness.result(run)
    assert size == 998
    for number, name in ((1, "big"), (2, "big"), (3, "write_big")):
        assert f"step {number} ({name})" in told[number - 1]
        assert "1,002 bytes" in told[number - 1]
        assert "1,000 bytes" in told[number - 1]
    assert rows("oversize") == 0


@pytest.mark.parametrize("which", ["object", "nan", "too deep", "model instance", "cyclic"])
def test_6_a_workflows_own_result_that_cannot_be_stored_fails_it(
    workflow_harness: Harness, which: str
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.run_mutation(write, "kept")
        return UNSTORABLE[which]()

    run = deployed.start()
    workflow_harness.drain()
    status = workflow.status(run)
    assert isinstance(status, Failed)
    assert status.error.type == "django_workflow.exceptions.NotStorable"
    assert "behaviours.deployed" in status.error.message
    assert rows("kept") == 1


def test_6_a_journal_over_its_limit_fails_the_workflow_saying_so(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        for _ in range(100):
            await step.run_action(big, 900)

    with override_settings(DJANGO_WORKFLOW={"VALUE_LIMIT": 1000, "JOURNAL_LIMIT": 5000}):
        run = deployed.start()
        workflow_harness.drain()
    status = workflow.status(run)
    assert isinstance(status, Failed)
    assert status.error.type == "django_workflow.exceptions.LimitReached"
    assert "JOURNAL_LIMIT = 5000" in status.error.message
    assert len(workflow_harness.journal(run)) <= 6


def test_6_too_many_steps_fail_the_workflow_saying_so(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        for number in range(100):
            await step.run_query(look, number)

    with override_settings(DJANGO_WORKFLOW={"STEP_LIMIT": 10}):
        run = deployed.start()
        workflow_harness.drain()
    status = workflow.status(run)
    assert isinstance(status, Failed)
    assert status.error.type == "django_workflow.exceptions.LimitReached"
    assert "STEP_LIMIT = 10" in status.error.message
    assert len(calls) == 10


# ── 7: what survives, on every database ─────────────────────────────────────────────────────────────────────

SURVIVORS: list[Any] = [
    "nul \0 inside",
    "\0",
    "lone \ud800 and \udfff",
    "non-BMP 😀 \U0001d4b3",
    "\u2028\u2029\ufeff\ufffe",
    "'quotes\" and \\ and %s and %(x)s and {}",
    "",
    " ",
    "\r\n\t\x07\x1b\x7f\x80",
    "é vs e\u0301",
    10**4000,
    -(10**4000),
    2**63,
    2**64 + 1,
    1e308,
    -1e308,
    5e-324,
    0.1 + 0.2,
    -0.0,
    1.0,
    True,
    False,
    None,
    [],
    {},
    [[]],
    {"": {"\0": "\ud800"}},
    {"é": 1, "e\u0301": 2},
    {"__proto__": 1, "$ref": "x", "*args": [1], "**kwargs": {}},
]


@pytest.mark.usefixtures("any_mode")
def test_7_every_json_value_survives_as_argument_and_result(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, given: Any) -> Any:
        results = [
            given,
            await step.run_query(look, given),
            await step.run_mutation(change, given),
            await step.run_action(act, given),
        ]
        await step.sleep(DAY)
        return results

    runs = [(value, deployed.start(value)) for value in SURVIVORS]
    workflow_harness.drain()
    workflow_harness.advance(DAY)
    for value, run in runs:
        assert repr(workflow_harness.result(run)) == repr([value] * 4)
    assert sorted(repr(value) for _, value in calls) == sorted(repr(value) for value in SURVIVORS * 3)


def test_7_nesting_up_to_the_limit_survives(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        return await step.run_action(act, _nested(60))

    assert workflow_harness.run(deployed) == Completed(_nested(60))


REFUSED = ["nan", "infinity", "too deep", "cyclic", "huge integer", "object", "number as key"]


@pytest.mark.parametrize("which", REFUSED)
def test_7_what_is_no_json_is_refused_at_the_start_and_nothing_is_written(
    workflow_harness: Harness, which: str
) -> None:
    with pytest.raises(UsageError) as refused:
        deployed.start("fine", [UNSTORABLE[which]()])
    assert isinstance(refused.value, (InvalidArguments, NotStorable))
    assert "behaviours.deployed" in str(refused.value)
    assert Workflow.objects.count() == 0


@pytest.mark.usefixtures("any_mode")
def test_7_what_is_no_json_is_refused_as_a_steps_argument_before_anything_is_written(
    workflow_harness: Harness,
) -> None:
    @deploy
    async def handler(step: StepContext) -> dict[str, str]:
        texts = {}
        for which in REFUSED:
            try:
                await step.run_action(act, UNSTORABLE[which]())
            except UsageError as error:
                texts[which] = f"{isinstance(error, TypeError)}: {error}"
        await step.run_mutation(write, "went on")
        return texts

    run = deployed.start()
    workflow_harness.drain()
    texts = workflow_harness.result(run)
    assert sorted(texts) == sorted(REFUSED)
    for text in texts.values():
        assert text.startswith("True: ")
        assert "step 1 (act)" in text
        assert "value" in text
    assert [s.name for s in workflow_harness.journal(run)] == ["write"]
    assert not any(call[0] == "act" for call in calls)


@pytest.mark.usefixtures("any_mode")
@pytest.mark.parametrize("which", ["nan", "too deep", "object"])
def test_7_a_custom_status_that_is_no_json_is_refused(workflow_harness: Harness, which: str) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        step.set_status("good")
        try:
            step.set_status({"x": UNSTORABLE[which]()})
        except NotStorable as error:
            return str(error)
        return ""

    run = deployed.start()
    workflow_harness.drain()
    status = workflow.status(run)
    assert isinstance(status, Completed)
    assert "the custom status" in status.result
    assert status.custom == "good"


# ── 8: order, types, and nobody's fingers in the journal ────────────────────────────────────────────────────


@pytest.mark.usefixtures("any_mode")
def test_8_keys_of_a_dict_keep_their_order(workflow_harness: Harness) -> None:
    keys = ["z", "a", "10", "9", "m", "", "Z", "é", "aa"]

    @deploy
    async def handler(step: StepContext, given: dict[str, int]) -> list[Any]:
        inner = await step.run_action(act, {"outer": given})
        await step.sleep(DAY)
        return [list(given), list(inner["outer"])]

    run = deployed.start({key: number for number, key in enumerate(keys)})
    workflow_harness.drain()
    workflow_harness.advance(DAY)
    assert workflow_harness.result(run) == [keys, keys]
    assert list(workflow.get(run).args["*args"][0]) == keys


class Color(enum.Enum):
    RED = "r"
    BLUE = 2


class Size(enum.StrEnum):
    SMALL = "s"


@dataclass
class Point:
    x: int
    at: datetime
    tags: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Line:
    start: Point
    end: Point | None = None


class Order(BaseModel):
    id: UUID
    total: Decimal
    lines: list[Line] = []


class Pair(NamedTuple):
    left: int
    right: str


class Options(TypedDict, total=False):
    color: Color
    when: date


def as_tuple() -> tuple[int, str]:
    return (1, "a")


def as_long_tuple() -> tuple[Decimal, ...]:
    return (Decimal("1.10"), Decimal(2))


def as_set() -> set[int]:
    return {3, 1, 2}


def as_frozenset() -> frozenset[str]:
    return frozenset("ab")


def as_dataclass() -> Line:
    return Line(Point(1, datetime(2031, 1, 2, 3, 4, 5, 6, tzinfo=UTC), {"b", "a"}), None)


def as_model() -> Order:
    return Order(id=UUID(int=5), total=Decimal("1.50"), lines=[as_dataclass()])


def as_decimal() -> Decimal:
    return Decimal("12345678901234567890.10")


def as_datetime() -> datetime:
    return datetime(2031, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=2)))


def as_naive_datetime() -> datetime:
    return datetime(2031, 1, 2, 3, 4)


def as_date() -> date:
    return date(2031, 1, 2)


def as_time() -> time:
    return time(1, 2, 3, 4)


def as_timedelta() -> timedelta:
    return timedelta(days=-3, microseconds=7)


def as_uuid() -> UUID:
    return UUID(int=7)


def as_enum() -> Color:
    return Color.BLUE


def as_str_enum() -> Size:
    return Size.SMALL


def as_named_tuple() -> Pair:
    return Pair(1, "r")


def as_typed_dict() -> Options:
    return {"color": Color.RED, "when": date(2031, 1, 1)}


def as_optional_none() -> Point | None:
    return None


def as_optional_some() -> Decimal | None:
    return Decimal("0.5")


def as_union() -> UUID | int | Pair:
    return UUID(int=9)


def as_bytes() -> bytes:
    return b"\x00\xff"


def as_keyed() -> dict[int, Color]:
    return {2: Color.RED, 1: Color.BLUE}


def as_list_of_models() -> list[Order]:
    return [as_model()]


ANNOTATED = [
    as_tuple,
    as_long_tuple,
    as_set,
    as_frozenset,
    as_dataclass,
    as_model,
    as_decimal,
    as_datetime,
    as_naive_datetime,
    as_date,
    as_time,
    as_timedelta,
    as_uuid,
    as_enum,
    as_str_enum,
    as_named_tuple,
    as_typed_dict,
    as_optional_none,
    as_optional_some,
    as_union,
    as_bytes,
    as_keyed,
    as_list_of_models,
]


@pytest.mark.usefixtures("any_mode")
def test_8_a_result_comes_back_as_what_its_annotation_says(workflow_harness: Harness) -> None:
    seen: list[tuple[Callable[[], Any], Any]] = []

    @deploy
    async def handler(step: StepContext) -> None:
        for function in ANNOTATED:
            seen.append((function, await step.run_action(function)))
            seen.append((function, await step.run_query(function)))
            seen.append((function, await step.run_mutation(function)))
        await step.sleep(DAY)

    run = deployed.start()
    workflow_harness.drain()
    workflow_harness.advance(DAY)
    assert workflow.status(run) == Completed(None)
    assert len(seen) >= 6 * len(ANNOTATED)
    for function, value in seen:
        assert type(value) is type(function()), function.__name__
        assert value == function(), function.__name__
        if isinstance(value, Decimal):
            assert str(value) == str(function())
        if isinstance(value, datetime):
            assert value.utcoffset() == function().utcoffset()


class Everything(NamedTuple):
    point: Point
    order: Order
    color: Color
    pairs: tuple[Pair, ...]


@workflow.define(name="behaviours.typed")
async def typed(
    step: StepContext,
    point: Point,
    order: Order,
    /,
    color: Color = Color.RED,
    *pairs: Pair,
    note: str = "none",
    **options: Decimal,
) -> tuple[Everything, dict[str, Decimal]]:
    assert type(point) is Point
    assert type(order) is Order
    assert note == "given"
    await step.run_action(act)
    return Everything(point, order, color, pairs), options


@pytest.mark.usefixtures("any_mode")
def test_8_arguments_and_result_of_a_workflow_follow_their_annotations(workflow_harness: Harness) -> None:
    point = Point(1, datetime(2031, 1, 1, tzinfo=UTC), {"t"})
    order = as_model()
    status = workflow_harness.run(
        typed, point, order, Color.BLUE, Pair(1, "a"), Pair(2, "b"), note="given", tax=Decimal("0.10")
    )
    everything = Everything(point, order, Color.BLUE, (Pair(1, "a"), Pair(2, "b")))
    assert status == Completed((everything, {"tax": Decimal("0.10")}))
    assert isinstance(status, Completed)
    assert type(status.result[0]) is Everything


@workflow.define(name="behaviours.converting")
async def converting(step: StepContext, number: int, when: datetime, ids: list[UUID]) -> list[str]:
    return [type(number).__name__, type(when).__name__, type(ids[0]).__name__]


def test_8_arguments_that_can_be_converted_are(workflow_harness: Harness) -> None:
    text: Any = "2031-01-01T00:00:00Z"
    ids: Any = [str(UUID(int=1))]
    assert workflow_harness.run(converting, 1, text, ids) == Completed(["int", "datetime", "UUID"])


def mangle(value: list[Any], options: dict[str, Any]) -> list[Any]:
    calls.append(("mangle", [list(value), dict(options)]))
    value.append("mangled")
    options.clear()
    return value


@pytest.mark.usefixtures("any_mode")
@pytest.mark.parametrize("runner", ["run_query", "run_mutation", "run_action"])
def test_8_a_body_that_changes_its_arguments_changes_nothing_that_replay_sees(
    workflow_harness: Harness, runner: str
) -> None:
    @deploy
    async def handler(step: StepContext, given: list[int]) -> list[Any]:
        options = {"a": 1}
        first = await getattr(step, runner)(mangle, given, options)
        await step.sleep(DAY)
        second = await getattr(step, runner)(mangle, given, options)
        return [given, options, first, second]

    run = deployed.start([1])
    workflow_harness.drain()
    workflow_harness.advance(DAY)
    assert workflow_harness.result(run) == [[1], {"a": 1}, [1, "mangled"], [1, "mangled"]]
    assert calls == [("mangle", [[1], {"a": 1}])] * 2
    workflow_harness.assert_replays(run)


@pytest.mark.usefixtures("any_mode")
def test_8_a_handler_that_changes_a_result_or_its_arguments_sees_the_same_on_replay(
    workflow_harness: Harness,
) -> None:
    @deploy
    async def handler(step: StepContext, given: list[Any]) -> list[Any]:
        given.append(0)
        basket = await step.run_action(act, given)
        basket.append("more")
        again = await step.run_action(act, basket)
        again.clear()
        await step.sleep(DAY)
        return [given, basket, again]

    run = deployed.start([1])
    workflow_harness.drain()
    workflow_harness.advance(DAY)
    assert workflow_harness.result(run) == [[1, 0], [1, 0, "more"], []]
    assert workflow.get(run).args == {"*args": [[1]]}
    assert [s.result for s in workflow_harness.journal(run)[:2]] == [[1, 0], [1, 0, "more"]]


def test_8_what_the_caller_changes_after_start_is_not_seen(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, given: list[int]) -> list[int]:
        return given

    basket = [1]
    run = deployed.start(basket)
    basket.append(2)
    workflow_harness.drain()
    assert workflow_harness.result(run) == [1]


def test_8_two_results_of_one_value_are_two_objects(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> bool:
        first, second = await step.run_query(look, []), await step.run_query(look, [])
        first.append(1)
        return bool(second == [])

    assert workflow_harness.run(deployed) == Completed(True)
