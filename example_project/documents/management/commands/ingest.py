"""`manage.py ingest PATH…`: the command line in front of `documents.ingest`, nothing more."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from example_project.documents.ingest import UnusablePath, add_file, find_files


class Command(BaseCommand):
    """Adds documents and starts their workflows."""

    help = "Add files, or the texts in folders, as documents and start a workflow for each. Known files are left alone."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="a file or a folder")
        parser.add_argument(
            "--pattern", metavar="GLOB", help="take files of folders by this pattern, such as '*.md'"
        )

    def handle(self, *, paths: list[Path], pattern: str | None, **options: Any) -> None:
        """Add each file, in a transaction of its own, with a line for each and a summary."""
        try:
            files = find_files(paths, pattern)
        except UnusablePath as error:
            raise CommandError(f"{error}. Nothing was added.") from error
        if not files:
            raise CommandError("No texts found. Name files, or choose others with --pattern '*'.")
        added = 0
        for file in files:
            document = add_file(file)
            if document is None:
                self.stdout.write(f"known    {file}")
            else:
                added += 1
                self.stdout.write(
                    f"added    {file} (document {document.pk}, workflow {document.workflow_id})"
                )
        self.stdout.write(self.style.SUCCESS(f"{added} added, {len(files) - added} known already."))
