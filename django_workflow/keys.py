"""Keys and labels: checked, and made into digests by which any database finds them exactly. Pure.

A database may take texts for equal that differ in case or in blanks at their end; digests never are.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from django_workflow.exceptions import InvalidArguments, shown

KEY_LIMIT = 200
LABEL_NAME_LIMIT = 100
LABEL_VALUE_LIMIT = 200
LABELS_LIMIT = 50


def digest(*parts: str) -> str:
    """64 hexadecimal digits that stand for these texts in this order."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def key_problem(key: Any) -> str | None:
    """What is wrong with a key; None when nothing is."""
    if isinstance(key, str) and 1 <= len(key) <= KEY_LIMIT and key.isprintable():
        return None
    return f"key: {shown(key)} is no key; give 1 to {KEY_LIMIT} printable characters"


def label_problems(labels: Any) -> list[str]:
    """All that is wrong with labels."""
    if not isinstance(labels, Mapping):
        return [f"labels: {shown(labels)} is no dict of names and values"]
    problems = []
    if len(labels) > LABELS_LIMIT:
        problems.append(f"labels: {len(labels)} are given, and a workflow has {LABELS_LIMIT} at most")
    for name, value in labels.items():
        if not isinstance(name, str) or not 1 <= len(name) <= LABEL_NAME_LIMIT or not name.isprintable():
            problems.append(
                f"labels: the name {shown(name)} has to be 1 to {LABEL_NAME_LIMIT} printable characters"
            )
        elif not _is_label_value(value):
            problems.append(
                f"labels[{shown(name)}]: {shown(value)} is no label; give a text of at most {LABEL_VALUE_LIMIT} printable "
                "characters, a number, True, False or None"
            )
    return problems


def _is_label_value(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= LABEL_VALUE_LIMIT and (value.isprintable() or not value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or (isinstance(value, int) and len(text_of(value)) <= LABEL_VALUE_LIMIT)


def text_of(value: Any) -> str:
    """A label's value as the text by which it is found: `42` and `"42"` are the same label."""
    if isinstance(value, str):
        return str.__str__(value)  # of an Enum's member its value, as JSON has it, too
    try:
        return json.dumps(value)
    except ValueError:  # an integer of thousands of digits
        return " " * (LABEL_VALUE_LIMIT + 1)


def label_digests(call: str, labels: Mapping[str, Any]) -> dict[str, str]:
    """Name → digest of name and value. Raises `InvalidArguments`, of `call`."""
    problems = label_problems(labels)
    if problems:
        raise InvalidArguments(call, problems)
    return {name: digest(name, text_of(value)) for name, value in labels.items()}
