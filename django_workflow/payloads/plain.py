"""Plain JSON: None, bool, int, float, str, list, and dict with str keys. No annotation and no pydantic here.

A tuple is stored as a list; subclasses of str, int and float (StrEnum, IntEnum, SafeString) and dicts and lists that
only add methods are stored as the plain value that they are. The text is ASCII and keeps the order of keys.
"""

from __future__ import annotations

import collections
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from django_workflow.payloads.refusals import Refused, TooLarge, not_plain, path_step, short

DEPTH_LIMIT = 64
DIGITS_LIMIT = 4300
_INT_BOUND = 10**DIGITS_LIMIT
_SMALL = 2**63

dumps = json.JSONEncoder(
    ensure_ascii=True, allow_nan=False, check_circular=False, separators=(",", ":")
).encode
loads = json.JSONDecoder().decode


def decode_plain(text: str) -> Any:
    """Return the JSON value of `text`: for showing what is stored when the code that wrote it is gone."""
    return loads(text)


def plain_text(value: Any, limit: int) -> str:
    """Return a value as JSON; raises `Refused`, and `TooLarge` where it has more than `limit` parts."""
    try:
        return _json(to_plain(value, 0, Room(limit)))
    except Refused as refused:
        raise refused.closed() from None


def tree_text(tree: Any, limit: int) -> str:
    """Do the same for what pydantic dumped, which rarely is at fault."""
    try:
        text = dumps(tree)
    except ValueError:
        text = ""
    # Few brackets: not deep. Most values need no second look.
    if not text or text.count("[") + text.count("{") > DEPTH_LIMIT:
        return plain_text(tree, limit)
    return text


def _json(plain: Any) -> str:
    try:
        return dumps(plain)
    except ValueError as error:  # PYTHONINTMAXSTRDIGITS below our own limit
        raise Refused(f"cannot be written as JSON ({error})", "store it as text") from None


class Room:
    """How many more parts a value may have.

    A list that holds another twice, which holds another twice, … is small in memory and endless as text: parts are
    counted before they are copied.
    """

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, parts: int) -> None:
        self.left -= parts
        if self.left < 0:
            raise TooLarge


def to_plain(value: Any, depth: int, room: Room) -> Any:
    """Return a copy of the value in built-in types; raises `Refused` and `TooLarge`."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        return value if -_SMALL < value < _SMALL else _checked_int(value)
    if kind is float:
        return value if math.isfinite(value) else _refuse_float(value)
    if kind is dict:
        return _plain_dict(value, depth, room)
    if kind is list or kind is tuple:
        return _plain_list(value, depth, room)
    return _plain_subclass(value, depth, room)


def _plain_dict(value: Mapping[Any, Any], depth: int, room: Room) -> dict[str, Any]:
    _enter(value, depth, room)
    plain: dict[str, Any] = {}
    for key, item in value.items():
        name = key if type(key) is str else _plain_key(key)
        kind = type(item)
        if kind is str or kind is bool or item is None:
            plain[name] = item
            continue
        try:
            plain[name] = to_plain(item, depth + 1, room)
        except Refused as refused:
            refused.passed(path_step(name), value)
            raise
    if len(plain) != len(value):  # str subclasses may compare as they like
        raise Refused("has two keys of the same text", "give them different texts")
    return plain


def _plain_list(value: Sequence[Any], depth: int, room: Room) -> list[Any]:
    _enter(value, depth, room)
    plain: list[Any] = []
    for item in value:
        kind = type(item)
        if kind is str or kind is bool or item is None:
            plain.append(item)
            continue
        try:
            plain.append(to_plain(item, depth + 1, room))
        except Refused as refused:
            refused.passed(f"[{len(plain)}]", value)
            raise
    return plain


def _enter(value: Mapping[Any, Any] | Sequence[Any], depth: int, room: Room) -> None:
    if depth >= DEPTH_LIMIT:
        raise Refused(
            f"is nested more than {DEPTH_LIMIT} levels deep", "flatten it, or keep it in a file or a row"
        )
    room.take(len(value))


def _plain_key(key: object) -> str:
    if isinstance(key, str):
        return str.__getitem__(key, slice(None))
    reason = f"has the key {short(key)} ({type(key).__name__}), and keys in JSON are strings"
    raise Refused(reason, "use strings as keys, or annotate it, for example as dict[int, str]")


def _plain_subclass(value: Any, depth: int, room: Room) -> Any:
    kind = type(value)
    if issubclass(kind, str):
        return str.__getitem__(value, slice(None))
    if issubclass(kind, int):
        return _checked_int(int.__int__(value))
    if issubclass(kind, float):
        return to_plain(float.__float__(value), depth, room)
    if issubclass(kind, dict) and (
        issubclass(kind, collections.OrderedDict) or _reads_like(kind, dict, ("items", "keys", "values"))
    ):
        return _plain_dict(value, depth, room)
    if issubclass(kind, list) and _reads_like(kind, list, ()):
        return _plain_list(value, depth, room)
    raise not_plain(value)


def _reads_like(kind: type, plain: type, methods: Sequence[str]) -> bool:
    # A QueryDict, for one, holds lists and shows their last items: stored as a dict it would lose the rest.
    return all(
        getattr(kind, name) is getattr(plain, name)
        for name in ("__iter__", "__getitem__", "__len__", *methods)
    )


def _checked_int(value: int) -> int:
    if -_INT_BOUND < value < _INT_BOUND:
        return value
    raise Refused(f"is an integer of more than {DIGITS_LIMIT:,} digits", "store it as text, e.g. hex(value)")


def _refuse_float(value: float) -> Any:
    name = "NaN" if math.isnan(value) else "infinite"
    raise Refused(f"is {name}, for which JSON has no number", "store None or a string in its place")
