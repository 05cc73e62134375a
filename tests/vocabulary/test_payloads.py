"""Values through the journal's text and back: what survives, what is refused and with which words. No database."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import inspect
import io
import json
import math
import pathlib
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Optional

import pydantic
import pytest
import typing_extensions
from django.utils.functional import lazystr
from django.utils.safestring import SafeString
from hypothesis import given
from hypothesis import strategies as st

from django_workflow.exceptions import (
    ErrorInfo,
    InvalidArguments,
    InvalidDefinition,
    NotReadable,
    NotStorable,
    PayloadTooLarge,
)
from django_workflow.payloads import (
    CallSignature,
    decode,
    decode_error,
    decode_plain,
    encode,
    encode_error,
    signature_of,
)

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]

MIB = 2**20
HALF = "half \ud800 and \udfff, whole \U0001f600, mark \U0010ffff \U0010ffffd800, \ufffd, NUL \x00"
NAN = float("nan")


@dataclasses.dataclass
class Item:
    name: str
    price: decimal.Decimal
    weight: float = 0.0
    seen: dt.datetime | None = None
    extra: Any = None


class Order(pydantic.BaseModel):
    number: int = pydantic.Field(alias="orderNumber")
    items: list[Item] = []
    note: str = ""


class Rush(Order):
    fee: int = 1


class Secretive(pydantic.BaseModel):
    password: pydantic.SecretStr


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"


class Point(NamedTuple):
    x: int
    y: int = 0


class Color(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 3


class Mood(enum.StrEnum):
    GOOD = "good"


class Options(typing_extensions.TypedDict):
    name: str
    depth: typing_extensions.NotRequired[int]


class Custom:
    pass


class Unsigned:
    __signature__ = 5

    def __call__(self) -> None: ...


class FakeModel:
    """What a Django model instance shows of itself, without a database."""

    _meta = "shop.Order"
    pk = 7


class Shown(dict[str, Any]):
    """As a QueryDict does: holds one thing, shows another."""

    def items(self) -> Any:
        return {"shown": 1}.items()


def kind(value: Any) -> str:
    """A test id; pytest's own would print the values, some of which cannot be."""
    return type(value).__name__


def save(value: Any, annotation: Any = Any, *, limit: int = MIB) -> str:
    text = encode(value, annotation, what="the value", limit=limit)
    assert text.isascii()
    return text


def through(value: Any, annotation: Any = Any) -> Any:
    return decode(save(value, annotation), annotation)


def same(a: Any, b: Any) -> bool:
    return repr(a) == repr(b) and type(a) is type(b)


def refusal(value: Any, annotation: Any = Any) -> NotStorable:
    with pytest.raises(NotStorable) as caught:
        save(value, annotation)
    assert caught.value.what == "the value"
    return caught.value


# Round trips


texts = st.text(st.characters(exclude_categories=[]))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)
instants = st.datetimes() | st.datetimes(timezones=st.just(dt.UTC))


@given(plain)
def test_plain_json_comes_back_as_it_was_in_its_order(value: Any) -> None:
    assert same(through(value), value)
    assert same(decode_plain(save(value)), value)
    assert same(through([value], list), [value])
    assert same(through({"a": value}, dict), {"a": value})
    assert same(through({"a": [value]}, dict[str, list[Any]]), {"a": [value]})


@given(
    st.one_of(
        st.tuples(st.just(str), texts),
        st.tuples(st.just(dict[str, str]), st.dictionaries(texts, texts)),
        st.tuples(st.just(list[str]), st.lists(texts)),
        st.tuples(st.just(Optional[str]), st.none() | texts),  # noqa: UP045  this spelling, too
        st.tuples(st.just(str | int), texts | st.integers()),
        st.tuples(st.just(tuple[str, int]), st.tuples(texts, st.integers())),
        st.tuples(
            st.just(dict[str, str | int | None]), st.dictionaries(texts, st.none() | texts | st.integers())
        ),
        st.tuples(st.just(dict[str, tuple[str, ...]]), st.dictionaries(texts, st.lists(texts).map(tuple))),
        st.tuples(st.just(list[tuple[str, bytes]]), st.lists(st.tuples(texts, st.binary()))),
    )
)
def test_any_text_survives_inside_generics(case: tuple[Any, Any]) -> None:
    annotation, value = case
    assert same(through(value, annotation), value)


