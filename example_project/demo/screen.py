"""What the demo shows: a live picture in a terminal, plain lines anywhere else. Nothing here asks the database."""

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from example_project.demo.progress import Ending, Progress

COLOURS = {"completed": "green", "failed": "red", "canceled": "yellow"}


class Screen(Protocol):
    """Shows messages and progress; a context manager."""

    def say(self, message: str) -> None:
        """Show a message once, for good."""

    def show(self, progress: Progress, new: Sequence[Ending], footer: str) -> None:
        """Show how far the documents are; `new` are the endings since the last time."""

    def __enter__(self) -> Self:
        """Begin to show progress."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Leave the last picture behind."""


def open_screen() -> Screen:
    """Return the screen that suits where the output goes."""
    return LiveScreen() if sys.stdout.isatty() else PlainScreen()


class PlainScreen:
    """Lines, each written out at once, for logs and pipes."""

    def __init__(self) -> None:
        """Start with nothing shown."""
        self.summary = ""

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to clear away."""

    def say(self, message: str) -> None:
        """Write a line."""
        sys.stdout.write(f"{message}\n")
        sys.stdout.flush()

    def show(self, progress: Progress, new: Sequence[Ending], footer: str) -> None:
        """Write a line for each new ending, and the counts when they have changed."""
        for ending in new:
            self.say(f"{ending.state:<10} {ending.title}: {ending.detail}")
        summary = counts_of(progress)
        if summary != self.summary:
            self.say(summary)
            self.summary = summary


class LiveScreen:
    """A picture that is drawn anew with each look."""

    def __init__(self) -> None:
        """Take over the terminal's lower end, without a thread of its own."""
        self.console = Console(highlight=False)
        self.live = Live(console=self.console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> Self:
        """Begin to draw."""
        self.live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        """Stop drawing."""
        self.live.__exit__(kind, error, tb)

    def say(self, message: str) -> None:
        """Write a line above the picture."""
        self.console.print(Text(message))

    def show(self, progress: Progress, new: Sequence[Ending], footer: str) -> None:
        """Draw the bar, the counts, the last endings, the failures and the footer."""
        # Ten lines are taken by titles, bar and footer; the rest is for documents.
        room = max(4, self.console.height - 12)
        failures = [ending for ending in progress.endings if ending.state == "failed"][-min(5, room // 2) :]
        others = [ending for ending in progress.endings if ending.state != "failed"]
        parts: list[RenderableType] = [bar(progress)]
        parts += [table("Last to end", "keywords", others[-(room - len(failures)) :])]
        if failures:
            parts += [table("Failed", "reason", failures)]
        self.live.update(Group(*parts, Text(footer, style="cyan")), refresh=True)


def bar(progress: Progress) -> Table:
    """Draw how many documents have ended, with the counts below."""
    drawn = Table.grid()
    drawn.add_row(ProgressBar(total=max(progress.total, 1), completed=progress.ended, width=60))
    drawn.add_row(Text(counts_of(progress), style="bold"))
    return drawn


def table(title: str, detail: str, endings: Sequence[Ending]) -> Table:
    """Draw endings, one a line, the last at the bottom."""
    drawn = Table(title=title, title_justify="left", box=None, pad_edge=False, expand=True, show_header=False)
    drawn.add_column("document", ratio=2, no_wrap=True, overflow="ellipsis")
    drawn.add_column("state", width=10)
    drawn.add_column(detail, ratio=3, no_wrap=True, overflow="ellipsis")
    for ending in endings:
        state = Text(ending.state, style=COLOURS.get(ending.state, ""))
        drawn.add_row(Text(ending.title), state, Text(ending.detail))
    return drawn


def counts_of(progress: Progress) -> str:
    """Put the counts into a line: `12 of 60 documents have ended: 48 in progress, 10 completed, 2 failed`."""
    counts = ", ".join(f"{number} {state}" for state, number in sorted(progress.counts.items()))
    return f"{progress.ended} of {progress.total} documents have ended: {counts or 'none yet'}"
