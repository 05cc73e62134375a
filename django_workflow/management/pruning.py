"""What `workflow_prune` does: finished workflows are deleted in batches, and counted."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

from django_workflow.conf import settings
from django_workflow.exceptions import WorkflowInProgress
from django_workflow.management import arguments, durations
from django_workflow.management.documents import seconds
from django_workflow.management.exits import Ended, Exit, usage
from django_workflow.management.output import Bar, Output
from django_workflow.manager import workflow
from django_workflow.models import WorkflowQuerySet

BATCH: Final = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What goes."""
    parser.add_argument(
        "--older-than",
        type=arguments.duration,
        metavar="DURATION",
        help="since they finished: 30d, 12h, 1d12h, P30D; without it the setting RETENTION",
    )
    parser.add_argument("--definition", metavar="NAME", help="of this definition only")
    parser.add_argument("--dry-run", action="store_true", help="count them, and delete nothing")
    parser.add_argument(
        "--batch",
        type=arguments.count,
        default=BATCH,
        metavar="N",
        help=f"look up so many at once ({BATCH}); each goes in a transaction of its own",
    )
    arguments.add_json(parser)


def prune(options: dict[str, Any], out: Output) -> None:
    """Delete what is old, and say how many went."""
    older_than, definition = _age(options["older_than"]), options["definition"]
    matched = _old(older_than, definition).count()
    deleted = 0
    if not options["dry_run"]:
        bar = Bar(out, matched)
        bar.at(0)
        try:
            for gone in _batches(older_than, definition, options["batch"]):
                deleted += gone
                bar.at(deleted)
        except KeyboardInterrupt:
            raise Ended(f"interrupted; deleted so far: {deleted:,}", Exit.INTERRUPTED) from None
        finally:
            bar.end()
    left = matched if options["dry_run"] else _old(older_than, definition).count()
    if out.json:
        out.document(
            {
                "older_than": seconds(older_than),
                "definition": definition,
                "dry_run": options["dry_run"],
                "matched": matched,
                "deleted": deleted,
                "left": left,
            }
        )
    elif options["dry_run"]:
        out.line(f"would be deleted: {matched:,}")
    else:
        kept = f" (left: {left:,}, in use or with a child in progress)" if left else ""
        out.line(f"deleted: {deleted:,}{kept}")


def _age(given: timedelta | str | None) -> timedelta:
    age = given if given is not None else settings.RETENTION
    if age is None:
        raise usage(f"give --older-than, since the setting RETENTION is None; {durations.REMEDY}")
    if isinstance(age, timedelta):
        return age
    try:
        return durations.duration(age)  # from `call_command()`, which hands options on as they are
    except ValueError as error:
        raise usage(f"--older-than: {error}") from None


def _batches(older_than: timedelta, definition: str | None, size: int) -> Iterator[int]:
    """Delete all; yields how many went, after each batch."""
    if definition is None:
        while gone := workflow.prune(older_than, size):
            yield gone
        return
    rows = _old(older_than, definition).order_by("completed_at", "id").values_list("pk", flat=True)
    kept = 0
    # What has to stay must not hide what comes after it.
    while ids := list(rows[kept : kept + size]):
        gone = 0
        for pk in ids:
            try:
                gone += workflow.cleanup(pk)
            except WorkflowInProgress:  # restarted meanwhile, or a child of it was
                kept += 1
        yield gone


def _old(older_than: timedelta, definition: str | None) -> WorkflowQuerySet:
    """Roots that finished longer ago; children go with them."""
    found = workflow.list(definition).finished().filter(depth=0)
    try:
        return found.filter(completed_at__lt=workflow.now() - older_than)
    except OverflowError:
        return found.none()
