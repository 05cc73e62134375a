"""Values ⇄ JSON text, by type annotation.

Rules of this file: what is stored is ASCII JSON, key order kept; what is read is a fresh object, never one from a cache;
what would come back as something else is refused at the write, naming the part at fault. No Django, no I/O.

Without an annotation (or with `Any`, `object`) a value is plain JSON: None, bool, int, float, str, list, dict with str
keys. A tuple is stored as a list; subclasses of str, int and float (StrEnum, IntEnum, SafeString) and dicts and lists
that only add methods are stored as the plain value that they are. Everything else needs an annotation and is then
pydantic's: validated, dumped, and, where the type leaves room for doubt, read back and compared before it is accepted.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import difflib
import enum
import functools
import inspect
import io
import json
import math
import re
import reprlib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic.errors import PydanticUserError
from pydantic_core import ErrorDetails, PydanticCustomError

from django_workflow.exceptions import (
    ErrorInfo,
    InvalidArguments,
    InvalidDefinition,
    NotReadable,
    NotStorable,
    PayloadTooLarge,
)

DEPTH_LIMIT = 64
DIGITS_LIMIT = 4300
_INT_BOUND = 10**DIGITS_LIMIT
_SMALL = 2**63

_dumps = json.JSONEncoder(
    ensure_ascii=True, allow_nan=False, check_circular=False, separators=(",", ":")
).encode
_loads = json.JSONDecoder().decode


# The front of this file


def encode(value: Any, annotation: Any = Any, *, what: str, limit: int) -> str:
    """Return `value` as ASCII JSON, as its annotation says.

    `what` names the value in errors ("result of step 2 (fetch)"), `limit` is in bytes. Raises `NotStorable`,
    `PayloadTooLarge`, and `InvalidDefinition` for an annotation that no value can be stored by.
    """
    return _encode(_codec(annotation, what), value, what, limit)


def decode(text: str, annotation: Any = Any, *, what: str = "the stored value") -> Any:
    """Return the value that `encode()` made `text` of, a new object each time.

    Raises `NotReadable` where the text does not fit the annotation (which was changed, then).
    """
    return _decode(_codec(annotation, what), text, what)


def decode_plain(text: str) -> Any:
    """Return the JSON value of `text`: for showing what is stored when the code that wrote it is gone."""
    return _loads(text)


def encode_error(info: ErrorInfo) -> str:
    """Return an error as ASCII JSON."""
    return _dumps(
        {"type": info.type, "message": info.message, "traceback": info.traceback, "step": info.step}
    )


def decode_error(text: str) -> ErrorInfo:
    """Return the error that `encode_error()` made `text` of."""
    stored = _loads(text)
    return ErrorInfo(
        stored["type"], stored.get("message", ""), stored.get("traceback", ""), stored.get("step")
    )


def _encode(codec: _Codec, value: Any, what: str, limit: int) -> str:
    try:
        text = codec.text(value, limit)
    except _Refused as refused:
        raise NotStorable(what, refused.path(), refused.reason, refused.remedy) from None
    except ValidationError as error:
        fault = _faults(error, value)[0]
        remedy = fault.remedy or _AS_ANNOTATED
        raise NotStorable(what, f"${fault.path}", fault.reason, remedy) from None
    except _TooLarge:
        raise PayloadTooLarge(what, None, limit) from None
    if len(text) > limit:
        raise PayloadTooLarge(what, len(text), limit)
    return text


def _decode(codec: _Codec, text: str, what: str) -> Any:
    try:
        return codec.value(text)
    except ValidationError as error:
        problems = [f"${path}: {reason}" for path, reason, *_ in _faults(error, decode_plain(text))]
        raise NotReadable(what, _name_of(codec.annotation), problems) from None
    except Exception as error:
        # Validators are foreign code.
        raise NotReadable(what, _name_of(codec.annotation), [f"$: {_said(error)}"]) from error


# Plain JSON


class _Refused(Exception):
    """A part of a value that cannot be stored; the way to it is gathered while the exception goes up."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy
        self._steps: list[str] = []
        self._containers: list[int] = []

    def passed(self, step: str, container: object) -> None:
        self._steps.insert(0, step)
        self._containers.insert(0, id(container))

    def path(self, root: str = "$") -> str:
        return _shorten(root + "".join(self._steps), 200)

    def closed(self) -> _Refused:
        """Say of a value that is too deep because it contains itself that it does; its path ends where it closes."""
        for index, container in enumerate(self._containers):
            if container in self._containers[:index]:
                self._steps = self._steps[:index]
                self.reason, self.remedy = "contains itself", "store a tree; name what it refers to by a key"
                break
        return self


class _TooLarge(Exception):
    """The value has more parts than its limit has bytes."""


class _Room:
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
            raise _TooLarge


def _plain(value: Any, depth: int, room: _Room) -> Any:
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


