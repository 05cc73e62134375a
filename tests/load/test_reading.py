"""What workers and windows ask often goes by an index, and reads few rows, whatever is in the tables.

The bounds are rows, counted by the database. A list in the admin counts to its reach, and says "more" past it; nothing
else reads more than it shows and a little.
"""

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

import pytest
from django.db import connection, transaction

from django_workflow.admin import finding, reach
from django_workflow.handler import registry
from django_workflow.models import Workflow
from tests.engine.plans import explained, full_scans, sent_by
from tests.load import looks
from tests.load.conftest import measured
from tests.load.looks import Look, Stage
from tests.load.rows import rows_read
from tests.load.size import ALL, SIZE
from tests.load.tables import Filled

pytestmark = [pytest.mark.django_db, pytest.mark.timeout(3600 if ALL else 120)]

FEW = 500 if ALL else 1_000  # where all sleepers are a few hundred, some databases rather read them all
A_PAGE = 2_500  # two pages of REST, of 200 entries at most, with all columns
REACHES = 4 * SIZE.reach + 4_000  # the page, its count, what no index knows, and a page of a hundred rows


@pytest.fixture
def stage(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> Stage:
    # What other modules of tests define is in nobody's tables, and each name would be looked for.
    ours = {key: each for key, each in registry._definitions.items() if key[0].startswith("load.")}
    assert ours
    monkeypatch.setattr(registry, "_definitions", ours)
    for module in (reach, finding):
        monkeypatch.setattr(module, "REACH", SIZE.reach)
    return looks.stage(filled)


def test_43_what_the_engine_asks(stage: Stage) -> None:
    check("engine", stage, looks.ENGINE, FEW)


if ALL:  # less than its reach is read whole

    def test_43_the_lists_of_the_admin(stage: Stage) -> None:
        check("admin", stage, looks.OF_ADMIN, REACHES)


def test_43_the_lists_of_the_rest_api(stage: Stage) -> None:
    check("rest", stage, looks.OF_REST, A_PAGE)


def test_43_what_has_no_index_is_seen(stage: Stage) -> None:
    """The measure itself."""
    scan = {"a scan": lambda _: list(Workflow.objects.filter(reason="x"))}
    with pytest.raises(AssertionError, match="a scan"):
        check("scan", stage, scan, FEW)
    assert undone(partial(whole_scans, stage, scan["a scan"])) != []


def check(group: str, stage: Stage, asked: dict[str, Look], bound: int) -> None:
    """Ask, and say what reads too much, and how."""
    rows: dict[str, int] = {}
    seconds: dict[str, float] = {}
    wrong: dict[str, Any] = {}
    for name, look in asked.items():
        since = monotonic()
        rows[name] = undone(partial(rows_read, partial(look, stage)))
        seconds[name] = monotonic() - since
        # Of a small table a database reads all for good reason.
        scans = undone(partial(whole_scans, stage, look)) if ALL else []
        if rows[name] > bound or scans:
            wrong[name] = (rows[name], scans)
    most, slowest = max(rows, key=lambda name: rows[name]), max(seconds, key=lambda name: seconds[name])
    measured(f"{group}, most rows read", f"{rows[most]:,} ({most}), of {len(rows)} questions")
    measured(f"{group}, slowest", f"{1000 * seconds[slowest]:.0f} ms ({slowest})")
    assert not wrong, f"more than {bound} rows, or a whole table: {wrong}"


def undone(call: Callable[[], Any]) -> Any:
    """What it returns, and the tables as they were."""
    with transaction.atomic():
        try:
            return call()
        finally:
            transaction.set_rollback(True)


def whole_scans(stage: Stage, look: Look) -> list[str]:
    """The statements whose plan reads a whole big table."""
    sent = sent_by(partial(look, stage))
    return [f"{sql}\n{plan}" for sql in sent if full_scans(plan := explained(sql))]


if connection.vendor == "sqlite":

    def test_43_on_sqlite_that_has_never_counted(stage: Stage) -> None:
        """Nobody calls ANALYZE there, and it doesn't by itself."""
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM sqlite_stat1")
            cursor.execute("ANALYZE sqlite_schema")
        try:
            check("engine without statistics", stage, looks.ENGINE, FEW)
            check("rest without statistics", stage, looks.OF_REST, A_PAGE)
        finally:
            transaction.set_rollback(True)
            connection.needs_rollback = False
