"""The filled tables, and the figures that `make load` prints at its end."""

from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest
from django.conf import settings

from tests.load import tables
from tests.load.size import ALL, SIZE
from tests.load.tables import Filled

FIGURES: dict[str, str] = {}


def measured(what: str, figure: str) -> None:
    """Keep a figure for the end of the run."""
    FIGURES[what] = figure


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Figures are for people to read: no test asserts a time."""
    if ALL and FIGURES:
        terminalreporter.section(f"load on {settings.DATABASE}")
        for what, figure in FIGURES.items():
            terminalreporter.write_line(f"{what}: {figure}")


@pytest.fixture(scope="module")
def filled(django_db_setup: None, django_db_blocker: Any) -> Iterator[Filled]:
    """The tables with everything in them, for a module whose tests put back what they change."""
    with django_db_blocker.unblock():
        yield from _filled()


@pytest.fixture
def filled_anew(transactional_db: None) -> Iterator[Filled]:
    """The same for a test that commits."""
    yield from _filled()


def _filled() -> Iterator[Filled]:
    tables.empty()
    since = monotonic()
    try:
        filled = tables.fill(SIZE)
        rows = f"{SIZE.finished:,} finished and {SIZE.sleeping:,} sleeping workflows"
        measured("filled", f"{rows} in {monotonic() - since:.0f} s")
        yield filled
    finally:
        tables.empty()