@given(
    st.one_of(
        st.tuples(st.just(int), st.integers()),
        st.tuples(st.just(float), st.floats(allow_nan=False, allow_infinity=False)),
        st.tuples(st.just(bytes), st.binary()),
        st.tuples(st.just(list[bytes]), st.lists(st.binary())),
        st.tuples(st.just(decimal.Decimal), st.decimals(allow_nan=False, allow_infinity=False)),
        st.tuples(st.just(dt.datetime), instants),
        st.tuples(st.just(dt.date), st.dates()),
        st.tuples(st.just(dt.time), st.times()),
        st.tuples(st.just(dt.timedelta), st.timedeltas()),
        st.tuples(st.just(uuid.UUID), st.uuids()),
        st.tuples(st.just(set[int]), st.sets(st.integers())),
        st.tuples(st.just(frozenset[str]), st.frozensets(texts)),
        st.tuples(st.just(dict[int, dt.date]), st.dictionaries(st.integers(), st.dates())),
        st.tuples(st.just(dict[uuid.UUID, list[int]]), st.dictionaries(st.uuids(), st.lists(st.integers()))),
        st.tuples(st.just(tuple[int, ...]), st.lists(st.integers()).map(tuple)),
        st.tuples(st.just(Point), st.builds(Point, st.integers(), st.integers())),
        st.tuples(st.just(Color), st.sampled_from(Color)),
        st.tuples(
            st.just(Item),
            st.builds(
                Item,
                st.text(),
                st.decimals(allow_nan=False, allow_infinity=False),
                st.floats(allow_nan=False, allow_infinity=False),
                st.none() | instants,
            ),
        ),
    )
)
def test_annotated_values_come_back_as_what_they_were(case: tuple[Any, Any]) -> None:
    annotation, value = case
    back = through(value, annotation)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (None, Any),
        (None, None),
        (None, int | None),
        (10**4299, Any),
        (-(10**4299), int),
        ([10**4299], list[int]),
        (1e308, float),
        (5e-324, Any),
        (-0.0, Any),
        (HALF, Any),
        (HALF, str),
        ([HALF], list[str]),
        ({HALF: HALF}, dict[str, str]),
        ({HALF: [HALF, 1]}, dict[str, Any]),
        ({HALF: {HALF: 1}}, dict[str, dict[str, Any]]),
        (HALF, Literal["x"] | str),
        ("\\ud83d" + "\udc00", str),
        (["\\ud83d" + "\udc00"], list[str]),
        ({"b": 1, "a": 2}, Any),
        ({"b": 1, "a": 2}, dict[str, int]),
        ((1, "a"), tuple),
        ({"a"}, set),
        (frozenset({"a"}), frozenset),
        (Order(orderNumber=1, items=[Item("a", decimal.Decimal("9.50"))]), Order),
        ([Item("a", decimal.Decimal("9.50"), 1.5, dt.datetime(2026, 1, 1))], list[Item]),
        (Order(orderNumber=1, note="\ufffd"), Order),
        (Rush(orderNumber=1), Order | Rush),
        (Dog(), Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]),
        ({"name": "a"}, Options),
        ("x", Literal["x", 1]),
        (1, Literal["x", 1]),
        (Color.RED, Color),
        (Mood.GOOD, Mood),
        (pathlib.PurePosixPath("/tmp/a"), pathlib.PurePosixPath),  # noqa: S108
        (uuid.UUID(int=5), uuid.UUID | str),
        (1, int | float),
        (1.0, int | float),
        (True, int | bool),
        ({"a": [1, {"b": None}]}, pydantic.JsonValue),
        (collections.defaultdict(int, a=1), collections.defaultdict[str, int]),
        (5, Annotated[int, {"unit": "cm"}]),
        ("abc", Annotated[str, pydantic.Field(max_length=3)]),
    ],
    ids=kind,
)
def test_edge_cases_survive(value: Any, annotation: Any) -> None:
    assert same(through(value, annotation), value)


