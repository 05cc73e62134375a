"""What a command writes: one JSON document, or tables for people.

Rules of this file: everything that is written passes here, and every text in it is escaped here. Colour is Django's
own (`--no-color`, `DJANGO_COLORS`), and goes around a text after it has been escaped, cut and filled up.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from django.core.management.base import BaseCommand, OutputWrapper
from django.core.management.color import Style, no_style

from django_workflow.management.escaping import cut, escaped, padded, width

GAP: Final = "  "
LEAST: Final = 16  # cells that the last column of a table has at least
LONGEST: Final = 500  # cells of a text where no terminal sets a limit

COLOURS: Final = {
    "completed": "SUCCESS",
    "failed": "ERROR",
    "canceled": "WARNING",
    "canceling": "WARNING",
    "paused": "WARNING",
    "problem": "ERROR",
    "ok": "SUCCESS",
    "head": "MIGRATE_HEADING",
}


class Cell(NamedTuple):
    """A text, and what it says: a key of `COLOURS`, or nothing."""

    text: str
    mark: str = ""


class Output:
    """Where a command writes to."""

    def __init__(self, stream: OutputWrapper, style: Style, *, as_json: bool, verbosity: int = 1) -> None:
        self.json = as_json
        self.hidden: tuple[
            str, ...
        ] = ()  # names, besides those of the setting, whose values no message may say
        self.verbosity = verbosity
        self.is_terminal = stream.isatty()
        self._stream, self._style = stream, style
        measured = self.is_terminal or "COLUMNS" in os.environ
        # The width of the terminal; None: nobody reads it there, and nothing is cut but what is very long.
        self.width = max(shutil.get_terminal_size().columns, 20) if measured else None

    @classmethod
    def of(cls, command: BaseCommand, options: Mapping[str, Any]) -> Output:
        """Where a command writes to, as its options say."""
        coloured = command.stdout.isatty() or options.get("force_color")
        style = command.style if coloured else no_style()
        return cls(command.stdout, style, as_json=options["json"], verbosity=options["verbosity"])

    def document(self, value: Any) -> None:
        """Write one JSON document; all of it is ASCII."""
        self.write(json.dumps(value, indent=2))

    def line(self, text: str, mark: str = "") -> None:
        """Write a line."""
        self.write(self._coloured(escaped(text), mark))

    def lines(self, text: str) -> None:
        """Write a text of several lines, as a traceback is."""
        for line in text.splitlines():
            self.line(f"  {line}")

    def table(self, titles: Sequence[str], rows: Iterable[Sequence[Cell | str]], right: str = "") -> None:
        """Write a table whose last column takes what room is left.

        Args:
            titles: of the columns.
            rows: their cells.
            right: titles of columns that stand at the right, as numbers do; with commas.

        """
        cells = [
            [each if isinstance(each, Cell) else Cell(each) for each in row]
            for row in ([Cell(title, "head") for title in titles], *rows)
        ]
        texts = [[escaped(cell.text) for cell in row] for row in cells]
        widths = [max(width(row[at]) for row in texts) for at in range(len(titles))]
        widths[-1] = min(widths[-1], self._room(sum(widths[:-1]) + len(GAP) * (len(titles) - 1)))
        for row, written in zip(cells, texts, strict=True):
            pieces = []
            for at, text in enumerate(written):
                is_last = at == len(titles) - 1
                fitted = cut(text, widths[at])
                filled = (
                    fitted if is_last else padded(fitted, widths[at], right=titles[at] in right.split(","))
                )
                pieces.append(self._coloured(filled, row[at].mark) if filled.strip() else filled)
            self.write(GAP.join(pieces).rstrip())

    def facts(self, facts: Iterable[tuple[str, Cell | str]]) -> None:
        """Write names and what goes with them, one below the other."""
        listed = [(name, each if isinstance(each, Cell) else Cell(each)) for name, each in facts]
        names = max((width(name) for name, _ in listed), default=0)
        for name, cell in listed:
            text = cut(escaped(cell.text), self._room(names + len(GAP)))
            self.write(f"{padded(name, names)}{GAP}{self._coloured(text, cell.mark)}")

    def write(self, text: str, ending: str = "\n") -> None:
        """Write a text as it is: characters that the stream doesn't know as their escapes."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding), ending=ending)

    def flush(self) -> None:
        """Let be seen what has been written."""
        self._stream.flush()

    def _room(self, taken: int) -> int:
        return LONGEST if self.width is None else max(self.width - taken, LEAST)

    def _coloured(self, text: str, mark: str) -> str:
        colour: Callable[[str], str] | None = getattr(self._style, COLOURS.get(mark, ""), None)
        return text if colour is None else colour(text)


class Bar:
    """A bar that grows while something long is done; on a terminal only, and never among JSON."""

    CELLS: Final = 30

    def __init__(self, out: Output, total: int) -> None:
        self._out, self._total = out, total
        self._shown = out.is_terminal and not out.json and total > 0

    def at(self, done: int) -> None:
        """Draw it."""
        if not self._shown:
            return
        done = min(done, self._total)
        full = self.CELLS * done // self._total
        bar = "#" * full + "." * (self.CELLS - full)
        self._out.write(f"\r[{bar}] {done:,} of {self._total:,}", ending="")
        self._out.flush()

    def end(self) -> None:
        """Leave it as it is, and go on in the next line."""
        if self._shown:
            self._out.write("")
