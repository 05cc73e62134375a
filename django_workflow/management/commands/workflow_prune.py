"""`manage.py workflow_prune --older-than 30d`: deletes what finished long ago."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser, no_translations

from django_workflow.management import arguments, pruning
from django_workflow.management.output import Output
from django_workflow.management.verb import refusals


class Command(BaseCommand):
    """Deletes finished workflows in batches."""

    help = "Delete workflows that finished longer ago than that, with all that is their own."
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """With the exit codes at the end of its help."""
        return super().create_parser(prog_name, subcommand, **{**arguments.LOOKS, **kwargs})

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        pruning.add_arguments(parser)

    @no_translations
    def handle(self, *args: Any, **options: Any) -> None:
        """Prune."""
        out = Output.of(self, options)
        with refusals(out):
            pruning.prune(options, out)
