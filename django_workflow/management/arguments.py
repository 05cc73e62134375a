"""What is written on a command line, read: values, pairs, moments, files of arguments.

Rules of this file: each reader is a `type=` of argparse and raises `ArgumentTypeError` with the value and the remedy,
which ends as a message on how the command is used (exit code 2).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from django.core.management.base import DjangoHelpFormatter

from django_workflow.exceptions import shown
from django_workflow.management import durations
from django_workflow.management.exits import EPILOG, usage

STEP_DIGITS: Final = 10  # a step's number has no more
STANDARD_INPUT: Final = "-"


class HelpFormatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Django's own order of options, and the lines of the exit codes as they are."""


# What the help of each command looks like.
LOOKS: Final[dict[str, Any]] = {"formatter_class": HelpFormatter, "epilog": EPILOG}


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`."""
    parser.add_argument("--json", action="store_true", help="one JSON document in place of tables")


def add_django_options(parser: argparse.ArgumentParser) -> None:
    """Django's own options behind the verb, too; before it they are known anyway."""
    at_rest: dict[str, Any] = {"default": argparse.SUPPRESS}
    parser.add_argument("--settings", help=argparse.SUPPRESS, **at_rest)
    parser.add_argument("--pythonpath", help=argparse.SUPPRESS, **at_rest)
    parser.add_argument("--traceback", action="store_true", help=argparse.SUPPRESS, **at_rest)
    parser.add_argument("--no-color", action="store_true", help=argparse.SUPPRESS, **at_rest)
    parser.add_argument("--force-color", action="store_true", help=argparse.SUPPRESS, **at_rest)
    parser.add_argument(
        "-v", "--verbosity", type=int, choices=[0, 1, 2, 3], help=argparse.SUPPRESS, **at_rest
    )


def add_wait(parser: argparse.ArgumentParser) -> None:
    """`--wait [SECONDS]`."""
    parser.add_argument(
        "--wait",
        nargs="?",
        type=seconds,
        const=True,
        metavar="SECONDS",
        help="until it has finished, or so long: 30, 5m; without a number for ever",
    )


def value(text: str) -> Any:
    """A JSON value; a bare word that is no JSON is a text."""
    try:
        return _json(text)
    except ValueError as error:
        first = text.lstrip()[:1]
        if first not in ("{", "[", '"'):
            return text
        # Not the text itself: what was meant as an object may hold what must not be shown.
        raise argparse.ArgumentTypeError(
            f"what begins with {first} is no JSON: {error}; put a text that begins like this into quotation marks as JSON"
            " has them"
        ) from None


def pair(text: str) -> tuple[str, Any]:
    """`name=value`."""
    name, equals, given = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{shown(text)} has no name; write name=value")
    return name, value(given)


def pairs(given: Iterable[tuple[str, Any]] | None, what: str) -> dict[str, Any]:
    """Pairs as a dict. A name that was given twice is refused."""
    found: dict[str, Any] = {}
    for name, each in given or ():
        if name in found:
            raise usage(f"{what} {name!r} is given twice; give it once")
        found[name] = each
    return found


def arguments(text: str) -> dict[str, Any]:
    """All arguments by their names: a JSON object, `@FILE` with one, or `-` for standard input."""
    where = "--args"
    if text == STANDARD_INPUT:
        where, text = "standard input", sys.stdin.read()
    elif text.startswith("@"):
        where, text = text[1:], _read(text[1:])
    try:
        found = _json(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f'{where!r} holds no JSON: {error}; write {{"name": value, …}}'
        ) from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f'{where!r} holds no JSON object; write {{"name": value, …}}')
    return found


def moment(text: str) -> datetime:
    """An aware moment, as ISO 8601 writes it."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no moment; write 2031-01-31T09:00+01:00, or with Z for UTC"
        ) from None
    if found.utcoffset() is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no time zone; add one: {text}+01:00, or {text}Z")
    return found


def duration(text: str) -> timedelta:
    """`durations.duration()` for argparse."""
    try:
        return durations.duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def seconds(text: str) -> timedelta:
    """A duration, or a number of seconds."""
    return duration(f"{text}s" if text.replace(".", "", 1).isdecimal() else text)


def count(text: str) -> int:
    """A whole number from 1."""
    if not (text.isascii() and text.isdecimal() and len(text) <= STEP_DIGITS and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no count; give a whole number from 1")
    return int(text)


def step(text: str) -> int | str:
    """A step's number, or its name."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= STEP_DIGITS
    return int(text) if is_number else text


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{path!r} can't be read: {error}; give a file with JSON") from None


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")
