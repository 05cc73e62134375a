"""What the example's tests share: where uploads go, and how a document is made."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.test import override_settings

from example_project.documents.ingest import add_file
from example_project.documents.models import Document

DocumentFactory = Callable[[str, str | bytes], Document]


@pytest.fixture(autouse=True)
def uploads(tmp_path: Path) -> Iterator[None]:
    """Keep uploaded files in a folder of the test's own."""
    with override_settings(MEDIA_ROOT=tmp_path / "media"):
        yield


@pytest.fixture
def add_document(tmp_path: Path) -> DocumentFactory:
    """`add_document(name, content)` writes a file and adds it, which starts its workflow."""

    def add(name: str, content: str | bytes) -> Document:
        file = tmp_path / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        document = add_file(file)
        assert document is not None
        return document

    return add