def test_order_of_union_members_is_not_confused_by_the_cache() -> None:
    first, second = decimal.Decimal | str, str | decimal.Decimal
    assert first == second
    assert same(through(decimal.Decimal("1.50"), first), decimal.Decimal("1.50"))
    assert "would be read back as '1.50'" in refusal(decimal.Decimal("1.50"), second).reason
    assert same(through("1.50", second), "1.50")


@pytest.mark.parametrize(
    ("value", "annotation", "stored"),
    [
        ((1, 2), Any, [1, 2]),
        (Mood.GOOD, Any, "good"),
        (Size.BIG, Any, 3),
        (SafeString("<b>"), Any, "<b>"),
        ({Mood.GOOD: Size.BIG}, Any, {"good": 3}),
        (collections.OrderedDict(b=1, a=2), Any, {"b": 1, "a": 2}),
        (collections.Counter("aab"), Any, {"a": 2, "b": 1}),
        ((1, (2,)), list[Any], [1, [2]]),
        ({"a": (Mood.GOOD,)}, dict[str, list[Any]], {"a": ["good"]}),
        ("5", int, 5),
        ("9.50", decimal.Decimal, decimal.Decimal("9.50")),
        ((1, 2), Sequence[int], [1, 2]),
        (iter([1, 2]), Iterable[int], [1, 2]),
        ({"a": 1}, Mapping[str, int], {"a": 1}),
        ({"name": "a", "price": "1"}, Item, Item("a", decimal.Decimal(1))),
        ({"orderNumber": 3}, Order, Order(orderNumber=3)),
    ],
    ids=kind,
)
def test_what_comes_back_in_its_plain_form(value: Any, annotation: Any, stored: Any) -> None:
    assert same(through(value, annotation), stored)


def test_every_decode_makes_new_objects() -> None:
    for annotation in (Any, list, dict[str, list[int]], dict[str, Any]):
        value: Any = [1] if annotation is list else {"a": [1]}
        text = save(value, annotation)
        one, two = decode(text, annotation), decode(text, annotation)
        assert one == two
        assert one is not two
    order = save({"orderNumber": 1}, Order)
    assert decode(order, Order).items is not decode(order, Order).items


def test_text_is_compact_ascii_json() -> None:
    assert save({"é": [1, 2.5, None, True], "b": "x"}) == '{"\\u00e9":[1,2.5,null,true],"b":"x"}'
    assert json.loads(save({"b": HALF})) == {"b": HALF}


# Refusals


