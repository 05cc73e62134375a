"""The arguments and the result of a function ⇄ their text.

All arguments are one JSON object, and all that is wrong with them is told at once. Nothing is called here.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from django_workflow.exceptions import InvalidArguments, InvalidDefinition, NotStorable, PayloadTooLarge
from django_workflow.payloads.annotations import hashable
from django_workflow.payloads.codecs import Codec, codec_of
from django_workflow.payloads.faults import AS_ANNOTATED, Fault, faults_of
from django_workflow.payloads.hints import Hints
from django_workflow.payloads.plain import dumps, loads
from django_workflow.payloads.refusals import Refused, TooLarge, said, short
from django_workflow.payloads.values import decode_with, encode_with


def signature_of(function: Callable[..., Any], *, skip: int = 0) -> CallSignature:
    """Return the cached signature of a function, without its first `skip` positional parameters.

    Raises `InvalidDefinition` where an annotation cannot be resolved.
    """
    if hashable(function):
        return _cached_signature(function, skip)
    return CallSignature(function, skip)


@functools.lru_cache(maxsize=4096)
def _cached_signature(function: Callable[..., Any], skip: int) -> CallSignature:
    return CallSignature(function, skip)


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
        self.key = f"{dumps(self.stored_name)}:"
        self._function = function
        # `limit: int = None` is written often and means what it says.
        self.annotation = typing.Optional[annotation] if default is None else annotation  # noqa: UP045  made at run time

    @functools.cached_property
    def codec(self) -> Codec:
        return codec_of(self.annotation, f"the parameter {self.name!r} of {self._function}")

    def text(self, value: Any, label: str, what: str, limit: int, problems: list[_Problem]) -> str:
        """Return the value as JSON; what is wrong with it is added to `problems`."""
        try:
            return self.codec.text(value, limit)
        except Refused as refused:
            self._refuse(label, refused.path(""), refused, what, problems)
        except ValidationError as error:
            for fault in faults_of(error, value):
                if fault.storable:
                    problems.append(_Problem(f"{label}{fault.path}: {_with(fault.reason, fault.remedy)}"))
                else:
                    self._refuse(label, fault.path, fault, what, problems)
        except TooLarge:
            raise PayloadTooLarge(what, None, limit) from None
        return "null"

    def _refuse(
        self, label: str, path: str, why: Refused | Fault, what: str, problems: list[_Problem]
    ) -> None:
        remedy = why.remedy or AS_ANNOTATED
        refusal = NotStorable(what, f"$.{label}{path}", why.reason, remedy)
        problems.append(_Problem(f"{label}{path}: {_with(why.reason, remedy)}", refusal))

    def value(self, stored: Any, problems: list[str], label: str) -> Any:
        """Return the value of a JSON value that was read; what is wrong with it is added to `problems`."""
        try:
            return self.codec.value_of(stored)
        except ValidationError as error:
            problems += [f"{label}{path}: {reason}" for path, reason, *_ in faults_of(error, stored)]
        except Exception as error:  # noqa: BLE001  validators are foreign code
            problems.append(f"{label}: {said(error)}")
        return None


def _with(reason: str, remedy: str) -> str:
    return f"{reason}; {remedy}" if remedy else reason


class _Bound(NamedTuple):
    values: dict[str, Any]
    extra: tuple[Any, ...]
    options: dict[str, Any]


class Parameter(NamedTuple):
    """A parameter as its author wrote it."""

    name: str
    kind: Any  # as `inspect` names them
    default: Any  # `inspect.Parameter.empty`: none
    annotation: Any  # `Any` without one


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
        self._hints = Hints(function, self.function)
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

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What the function takes, for whoever asks people for it."""
        return tuple(Parameter(p.name, p.kind, p.default, p.annotation) for p in self._parameters)

    @functools.cached_property
    def result_annotation(self) -> Any:
        """The annotation of what the function returns or, being async, is awaited for; `Any` without one."""
        return self._hints.of("return")

    @functools.cached_property
    def _result_codec(self) -> Codec:
        return codec_of(self.result_annotation, f"the result of {self.function}")

    def encode_result(self, value: Any, *, what: str, limit: int) -> str:
        """Return what the function returned as ASCII JSON; like `encode()` with `result_annotation`, but faster."""
        return encode_with(self._result_codec, value, what, limit)

    def decode_result(self, text: str, *, what: str = "the stored result") -> Any:
        """Return the result that `encode_result()` made `text` of; raises `NotReadable`."""
        return decode_with(self._result_codec, text, what)

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
                f"{dumps(key)}:{parameter.text(value, key, what, limit, problems)}"
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
                _Problem(f"unexpected positional argument {short(value)} ({takes})") for value in extra
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
        stored = loads(text)
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


def encode_argument(value: Any, annotation: Any, *, name: str, what: str, limit: int) -> str:
    """Return one value that a caller gives as ASCII JSON, as its annotation says.

    Unlike `encode()` it tells a value of another type (`InvalidArguments`) from one that can't be stored
    (`NotStorable`, `PayloadTooLarge`). `name` stands before each problem, `limit` is in bytes.
    """
    problems: list[_Problem] = []
    text = _Parameter(what, name, _KEYWORD_ONLY, _EMPTY, annotation).text(value, name, what, limit, problems)
    if problems:
        raise _all_of(problems, what)
    if len(text) > limit:
        raise PayloadTooLarge(what, len(text), limit)
    return text


def _all_of(problems: Sequence[_Problem], what: str) -> InvalidArguments | NotStorable:
    refusals = [problem.refusal for problem in problems if problem.refusal is not None]
    if len(refusals) == len(problems):
        return refusals[0]
    return InvalidArguments(what, [problem.text for problem in problems])
