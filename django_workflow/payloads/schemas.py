"""What the core schema that pydantic makes of an annotation tells about its values, by the `"type"` of each node.

In doubt the answer is the one that costs time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django_workflow.payloads.annotations import any_node

# What surely comes back as it was. Anything else is read back and compared: unions may take a text for another member,
# models drop what a subclass adds, secrets are masked.
_SYMMETRIC_KEYS = frozenset({"str", "int", "date", "time", "datetime", "timedelta", "decimal", "uuid"})
_SYMMETRIC = _SYMMETRIC_KEYS | {
    "float", "bool", "none", "bytes", "list", "tuple", "set", "frozenset", "dict", "nullable",
}  # fmt: skip


def is_symmetric(schema: Any) -> bool:
    """Tell whether every value of this schema surely comes back as it was."""
    if isinstance(schema, (list, tuple)):
        return all(map(is_symmetric, schema))
    if not isinstance(schema, Mapping) or "type" not in schema:
        return True
    kind = schema["type"]
    if _is_any_node(schema):
        return True
    if kind not in _SYMMETRIC or "serialization" in schema:
        return False
    if kind == "dict" and schema["keys_schema"]["type"] not in _SYMMETRIC_KEYS:
        return False
    return all(
        is_symmetric(schema[part])
        for part in ("schema", "items_schema", "keys_schema", "values_schema")
        if part in schema
    )


# Of a validator nothing is known; what it makes may be a set.
_MAYBE_SETS = frozenset(
    {"set", "frozenset", "function-after", "function-before", "function-plain", "function-wrap"}
)


def may_hold_sets(schema: Any) -> bool:
    """Tell whether a value of this schema, or a part of it, may be a set."""
    if isinstance(schema, (list, tuple)):
        return any(map(may_hold_sets, schema))
    if not isinstance(schema, Mapping):
        return False
    kind = schema.get("type")
    if not isinstance(kind, str):  # the fields of a model, by name; one of them may be named "type"
        return any(map(may_hold_sets, schema.values()))
    if kind in _MAYBE_SETS and not _is_any_node(schema):
        return True
    return any(may_hold_sets(part) for name, part in schema.items() if name not in ("default", "metadata"))


def _is_any_node(schema: Mapping[str, Any]) -> bool:
    return schema["type"] == "function-after" and schema["function"]["function"] is any_node
