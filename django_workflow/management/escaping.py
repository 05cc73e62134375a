"""Text for terminals: nothing that somebody else wrote moves the cursor, colours the screen or forges a line. Pure."""

from __future__ import annotations

import unicodedata
from typing import Final

WIDE: Final = ("W", "F")  # take two cells of a terminal


def escaped(text: str) -> str:
    r"""One line of text: control characters, line ends, marks of direction and the like are written as `\x1b`, `\n` …"""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text
    )


def width(text: str) -> int:
    """The cells that an escaped text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in WIDE else 1
        for each in text
    )


def cut(text: str, cells: int) -> str:
    """As much of an escaped text as fits, with a mark where something is missing."""
    if width(text) <= cells:
        return text
    taken, room = [], cells - 1
    for each in text:
        room -= width(each)
        if room < 0:
            break
        taken.append(each)
    return "".join(taken) + "…"


def padded(text: str, cells: int, *, right: bool = False) -> str:
    """An escaped text, filled up with blanks."""
    blanks = " " * (cells - width(text))
    return blanks + text if right else text + blanks
