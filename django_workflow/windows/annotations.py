"""Types as who fills in a form meets them."""

from __future__ import annotations

import types
import typing
from typing import Any


def without_none(annotation: Any) -> tuple[Any, bool]:
    """The type without its `Annotated` and its `None`, and whether it had a `None`.

    A union of several types stays what it is: it is asked for as JSON, which knows null.
    """
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return annotation, False
    others = [each for each in typing.get_args(annotation) if each is not type(None)]
    optional = len(others) < len(typing.get_args(annotation))
    if len(others) != 1:
        return annotation, False
    return without_none(others[0])[0], optional
