"""A set has one text in all processes, wherever in a value it is. Python's own order of a set depends on its hash seed."""

import collections
import collections.abc
import dataclasses
import datetime as dt
import decimal
import json
import os
import pathlib
import subprocess
import sys
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import pydantic
import pytest
import typing_extensions

from django_workflow.exceptions import NotStorable
from django_workflow.payloads import decode, decode_plain, encode, signature_of

ROOT = pathlib.Path(__file__).parents[2]
WORDS = frozenset(f"word {letter}" for letter in "cabfedhg")
ITEMS = sorted(WORDS)
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Tagged:
    tags: frozenset[str]
    name: str = ""


@dataclasses.dataclass(frozen=True)
class Slotted:
    __slots__ = ("tags",)
    tags: frozenset[str]


class Basket(pydantic.BaseModel):
    type: set[str] = pydantic.Field(alias="kind")
    default: set[str] | None = None
    inner: "list[Basket]" = []


class Frozen(pydantic.BaseModel, frozen=True):
    tags: frozenset[str]


class Box(pydantic.BaseModel, Generic[T]):
    content: T


class Root(pydantic.RootModel[dict[str, set[str]]]):
    pass


class Open(pydantic.BaseModel, extra="allow"):
    __pydantic_extra__: dict[str, set[str]]


class Wrapped(pydantic.BaseModel):
    tags: set[str]

    @pydantic.field_serializer("tags", mode="wrap")
    def dumped(self, value: Any, handler: Any) -> Any:
        return handler(value)


class Pair(NamedTuple):
    left: set[str]
    right: int


class Row(typing_extensions.TypedDict):
    tags: set[str]


def basket() -> Basket:
    return Basket(kind=set(WORDS), default=set(WORDS), inner=[Basket(kind=set(WORDS))])


# annotation, value, what is stored
CASES: dict[str, tuple[Any, Any, Any]] = {
    "set": (set[str], set(WORDS), ITEMS),
    "bare set": (set, set(WORDS), ITEMS),
    "frozenset": (frozenset[str], WORDS, ITEMS),
    "abstract": (collections.abc.Set[str], WORDS, ITEMS),
    "optional": (set[str] | None, set(WORDS), ITEMS),
    "union": (list[int] | set[str], set(WORDS), ITEMS),
    "constrained": (Annotated[set[str], pydantic.Field(max_length=9)], set(WORDS), ITEMS),
    "validated": (Annotated[Any, pydantic.AfterValidator(set)], ITEMS, ITEMS),
    "of dates": (
        set[dt.date],
        {dt.date(2026, 1, day) for day in range(1, 9)},
        [f"2026-01-0{day}" for day in range(1, 9)],
    ),
    "of decimals": (
        set[decimal.Decimal],
        {decimal.Decimal(n) for n in range(9)},
        [str(n) for n in range(9)],
    ),
    "of mixed items": (set[str | int | None], {*WORDS, None, 7}, [*ITEMS, 7, None]),
    "of half characters": (set[str], {*WORDS, "\ud800"}, ["\ud800", *ITEMS]),
    "of sets": (
        set[frozenset[str]],
        {frozenset({word, "a"}) for word in WORDS},
        [["a", word] for word in ITEMS],
    ),
    "of dataclasses": (
        set[Tagged],
        {Tagged(frozenset({word, "a"}), word) for word in WORDS},
        [{"tags": ["a", word], "name": word} for word in ITEMS],
    ),
    "of models": (
        set[Frozen],
        {Frozen(tags=frozenset({word, "a"})) for word in WORDS},
        [{"tags": ["a", word]} for word in ITEMS],
    ),
    "in a list": (list[set[str]], [set(WORDS), {"x"}], [ITEMS, ["x"]]),
    "in a tuple": (tuple[int, set[str]], (1, set(WORDS)), [1, ITEMS]),
    "in a deque": (collections.deque[set[str]], collections.deque([set(WORDS)]), [ITEMS]),
    "in a dict": (
        dict[str, set[str]],
        {"b": set(WORDS), "a": set(WORDS)},
        {"b": ITEMS, "a": ITEMS},
    ),
    "in a dict by number": (dict[int, set[str]], {2: set(WORDS), 1: set()}, {"2": ITEMS, "1": []}),
    "in a dataclass": (Tagged, Tagged(WORDS), {"tags": ITEMS, "name": ""}),
    "in a dataclass with slots": (Slotted, Slotted(WORDS), {"tags": ITEMS}),
    "in a model": (
        Basket,
        basket(),
        {
            "type": ITEMS,
            "default": ITEMS,
            "inner": [{"type": ITEMS, "default": None, "inner": []}],
        },
    ),
    "in a model in a list": (list[Frozen | Tagged], [Frozen(tags=WORDS)], [{"tags": ITEMS}]),
    "in a generic model": (Box[set[str]], Box[set[str]](content=set(WORDS)), {"content": ITEMS}),
    "in a root model": (Root, Root({"a": set(WORDS)}), {"a": ITEMS}),
    "in what a model allows besides": (Open, Open.model_validate({"more": set(WORDS)}), {"more": ITEMS}),
    "in a model with a serializer": (Wrapped, Wrapped(tags=set(WORDS)), {"tags": ITEMS}),
    "in a named tuple": (Pair, Pair(set(WORDS), 1), [ITEMS, 1]),
    "in a typed dict": (Row, {"tags": set(WORDS)}, {"tags": ITEMS}),
    "as a list": (list[str], set(WORDS), ITEMS),
    "as a list with more to say": (list[str] | None, WORDS, ITEMS),
    "as a bare list": (list, set(WORDS), ITEMS),
    "as a tuple": (tuple[str, ...], set(WORDS), ITEMS),
    "as a list of dataclasses": (
        list[Tagged],
        {Tagged(frozenset({word}), word) for word in WORDS},
        [{"tags": [word], "name": word} for word in ITEMS],
    ),
}