def _plain_dict(value: Mapping[Any, Any], depth: int, room: _Room) -> dict[str, Any]:
    _enter(value, depth, room)
    plain: dict[str, Any] = {}
    for key, item in value.items():
        name = key if type(key) is str else _plain_key(key)
        kind = type(item)
        if kind is str or kind is bool or item is None:
            plain[name] = item
            continue
        try:
            plain[name] = _plain(item, depth + 1, room)
        except _Refused as refused:
            refused.passed(_step(name), value)
            raise
    if len(plain) != len(value):  # str subclasses may compare as they like
        raise _Refused("has two keys of the same text", "give them different texts")
    return plain


def _plain_list(value: Sequence[Any], depth: int, room: _Room) -> list[Any]:
    _enter(value, depth, room)
    plain: list[Any] = []
    for item in value:
        kind = type(item)
        if kind is str or kind is bool or item is None:
            plain.append(item)
            continue
        try:
            plain.append(_plain(item, depth + 1, room))
        except _Refused as refused:
            refused.passed(f"[{len(plain)}]", value)
            raise
    return plain


def _enter(value: Mapping[Any, Any] | Sequence[Any], depth: int, room: _Room) -> None:
    if depth >= DEPTH_LIMIT:
        raise _Refused(
            f"is nested more than {DEPTH_LIMIT} levels deep", "flatten it, or keep it in a file or a row"
        )
    room.take(len(value))


def _plain_key(key: object) -> str:
    if isinstance(key, str):
        return str.__getitem__(key, slice(None))
    reason = f"has the key {_short(key)} ({type(key).__name__}), and keys in JSON are strings"
    raise _Refused(reason, "use strings as keys, or annotate it, for example as dict[int, str]")


def _plain_subclass(value: Any, depth: int, room: _Room) -> Any:
    kind = type(value)
    if issubclass(kind, str):
        return str.__getitem__(value, slice(None))
    if issubclass(kind, int):
        return _checked_int(int.__int__(value))
    if issubclass(kind, float):
        return _plain(float.__float__(value), depth, room)
    if issubclass(kind, dict) and (
        issubclass(kind, collections.OrderedDict) or _reads_like(kind, dict, ("items", "keys", "values"))
    ):
        return _plain_dict(value, depth, room)
    if issubclass(kind, list) and _reads_like(kind, list, ()):
        return _plain_list(value, depth, room)
    raise _unknown(value)


def _reads_like(kind: type, plain: type, methods: Sequence[str]) -> bool:
    # A QueryDict, for one, holds lists and shows their last items: stored as a dict it would lose the rest.
    return all(
        getattr(kind, name) is getattr(plain, name)
        for name in ("__iter__", "__getitem__", "__len__", *methods)
    )


def _checked_int(value: int) -> int:
    if -_INT_BOUND < value < _INT_BOUND:
        return value
    raise _Refused(f"is an integer of more than {DIGITS_LIMIT:,} digits", "store it as text, e.g. hex(value)")


def _refuse_float(value: float) -> Any:
    name = "NaN" if math.isnan(value) else "infinite"
    raise _Refused(f"is {name}, for which JSON has no number", "store None or a string in its place")


_ANNOTATABLE = (
    "datetime",
    "date",
    "time",
    "timedelta",
    "Decimal",
    "UUID",
    "set",
    "frozenset",
    "bytes",
    "complex",
)


def _unknown(value: Any) -> _Refused:
    kind = type(value)
    special = _special(value)
    if special is not None:
        return _Refused(*special)
    name = kind.__name__
    typed = dataclasses.is_dataclass(kind) or issubclass(kind, (enum.Enum, BaseModel, tuple))
    if typed or name in _ANNOTATABLE or issubclass(kind, (bytearray, memoryview)):
        reason = f"is a {name}, which is not plain JSON"
        return _Refused(reason, f"annotate the parameter or return value with its type ({name})")
    return _Refused(
        f"is a {kind.__module__}.{kind.__qualname__}, which is not plain JSON",
        "store plain data (None, bool, int, float, str, list, dict), or annotate it with a type that pydantic knows",
    )


def _special(value: Any) -> tuple[str, str] | None:
    """Return reason and remedy for what people hand to steps most often and never can."""
    kind = type(value)
    if any(
        base.__name__ == "Promise" and base.__module__ == "django.utils.functional" for base in kind.__mro__
    ):
        return "is a lazy translation", "store str(value)"
    if inspect.isawaitable(value):
        return f"is a {kind.__name__} that nobody awaited", "await it and store its result"
    if isinstance(value, io.IOBase) or _has(value, "read", "close"):
        return "is an open file", "pass its path"
    if not isinstance(value, type) and _has(value, "_meta", "pk"):
        return f"is a model instance ({kind.__name__})", "pass its primary key and load it in the step"
    if _has(value, "model", "query", "values_list"):
        return "is a QuerySet", 'pass list(queryset.values_list("pk", flat=True))'
    return None


