"""What pydantic is asked in place of an annotation: the same, with `Any` held to plain JSON.

Only the annotation itself is rewritten; what a model or a dataclass says of its fields is its own affair.
"""

from __future__ import annotations

import collections.abc
import functools
import sys
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    PlainSerializer,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic_core import PydanticCustomError

from django_workflow.payloads.plain import Room, to_plain
from django_workflow.payloads.refusals import Refused
from django_workflow.payloads.surrogates import TO_DISGUISE, disguise_text, in_all_strings, reveal_text

STORED = object()  # the validation context of a value that is read back; a live one has its Room


def any_node(value: Any, info: ValidationInfo) -> Any:
    """Hold the parts of an annotated value that are annotated as `Any` to plain JSON."""
    if info.context is STORED:
        return value
    try:
        return to_plain(value, 0, info.context if isinstance(info.context, Room) else Room(sys.maxsize))
    except Refused as refused:
        refused.closed()
        facts = {"reason": refused.reason, "path": refused.path(""), "remedy": refused.remedy}
        raise PydanticCustomError("not_storable", "{reason}", facts) from None


def _str_node(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    if info.context is STORED:
        return reveal_text(handler(value))
    if isinstance(value, str) and TO_DISGUISE.search(value):
        return str.__getitem__(value, slice(None))
    return handler(value)


def _any_node_in_disguise(value: Any, info: ValidationInfo) -> Any:
    return in_all_strings(reveal_text, value) if info.context is STORED else any_node(value, info)


_PLAIN: Any = Annotated[Any, AfterValidator(any_node)]
_PLAIN_IN_DISGUISE: Any = Annotated[
    Any,
    AfterValidator(_any_node_in_disguise),
    PlainSerializer(functools.partial(in_all_strings, disguise_text)),
]
_STR_IN_DISGUISE: Any = Annotated[str, WrapValidator(_str_node), PlainSerializer(disguise_text)]

# Abstract containers are read back as the plain one, so a live value is made that one too.
_CONTAINERS: dict[Any, Any] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    dict: dict,
    collections.abc.Sequence: list,
    collections.abc.MutableSequence: list,
    collections.abc.Iterable: list,
    collections.abc.Collection: list,
    collections.abc.Mapping: dict,
    collections.abc.MutableMapping: dict,
    collections.abc.Set: set,
    collections.abc.MutableSet: set,
}


def rewritten(annotation: Any, *, disguise: bool) -> Any:
    """Return the annotation with `Any` made strict and, in disguise, with strings that let lone surrogates pass."""
    again = functools.partial(rewritten, disguise=disguise)
    plain = _PLAIN_IN_DISGUISE if disguise else _PLAIN
    if annotation is Any or annotation is object:
        return plain
    if annotation is str:
        return _STR_IN_DISGUISE if disguise else str
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        # Constraints on a string are pydantic's to check, and it cannot check half a character.
        return annotation if args[0] is str else Annotated[(again(args[0]), *args[1:])]
    if origin is typing.Union or origin is types.UnionType:
        return typing.Union[tuple(again(arg) for arg in args)]  # noqa: UP007  the members are known at run time only
    container = _CONTAINERS.get(origin or annotation) if hashable(annotation) else None
    if container is None:
        return annotation
    if not args:
        return annotation if origin is tuple else _bare(container, again)
    if container is dict and args[0] in (Any, object):
        args = (str, *args[1:])
    return container[tuple(arg if arg is ... else again(arg) for arg in args)]


def _bare(container: Any, again: Callable[[Any], Any]) -> Any:
    if container is dict:
        return dict[again(str), again(Any)]  # type: ignore[misc]
    return tuple[again(Any), ...] if container is tuple else container[again(Any)]  # type: ignore[misc]


def hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def exact_type(annotation: Any) -> type | None:
    """Return the type whose plain instances need no pydantic: validating and dumping them changes nothing."""
    if annotation is None:
        return types.NoneType
    if annotation in (int, str, bool, float, types.NoneType, dict, list):
        return annotation  # type: ignore[no-any-return]
    if annotation in (dict[str, Any], dict[str, object], typing.Dict[str, Any]):  # noqa: UP006  the old spelling is in use
        return dict
    return list if annotation in (list[Any], list[object]) else None
