"""`manage.py approve RELEASE`: the command line in front of `releases.decide`, nothing more."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_workflow.exceptions import WorkflowFinished
from example_project.publishing.models import Release
from example_project.publishing.releases import decide, link_to_decide


class Command(BaseCommand):
    """Approves a release, or refuses it."""

    help = "Approve a release, or refuse it with --reject."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("release", type=int, metavar="RELEASE", help="its number")
        how = parser.add_mutually_exclusive_group()
        how.add_argument("--reject", action="store_true", help="refuse it: all is undone")
        how.add_argument(
            "--link", action="store_true", help="print an address for who decides, and leave it to them"
        )

    def handle(self, *, release: int, reject: bool, link: bool, **options: Any) -> None:
        """Send the decision, or make the link that does."""
        found = Release.objects.filter(pk=release).first()
        if found is None:
            raise CommandError(f"There is no release {release}.")
        try:
            if link:
                self.stdout.write(link_to_decide(found))
                return
            decide(found, not reject)
        except WorkflowFinished as error:
            raise CommandError(f"It is too late: {found.outcome or 'the workflow has ended'}.") from error
        self.stdout.write(f"{'refused' if reject else 'approved'}  {found.title}")
