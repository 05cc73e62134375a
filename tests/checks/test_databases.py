"""E010 to E012 and W005 to W009: the journal's database, and the models beside it."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.checks import Error, Warning
from django.db import connection, connections, models
from django.db.utils import load_backend
from django.test import override_settings

from django_workflow.checks import databases

SQLITE_HINT = (
    'Set DATABASES[\'default\'] = {..., "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, '
    '"init_command": "PRAGMA journal_mode=WAL"}}.'
)
NOT_IMMEDIATE = Error(
    "The SQLite database 'default' doesn't begin its transactions with IMMEDIATE: with more than one worker, "
    'steps and starts fail with "database is locked".',
    hint=SQLITE_HINT,
    id="django_workflow.E010",
)
NOT_WAL = Warning(
    "The SQLite database 'default' is not in WAL mode: whoever reads holds up the workers, and they it.",
    hint=SQLITE_HINT,
    id="django_workflow.W006",
)
GOOD_SQLITE = {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL", "timeout": 20}


def sqlite(name: object = "/nowhere/db.sqlite3", **options: Any) -> list[Any]:
    return list(databases.sqlite("default", {"NAME": name, "OPTIONS": options}))


def test_sqlite_as_django_sets_it_up_is_told_of() -> None:
    assert sqlite() == [NOT_IMMEDIATE, NOT_WAL]


@pytest.mark.parametrize(
    "options",
    [
        GOOD_SQLITE,
        {**GOOD_SQLITE, "transaction_mode": "exclusive"},
        {**GOOD_SQLITE, "init_command": "PRAGMA synchronous=1; pragma journal_mode = 'wal';"},
        {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode(WAL); PRAGMA busy_timeout=5000",
        },
    ],
)
def test_sqlite_set_up_right_gives_nothing(options: dict[str, Any]) -> None:
    assert sqlite(**options) == []


@pytest.mark.parametrize("name", [":memory:", "file:memorydb_default?mode=memory&cache=shared"])
def test_sqlite_in_memory_gives_nothing(name: str) -> None:
    assert sqlite(name) == []


@pytest.mark.parametrize("mode", [None, "DEFERRED"])
def test_e010_sqlite_without_immediate(mode: str | None) -> None:
    assert sqlite(**{**GOOD_SQLITE, "transaction_mode": mode}) == [NOT_IMMEDIATE]


def test_w006_sqlite_without_wal(tmp_path: Path) -> None:
    options = {**GOOD_SQLITE, "init_command": "PRAGMA journal_mode=DELETE"}
    file = tmp_path / "db.sqlite3"
    assert sqlite(file, **options) == [NOT_WAL]

    database = sqlite3.connect(file)
    database.execute("CREATE TABLE t (x)")
    assert sqlite(file, **options) == [NOT_WAL]
    database.execute("PRAGMA journal_mode=WAL")
    database.close()
    assert sqlite(file, **options) == []


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"timeout": 1.5}, "1.5"),
        ({"init_command": "PRAGMA journal_mode=WAL; PRAGMA busy_timeout = 100"}, "0.1"),
    ],
)
def test_w007_sqlite_that_gives_up_early(options: dict[str, Any], shown: str) -> None:
    assert sqlite(**{**GOOD_SQLITE, **options}) == [
        Warning(
            f"The SQLite database 'default' waits {shown} s for a lock, less than 5 s: under load, "
            'steps and starts fail with "database is locked".',
            hint=SQLITE_HINT,
            id="django_workflow.W007",
        )
    ]


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"isolation_level": "Repeatable Read"}, "REPEATABLE READ"),
        ({"isolation_level": None}, "the server's default, REPEATABLE READ"),
        ({"isolation_level": "serializable"}, "SERIALIZABLE"),
    ],
)
def test_e011_mysql_isolation(options: dict[str, Any], shown: str) -> None:
    assert list(databases.mysql_isolation("default", {"OPTIONS": options})) == [
        Error(
            f"The database 'default' runs its transactions under {shown}: a cancel misses steps that have just "
            "been written, and a start with a known key doesn't see the first one.",
            hint='Set DATABASES[\'default\'] = {..., "OPTIONS": {"isolation_level": "read committed"}}.',
            id="django_workflow.E011",
        )
    ]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"isolation_level": "READ COMMITTED"},
        {"isolation_level": None, "init_command": "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"},
    ],
)
def test_mysql_under_read_committed_gives_nothing(options: dict[str, Any]) -> None:
    assert list(databases.mysql_isolation("default", {"OPTIONS": options})) == []


def test_w008_postgresql_isolation() -> None:
    level = pytest.importorskip("psycopg").IsolationLevel
    expected = Warning(
        "The database 'default' runs its transactions under REPEATABLE READ: turns that meet fail with "
        "serialization errors and start again.",
        hint="Leave DATABASES['default']['OPTIONS']['isolation_level'] out, and see that the server's "
        "default_transaction_isolation is 'read committed'.",
        id="django_workflow.W008",
    )

    def check(options: dict[str, Any]) -> list[Any]:
        return list(databases.postgresql_isolation("default", {"OPTIONS": options}))

    assert check({"isolation_level": level.REPEATABLE_READ}) == [expected]
    assert check({"isolation_level": int(level.REPEATABLE_READ)}) == [expected]
    assert check({"isolation_level": level.READ_COMMITTED}) == []
    assert check({}) == []


def test_w008_as_the_server_says_it() -> None:
    assert list(databases.postgresql_server_isolation("default", "read committed")) == []
    (found,) = databases.postgresql_server_isolation("default", "serializable")
    assert found.msg == (
        "The database 'default' runs its transactions under SERIALIZABLE: turns that meet fail with "
        "serialization errors and start again."
    )


def test_e012_no_skip_locked() -> None:
    assert list(databases.skip_locked("default", True, "MariaDB 10.6.1")) == []
    assert list(databases.skip_locked("default", False, "MariaDB 10.5.9")) == [
        Error(
            "The database 'default' is MariaDB 10.5.9, which has no SELECT … FOR UPDATE SKIP LOCKED: workers that "
            "look for work wait for one another.",
            hint="Upgrade the server: MariaDB 10.6, MySQL 8.0.1 or later.",
            id="django_workflow.E012",
        )
    ]


def test_w005_a_connection_for_each_task() -> None:
    assert list(databases.connection_age("default", {"CONN_MAX_AGE": 0})) == [
        Warning(
            "The database 'default' has CONN_MAX_AGE = 0: django-q2 connects anew for each task, which makes "
            "short tasks several times slower.",
            hint='Set DATABASES[\'default\'] = {..., "CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}.',
            id="django_workflow.W005",
        )
    ]


@pytest.mark.parametrize(
    "settings",
    [{"CONN_MAX_AGE": 600}, {"CONN_MAX_AGE": None}, {"CONN_MAX_AGE": 0, "OPTIONS": {"pool": True}}],
)
def test_connections_that_are_kept_give_nothing(settings: dict[str, Any]) -> None:
    assert list(databases.connection_age("default", settings)) == []


class Elsewhere:
    """Sends the app that `app` names to the alias `other`."""

    app = "shop"

    def db_for_write(self, model: type[models.Model], **hints: object) -> str | None:
        return "other" if model._meta.app_label == self.app else None


class JournalElsewhere(Elsewhere):
    app = "django_workflow"


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A second database alias: a SQLite file with Django's own defaults, to which nothing ever connects."""
    settings = {"NAME": tmp_path / "other.sqlite3", "OPTIONS": {}}
    monkeypatch.setitem(connections.settings, "other", settings)
    connections["other"] = load_backend("django.db.backends.sqlite3").DatabaseWrapper(settings, "other")
    yield
    del connections["other"]


