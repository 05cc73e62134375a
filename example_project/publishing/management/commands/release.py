"""`manage.py release --title TITLE ID…`: the command line in front of `releases.plan`, nothing more."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_workflow.exceptions import KeyConflict
from example_project.publishing.models import TITLE_LIMIT
from example_project.publishing.releases import Unreleasable, plan


class Command(BaseCommand):
    """Plans a release."""

    help = "Plan a release of published documents. It waits for `manage.py approve`."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("ids", nargs="+", type=int, metavar="ID", help="of a published document")
        parser.add_argument("--title", required=True, help="of the release; each has one of its own")

    def handle(self, *, title: str, ids: list[int], **options: Any) -> None:
        """Plan it, or say which one there is."""
        if not title.isprintable() or not 1 <= len(title) <= TITLE_LIMIT:
            raise CommandError(f"A title has 1 to {TITLE_LIMIT} printable characters.")
        try:
            release = plan(title, ids)
        except Unreleasable as error:
            raise CommandError(str(error)) from error
        except KeyConflict as error:
            raise CommandError(f"There is a release {title!r} already, of other documents.") from error
        self.stdout.write(
            f"release {release.pk}, workflow {release.workflow_id}: decide by `manage.py approve {release.pk}`"
        )
