"""Stands in for an agency, somewhere in the outside world, that gives out identifiers (DOIs) for documents.

It knows nothing of our transactions: its records are files. It serves one client at a time and turns others away.
"""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings


class Busy(Exception):
    """The agency serves somebody else."""


def register(reference: str, title: str) -> str:
    """Register a title and return its identifier. The same reference again gives the same identifier.

    Raises:
        Busy: try again later.
    """
    with counter() as records:
        time.sleep(settings.AGENCY_SECONDS)
        (records / reference).write_text(title)
    return f"10.5555/{reference}"


def withdraw(reference: str) -> None:
    """Forget what was registered under a reference, if anything was.

    Raises:
        Busy: try again later.
    """
    with counter() as records:
        (records / reference).unlink(missing_ok=True)


def registered() -> set[str]:
    """Return all titles on record."""
    return {record.read_text() for record in folder().iterdir()}


@contextmanager
def counter() -> Iterator[Path]:
    """Be served: hold the agency's attention, and the folder of its records. Raises `Busy`."""
    records = folder()
    with records.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy("the agency serves somebody else; try again later") from None
        yield records


def folder() -> Path:
    """The agency's records: a file for each reference, with the title in it."""
    records = Path(settings.MEDIA_ROOT) / "agency"
    records.mkdir(parents=True, exist_ok=True)
    return records
