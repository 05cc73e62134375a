"""JSON as it comes in: one value, of limited size and depth, in UTF-8, in which nothing is said twice.

Rules of this file: what Python's parser would let through though it is no JSON (NaN), or what would only hurt later
(2,000 nested arrays, an integer of a million digits), is refused here, by a `ParseError` that says where.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import IO, Any, Final, NoReturn

from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer

from django_workflow.conf import settings

DEPTH_LIMIT: Final = 100  # of brackets; values have a lower limit of their own
ENVELOPE: Final = 65_536  # bytes beside the value
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)


class TooLarge(APIException):
    """A body of too many bytes."""

    status_code = 413
    default_detail = "The body is too large."
    default_code = "too_large"


def body_limit() -> int:
    """Bytes of a body: that of the largest value, written as wide as JSON may be, and what goes with it."""
    return 2 * settings.VALUE_LIMIT + ENVELOPE


class StrictJSONParser(BaseParser):
    """Reads `application/json`."""

    media_type = "application/json"
    renderer_class = JSONRenderer  # what the browsable API shows in its raw form

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """The value. Raises `ParseError`, `TooLarge`."""
        limit = body_limit()
        data = stream.read(limit + 1)
        if len(data) > limit:
            raise TooLarge(f"The body has more than {limit:,} bytes.")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ParseError(f"The body is not UTF-8: byte {error.start}.") from None
        return parsed(text)


def parsed(text: str) -> Any:
    """The value of a JSON text. Raises `ParseError`."""
    _check_depth(text)
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_repetition)
    except ParseError:
        raise
    except json.JSONDecodeError as error:
        raise ParseError(
            f"The body is no JSON: {error.msg}, line {error.lineno} column {error.colno}."
        ) from None
    except (ValueError, RecursionError):
        raise ParseError("The body has a number that is too long.") from None


def _check_depth(text: str) -> None:
    depth = 0
    for token in _TOKEN.finditer(text):
        first = token[0][0]
        if first in "[{":
            depth += 1
            if depth > DEPTH_LIMIT:
                raise ParseError(f"The body is nested deeper than {DEPTH_LIMIT} levels.")
        elif first in "]}":
            depth -= 1


def _no_constant(name: str) -> NoReturn:
    raise ParseError(f"The body is no JSON: {name} is no number there.")


def _no_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ParseError(f"The body has the name {name[:100]!r} twice in one object.")
        found[name] = value
    return found
