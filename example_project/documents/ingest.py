"""How documents come in: files are found, and each becomes a document and its workflow in one transaction.

The admin, `manage.py ingest` and the demo all come this way.
"""

import fnmatch
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from django.conf import settings
from django.db import transaction

from example_project.documents.extract import SUFFIXES
from example_project.documents.models import Document
from example_project.documents.workflows import process_document

# Files whose names have no suffix and that are texts all the same.
BARE_NAMES = ("README*", "LICENSE*", "LICENCE*", "COPYING*", "NOTICE*", "AUTHORS*", "CHANGELOG*", "METADATA")


class UnusablePath(ValueError):
    """A path that cannot be ingested; the message names it and says why."""


def find_files(paths: Iterable[Path], pattern: str | None = None) -> list[Path]:
    """Return the files to ingest, absolute, each once, in the order of the paths.

    Args:
        paths: files, which are taken whatever their name is, and folders, which are searched through. Hidden files
            and folders in them are passed over.
        pattern: what a file's name in a folder must match, such as `*.md`; by default, the names of texts.

    Raises:
        UnusablePath: there is nothing at a path, it is neither a file nor a folder, or its name is not UTF-8.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            found.update(dict.fromkeys(files_in(path.resolve(), pattern)))
        elif path.is_file():
            found[path.resolve()] = None
        elif path.exists():
            raise UnusablePath(f"{printable(path)}: neither a file nor a folder")
        else:
            raise UnusablePath(f"{printable(path)}: no such file or folder")
    for file in found:
        if not is_utf8(file):
            raise UnusablePath(f"{printable(file)}: the name is not UTF-8; rename the file")
    return list(found)


def files_in(folder: Path, pattern: str | None) -> Iterator[Path]:
    """Yield the matching files of a folder and of its folders, by name."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(root, name)
            if not name.startswith(".") and is_wanted(name, pattern) and file.is_file():
                yield file


def is_wanted(name: str, pattern: str | None) -> bool:
    """Say whether a file of this name is to be taken out of a folder."""
    if pattern is not None:
        return fnmatch.fnmatch(name, pattern)
    suffix = Path(name).suffix.lower()
    return suffix in SUFFIXES or (not suffix and any(fnmatch.fnmatch(name, bare) for bare in BARE_NAMES))


def is_utf8(path: Path) -> bool:
    """Say whether a path can be stored: Python keeps foreign bytes of a name as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in str(path))


def printable(path: Path) -> str:
    """Return a path as a text that any terminal can show."""
    return str(path) if is_utf8(path) else ascii(str(path))


def add_file(path: Path, title: str = "") -> Document | None:
    """Add the document at an absolute path and start its workflow; None if it is known already.

    Without a title it gets one made of its name and its folder's.
    """
    with transaction.atomic():
        # Compared once more in Python, since MariaDB takes README for readme.
        if str(path) in Document.objects.filter(path=str(path)).values_list("path", flat=True):
            return None
        document = Document(path=str(path), title=title)
        add(document)
        return document


def add(document: Document) -> None:
    """Save a new document and start its workflow: both or neither."""
    with transaction.atomic():
        document.save()
        run = process_document.start(document.pk, cooling_off=settings.COOLING_OFF)
        document.workflow_id = run.id
        document.save(update_fields=["workflow_id"])
