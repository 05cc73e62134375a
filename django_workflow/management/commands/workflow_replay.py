"""`manage.py workflow_replay`: whether the code still fits golden journals. Needs no database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, no_translations

from django_workflow.exceptions import InvalidArguments
from django_workflow.management import verdicts
from django_workflow.management.arguments import HelpFormatter, add_json
from django_workflow.management.exits import Exit, usage
from django_workflow.management.output import Output
from django_workflow.management.stream import DocumentStream
from django_workflow.manager import workflow
from django_workflow.verdict import Breaks

EPILOG = """exit codes:
  0    all fit
  1    some break
  2    the command line can't be read; a file can't, or is no golden journal that this version knows"""


class Command(BaseCommand):
    """Replays files; runs no step, opens no connection."""

    help = "Replay golden journals (`manage.py workflow export`) against the code as it is now, without a database."
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Keep the lines of the exit codes."""
        looks = {"formatter_class": HelpFormatter, "epilog": EPILOG}
        return super().create_parser(prog_name, subcommand, **{**kwargs, **looks})

    def add_arguments(self, parser: CommandParser) -> None:
        """Which files."""
        parser.add_argument(
            "paths", nargs="+", type=Path, metavar="PATH", help="a golden journal, or a folder with *.json"
        )
        add_json(parser)

    @no_translations
    def handle(self, *args: Any, **options: Any) -> None:
        """Replay them; exit with 2 if any is no journal, else with 1 if any breaks."""
        out = Output.of(self, options)
        files = list(_files(options["paths"]))
        document = DocumentStream(out, "files") if out.json else None
        breaking, unreadable = 0, 0
        for file in files:
            try:
                found = workflow.replay(file.read_text(encoding="utf-8"))
            except (OSError, ValueError, InvalidArguments) as error:
                unreadable += 1
                said = "; ".join(error.problems) if isinstance(error, InvalidArguments) else str(error)
                if document is not None:
                    document.add({"file": str(file), "verdict": "unreadable", "reason": said})
                else:
                    out.line(f"{file}: {said}", "problem")
                continue
            breaking += isinstance(found, Breaks)
            if document is not None:
                document.add({"file": str(file), **verdicts.as_json(found)})
            elif isinstance(found, Breaks):
                verdicts.show(out, found, str(file))
        if document is not None:
            document.end(checked=len(files), breaking=breaking, unreadable=unreadable)
        else:
            out.line(_summary(len(files), breaking, unreadable), "problem" if breaking + unreadable else "ok")
        if unreadable:
            raise CommandError(
                f"{verdicts.counted(unreadable, 'file')} can't be read.", returncode=Exit.USAGE
            )
        if breaking:
            said = f"The code doesn't fit {verdicts.counted(breaking, 'golden journal')}."
            raise CommandError(said, returncode=Exit.NO)


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        found = sorted(path.rglob("*.json")) if path.is_dir() else [path]
        if not found:
            raise usage(f"{path} has no golden journal (*.json); write one by manage.py workflow export")
        yield from found


def _summary(checked: int, breaking: int, unreadable: int) -> str:
    parts = [
        *([f"{breaking:,} broken"] if breaking else []),
        *([f"{unreadable:,} unreadable"] if unreadable else []),
    ]
    return f"{verdicts.counted(checked, 'golden journal')}: {', '.join(parts) or 'all fit'}."
