"""`manage.py workflow_replay`: golden journals against the code, without a database.

No test here asks for the fixture `db`, so that pytest-django refuses every connection.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from django_workflow import workflow
from django_workflow.exceptions import InvalidArguments, UsageError
from django_workflow.testing import assert_replays_files
from django_workflow.verdict import Breaks
from tests.commands.console import Answer, manage
from tests.golden import definitions, record

assert definitions.sequence.name == "golden.sequence"  # imported: the registry has them


def replay(*args: object) -> Answer:
    return manage(*args, command="workflow_replay")


def changed(folder: Path, story: str, change: Callable[[Any], Any]) -> Path:
    """A golden journal with another record: to the code that is as if the code had changed."""
    document = json.loads((record.FOLDER / f"{story}.json").read_text())
    change(document)
    file = folder / f"{story}.json"
    file.write_text(json.dumps(document))
    return file


def rename(document: Any) -> None:
    document["steps"][1]["name"] = "old_name"


def swap(document: Any) -> None:
    one, other = document["steps"][:2]
    one["number"], other["number"] = 2, 1


def add_one_more(document: Any) -> None:
    document["steps"].append({"number": 5, "kind": "sleep", "name": "sleep", "state": "pending"})


def leave_one_out(document: Any) -> None:
    del document["steps"][0]
    for step in document["steps"]:
        step["number"] -= 1


def give_other_arguments(document: Any) -> None:
    document["steps"][2]["args"]["value"]["keys"].reverse()


def give_another_result(document: Any) -> None:
    document["steps"][0]["result"] = "three"


def end_otherwise(document: Any) -> None:
    document["workflow"]["result"][0] = 4


def end_as_failed(document: Any) -> None:
    del document["workflow"]["result"]
    document["workflow"] |= {"state": "failed", "error": {"type": "builtins.ValueError", "message": "no"}}


def be_of_another_version(document: Any) -> None:
    document["workflow"]["version"] = 2


def take_other_arguments(document: Any) -> None:
    document["workflow"]["args"] = {"begin": 3}


CHANGES: list[tuple[Callable[[Any], None], int | None, str, str]] = [
    (rename, 2, "mutation old_name", "mutation change"),
    (swap, 1, "mutation change", "query look"),
    (add_one_more, 5, "sleep sleep", ""),
    (leave_one_out, 1, "mutation change", "query look"),
    (give_other_arguments, 3, '"keys":["a","z"]', '"keys":["z","a"]'),
    (give_another_result, 2, "mutation change", ""),
    (end_otherwise, None, "completed: [4,", "completed: [3,"),
    (end_as_failed, None, "failed: builtins.ValueError", "completed: [3,"),
    (be_of_another_version, None, "golden.sequence version 2", "the code has version 1 only"),
    (take_other_arguments, None, 'arguments {"begin":3}', "sequence(step:"),
]


def test_all_that_earlier_versions_wrote_fits() -> None:
    answer = replay(record.FOLDER.parent)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.endswith(" golden journals: all fit.\n")


@pytest.mark.parametrize(
    ("change", "number", "recorded", "asked"), CHANGES, ids=[each[0].__name__ for each in CHANGES]
)
def test_each_change_is_named_by_position_record_and_what_was_asked(
    tmp_path: Path, change: Callable[[Any], None], number: int | None, recorded: str, asked: str
) -> None:
    file = changed(tmp_path, "sequence", change)
    answer = replay("--json", file)
    assert answer.code == 1
    assert answer.document.keys() == {"files", "checked", "breaking", "unreadable"}
    (found,) = answer.document["files"]
    assert (found["file"], found["verdict"], found["number"]) == (str(file), "breaks", number)
    assert recorded in found["recorded"]
    assert asked in (found["asked"] or "")
    assert (found["asked"] is None) == (asked == "")
    with pytest.raises(AssertionError, match=str(file)):
        assert_replays_files(file)


def test_a_result_that_no_longer_fits_is_told() -> None:
    text = (record.FOLDER / "sequence.json").read_text().replace('"result": 3,', '"result": "three",', 1)
    found = workflow.replay(text)
    assert isinstance(found, Breaks)
    assert "The handler raised NotReadable: the result of step 1 (look) no longer fits" in found.reason


def test_people_read_file_position_record_and_what_was_asked(tmp_path: Path) -> None:
    file = changed(tmp_path, "sequence", rename)
    answer = replay(file, record.FOLDER / "values.json")
    lines = answer.out.splitlines()
    assert lines[0].startswith(f"{file}: golden.sequence v1 ")
    assert lines[0].endswith(" breaks at step 2")
    assert [line.split()[0] for line in lines[1:4]] == ["recorded", "asked", "reason"]
    assert lines[-1] == "2 golden journals: 1 broken."
    assert answer.err == "The code doesn't fit 1 golden journal."


def without(*path: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return change


def with_value(value: Any, *path: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


MALFORMED = [
    (without("format"), 'it has no "format"'),
    (
        with_value(2, "format"),
        "2 is that of a later version of django-durable-workflow, this one reads 1; upgrade",
    ),
    (with_value("1", "format"), "format: '1' is unknown"),
    (with_value(0, "format"), "format: 0 is unknown"),
    (without("workflow"), "workflow: None is no object"),
    (without("steps"), "steps: is no list of objects"),
    (with_value([1], "steps"), "steps: is no list of objects"),
    (with_value(1, "colour"), "colour: format 1 has no such key"),
    (with_value("no", "workflow", "id"), "workflow.id: 'no' is not the text of a UUID"),
    (without("workflow", "definition"), "workflow.definition: is missing"),
    (with_value("1", "workflow", "version"), "workflow.version: '1' is not a whole number from 1"),
    (with_value("2031-01-01T00:00:00", "workflow", "created_at"), "is not a moment with its time zone"),
    (with_value("done", "workflow", "state"), "workflow.state: 'done' is not one of in_progress, completed"),
    (with_value([1], "workflow", "args"), "workflow.args: is no object"),
    (with_value("{", "workflow", "args_text"), "workflow.args_text: is no JSON text"),
    (with_value("no", "workflow", "error"), "workflow.error: is no error as a journal keeps it"),
    (with_value("task", "steps", 0, "kind"), "steps[0].kind: 'task' is not one of query, mutation"),
    (with_value(1, "steps", 1, "number"), "steps: number 1 is there twice"),
    (with_value(1, "steps", 1, "seq"), "steps: seq 1 is there twice"),
    (without("steps", 0, "delivered_at"), "step 1: seq and delivered_at go together"),
    (with_value("failed", "steps", 0, "state"), "step 1: has failed and has no error"),
    (with_value("rollback", "steps", 0, "kind"), "step 1: is a rollback and its args name no step"),
    (with_value(1, "steps", 0, "atempts"), "steps[0].atempts: format 1 has no such key"),
    (with_value([], "workflow", "state"), "workflow.state: [] is not one of"),
    (with_value(None, "steps", 0, "name"), "steps[0].name: None is not a text"),
]


@pytest.mark.parametrize(("change", "problem"), MALFORMED, ids=[problem for _, problem in MALFORMED])
def test_what_is_no_golden_journal_is_refused(
    tmp_path: Path, change: Callable[[Any], None], problem: str
) -> None:
    file = changed(tmp_path, "sequence", change)
    answer = replay(file, record.FOLDER / "values.json")
    assert answer.code == 2
    assert problem in answer.out
    assert "2 golden journals: 1 unreadable." in answer.out
    with pytest.raises(InvalidArguments, match=str(file)):
        assert_replays_files(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '"text"', "1", "{}"])
def test_what_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "journal.json"
    file.write_text(text)
    answer = replay("--json", file)
    assert answer.code == 2
    assert "this is no golden journal" in answer.document["files"][0]["reason"]


def test_files_that_are_not_there_or_no_text(tmp_path: Path) -> None:
    binary = tmp_path / "binary.json"
    binary.write_bytes(b"\xff\xfe")
    answer = replay("--json", tmp_path / "nowhere.json", binary, record.FOLDER / "values.json")
    assert (answer.code, answer.document["unreadable"], answer.document["checked"]) == (2, 2, 3)
    (tmp_path / "empty").mkdir()
    assert replay(tmp_path / "empty").code == 2
    for nothing in (tmp_path / "empty", tmp_path / "nowhere.json"):
        with pytest.raises(UsageError, match="there is no golden journal here"):
            assert_replays_files(nothing)


def test_a_masked_journal_that_breaks_says_that_the_masks_may_be_why(tmp_path: Path) -> None:
    file = changed(
        tmp_path, "secrets_masked", lambda document: document["steps"][0]["args"].update(header="?")
    )
    assert "it is the masks that don't fit (3 values of this journal are masked)" in replay(file).out


def test_async_code_replays_too() -> None:
    text = (record.FOLDER / "parallel.json").read_text()
    assert async_to_sync(workflow.areplay)(text) == workflow.replay(text)