def _has(value: object, *names: str) -> bool:
    try:
        return all(hasattr(value, name) for name in names)
    except Exception:  # noqa: BLE001  a foreign __getattr__ may raise anything; it is then not what we look for
        return False


def _step(name: str) -> str:
    return f".{name}" if name.isidentifier() else f"[{_short(name)}]"


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 70


def _short(value: object) -> str:
    try:
        return _shorten(_repr.repr(value), 80)
    except Exception:  # noqa: BLE001  reprlib calls foreign code (__len__, __iter__) unguarded
        return f"<{type(value).__name__}>"


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _plain_text(value: Any, limit: int) -> str:
    try:
        return _json(_plain(value, 0, _Room(limit)))
    except _Refused as refused:
        raise refused.closed() from None


def _json(plain: Any) -> str:
    try:
        return _dumps(plain)
    except ValueError as error:  # PYTHONINTMAXSTRDIGITS below our own limit
        raise _Refused(f"cannot be written as JSON ({error})", "store it as text") from None


# Annotated values: what pydantic is asked

_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", allow_inf_nan=False)
_STORED = object()  # the validation context of a value that is read back; a live one has its _Room


def _any_node(value: Any, info: ValidationInfo) -> Any:
    """Hold the parts of an annotated value that are annotated as `Any` to plain JSON."""
    if info.context is _STORED:
        return value
    try:
        return _plain(value, 0, info.context if isinstance(info.context, _Room) else _Room(_SMALL))
    except _Refused as refused:
        refused.closed()
        facts = {"reason": refused.reason, "path": refused.path(""), "remedy": refused.remedy}
        raise PydanticCustomError("not_storable", "{reason}", facts) from None


# Lone surrogates (half a character, from a file name or a broken decoder) are legal in a Python string and in JSON's
# escapes, but not in Rust. Where a text holds any, they pass through pydantic in disguise: as a noncharacter and four
# letters. Whether all came through is checked at the write, since only strings that the annotation shows are reached.
_MARK = "\U0010ffff"
_TO_DISGUISE = re.compile(f"[{_MARK}\ud800-\udfff]")
_DISGUISED = re.compile(f"{_MARK}(....)", re.DOTALL)


def _disguise(text: str) -> str:
    return _TO_DISGUISE.sub(lambda m: _MARK + ("mark" if m[0] == _MARK else f"{ord(m[0]):04x}"), text)


def _reveal(text: str) -> str:
    return _DISGUISED.sub(_revealed, text)


def _revealed(match: re.Match[str]) -> str:
    code = match[1]
    if code == "mark":
        return _MARK
    return chr(int(code, 16)) if re.fullmatch("d[89a-f][0-9a-f]{2}", code) else match[0]


