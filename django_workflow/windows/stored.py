"""What rows hold, read so that it can be shown, whoever wrote it.

Rules of this file: nothing here raises. A text that no start, step or event of ours would have stored (a row written by
hand, cut off, or by a later version) is shown as what it is, unreadable, in its own place, and harms no list.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

from django_workflow.exceptions import ErrorInfo

DEPTH_LIMIT: Final = 200  # of brackets; ours have less
UNREADABLE: Final = "(unreadable)"


def value(text: str) -> Any:
    """The plain JSON value of a text; `UNREADABLE` in place of what is none, or is too deep or too long to be shown."""
    try:
        found = _loads(text)
        return UNREADABLE if _is_deep(text) and _depth(found) > DEPTH_LIMIT else found
    except (ValueError, RecursionError):
        return UNREADABLE


def labels(text: str) -> dict[str, Any]:
    """The labels of a text; none where it holds none."""
    found = value(text)
    return found if isinstance(found, dict) else {}


def error(text: str | None) -> ErrorInfo | None:
    """The error of a text; None for no text."""
    if text is None:
        return None
    found = value(text)
    if not isinstance(found, dict):
        return ErrorInfo(UNREADABLE, "", "", None)
    told = [found.get(name) for name in ("type", "message", "traceback")]
    kind, message, traceback = (each if isinstance(each, str) else "" for each in told)
    step = found.get("step")
    return ErrorInfo(kind or UNREADABLE, message, traceback, step if type(step) is int else None)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


_loads = json.JSONDecoder(parse_float=_finite, parse_constant=_refuse).decode


def _is_deep(text: str) -> bool:
    """Whether it may be: a text with few brackets is not."""
    return text.count("[") + text.count("{") > DEPTH_LIMIT


def _depth(value: Any) -> int:
    """How many containers lie in each other; without recursion, which has a limit of its own."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, list | dict)]:
        depth += 1
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return depth