@pytest.mark.parametrize(
    ("value", "annotation", "path", "reason", "remedy"),
    [
        (NAN, Any, "$", "is NaN", "None or a string"),
        (-math.inf, Any, "$", "is infinite", "None or a string"),
        ({"items": [1, 2, 3, {"price": NAN}]}, Any, "$.items[3].price", "is NaN", "None or a string"),
        ({"two words": [math.inf]}, Any, "$['two words'][0]", "is infinite", ""),
        (NAN, float, "$", "is NaN", ""),
        ([NAN], list[float], "$[0]", "is NaN", ""),
        ({"a": NAN}, dict[str, Any], "$.a", "is NaN", ""),
        ({"a": [NAN]}, dict[str, list[Any]], "$.a[0]", "is NaN", ""),
        (decimal.Decimal("NaN"), decimal.Decimal, "$", "is NaN", ""),
        (Item("a", decimal.Decimal(1), NAN), Item, "$.weight", "is NaN", ""),
        ([Item("a", decimal.Decimal(1), NAN)], list[Item], "$[0].weight", "is NaN", ""),
        (Item("a", decimal.Decimal("NaN")), Item, "$.price", "is NaN", ""),
        (
            Order(orderNumber=1, items=[Item("a", decimal.Decimal(1), math.inf)]),
            Order,
            "$.items[0].weight",
            "",
            "",
        ),
        (10**4300, Any, "$", "more than 4,300 digits", "as text"),
        (10**4300, int, "$", "more than 4,300 digits", "as text"),
        ([10**4300], list[int], "$[0]", "more than 4,300 digits", "as text"),
        ({1: 2}, Any, "$", "has the key 1 (int)", "dict[int, str]"),
        ([{"a": {None: 2}}], Any, "$[0].a", "has the key None (NoneType)", "strings as keys"),
        ({1: 2}, dict, "$", "has the key 1 (int)", ""),
        ({"at": dt.datetime(2026, 1, 1)}, Any, "$.at", "is a datetime", "annotate"),
        ([dt.date(2026, 1, 1)], list[Any], "$[0]", "is a date", "annotate"),
        (decimal.Decimal(1), Any, "$", "is a Decimal", "annotate"),
        (uuid.UUID(int=1), Any, "$", "is a UUID", "annotate"),
        ({1}, Any, "$", "is a set", "annotate"),
        (b"", Any, "$", "is a bytes", "annotate"),
        (bytearray(), Any, "$", "is a bytearray", "annotate"),
        (Item("a", decimal.Decimal(1)), Any, "$", "is a Item", "annotate"),
        (Dog(), Any, "$", "is a Dog", "annotate"),
        (Point(1), Any, "$", "is a Point", "annotate"),
        (Color.RED, Any, "$", "is a Color", "annotate"),
        (Shown(a=1), Any, "$", "Shown", "plain data"),
        (Custom(), Any, "$", "test_payloads.Custom", "plain data"),
        (Custom, Any, "$", "builtins.type", "plain data"),
        (FakeModel(), Any, "$", "is a model instance (FakeModel)", "pass its primary key"),
        ({"order": FakeModel()}, dict[str, int], "$.order", "is a model instance", "pass its primary key"),
        (io.BytesIO(), Any, "$", "is an open file", "pass its path"),
        (lazystr("text"), Any, "$", "is a lazy translation", "str(value)"),
        ([lazystr("text")], list[str], "$[0]", "is a lazy translation", "str(value)"),
        ("x", int, "$", "Input should be a valid integer", "annotation"),
        (5, None, "$", "Input should be None (got 5)", "annotation"),
        (
            "2026-01-01",
            dt.date | str,
            "$",
            "would be read back as datetime.date(2026, 1, 1)",
            "more narrowly",
        ),
        (Rush(orderNumber=1), Order, "$", "would be read back as Order(", "reads what it writes"),
        (
            Secretive(password=pydantic.SecretStr("x")),
            Secretive,
            "$",
            "would be read back, but changed",
            "reads what it writes",
        ),
        (
            {(1, 2): 3},
            dict[tuple[int, int], int],
            "$['1,2'] (the key)",
            "could not be read back",
            "more narrowly",
        ),
        (Item("a", decimal.Decimal(1), extra=(1,)), Item, "$", "would be read back", "more narrowly"),
        (Item(HALF, decimal.Decimal(1)), Item, "$", "half a character", "clean it"),
        (Order(orderNumber=1, note=HALF), Order, "$", "half a character", "clean it"),
        ("\ud800", Annotated[str, pydantic.Field(max_length=3)], "$", "unicode", ""),
    ],
    ids=kind,
)
def test_what_is_refused_is_named_with_its_path_and_a_remedy(
    value: Any, annotation: Any, path: str, reason: str, remedy: str
) -> None:
    error = refusal(value, annotation)
    assert error.path == path
    assert reason in error.reason
    assert remedy in error.remedy
    assert len(str(error)) < 1000


def test_a_coroutine_is_refused() -> None:
    async def step() -> None:
        """Never awaited, which is the case."""

    coroutine = step()
    error = refusal({"a": coroutine})
    coroutine.close()
    assert (error.path, error.remedy) == ("$.a", "await it and store its result")


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("annotation", [Any, list, list[Any], pydantic.JsonValue])
def test_depth_is_limited(annotation: Any) -> None:
    assert through(nested(64), annotation) == nested(64)
    assert "nested more than 64 levels" in refusal(nested(65), annotation).reason
    assert "nested more than 64 levels" in refusal({"a": nested(100_000)}, Any).reason


def test_depth_is_limited_inside_models_too() -> None:
    error = refusal(Item("a", decimal.Decimal(1), extra=nested(70)), Item)
    assert error.path.startswith("$.extra[0][0]")
    assert "nested more than 64 levels" in error.reason