def _in_all_strings(change: Callable[[str], str], value: Any) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {_in_all_strings(change, key): _in_all_strings(change, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_in_all_strings(change, item) for item in value]
    return value


def _has_lone_surrogate(text: str) -> bool:
    if "\\ud" not in text:
        return False
    try:
        json.dumps(_loads(text), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _str_node(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    if info.context is _STORED:
        return _reveal(handler(value))
    if isinstance(value, str) and _TO_DISGUISE.search(value):
        return str.__getitem__(value, slice(None))
    return handler(value)


def _any_node_in_disguise(value: Any, info: ValidationInfo) -> Any:
    return _in_all_strings(_reveal, value) if info.context is _STORED else _any_node(value, info)


_PLAIN: Any = Annotated[Any, AfterValidator(_any_node)]
_PLAIN_IN_DISGUISE: Any = Annotated[
    Any,
    AfterValidator(_any_node_in_disguise),
    PlainSerializer(functools.partial(_in_all_strings, _disguise)),
]
_STR_IN_DISGUISE: Any = Annotated[str, WrapValidator(_str_node), PlainSerializer(_disguise)]

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


def _rewritten(annotation: Any, *, disguise: bool) -> Any:
    """Return the annotation with `Any` made strict and, in disguise, with strings that let lone surrogates pass."""
    again = functools.partial(_rewritten, disguise=disguise)
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
    container = _CONTAINERS.get(origin or annotation) if _hashable(annotation) else None
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


def _hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


# What surely comes back as it was, from the core schema of pydantic (`"type"` of each node). Anything else is read back
# and compared: unions may take a text for another member, models drop what a subclass adds, secrets are masked.
_SYMMETRIC_KEYS = frozenset({"str", "int", "date", "time", "datetime", "timedelta", "decimal", "uuid"})
_SYMMETRIC = _SYMMETRIC_KEYS | {
    "float", "bool", "none", "bytes", "list", "tuple", "set", "frozenset", "dict", "nullable",
}  # fmt: skip


def _is_symmetric(schema: Any) -> bool:
    if isinstance(schema, (list, tuple)):
        return all(map(_is_symmetric, schema))
    if not isinstance(schema, Mapping) or "type" not in schema:
        return True
    kind = schema["type"]
    if kind == "function-after" and schema["function"]["function"] is _any_node:
        return True
    if kind not in _SYMMETRIC or "serialization" in schema:
        return False
    if kind == "dict" and schema["keys_schema"]["type"] not in _SYMMETRIC_KEYS:
        return False
    return all(
        _is_symmetric(schema[part])
        for part in ("schema", "items_schema", "keys_schema", "values_schema")
        if part in schema
    )


class _Form:
    """An annotation as pydantic sees it, in disguise or not."""

    def __init__(self, annotation: Any, *, disguise: bool) -> None:
        self._disguise = disguise
        self._adapter = _adapter(_rewritten(annotation, disguise=disguise))
        # Looking at the schema also makes a model say now that it refers to a class that does not exist.
        self._compares = disguise or not _is_symmetric(self._adapter.core_schema)

    def text(self, value: Any, limit: int) -> str:
        checked = self._check(value, limit)
        tree = self._dump(checked)
        text = _tree_text(_in_all_strings(_reveal, tree) if self._disguise else tree, limit)
        if self._compares:
            self._compare(checked, text)
        return text

    def value(self, text: str) -> Any:
        if self._disguise:
            text = _dumps(_in_all_strings(_disguise, _loads(text)))
        return self._adapter.validate_json(text, context=_STORED, by_alias=False, by_name=True)

    def _check(self, value: Any, limit: int) -> Any:
        try:
            return self._adapter.validate_python(value, context=_Room(limit))
        except (ValidationError, _TooLarge):
            raise
        except Exception as error:  # validators are foreign code
            raise _Refused(f"could not be validated: {_said(error)}", _AS_ANNOTATED) from error

    def _dump(self, checked: Any) -> Any:
        try:
            return self._adapter.dump_python(
                checked, mode="json", by_alias=False, round_trip=True, warnings="error"
            )
        except UnicodeDecodeError:
            remedy = "give its model the config ser_json_bytes='base64', val_json_bytes='base64'"
            raise _Refused("holds bytes that are not UTF-8", remedy) from None
        except _TooLarge:
            raise
        except Exception as error:  # serializers are foreign code
            raise _Refused(f"could not be written as JSON: {_said(error)}", _AS_ANNOTATED) from error

    def _compare(self, checked: Any, text: str) -> None:
        why: Exception | None = None
        back: Any = None
        try:
            back = self.value(text)
            same = _same(checked, back)
        except Exception as error:  # noqa: BLE001  validators and __eq__ are foreign code
            why, same = error, False
        if same:
            return
        if self._disguise:
            remedy = "clean it, text.encode('utf-8', 'replace').decode(), or store it as bytes"
            raise _Refused("holds half a character (a lone surrogate) where its type cannot keep one", remedy)
        if why is not None:
            raise _unreadable(why, text) from why
        shown, other = _short(checked), _short(back)
        as_what = f" as {other}, not as {shown}" if shown != other else ", but changed"
        raise _Refused(f"would be read back{as_what}", _ASYMMETRIC)


def _unreadable(why: Exception, text: str) -> _Refused:
    if not isinstance(why, ValidationError):
        return _Refused(f"could not be read back: {_said(why)}", _ASYMMETRIC)
    fault = _faults(why, _loads(text))[0]
    reason = f"could not be read back: {fault.reason}" if fault.storable else fault.reason
    refused = _Refused(reason, fault.remedy or _ASYMMETRIC)
    refused.passed(fault.path, text)
    return refused


def _said(error: Exception) -> str:
    return _shorten(f"{type(error).__name__}: {' '.join(str(error).split())}", 300)


_AS_ANNOTATED = "make it what the annotation says, or change the annotation"
_ASYMMETRIC = "annotate it more narrowly, or with a type that reads what it writes"


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation, config=_CONFIG)
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(annotation)  # models and dataclasses have a config of their own


def _tree_text(tree: Any, limit: int) -> str:
    try:
        text = _dumps(tree)
    except ValueError:
        text = ""
    # Few brackets: not deep. Most values need no second look.
    if not text or text.count("[") + text.count("{") > DEPTH_LIMIT:
        return _plain_text(tree, limit)
    return text


_BY_IDENTITY: Any = object.__eq__


def _same(live: Any, back: Any) -> bool:
    kind = type(back)
    if type(live) is not kind:
        plain_of_subclass = kind in (str, int, float) and isinstance(live, kind) and type(live) is not bool
        return plain_of_subclass and bool(live == back)
    if kind in (list, tuple):
        return len(live) == len(back) and all(map(_same, live, back))
    if kind is dict:
        return len(live) == len(back) and all(map(_same, live.items(), back.items()))
    if issubclass(kind, BaseModel):
        fields = kind.model_fields
        return all(_same(live.__dict__.get(name), back.__dict__.get(name)) for name in fields) and _same(
            live.model_extra, back.model_extra
        )
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
        return all(_same(getattr(live, name, None), getattr(back, name, None)) for name in names)
    return kind.__eq__ is _BY_IDENTITY or bool(live == back)


# Codecs


class _Codec:
    """How the values of one annotation are written and read.

    `exact` is the type, if any, whose plain instances need no pydantic: validating and dumping them changes nothing.
    """

    def __init__(self, annotation: Any) -> None:
        self.annotation = annotation
        self._plain = annotation is Any or annotation is object
        self._exact = None if self._plain else _exact_type(annotation)
        self._form = None if self._plain else _Form(annotation, disguise=False)

    @functools.cached_property
    def _disguised(self) -> _Form:
        return _Form(self.annotation, disguise=True)

    def text(self, value: Any, limit: int) -> str:
        """Return `value` as JSON; raises `_Refused`, `_TooLarge` or pydantic's `ValidationError`."""
        if self._form is None or type(value) is self._exact:
            return _plain_text(value, limit)
        try:
            text = self._form.text(value, limit)
        except ValidationError as error:
            if not any(fault["type"] == "string_unicode" for fault in error.errors(include_url=False)):
                raise
        except _Refused:
            if not _may_hold_surrogates(value):
                raise
        else:
            # Of a lone surrogate in a key pydantic makes replacement characters.
            if "\\ufffd" not in text and not _has_lone_surrogate(text):
                return text
        return self._disguised.text(value, limit)

    def value(self, text: str) -> Any:
        """Return the value; raises pydantic's `ValidationError`."""
        if self._form is None:
            return _loads(text)
        if self._exact is not None:
            plain = _loads(text)
            if type(plain) is self._exact:
                return plain
        return (self._disguised if _has_lone_surrogate(text) else self._form).value(text)

    def value_of(self, stored: Any) -> Any:
        """Return the value of JSON that was loaded already; the caller gives `stored` away."""
        if self._form is None or type(stored) is self._exact:
            return stored
        return self.value(_dumps(stored))


def _may_hold_surrogates(value: Any) -> bool:
    try:
        return re.search(r"\\ud[89a-f]", repr(value)) is not None
    except Exception:  # noqa: BLE001  a foreign __repr__; the refusal stands as it is
        return False


def _exact_type(annotation: Any) -> type | None:
    if annotation is None:
        return types.NoneType
    if annotation in (int, str, bool, float, types.NoneType, dict, list):
        return annotation  # type: ignore[no-any-return]
    if annotation in (dict[str, Any], dict[str, object], typing.Dict[str, Any]):  # noqa: UP006  the old spelling is in use
        return dict
    return list if annotation in (list[Any], list[object]) else None


_ANY = _Codec(Any)


# Two annotations may be equal and yet not the same (`int | str`, `str | int`), hence the text in the key.
@functools.lru_cache(maxsize=2048)
def _cached_codec(annotation: Any, text: str) -> _Codec:
    return _Codec(annotation)


@functools.lru_cache(maxsize=2048)
def _class_codec(annotation: type) -> _Codec:
    return _Codec(annotation)


# An annotation that cannot be hashed (`Annotated[int, {"unit": "cm"}]`) is known by its address, and kept so that the
# address stays its own.
_unhashable_codecs: collections.OrderedDict[int, tuple[Any, _Codec]] = collections.OrderedDict()


def _codec(annotation: Any, what: str) -> _Codec:
    if annotation is Any:
        return _ANY
    try:
        if type(annotation) is type:
            return _class_codec(annotation)
        if _hashable(annotation):
            return _cached_codec(annotation, repr(annotation))
        return _unhashable_codec(annotation)
    except Exception as error:
        # Pydantic runs foreign hooks; whatever fails here is the annotation's fault
        raise _unusable(what, annotation, error) from error


def _unhashable_codec(annotation: Any) -> _Codec:
    known = _unhashable_codecs.get(id(annotation))
    if known is None or known[0] is not annotation:
        known = (annotation, _Codec(annotation))
        _unhashable_codecs[id(annotation)] = known
        while len(_unhashable_codecs) > 512:
            _unhashable_codecs.popitem(last=False)
    return known[1]


def _unusable(what: str, annotation: Any, error: Exception) -> InvalidDefinition:
    remedy = "annotate it with plain data, a dataclass, a pydantic model or another type that pydantic knows"
    special = " (pass a model's primary key instead)" if _has(annotation, "_meta", "objects") else ""
    reason = _shorten(str(error).partition("\n")[0], 200)
    problem = f"is annotated as {_name_of(annotation)}, which cannot be stored: {reason}"
    return InvalidDefinition(what, problem, remedy + special)


def _name_of(annotation: Any) -> str:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__qualname__
    return _shorten(repr(annotation).replace("typing.", ""), 200)


# What pydantic finds wrong


class _Fault(NamedTuple):
    path: str
    reason: str
    remedy: str
    storable: bool


_NOT_STORABLE = ("not_storable", "finite_number", "string_unicode", "recursion_loop")


def _faults(error: ValidationError, value: Any) -> list[_Fault]:
    return [_fault(details, value) for details in error.errors(include_url=False)]


def _fault(details: ErrorDetails, value: Any) -> _Fault:
    path, given = _located(details["loc"], value), details["input"]
    context = details.get("ctx") or {}
    if details["type"] == "not_storable":
        return _Fault(path + context["path"], context["reason"], context["remedy"], storable=False)
    if details["type"] == "finite_number":
        name = "NaN" if "nan" in str(given).lower() else "infinite"
        return _Fault(
            path, f"is {name}, for which JSON has no number", "store None or a string in its place", False
        )
    special = _special(given)
    if special is not None:
        return _Fault(path, special[0], special[1], storable=True)
    shown = "" if details["type"] == "missing" else f" (got {_short(given)})"
    return _Fault(path, f"{details['msg']}{shown}", "", details["type"] not in _NOT_STORABLE)


def _located(steps: Sequence[int | str], value: Any) -> str:
    # Pydantic's location also names union members and validators; only what is found in the value is shown.
    path = ""
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
            value = value[step] if isinstance(value, (list, tuple)) and step < len(value) else None
        elif step == "[key]":
            path += " (the key)"
        elif isinstance(value, Mapping):
            path += _step(step)
            value = value.get(step)
        elif value is not None and step in getattr(value, "__dict__", {}):
            path += _step(step)
            value = getattr(value, step)
    return path


# Arguments


_EMPTY = inspect.Parameter.empty
_VAR_POSITIONAL = inspect.Parameter.VAR_POSITIONAL
_VAR_KEYWORD = inspect.Parameter.VAR_KEYWORD
_KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
_POSITIONAL_ONLY = inspect.Parameter.POSITIONAL_ONLY


class _Problem(NamedTuple):
    text: str
    refusal: NotStorable | None = None


class _Parameter:
    """A parameter of a function, with the codec of its annotation, which is made at the first use."""

    def __init__(self, function: str, name: str, kind: Any, default: Any, annotation: Any) -> None:
        self.name, self.kind, self.default = name, kind, default
        self.stored_name = {_VAR_POSITIONAL: f"*{name}", _VAR_KEYWORD: f"**{name}"}.get(kind, name)
        self.key = f"{_dumps(self.stored_name)}:"
        self._function = function
        # `limit: int = None` is written often and means what it says.
        self._annotation = typing.Optional[annotation] if default is None else annotation  # noqa: UP045  made at run time

    @functools.cached_property
    def codec(self) -> _Codec:
        return _codec(self._annotation, f"the parameter {self.name!r} of {self._function}")

    def text(self, value: Any, label: str, what: str, limit: int, problems: list[_Problem]) -> str:
        """Return the value as JSON; what is wrong with it is added to `problems`."""
        try:
            return self.codec.text(value, limit)
        except _Refused as refused:
            self._refuse(label, refused.path(""), refused, what, problems)
        except ValidationError as error:
            for fault in _faults(error, value):
                if fault.storable:
                    problems.append(_Problem(f"{label}{fault.path}: {_with(fault.reason, fault.remedy)}"))
                else:
                    self._refuse(label, fault.path, fault, what, problems)
        except _TooLarge:
            raise PayloadTooLarge(what, None, limit) from None
        return "null"

    def _refuse(
        self, label: str, path: str, why: _Refused | _Fault, what: str, problems: list[_Problem]
    ) -> None:
        remedy = why.remedy or _AS_ANNOTATED
        refusal = NotStorable(what, f"$.{label}{path}", why.reason, remedy)
        problems.append(_Problem(f"{label}{path}: {_with(why.reason, remedy)}", refusal))

    def value(self, stored: Any, problems: list[str], label: str) -> Any:
        """Return the value of a JSON value that was read; what is wrong with it is added to `problems`."""
        try:
            return self.codec.value_of(stored)
        except ValidationError as error:
            problems += [f"{label}{path}: {reason}" for path, reason, *_ in _faults(error, stored)]
        except Exception as error:  # noqa: BLE001  validators are foreign code
            problems.append(f"{label}: {_said(error)}")
        return None


def _with(reason: str, remedy: str) -> str:
    return f"{reason}; {remedy}" if remedy else reason


class _Bound(NamedTuple):
    values: dict[str, Any]
    extra: tuple[Any, ...]
    options: dict[str, Any]


class CallSignature:
    """How a function's arguments and result are stored. Made by `signature_of()`.

    Arguments are one JSON object in the order of the parameters; `*args` is under `"*args"`, `**options` under
    `"**options"`.
    """

    def __init__(self, function: Callable[..., Any], skip: int) -> None:
        self.function = (
            f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', repr(function))}"
        )
        try:
            listed = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError) as error:
            remedy = "wrap it in a function of your own"
            raise InvalidDefinition(self.function, "does not tell its parameters", remedy) from error
        self._hints = _Hints(function, self.function)
        taken = [p for p in listed[:skip] if p.kind not in (_VAR_POSITIONAL, _VAR_KEYWORD, _KEYWORD_ONLY)]
        self._parameters = [
            _Parameter(self.function, p.name, p.kind, p.default, self._hints.of(p.name))
            for p in listed[len(taken) :]
        ]
        self._positional = [
            p for p in self._parameters if p.kind not in (_VAR_POSITIONAL, _VAR_KEYWORD, _KEYWORD_ONLY)
        ]
        self._named = {p.name: p for p in self._parameters if p.kind not in (_VAR_POSITIONAL, _VAR_KEYWORD)}
        self._var_positional = next((p for p in self._parameters if p.kind is _VAR_POSITIONAL), None)
        self._var_keyword = next((p for p in self._parameters if p.kind is _VAR_KEYWORD), None)

    @functools.cached_property
    def result_annotation(self) -> Any:
        """The annotation of what the function returns or, being async, is awaited for; `Any` without one."""
        return self._hints.of("return")

    @functools.cached_property
    def _result_codec(self) -> _Codec:
        return _codec(self.result_annotation, f"the result of {self.function}")

    def encode_result(self, value: Any, *, what: str, limit: int) -> str:
        """Return what the function returned as ASCII JSON; like `encode()` with `result_annotation`, but faster."""
        return _encode(self._result_codec, value, what, limit)

    def decode_result(self, text: str, *, what: str = "the stored result") -> Any:
        """Return the result that `encode_result()` made `text` of; raises `NotReadable`."""
        return _decode(self._result_codec, text, what)

    def encode_arguments(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, what: str, limit: int, defaults: bool
    ) -> str:
        """Return the arguments of a call as ASCII JSON, validated and converted by their annotations.

        With `defaults` the defaults of parameters that were not given are stored too, except those that can't be (a
        sentinel, a function): the function supplies these itself. `limit` is in bytes. Raises `InvalidArguments` with
        all problems; `NotStorable` where the only fault is that a value cannot be stored; `PayloadTooLarge`.
        """
        problems: list[_Problem] = []
        bound = self._bind(args, kwargs, problems)
        pieces = []
        for parameter in self._parameters:
            text = self._argument(parameter, bound, what, limit, defaults, problems)
            if text is not None:
                pieces.append(parameter.key + text)
        if problems:
            raise _all_of(problems, what)
        text = f"{{{','.join(pieces)}}}"
        if len(text) > limit:
            raise PayloadTooLarge(what, len(text), limit)
        return text

    def _argument(
        self,
        parameter: _Parameter,
        bound: _Bound,
        what: str,
        limit: int,
        defaults: bool,
        problems: list[_Problem],
    ) -> str | None:
        name = parameter.name
        if parameter.kind is _VAR_POSITIONAL:
            texts = [
                parameter.text(value, f"{name}[{index}]", what, limit, problems)
                for index, value in enumerate(bound.extra)
            ]
            return f"[{','.join(texts)}]" if texts else None
        if parameter.kind is _VAR_KEYWORD:
            texts = [
                f"{_dumps(key)}:{parameter.text(value, key, what, limit, problems)}"
                for key, value in bound.options.items()
            ]
            return f"{{{','.join(texts)}}}" if texts else None
        if name in bound.values:
            return parameter.text(bound.values[name], name, what, limit, problems)
        if not defaults or parameter.default is _EMPTY:
            return None
        unusable: list[_Problem] = []
        text = parameter.text(parameter.default, name, what, limit, unusable)
        return None if unusable else text

    def _bind(self, args: Sequence[Any], kwargs: Mapping[str, Any], problems: list[_Problem]) -> _Bound:
        values = {p.name: value for p, value in zip(self._positional, args, strict=False)}
        extra = tuple(args[len(self._positional) :])
        if extra and self._var_positional is None:
            takes = f"takes {len(self._positional)} positional"
            problems += [
                _Problem(f"unexpected positional argument {_short(value)} ({takes})") for value in extra
            ]
        options = {}
        for name, value in kwargs.items():
            known = self._named.get(name)
            if known is not None and known.kind is not _POSITIONAL_ONLY:
                if name in values:
                    problems.append(_Problem(f"{name}: given twice, by position and by name"))
                values[name] = value
            elif self._var_keyword is not None:
                options[name] = value
            elif known is not None:
                problems.append(_Problem(f"{name}: is positional-only, give it without its name"))
            else:
                problems.append(_Problem(f"{name}: unexpected argument{self._nearest(name)}"))
        problems += [
            _Problem(f"{p.name}: is missing")
            for p in self._named.values()
            if p.name not in values and p.default is _EMPTY
        ]
        return _Bound(values, extra, options)

    def _nearest(self, name: str) -> str:
        similar = difflib.get_close_matches(name, self._named, n=1)
        return f", did you mean {similar[0]}?" if similar else ""

    def decode_arguments(self, text: str, *, what: str = "") -> tuple[list[Any], dict[str, Any]]:
        """Return `args, kwargs` for a call of the function, new objects each time.

        Parameters that are not stored are left to their defaults. Raises `InvalidArguments` where the stored
        arguments no longer fit the signature (which was changed, then).
        """
        stored = _loads(text)
        problems: list[str] = []
        extra, options = self._stored_extras(stored, problems)
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        by_position = True
        for parameter in self._named.values():
            name, given = parameter.name, parameter.name in stored
            if parameter.kind is _KEYWORD_ONLY:
                by_position = False
            if given:
                value = parameter.value(stored[name], problems, name)
            elif parameter.default is _EMPTY:
                problems.append(f"{name}: is not among the stored arguments and has no default")
                continue
            elif parameter.kind is _POSITIONAL_ONLY or (extra and by_position):
                value = parameter.default  # what follows it goes by position
            else:
                by_position = False
                continue
            if by_position:
                args.append(value)
            else:
                kwargs[name] = value
        if problems:
            raise InvalidArguments(
                what or f"the stored arguments of {self.function} no longer fit it", problems
            )
        return args + extra, kwargs | options

    def _stored_extras(self, stored: dict[str, Any], problems: list[str]) -> tuple[list[Any], dict[str, Any]]:
        extra: list[Any] = []
        options: dict[str, Any] = {}
        for name, value in stored.items():
            if name in self._named:
                continue
            if name.startswith("**") and self._var_keyword is not None:
                options |= {key: self._var_keyword.value(item, problems, key) for key, item in value.items()}
            elif name.startswith("*") and not name.startswith("**") and self._var_positional is not None:
                extra += [
                    self._var_positional.value(item, problems, f"{name[1:]}[{i}]")
                    for i, item in enumerate(value)
                ]
            elif not name.startswith("*") and self._var_keyword is not None:
                options[name] = self._var_keyword.value(value, problems, name)
            else:
                problems.append(f"{name}: was stored, but the function no longer takes it")
        return extra, options


def _all_of(problems: Sequence[_Problem], what: str) -> InvalidArguments | NotStorable:
    refusals = [problem.refusal for problem in problems if problem.refusal is not None]
    if len(refusals) == len(problems):
        return refusals[0]
    return InvalidArguments(what, [problem.text for problem in problems])


class _Hints:
    """The annotations of a function, resolved one by one: one that cannot be does no harm until it is needed."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._name = name
        target: Any = inspect.unwrap(function)
        while isinstance(target, functools.partial):
            target = inspect.unwrap(target.func)
        if not hasattr(target, "__globals__"):
            target = getattr(target, "__func__", None) or getattr(type(target), "__call__", target)  # noqa: B004
        self._globals = getattr(target, "__globals__", {})
        self._raw: dict[str, Any] = dict(getattr(target, "__annotations__", {}))

    def of(self, parameter: str) -> Any:
        raw = self._raw.get(parameter, Any)
        if raw is Any:
            return Any
        holder = types.SimpleNamespace(__annotations__={parameter: raw})
        try:
            return typing.get_type_hints(holder, globalns=self._globals, include_extras=True)[parameter]
        except Exception as error:
            # An annotation is code, and may raise anything
            where = "return value" if parameter == "return" else f"parameter {parameter!r}"
            raise InvalidDefinition(
                f"the {where} of {self._name}",
                f"is annotated as {raw if isinstance(raw, str) else _name_of(raw)}, which cannot be resolved ({error})",
                "import the name where the function is defined, not under TYPE_CHECKING",
            ) from error


def signature_of(function: Callable[..., Any], *, skip: int = 0) -> CallSignature:
    """Return the cached signature of a function, without its first `skip` positional parameters.

    Raises `InvalidDefinition` where an annotation cannot be resolved.
    """
    if _hashable(function):
        return _cached_signature(function, skip)
    return CallSignature(function, skip)


@functools.lru_cache(maxsize=4096)
def _cached_signature(function: Callable[..., Any], skip: int) -> CallSignature:
    return CallSignature(function, skip)
