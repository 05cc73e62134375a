"""`manage.py approve RELEASE`: the command line in front of `releases.decide`, nothing more."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from django_workflow.exceptions import WorkflowFinished
from example_project.publishing.models import Release
from example_project.publishing.releases import decide


class Command(BaseCommand):
    """Approves a release, or refuses it."""

    help = "Approve a release, or refuse it with --reject."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("release", type=int, metavar="RELEASE", help="its number")
        parser.add_argument("--reject", action="store_true", help="refuse it: all is undone")

    def handle(self, *, release: int, reject: bool, **options: Any) -> None:
        """Send the decision."""
        found = Release.objects.filter(pk=release).first()
        if found is None:
            raise CommandError(f"There is no release {release}.")
        try:
            decide(found, not reject)
        except WorkflowFinished as error:
            raise CommandError(f"It is too late: {found.outcome or 'the workflow has ended'}.") from error
        self.stdout.write(f"{'refused' if reject else 'approved'}  {found.title}")