@pytest.mark.parametrize("annotation", [Any, list, list[Any]])
def test_a_value_that_contains_itself_is_refused(annotation: Any) -> None:
    loop: list[Any] = [1]
    loop.append({"k": loop})
    error = refusal(loop, annotation)
    assert (error.path, error.reason) == ("$[1].k", "contains itself")


@pytest.mark.parametrize("annotation", [Any, list, list[Any], tuple[Any, ...]])
def test_a_value_of_shared_parts_is_not_unfolded_without_end(annotation: Any) -> None:
    value: Any = []
    for _ in range(60):
        value = [value, value]
    with pytest.raises(PayloadTooLarge) as caught:
        save(value, annotation, limit=10_000)
    assert caught.value.size is None


def test_size_is_limited_in_bytes() -> None:
    assert save("é" * 10, limit=62) == '"' + "\\u00e9" * 10 + '"'
    for value, annotation in (("é" * 10, Any), ("é" * 10, str), (["é" * 10], list[str])):
        with pytest.raises(PayloadTooLarge) as caught:
            save(value, annotation, limit=61)
        assert caught.value.size == len(json.dumps(value, separators=(",", ":")))
        assert caught.value.limit == 61


@pytest.mark.parametrize(
    "annotation", [Custom, list[Custom], FakeModel, "Missing", Callable[[Custom], int] | Custom]
)
def test_an_annotation_that_cannot_work_is_named(annotation: Any) -> None:
    for use in (functools.partial(encode, 1, what="the value", limit=9), functools.partial(decode, "1")):
        with pytest.raises(InvalidDefinition, match=r"is annotated as .*, which cannot be stored: "):
            use(annotation=annotation)


def test_hostile_validators_and_values_are_refused_by_type() -> None:
    def fail(value: Any) -> Any:
        raise KeyError("inside")

    error = refusal(1, Annotated[int, pydantic.AfterValidator(fail)])
    assert "could not be validated: KeyError: 'inside'" in error.reason
    with pytest.raises(NotReadable, match="KeyError"):
        decode("1", Annotated[int, pydantic.AfterValidator(fail)])
    error = refusal(1, Annotated[int, pydantic.PlainSerializer(fail)])
    assert "could not be written as JSON" in error.reason


def test_a_stored_value_that_no_longer_fits_says_so() -> None:
    with pytest.raises(NotReadable) as caught:
        decode('{"a":"x"}', dict[str, int], what="result of step 2 (fetch)")
    assert str(caught.value).startswith(
        "result of step 2 (fetch) no longer fits its annotation dict[str, int]"
    )
    assert caught.value.problems[0].startswith("$.a: Input should be a valid integer")


@given(st.builds(ErrorInfo, texts, texts, texts, st.none() | st.integers()))
def test_errors_survive(info: ErrorInfo) -> None:
    text = encode_error(info)
    assert text.isascii()
    assert decode_error(text) == info


# Arguments


def pay(
    order_id: int,
    amount: decimal.Decimal,
    /,
    name: str = "x",
    *notes: str,
    limit: int = None,  # type: ignore[assignment]  # noqa: RUF013  written often, and accepted
    when: "dt.date | None" = None,
    **retry: int,
) -> None:
    """Every kind of parameter, some named like options of the library."""


def arguments(fn: Any, *args: Any, defaults: bool = False, skip: int = 0, **kwargs: Any) -> str:
    text = signature_of(fn, skip=skip).encode_arguments(
        args, kwargs, what="arguments of pay", limit=MIB, defaults=defaults
    )
    assert text.isascii()
    return text


def called(fn: Any, text: str) -> dict[str, Any]:
    args, kwargs = signature_of(fn).decode_arguments(text)
    bound: dict[str, Any] = {}

    @functools.wraps(fn)
    def record(*given: Any, **named: Any) -> None:
        bound.update(inspect.signature(fn).bind(*given, **named).arguments)

    record(*args, **kwargs)
    return bound


