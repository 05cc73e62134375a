"""Reads the project's Markdown: its snippets, links, headings and tables. No test lives here."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
README: Final = ROOT / "README.md"
DOCS: Final = tuple(sorted((ROOT / "docs").glob("*.md")))
PAGES: Final = (README, *DOCS)

FENCE: Final = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
QUOTED: Final = re.compile(r"<!-- quoted from (\S+) -->\n\Z")


@dataclass(frozen=True)
class Snippet:
    """A block of code on a page."""

    page: Path
    line: int  # of its first line of code, from 1
    info: str  # what follows the opening fence: `python`, or `python fragment`, which is not run
    text: str
    quoted_from: str  # the file that the comment above it names; "" for none

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def is_run(self) -> bool:
        """True iff it is part of its page's program."""
        return self.info == "python" and not self.quoted_from


def snippets(page: Path, language: str = "python") -> list[Snippet]:
    """All blocks of a language on a page, in their order."""
    return [snippet for snippet in _blocks(page) if snippet.info.split(" ")[0] == language]


def _blocks(page: Path) -> Iterator[Snippet]:
    source = page.read_text()
    for block in FENCE.finditer(source):
        quoted = QUOTED.search(source, 0, block.start())
        yield Snippet(
            page=page,
            line=source.count("\n", 0, block.start("text")) + 1,
            info=block["info"].strip(),
            text=block["text"],
            quoted_from=quoted[1] if quoted else "",
        )


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", page.read_text())


def links(page: Path) -> list[str]:
    """The addresses of all links on a page."""
    without_code = re.sub(r"`[^`\n]*`", "", prose(page))
    return re.findall(r"\]\(([^)\s]+)\)", without_code)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def table(page: Path, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, cell by cell, without its head."""
    text = prose(page).split(f"# {heading}\n", 1)[1]
    rows = re.search(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert rows is not None, f"{page.name} has no table below {heading!r}"
    return [[cell.strip() for cell in row[1:-1].split("|")] for row in rows[0].splitlines()[2:]]


def names(cell: str) -> list[str]:
    """What stands in backticks in a cell of a table."""
    return re.findall(r"`([^`]+)`", cell)
