"""Journals that were written by released versions are replayed by this one, for ever. No database is needed."""

from pathlib import Path

import pytest

from django_workflow import workflow
from django_workflow.testing import assert_replays_files
from django_workflow.verdict import Fits
from tests.golden import definitions, record

FILES = sorted(Path(__file__).parent.rglob("*.json"))
assert definitions.sequence.name == "golden.sequence"  # imported: the registry has them


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_it_replays(file: Path) -> None:
    found = workflow.replay(file.read_text())
    assert isinstance(found, Fits), found


def test_they_replay_through_the_door_for_users() -> None:
    assert_replays_files(Path(__file__).parent)


def test_every_story_is_written_down() -> None:
    assert {story.__name__ for story in record.STORIES} <= {file.stem for file in FILES}