def problems(fn: Any, *args: Any, **kwargs: Any) -> tuple[str, ...]:
    with pytest.raises(InvalidArguments) as caught:
        arguments(fn, *args, **kwargs)
    assert caught.value.what == "arguments of pay"
    return caught.value.problems


def test_arguments_are_stored_in_the_order_of_the_parameters() -> None:
    text = arguments(pay, 1, "9.50", "n", "a", "b", when="2026-01-02", limit=3, delay=4, name2=5)
    assert text == (
        '{"order_id":1,"amount":"9.50","name":"n","*notes":["a","b"],"limit":3,"when":"2026-01-02",'
        '"**retry":{"delay":4,"name2":5}}'
    )
    assert called(pay, text) == {
        "order_id": 1,
        "amount": decimal.Decimal("9.50"),
        "name": "n",
        "notes": ("a", "b"),
        "limit": 3,
        "when": dt.date(2026, 1, 2),
        "retry": {"delay": 4, "name2": 5},
    }


def test_defaults_are_stored_on_request() -> None:
    assert arguments(pay, 1, 2) == '{"order_id":1,"amount":"2"}'
    text = arguments(pay, 1, 2, defaults=True)
    assert text == '{"order_id":1,"amount":"2","name":"x","limit":null,"when":null}'
    assert called(pay, text)["limit"] is None

    def with_sentinel(a: int, marker: Any = object(), clock: Any = print) -> None: ...  # noqa: B008

    assert arguments(with_sentinel, 1, defaults=True) == '{"a":1}'
    assert signature_of(with_sentinel).decode_arguments('{"a":1}') == ([1], {})


def test_every_wrong_argument_is_listed() -> None:
    found = problems(pay, "one", order_id=2, name=3, when="soon", limit="x", delay="y")
    assert [line.partition(":")[0] for line in found] == [
        "amount",
        "order_id",
        "name",
        "limit",
        "when",
        "delay",
    ]
    assert "amount: is missing" in found
    assert "limit: Input should be a valid integer, unable to parse string as an integer (got 'x')" in found

    def strict(a: int, b: int = 0, *, order: Item | None = None) -> None: ...

    assert problems(strict, 1, 2, 3, a=5, ordr=1) == (
        "unexpected positional argument 3 (takes 2 positional)",
        "a: given twice, by position and by name",
        "ordr: unexpected argument, did you mean order?",
    )
    assert problems(strict) == ("a: is missing",)
    found = problems(strict, "x" * 10_000, order={"name": "a"})
    assert all(len(line) < 250 for line in found)
    assert "order.price: Field required" in found


def test_a_keyword_for_a_positional_only_parameter_is_a_problem() -> None:
    def only(a: int, /, b: int = 0) -> None: ...

    assert problems(only, a=1) == ("a: is positional-only, give it without its name", "a: is missing")


def test_arguments_that_fit_but_cannot_be_stored() -> None:
    def ship(order: dict[str, Any], weight: float = 1.0) -> None: ...

    with pytest.raises(NotStorable) as caught:
        arguments(ship, {"a": [NAN]}, weight=NAN)
    assert (caught.value.what, caught.value.path) == ("arguments of pay", "$.order.a[0]")
    with pytest.raises(
        NotStorable, match=r"\$.order.it is a model instance \(FakeModel\).*; pass its primary key"
    ):
        arguments(ship, {"it": FakeModel()})
    found = problems(ship, {"a": NAN}, weight="x")
    assert found[0].startswith("order.a: is NaN")
    assert found[1].startswith("weight: Input should be a valid number")
    with pytest.raises(PayloadTooLarge):
        signature_of(ship).encode_arguments([{"a": "x" * 50}], {}, what="w", limit=40, defaults=False)


def test_a_model_instance_for_a_plain_parameter_gets_the_remedy() -> None:
    def ship(order: int) -> None: ...

    assert problems(ship, FakeModel()) == (
        "order: is a model instance (FakeModel); pass its primary key and load it in the step",
    )


@given(st.lists(plain), st.dictionaries(texts, plain))
def test_any_arguments_survive(args: list[Any], kwargs: dict[str, Any]) -> None:
    def anything(*args: Any, **kwargs: Any) -> None: ...

    text = arguments(anything, *args, **kwargs)
    assert signature_of(anything).decode_arguments(text) == (args, kwargs)