def test_this_project_s_database_gives_nothing() -> None:
    assert databases.check_databases() == []
    assert databases.check_mutations_alias() == []


@pytest.mark.django_db
def test_the_live_database_is_asked_only_on_request(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert databases.check_live_databases() == []
        assert databases.check_live_databases(databases=["another"]) == []
    # "SHOW transaction_isolation"; the version of MariaDB is known from the first connection.
    with django_assert_num_queries(1 if connection.vendor == "postgresql" else 0):
        assert databases.check_live_databases(databases=["default"]) == []


@override_settings(DATABASE_ROUTERS=["tests.checks.test_databases.JournalElsewhere"])
def test_the_journal_s_own_alias_is_the_one_that_is_checked(other: None) -> None:
    found = databases.check_databases()
    assert [each.id for each in found] == ["django_workflow.E010", "django_workflow.W006"]
    assert found[0].msg.startswith("The SQLite database 'other' doesn't begin")


@override_settings(DATABASE_ROUTERS=["tests.checks.test_databases.Elsewhere"])
def test_w009_models_on_another_alias_than_the_journal(other: None) -> None:
    shop = [model._meta.label for model in apps.get_app_config("shop").get_models()]
    shown = ", ".join(shop[:3]) + (f" and {len(shop) - 3} more" if len(shop) > 3 else "")
    assert databases.check_mutations_alias() == [
        Warning(
            f"{shown} are written to the database 'other', the journal of workflows to 'default': a mutation of "
            "these models doesn't commit with its step, so a crash between the two runs it again.",
            hint="Make such mutations harmless when repeated (get_or_create, a unique key), or have "
            "DATABASE_ROUTERS write the models and the app 'django_workflow' to one database.",
            id="django_workflow.W009",
        )
    ]


@override_settings(DATABASE_ROUTERS=["tests.checks.test_databases.JournalElsewhere"])
def test_w009_leaves_django_s_bookkeeping_out(other: None) -> None:
    (found,) = databases.check_mutations_alias()
    listed = found.msg.partition(" are written")[0]
    assert "contenttypes." not in listed
    assert "django_q." not in listed
    assert "the database 'default', the journal of workflows to 'other'" in found.msg
