"""Masks what must not be shown: values under the names of `REDACT` and of a definition's `redact=`. Pure.

Names are compared without case, as keys of dicts at any depth. What is stored stays as it is; only what is shown
(admin, REST, logs, errors, the command line) goes through here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

MASK = "********"


def masked(value: Any, names: Iterable[str]) -> Any:
    """A copy of a plain JSON value with every value under one of these names masked."""
    wanted = frozenset(name.casefold() for name in names)
    return _masked(value, wanted) if wanted else value


def _masked(value: Any, wanted: frozenset[str]) -> Any:
    if isinstance(value, dict):
        return {
            key: MASK if isinstance(key, str) and key.casefold() in wanted else _masked(item, wanted)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_masked(item, wanted) for item in value]
    return value


_REFUSED = re.compile(r"\(got .*\)")


def masked_refusals(text: str, names: Iterable[str]) -> str:
    """The text of an error in which no refused value is told by a line that has one of these names.

    Values that don't fit are told as `password: Input should be a valid integer (got 'x')`.
    """
    if "(got " not in text:
        return text
    wanted = tuple(name.casefold() for name in names)
    return "".join(
        _REFUSED.sub(f"(got {MASK})", line) if any(name in line.casefold() for name in wanted) else line
        for line in text.splitlines(keepends=True)
    )


def masked_text(text: str, names: Iterable[str]) -> str:
    """The same for JSON text."""
    return json.dumps(masked(json.loads(text), names), separators=(",", ":"))
