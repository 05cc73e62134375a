"""What holds for every test: which database it runs on, which tests this run leaves out, and what a test may not leave.

Rules of this file: ``WITHOUT`` names markers and, with a slash in them, folders and files of ``tests/``, separated by commas;
tests that bear or lie in one of them are deselected (and counted as such), so that the command line's own ``-m`` stays
free. What only PostgreSQL can do is left out elsewhere. The marker ``pure`` is set here: on tests that asked for no
database. pytest-django refuses it to them, so that they do the same whatever it is.
"""

import os
from collections.abc import Generator
from pathlib import Path

import django
import pytest
from django.conf import settings
from django.test import SimpleTestCase
from django.utils import timezone, translation

TESTS = Path(__file__).parent
# Those that nobody writes on a test, beside the ones in pyproject.toml.
MARKERS = {
    "pure": "asks for no database; set by tests/conftest.py",
    "suspended": "once more with every turn cut short; set by the fixtures any_mode and either_mode",
    "checked": "once more with every turn replayed in memory, which no database sees; set by the fixture any_mode",
}
BEFORE = pytest.StashKey[dict[str, str | None]]()
DATABASE_FIXTURES = {"db", "transactional_db", "live_server", "django_db_setup"}


def pytest_report_header() -> list[str]:
    left_out = ", ".join(sorted(_left_out())) or "nothing"
    return [f"django_workflow: Django {django.__version__} on {settings.DATABASE}, leaving out {left_out}"]


def pytest_configure(config: pytest.Config) -> None:
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


# ── what is left out ──────────────────────────────────────────────────────────────────────────────────────────────


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if not _asks_for_database(item):
            item.add_marker("pure")
    left_out = _left_out()
    deselected = [item for item in items if any(_is_of(item, name) for name in left_out)]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in set(deselected)]


def _left_out() -> set[str]:
    asked = {name.strip() for name in os.environ.get("WITHOUT", "").split(",") if name.strip()}
    return asked if settings.DATABASE == "postgres" else asked | {"postgres"}


def _is_of(item: pytest.Item, name: str) -> bool:
    if "/" in name:
        return item.path.is_relative_to(TESTS / name)
    return item.get_closest_marker(name) is not None


def _asks_for_database(item: pytest.Item) -> bool:
    if item.get_closest_marker("django_db") or DATABASE_FIXTURES & set(getattr(item, "fixturenames", ())):
        return True
    case = getattr(item, "cls", None)
    return isinstance(case, type) and issubclass(case, SimpleTestCase) and bool(case.databases)


# ── what a test may not leave behind ──────────────────────────────────────────────────────────────────────────────


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    item.stash[BEFORE] = _shared()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Fails the test that changes what all tests share, and not the one that comes upon it later."""
    try:
        return (yield)
    finally:
        before, after = item.stash[BEFORE], _shared()
        _put_back(before)
        changed = sorted(name for name in before | after if before.get(name) != after.get(name))
        if changed:
            told = [f"{name}: {before.get(name)!r} is now {after.get(name)!r}" for name in changed]
            pytest.fail(f"This test leaves to all that follow another {', '.join(told)}.", pytrace=False)


def _shared() -> dict[str, str | None]:
    environment = {f"${name}": value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    return {
        "working directory": str(Path.cwd()),
        "language": translation.get_language(),
        "time zone": timezone.get_current_timezone_name(),
        **environment,
    }


def _put_back(before: dict[str, str | None]) -> None:
    translation.deactivate()
    timezone.deactivate()
    os.chdir(str(before["working directory"]))
    for name in [*os.environ]:
        if name != "PYTEST_CURRENT_TEST" and f"${name}" not in before:
            del os.environ[name]
    os.environ.update({name[1:]: str(value) for name, value in before.items() if name.startswith("$")})