def save(name: str) -> str:
    annotation, value, _ = CASES[name]
    return encode(value, annotation, what="the value", limit=100_000)


def tell_texts() -> None:
    """Print the texts of all cases; run in a process of its own."""
    sys.stdout.write(json.dumps({"texts": {name: save(name) for name in CASES}, "unsorted": list(WORDS)}))


def in_a_process(seed: int) -> Any:
    told = subprocess.run(
        [sys.executable, "-c", f"from {__spec__.name} import tell_texts; tell_texts()"],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return json.loads(told.stdout)


@pytest.fixture(scope="module")
def processes() -> list[Any]:
    told = [in_a_process(seed) for seed in (1, 2)]
    assert told[0]["unsorted"] != told[1]["unsorted"], "the seeds make no difference, so nothing is tested"
    return told


@pytest.mark.parametrize("name", CASES)
def test_a_set_has_the_same_text_in_every_process(name: str, processes: list[Any]) -> None:
    text = save(name)
    assert decode_plain(text) == CASES[name][2]
    assert [told["texts"][name] for told in processes] == [text, text]


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("as a ")])
def test_a_set_comes_back_as_it_was(name: str) -> None:
    annotation, value, _ = CASES[name]
    back = decode(save(name), annotation)
    assert back == (set(value) if name in ("abstract", "validated") else value)


def test_a_set_given_for_a_list_comes_back_as_the_list() -> None:
    assert decode(save("as a list"), list[str]) == ITEMS
    assert decode(save("as a tuple"), tuple[str, ...]) == tuple(ITEMS)


def test_sets_among_arguments_are_in_order() -> None:
    def notify(users: set[str], *groups: frozenset[str], to: list[str], **more: set[str]) -> set[str]:
        raise NotImplementedError

    signature = signature_of(notify)
    text = signature.encode_arguments(
        [set(WORDS), WORDS], {"to": WORDS, "cc": set(WORDS)}, what="arguments", limit=9999, defaults=False
    )
    stored = {"users": ITEMS, "*groups": [ITEMS], "to": ITEMS, "**more": {"cc": ITEMS}}
    assert decode_plain(text) == stored
    assert signature.decode_arguments(text) == ([WORDS, WORDS], {"to": ITEMS, "cc": WORDS})
    assert decode_plain(signature.encode_result(set(WORDS), what="result", limit=9999)) == ITEMS


def test_the_order_of_keys_and_lists_is_part_of_the_value() -> None:
    value = {"b": [{"z"}, {"a"}], "a": [set(WORDS)]}
    text = encode(value, dict[str, list[set[str]]], what="the value", limit=9999)
    assert text == f'{{"b":[["z"],["a"]],"a":[{json.dumps(ITEMS, separators=(",", ":"))}]}}'


def test_what_cannot_be_stored_in_a_set_is_named_as_ever() -> None:
    with pytest.raises(NotStorable, match="more than 4,300 digits"):
        encode({10**4300, 1}, set[int], what="the value", limit=9999)
    with pytest.raises(NotStorable, match="more than 4,300 digits"):
        encode({10**4300, 1}, list[int], what="the value", limit=9999)
