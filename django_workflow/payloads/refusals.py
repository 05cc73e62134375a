"""What cannot be stored, in words: reason, remedy, and the way to the part at fault.

Values are looked at and never changed; one whose `__repr__` or `__getattr__` fails does no harm.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import io
import reprlib
import typing
from typing import Any

from pydantic import BaseModel


class Refused(Exception):
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
        return shorten(root + "".join(self._steps), 200)

    def closed(self) -> Refused:
        """Say of a value that is too deep because it contains itself that it does; its path ends where it closes."""
        for index, container in enumerate(self._containers):
            if container in self._containers[:index]:
                self._steps = self._steps[:index]
                self.reason, self.remedy = "contains itself", "store a tree; name what it refers to by a key"
                break
        return self


class TooLarge(Exception):
    """The value has more parts than its limit has bytes."""


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


def not_plain(value: Any) -> Refused:
    """Return the refusal of a value that is no plain JSON."""
    kind = type(value)
    special = misfit(value)
    if special is not None:
        return Refused(*special)
    name = kind.__name__
    typed = dataclasses.is_dataclass(kind) or issubclass(kind, (enum.Enum, BaseModel, tuple))
    if typed or name in _ANNOTATABLE or issubclass(kind, (bytearray, memoryview)):
        reason = f"is a {name}, which is not plain JSON"
        return Refused(reason, f"annotate the parameter or return value with its type ({name})")
    return Refused(
        f"is a {kind.__module__}.{kind.__qualname__}, which is not plain JSON",
        "store plain data (None, bool, int, float, str, list, dict), or annotate it with a type that pydantic knows",
    )


def misfit(value: Any) -> tuple[str, str] | None:
    """Return reason and remedy for what people hand to steps most often and never can."""
    kind = type(value)
    if any(
        base.__name__ == "Promise" and base.__module__ == "django.utils.functional" for base in kind.__mro__
    ):
        return "is a lazy translation", "store str(value)"
    if inspect.isawaitable(value):
        return f"is a {kind.__name__} that nobody awaited", "await it and store its result"
    if isinstance(value, io.IOBase) or has(value, "read", "close"):
        return "is an open file", "pass its path"
    if not isinstance(value, type) and has(value, "_meta", "pk"):
        return f"is a model instance ({kind.__name__})", "pass its primary key and load it in the step"
    if has(value, "model", "query", "values_list"):
        return "is a QuerySet", 'pass list(queryset.values_list("pk", flat=True))'
    return None


def has(value: object, *names: str) -> bool:
    """Tell whether the value has all these attributes."""
    try:
        return all(hasattr(value, name) for name in names)
    except Exception:  # noqa: BLE001  a foreign __getattr__ may raise anything; it is then not what we look for
        return False


def path_step(name: str) -> str:
    """Return the part of a path that leads into a key."""
    return f".{name}" if name.isidentifier() else f"[{short(name)}]"


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = _repr.maxlong = 70


def short(value: object) -> str:
    """Return the value's `repr()`, or the beginning of it, in at most 80 characters."""
    try:
        return shorten(_repr.repr(value), 80)
    except Exception:  # noqa: BLE001  reprlib calls foreign code (__len__, __iter__) unguarded
        return f"<{type(value).__name__}>"


def shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def said(error: Exception) -> str:
    """Return an error of foreign code in one line."""
    return shorten(f"{type(error).__name__}: {' '.join(str(error).split())}", 300)


def name_of(annotation: Any) -> str:
    """Return an annotation as people write it."""
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__qualname__
    return shorten(repr(annotation).replace("typing.", ""), 200)
