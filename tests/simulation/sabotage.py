"""Break the engine in a copy of it, one mistake at a time, and see that a test notices.

    python -m tests.simulation.sabotage                  every mistake of `sabotages.py`
    python -m tests.simulation.sabotage R8 "no heartbeat"  those of a rule, or of a name

Rules of this file: the working tree is never touched. A mistake that no test notices survives, which is a hole in the
tests: it is listed, and the exit code is 1.
"""

from __future__ import annotations

import ast
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.simulation.sabotages import SABOTAGES, Sabotage

ROOT = Path(__file__).parents[2]
PACKAGE = "django_workflow"
COPIED = (PACKAGE, "tests", "example_project", "pyproject.toml", "manage.py")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "node_modules", ".hypothesis")
SECONDS = 600.0  # for the tests of one mistake; a test that hangs notices it, too
NOTICED = (
    1  # pytest: tests were run, and some failed; every other code says that none was, or that all passed
)


def main(asked: Sequence[str]) -> int:
    """Make the mistakes that are asked for; 1 if one survives, 2 if nothing can be said."""
    chosen = [each for each in SABOTAGES if not asked or each.rule in asked or each.name in asked]
    if not chosen:
        print(f"there is no mistake {', '.join(asked)}; give a rule (R8) or a name of sabotages.py")
        return 2
    with copied() as copy:
        if not _pass_without(chosen, copy):
            return 2
        survivors = [each for each in chosen if not _is_noticed(each, copy)]
    print(f"{len(chosen)} mistakes, {len(chosen) - len(survivors)} noticed")
    for each in survivors:
        print(f"SURVIVED {each.rule}: {each.name} ({each.file}), in spite of {', '.join(each.tests)}")
    return 1 if survivors else 0


def _pass_without(chosen: Sequence[Sabotage], copy: Path) -> bool:
    """A test that fails anyway notices nothing."""
    passed = True
    for database in sorted({each.database for each in chosen}):
        tests = sorted({test for each in chosen if each.database == database for test in each.tests})
        code, told = _run(tests, database, copy)
        print(f"without a mistake, on {database}: {told}", flush=True)
        passed = passed and code == 0
    return passed


def _is_noticed(sabotage: Sabotage, copy: Path) -> bool:
    broken = copy / PACKAGE / sabotage.file
    source = broken.read_text()
    broken.write_text(break_it(sabotage, source))
    try:
        code, told = _run(sabotage.tests, sabotage.database, copy, SECONDS)
    finally:
        broken.write_text(source)
        # Python tells by seconds whether what it has compiled is old.
        shutil.rmtree(broken.parent / "__pycache__", ignore_errors=True)
    noticed = code == NOTICED
    print(f"{'noticed ' if noticed else 'SURVIVED'} {sabotage.rule:4} {sabotage.name}: {told}", flush=True)
    return noticed


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of all that the tests need, for as long as the block takes."""
    with tempfile.TemporaryDirectory(prefix="sabotage-") as folder:
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, Path(folder) / name, ignore=LEFT_OUT)
            else:
                shutil.copy(ROOT / name, Path(folder) / name)
        yield Path(folder)


def break_it(sabotage: Sabotage, source: str) -> str:
    """The source with its mistake. Raises `ValueError` when its text isn't there exactly once, or what comes out is no Python."""
    found = source.count(sabotage.old)
    if found != 1:
        raise ValueError(
            f"{sabotage.rule}, {sabotage.name}: its text is {found} times in {sabotage.file}, not once; "
            "write it anew in tests/simulation/sabotages.py"
        )
    broken = source.replace(sabotage.old, sabotage.new)
    ast.parse(broken)
    return broken


def _run(tests: Sequence[str], database: str, copy: Path, seconds: float | None = None) -> tuple[int, str]:
    where = [f"{file_of(test).relative_to(ROOT)}::{test}" for test in tests]
    # Tables are made from the models: quicker, and no mistake here is one of migrations.
    options = ["-q", "-x", "--no-header", "--no-migrations", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, *where]
    # `python -m` puts the copy first on the path, before any installed package.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment = {**inherited, "DATABASE": database, "PYTHONPATH": str(copy), "SWEEP": "all"}
    try:
        done = subprocess.run(
            command,
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return NOTICED, f"no end within {seconds:g} s"
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    # What a test that hung has left is not a summary: pytest-timeout ends the process.
    hung = any("Timeout" in line for line in (*lines, *done.stderr.splitlines())) and not failed
    return (NOTICED if hung else done.returncode), " ".join((failed or lines)[-1:])[:150]


@functools.cache
def _tests() -> dict[str, Path]:
    return {
        node.name: path
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if "node_modules" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }


def file_of(test: str) -> Path:
    """Where a test of this name, with or without its parameters, stands. Raises `KeyError`: nowhere."""
    return _tests()[test.partition("[")[0]]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
