"""Annotated values: validated, dumped, their sets put in order, and read back where the type leaves room for doubt.

What would come back as something else is refused here.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from django_workflow.payloads.annotations import STORED, rewritten
from django_workflow.payloads.faults import AS_ANNOTATED, faults_of
from django_workflow.payloads.plain import Room, dumps, loads, tree_text
from django_workflow.payloads.refusals import Refused, TooLarge, said, short
from django_workflow.payloads.schemas import is_symmetric, may_hold_sets
from django_workflow.payloads.sets import SETS, in_one_order, list_of_set
from django_workflow.payloads.surrogates import disguise_text, in_all_strings, reveal_text

_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", allow_inf_nan=False)
_ASYMMETRIC = "annotate it more narrowly, or with a type that reads what it writes"
_BY_IDENTITY: Any = object.__eq__


class Form:
    """An annotation as pydantic sees it, in disguise or not."""

    def __init__(self, annotation: Any, *, disguise: bool) -> None:
        self._disguise = disguise
        self._adapter = _adapter(rewritten(annotation, disguise=disguise))
        # Looking at the schema also makes a model say now that it refers to a class that does not exist.
        schema = self._adapter.core_schema
        self._compares = disguise or not is_symmetric(schema)
        self._orders = may_hold_sets(schema)

    def text(self, value: Any, limit: int) -> str:
        checked = self._check(value, limit)
        tree = self._dump(checked)
        if isinstance(value, SETS):
            checked, tree = list_of_set(checked, tree)
        text = tree_text(tree, limit)
        if self._compares:
            self._compare(checked, text)
        return text

    def value(self, text: str) -> Any:
        if self._disguise:
            text = dumps(in_all_strings(disguise_text, loads(text)))
        return self._adapter.validate_json(text, context=STORED, by_alias=False, by_name=True)

    def _check(self, value: Any, limit: int) -> Any:
        try:
            return self._adapter.validate_python(value, context=Room(limit))
        except (ValidationError, TooLarge):
            raise
        except Exception as error:  # validators are foreign code
            raise Refused(f"could not be validated: {said(error)}", AS_ANNOTATED) from error

    def _dump(self, checked: Any) -> Any:
        try:
            tree = self._adapter.dump_python(
                checked, mode="json", by_alias=False, round_trip=True, warnings="error"
            )
            if self._disguise:
                tree = in_all_strings(reveal_text, tree)
            return in_one_order(checked, tree) if self._orders else tree
        except UnicodeDecodeError:
            remedy = "give its model the config ser_json_bytes='base64', val_json_bytes='base64'"
            raise Refused("holds bytes that are not UTF-8", remedy) from None
        except TooLarge:
            raise
        except Exception as error:  # serializers are foreign code
            raise Refused(f"could not be written as JSON: {said(error)}", AS_ANNOTATED) from error

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
            raise Refused("holds half a character (a lone surrogate) where its type cannot keep one", remedy)
        if why is not None:
            raise _unreadable(why, text) from why
        shown, other = short(checked), short(back)
        as_what = f" as {other}, not as {shown}" if shown != other else ", but changed"
        raise Refused(f"would be read back{as_what}", _ASYMMETRIC)


def _unreadable(why: Exception, text: str) -> Refused:
    if not isinstance(why, ValidationError):
        return Refused(f"could not be read back: {said(why)}", _ASYMMETRIC)
    fault = faults_of(why, loads(text))[0]
    reason = f"could not be read back: {fault.reason}" if fault.storable else fault.reason
    refused = Refused(reason, fault.remedy or _ASYMMETRIC)
    refused.passed(fault.path, text)
    return refused


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation, config=_CONFIG)
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(annotation)  # models and dataclasses have a config of their own


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
