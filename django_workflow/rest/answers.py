"""What the page of an event link asks for, by the event's type, and what the texts of a form mean.

Rules of this file: it turns a browser's text into a value that the type may take, and no more. Whether it does take it
`send_event()` says, and its words are shown. Nothing here knows of workflows.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal
from uuid import UUID

from rest_framework.exceptions import ParseError

from django_workflow.exceptions import InvalidArguments, shown
from django_workflow.rest.parsers import parsed
from django_workflow.windows.annotations import without_none

# (the input's type, its inputmode) of types that read their own text.
INPUTS: Final[Mapping[Any, tuple[str, str]]] = {
    str: ("text", "text"),
    int: ("text", "numeric"),
    float: ("text", "decimal"),
    Decimal: ("text", "decimal"),
    date: ("date", "none"),
    datetime: ("datetime-local", "none"),
    UUID: ("text", "text"),
}


@dataclass(frozen=True)
class Question:
    """How a page asks for a value."""

    kind: Literal["confirm", "decide", "choose", "line", "json"]
    optional: bool = False  # nothing is a value, too
    input_type: str = "text"
    input_mode: str = "text"
    choices: Mapping[str, Any] = field(default_factory=dict)  # what is shown → what it means

    def value(self, text: str | None) -> Any:
        """What a form's text means; None for a form without one. Raises `InvalidArguments`."""
        if text is None or (text == "" and (self.optional or self.kind == "confirm")):
            return None
        if self.kind == "choose":
            return self.choices.get(text, text)
        if self.kind in ("confirm", "json"):
            return _from_json(text)
        return text


def question(annotation: Any) -> Question:
    """How to ask for a value of this type."""
    kind, optional = without_none(annotation)
    if kind is Any or kind is None or kind is type(None):
        return Question("confirm", True)
    if kind is bool:
        return Question("decide", optional)
    if typing.get_origin(kind) is Literal:
        return Question("choose", optional, choices={str(value): value for value in typing.get_args(kind)})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return Question("choose", optional, choices={member.name: member for member in kind})
    if isinstance(kind, type) and kind in INPUTS:
        return Question("line", optional, *INPUTS[kind])
    return Question("json", optional)


def _from_json(text: str) -> Any:
    try:
        return parsed(text)
    except ParseError as error:
        raise InvalidArguments(
            "the form", [f"value: {shown(text)} is no value in JSON. {error.detail}"]
        ) from None
