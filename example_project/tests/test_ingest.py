"""`manage.py ingest`: which files it takes, what it says, and that it does all or nothing."""

import io
import os
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from django_workflow.models import Workflow
from django_workflow.testing import Harness
from example_project.documents.ingest import UnusablePath, find_files
from example_project.documents.models import Document


def ingest(*arguments: str | Path) -> list[str]:
    """Run the command; return the lines that it writes."""
    output = io.StringIO()
    call_command("ingest", *map(str, arguments), stdout=output)
    return output.getvalue().splitlines()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with texts, and with things that are none."""
    for name in ("b.md", "a.txt", "LICENSE", "code.py", ".hidden.txt", "deeper/page.html", ".git/notes.txt"):
        file = tmp_path / "folder" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("some words")
    return tmp_path / "folder"


def test_a_folder_gives_its_texts_by_name(folder: Path) -> None:
    found = find_files([folder])
    assert [str(file.relative_to(folder)) for file in found] == [
        "LICENSE",
        "a.txt",
        "b.md",
        "deeper/page.html",
    ]


def test_a_pattern_chooses_others(folder: Path) -> None:
    assert find_files([folder], "*.py") == [folder / "code.py"]


def test_a_named_file_is_taken_whatever_its_name_and_only_once(folder: Path) -> None:
    file = folder / "code.py"
    assert find_files([file, folder / "deeper" / ".." / "code.py"]) == [file]


def test_paths_are_stored_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert find_files([Path("a.txt")]) == [folder / "a.txt"]


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnusablePath, match="pipe: neither a file nor a folder"):
        find_files([tmp_path / "pipe"])


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="other systems don't allow such names")
def test_a_name_that_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")).write_text("words")
    with pytest.raises(UnusablePath, match=r"\\udcff\.txt': the name is not UTF-8"):
        find_files([tmp_path])


def test_each_file_becomes_a_document_and_its_workflow(workflow_harness: Harness, folder: Path) -> None:
    lines = ingest(folder)

    document = Document.objects.get(title="folder/a.txt")
    assert (document.path, document.kind) == (str(folder / "a.txt"), "text")
    assert f"added    {folder / 'a.txt'} (document {document.pk}, workflow {document.workflow_id})" in lines
    assert lines[-1] == "4 added, 0 known already."
    assert set(Document.objects.values_list("workflow_id", flat=True)) == set(
        Workflow.objects.values_list("id", flat=True)
    )
    workflow_harness.drain()
    assert all(Document.objects.values_list("keywords", flat=True))


def test_known_files_are_left_alone(workflow_harness: Harness, folder: Path) -> None:
    ingest(folder / "a.txt")

    lines = ingest(folder)

    assert f"known    {folder / 'a.txt'}" in lines
    assert lines[-1] == "3 added, 1 known already."
    assert Workflow.objects.count() == 4


def test_a_bad_path_is_named_and_nothing_is_added(workflow_harness: Harness, folder: Path) -> None:
    with pytest.raises(CommandError) as refusal:
        ingest(folder, folder / "nowhere.txt")
    assert str(refusal.value) == f"{folder / 'nowhere.txt'}: no such file or folder. Nothing was added."
    assert Document.objects.count() == 0


def test_a_folder_without_texts_is_an_error(workflow_harness: Harness, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No texts found"):
        ingest(tmp_path)


def test_a_file_that_is_too_large_fails_with_the_limit(
    workflow_harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("example_project.documents.models.FILE_LIMIT", 2**20)
    (tmp_path / "large.txt").write_bytes(b"x" * (2**20 + 1))
    ingest(tmp_path / "large.txt")

    workflow_harness.drain()

    assert Document.objects.get().failure() == "UnreadableDocument: larger than 1 MiB"
