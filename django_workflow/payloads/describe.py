"""What a function takes, as JSON Schema (draft 2020-12), from its annotations.

Rules of this file: it describes what `encode_arguments()` accepts by name, and decides nothing; an annotation that
pydantic can't describe is described as "anything", since its own validation speaks when the value comes.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from django_workflow.payloads.arguments import CallSignature, Parameter
from django_workflow.redaction import masked

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NAMED = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


def arguments_schema(signature: CallSignature, secret: Collection[str] = ()) -> dict[str, Any]:
    """The JSON Schema of an object that has the arguments by name; defaults of `secret` names are left out."""
    schema: dict[str, Any] = _without_secrets(
        _arguments_schema(signature), frozenset(name.casefold() for name in secret)
    )
    return schema


def _arguments_schema(signature: CallSignature) -> dict[str, Any]:
    named = [p for p in signature.parameters if p.kind in NAMED]
    options = [p for p in signature.parameters if p.kind is inspect.Parameter.VAR_KEYWORD]
    schemas, definitions = _described([*named, *options])
    properties = {}
    for parameter in named:
        described = dict(schemas[parameter.name])
        if parameter.default is not inspect.Parameter.empty:
            described |= _default(parameter.default)
        properties[parameter.name] = described
    schema: dict[str, Any] = {
        "$schema": DIALECT,
        "type": "object",
        "properties": properties,
        "required": [p.name for p in named if p.default is inspect.Parameter.empty],
        "additionalProperties": schemas[options[0].name] if options else False,
    }
    return {**schema, "$defs": definitions} if definitions else schema


def value_schema(annotation: Any) -> dict[str, Any]:
    """The JSON Schema of one value by its annotation; `{}`, anything, where it can't be described."""
    try:
        return TypeAdapter(annotation).json_schema()
    except PydanticUserError:
        return {}


def _described(parameters: list[Parameter]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """A schema for each parameter, by name, and the definitions that they share."""
    adapters: dict[str, TypeAdapter[Any]] = {}
    for parameter in parameters:
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(parameter.annotation)
            adapter.json_schema()
        except PydanticUserError:
            continue
        adapters[parameter.name] = adapter
    found, shared = TypeAdapter.json_schemas([(name, "validation", each) for name, each in adapters.items()])
    known = {name: schema for (name, _mode), schema in found.items()}
    return {p.name: known.get(p.name, {}) for p in parameters}, shared.get("$defs", {})


def _default(value: Any) -> dict[str, Any]:
    try:
        return {"default": to_jsonable_python(value)}
    except PydanticSerializationError:  # a sentinel, a function: the handler supplies it itself
        return {}


def _without_secrets(schema: Any, hidden: frozenset[str]) -> Any:
    """The schema without what authors wrote as defaults of secret names, in models of theirs, too."""
    if isinstance(schema, list):
        return [_without_secrets(each, hidden) for each in schema]
    if not isinstance(schema, dict):
        return schema
    clean = {}
    for name, part in schema.items():
        if name in ("default", "examples", "const"):
            clean[name] = masked(part, hidden)
        elif name == "properties" and isinstance(part, dict):
            clean[name] = {
                key: _without_secrets(_bare(each) if key.casefold() in hidden else each, hidden)
                for key, each in part.items()
            }
        else:
            clean[name] = _without_secrets(part, hidden)
    return clean


def _bare(schema: Any) -> Any:
    told = ("default", "examples", "const")
    return (
        {name: part for name, part in schema.items() if name not in told}
        if isinstance(schema, dict)
        else schema
    )