def test_stored_arguments_of_a_changed_signature() -> None:
    stored = '{"a":1,"b":2,"*more":[3]}'

    def now(a: int, c: int) -> None: ...

    with pytest.raises(InvalidArguments) as caught:
        signature_of(now).decode_arguments(stored)
    assert "no longer fit it" in caught.value.what
    assert caught.value.problems == (
        "b: was stored, but the function no longer takes it",
        "*more: was stored, but the function no longer takes it",
        "c: is not among the stored arguments and has no default",
    )

    def later(new: int = 0, a: int = 0, b: str = "", *others: int) -> None: ...

    with pytest.raises(InvalidArguments, match="b: Input should be a valid string"):
        signature_of(later).decode_arguments(stored)

    def inserted(new: int = 7, a: int = 0, b: int = 0, *others: int) -> None: ...

    assert called(inserted, stored) == {"new": 7, "a": 1, "b": 2, "others": (3,)}

    def only(a: int = 5, b: int = 6, /) -> None: ...

    assert called(only, '{"b":1}') == {"a": 5, "b": 1}

    def wider(a: int, **options: int) -> None: ...

    assert called(wider, '{"a":1,"b":2}') == {"a": 1, "options": {"b": 2}}


def test_the_handlers_context_is_skipped() -> None:
    async def handler(step: "Unknown", order_id: int) -> str:
        raise NotImplementedError

    assert arguments(handler, 1, skip=1) == '{"order_id":1}'
    assert signature_of(handler, skip=1).decode_arguments('{"order_id":1}') == ([1], {})
    assert signature_of(handler, skip=1).result_annotation is str
    with pytest.raises(
        InvalidDefinition, match=r"parameter 'step'.*annotated as Unknown, which cannot be resolved"
    ):
        signature_of(handler)


def test_results_follow_the_return_annotation() -> None:
    def bare(): ...  # type: ignore[no-untyped-def]

    async def nothing() -> None: ...

    def typed() -> "Annotated[dt.date, 'extra']": ...  # type: ignore[empty-body]

    def unknown() -> "Unknown": ...

    def unusable(order: FakeModel) -> Custom: ...  # type: ignore[empty-body]

    assert signature_of(bare).result_annotation is Any
    assert signature_of(typed).result_annotation == Annotated[dt.date, "extra"]
    with pytest.raises(
        NotStorable, match=r"result of step 1 cannot be stored: \$ Input should be None \(got 5\)"
    ):
        signature_of(nothing).encode_result(5, what="result of step 1", limit=9)
    assert signature_of(nothing).encode_result(None, what="w", limit=9) == "null"
    text = signature_of(typed).encode_result(dt.date(2026, 1, 2), what="w", limit=99)
    assert signature_of(typed).decode_result(text) == dt.date(2026, 1, 2)
    with pytest.raises(NotReadable):
        signature_of(typed).decode_result('"soon"')
    with pytest.raises(InvalidDefinition, match=r"return value of .*unknown is annotated as Unknown"):
        _ = signature_of(unknown).result_annotation
    with pytest.raises(InvalidDefinition, match=r"the result of .*unusable is annotated as Custom, which"):
        signature_of(unusable).encode_result(1, what="w", limit=9)
    with pytest.raises(
        InvalidDefinition, match=r"the parameter 'order' of .*unusable is annotated as FakeModel"
    ):
        arguments(unusable, 1)


def test_wrapped_and_partial_functions_keep_their_signature() -> None:
    @functools.wraps(pay)
    def wrapped(*args: Any, **kwargs: Any) -> None: ...

    assert arguments(wrapped, "1", 2) == '{"order_id":1,"amount":"2"}'
    assert arguments(functools.partial(pay, 1), "2") == '{"amount":"2"}'
    with pytest.raises(InvalidDefinition, match="does not tell its parameters"):
        signature_of(Unsigned())


def test_signatures_are_cached() -> None:
    assert signature_of(pay) is signature_of(pay)
    assert signature_of(pay) is not signature_of(pay, skip=1)
    assert isinstance(signature_of(pay), CallSignature)
