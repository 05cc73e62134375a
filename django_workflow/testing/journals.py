"""Golden journals in users' test suites: files that the code has to go on fitting."""

from __future__ import annotations

from pathlib import Path

from django_workflow.exceptions import InvalidArguments, UsageError
from django_workflow.manager import workflow
from django_workflow.verdict import Breaks


def assert_replays_files(path: Path | str) -> None:
    """Replay a golden journal, or all of a folder (`*.json`, its folders included), without the database.

    Raises:
        AssertionError: the code differs from the record; all that do are listed.
        UsageError: there is no journal, or what is there is none.

    """
    path = Path(path)
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    if not files or not path.exists():
        raise UsageError(f"{path}: there is no golden journal here; write one by `manage.py workflow export`")
    broken = []
    for file in files:
        try:
            found = workflow.replay(file.read_text(encoding="utf-8"))
        except InvalidArguments as error:
            raise InvalidArguments(str(file), error.problems) from None
        if isinstance(found, Breaks):
            broken.append(f"{file}: {found.reason}")
    if broken:
        raise AssertionError("\n".join(broken))
