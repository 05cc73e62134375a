"""`manage.py workflow_check`: before a deploy, whether the workflows in progress fit the new code."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, no_translations

from django_workflow.exceptions import UnknownDefinition
from django_workflow.management import verdicts
from django_workflow.management.arguments import HelpFormatter, add_json, count
from django_workflow.management.exits import Exit, usage
from django_workflow.management.output import Bar, Output
from django_workflow.management.stream import DocumentStream
from django_workflow.manager import workflow
from django_workflow.verdict import Breaks

EPILOG = """exit codes:
  0    all fit; those that are parked already don't count
  1    some would break
  2    the command line can't be read, or there is no such definition"""


class Command(BaseCommand):
    """Replays; runs no step and writes nothing."""

    help = "Replay every workflow in progress against the code as it is now, and say which would break."
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Keep the lines of the exit codes."""
        looks = {"formatter_class": HelpFormatter, "epilog": EPILOG}
        return super().create_parser(prog_name, subcommand, **{**kwargs, **looks})

    def add_arguments(self, parser: CommandParser) -> None:
        """Which workflows."""
        parser.add_argument("--definition", metavar="NAME", help="of this definition only, all its versions")
        parser.add_argument(
            "--limit", type=count, metavar="N", help="at most so many, the oldest first; all by default"
        )
        add_json(parser)

    @no_translations
    def handle(self, *args: Any, **options: Any) -> None:
        """Check them, and exit with 1 if any would break."""
        out = Output.of(self, options)
        definition, limit = options["definition"], options["limit"]
        try:
            found = workflow.check_all(definition, limit)
        except UnknownDefinition as error:
            raise usage(str(error)) from None
        bar = Bar(out, _total(definition, limit) if out.is_terminal and not out.json else 0)
        document = DocumentStream(out, "workflows") if out.json else None
        checked = breaking = parked = stuck = 0
        for each in found:
            checked += 1
            parked += each.paused
            if isinstance(each, Breaks):
                breaking += not each.paused
                stuck += each.paused
                if document is None:
                    bar.end()
                    verdicts.show(out, each)
            if document is not None and (each.paused or isinstance(each, Breaks)):
                document.add(verdicts.as_json(each))
            bar.at(checked)
        bar.end()
        if document is not None:
            document.end(checked=checked, breaking=breaking, paused=parked, paused_breaking=stuck)
        else:
            out.line(_summary(checked, breaking), "problem" if breaking else "ok")
            if parked:
                out.line(_of_parked(parked, stuck), "paused")
        if breaking:
            raise CommandError(_would_break(breaking), returncode=Exit.NO)


def _total(definition: str | None, limit: int | None) -> int:
    total = workflow.list(definition, state="in_progress").count()
    return total if limit is None else min(total, limit)


def _summary(checked: int, breaking: int) -> str:
    fitting = "all fit" if not breaking else f"{breaking:,} would break"
    return f"{verdicts.counted(checked, 'workflow')} in progress: {fitting}."


def _of_parked(parked: int, stuck: int) -> str:
    said = f"{parked:,} of these are paused until they are restarted"
    return f"{said}: {parked - stuck:,} would go on, {stuck:,} would stop again."


def _would_break(breaking: int) -> str:
    return f"{verdicts.counted(breaking, 'workflow')} would break. Guard the change by step.patched(), or keep the old version."
