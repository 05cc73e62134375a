"""`manage.py workflow VERB`: the command line in front of `django_workflow.workflow`, nothing more."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser, no_translations

from django_workflow.management.arguments import LOOKS, add_django_options, add_json
from django_workflow.management.output import Output
from django_workflow.management.verb import refusals
from django_workflow.management.verbs import VERBS


class Command(BaseCommand):
    """Starts workflows, shows them, and does to them what can be done."""

    help = "Start, show, cancel, restart … durable workflows. Each verb has its own --help."
    requires_system_checks = ()  # it is called by scripts and probes, many times

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """With the exit codes at the end of its help."""
        return super().create_parser(prog_name, subcommand, **{**LOOKS, **kwargs})

    def add_arguments(self, parser: CommandParser) -> None:
        """A parser for each verb."""
        verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, title="verbs")
        for verb in VERBS:
            own = verbs.add_parser(verb.name, help=verb.help, description=verb.help, **LOOKS)
            add_json(own)
            add_django_options(own)
            verb.add_arguments(own)

    @no_translations
    def handle(self, *args: Any, **options: Any) -> None:
        """Carry out one verb."""
        verb = next(each for each in VERBS if each.name == options["verb"])
        out = Output.of(self, options)
        with refusals(out):
            verb.run(options, out)
