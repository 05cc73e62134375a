"""Half characters on their way through pydantic.

Lone surrogates (half a character, from a file name or a broken decoder) are legal in a Python string and in JSON's
escapes, but not in Rust. Where a text holds any, they pass through pydantic in disguise: as a noncharacter and four
letters. Whether all came through is checked at the write, since only strings that the annotation shows are reached.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from django_workflow.payloads.plain import loads

_MARK = "\U0010ffff"
TO_DISGUISE = re.compile(f"[{_MARK}\ud800-\udfff]")
_DISGUISED = re.compile(f"{_MARK}(....)", re.DOTALL)


def disguise_text(text: str) -> str:
    return TO_DISGUISE.sub(lambda m: _MARK + ("mark" if m[0] == _MARK else f"{ord(m[0]):04x}"), text)


def reveal_text(text: str) -> str:
    return _DISGUISED.sub(_revealed, text)


def _revealed(match: re.Match[str]) -> str:
    code = match[1]
    if code == "mark":
        return _MARK
    return chr(int(code, 16)) if re.fullmatch("d[89a-f][0-9a-f]{2}", code) else match[0]


def in_all_strings(change: Callable[[str], str], value: Any) -> Any:
    """Return a JSON value with all its strings changed, keys too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {in_all_strings(change, key): in_all_strings(change, item) for key, item in value.items()}
    if isinstance(value, list):
        return [in_all_strings(change, item) for item in value]
    return value


def has_lone_surrogate(text: str) -> bool:
    """Tell whether a string in this JSON holds half a character."""
    if "\\ud" not in text:
        return False
    try:
        json.dumps(loads(text), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def may_hold_surrogates(value: Any) -> bool:
    """Tell whether a value shows half a character somewhere, as far as it shows anything."""
    try:
        return re.search(r"\\ud[89a-f]", repr(value)) is not None
    except Exception:  # noqa: BLE001  a foreign __repr__; the refusal stands as it is
        return False
