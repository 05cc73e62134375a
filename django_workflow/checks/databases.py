"""Checks of the database that holds the journal, and of the models that live elsewhere.

The functions that judge take what they judge (an alias, its settings) and connect to nothing; only
`check_live_databases` connects, and Django runs it only where a database was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

# Seconds a writer waits for SQLite's one write lock before it gives up with "database is locked".
BUSY_TIMEOUT = 5.0

SQLITE_OPTIONS = (
    '"OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL"}'
)

# Apps whose rows are bookkeeping of Django or of the cluster, written by no mutation.
BOOKKEEPING = frozenset({"admin", "contenttypes", "django_q", "django_workflow", "sessions"})


def check_databases(**_: Any) -> list[CheckMessage]:
    """E010, E011, W005 to W008: options under which the journal's database refuses, overlooks or is slow."""
    alias = journal_alias()
    messages: list[CheckMessage] = []
    # A queue in the database is asked for as often as the journal, so its connections count too.
    for each in dict.fromkeys((alias, *_orm_broker_alias())):
        connection = connections[each]
        if connection.vendor in ("postgresql", "mysql"):
            messages += connection_age(each, connection.settings_dict)
    connection = connections[alias]
    match connection.vendor:
        case "sqlite":
            messages += sqlite(alias, connection.settings_dict)
        case "mysql":
            messages += mysql_isolation(alias, connection.settings_dict)
        case "postgresql":
            messages += postgresql_isolation(alias, connection.settings_dict)
    return messages


def check_live_databases(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """E012 and W008 as the server itself answers, for the journal's database if it was asked for."""
    alias = journal_alias()
    if alias not in (databases or ()):
        return []
    connection = connections[alias]
    messages: list[CheckMessage] = []
    match connection.vendor:
        case "mysql":
            messages += skip_locked(
                alias, bool(connection.features.has_select_for_update_skip_locked), _server(connection)
            )
        case "postgresql" if "isolation_level" not in connection.settings_dict["OPTIONS"]:
            messages += postgresql_server_isolation(alias, _server_isolation(connection))
    return messages


def check_mutations_alias(**_: Any) -> list[CheckMessage]:
    """W009: models whose writes go to another alias than the journal's."""
    alias = journal_alias()
    elsewhere: dict[str, list[str]] = {}
    for model in apps.get_models():
        if model._meta.app_label in BOOKKEEPING or model._meta.proxy:
            continue
        routed = router.db_for_write(model)
        if routed != alias:
            elsewhere.setdefault(routed, []).append(model._meta.label)
    return [
        Warning(
            f"{_some(labels)} are written to the database {routed!r}, the journal of workflows to {alias!r}: a mutation "
            "of these models doesn't commit with its step, so a crash between the two runs it again.",
            hint="Make such mutations harmless when repeated (get_or_create, a unique key), or have DATABASE_ROUTERS "
            "write the models and the app 'django_workflow' to one database.",
            id="django_workflow.W009",
        )
        for routed, labels in elsewhere.items()
    ]


def journal_alias() -> str:
    """The alias of the database that the journal is written to."""
    return router.db_for_write(apps.get_model("django_workflow", "Workflow"))


def sqlite(alias: str, options: dict[str, Any]) -> Iterator[CheckMessage]:
    """E010, W006 and W007, for the settings of a SQLite database; one in memory has no rivals."""
    name = str(options["NAME"])
    if name == ":memory:" or "mode=memory" in name:
        return
    given, hint = options.get("OPTIONS", {}), f"Set DATABASES[{alias!r}] = {{..., {SQLITE_OPTIONS}}}."
    commands = str(given.get("init_command", ""))
    # An error, since no busy timeout helps here: SQLite refuses at once to turn a reading transaction into a
    # writing one when another wrote meanwhile. The other two cost waiting, and are warnings.
    if str(given.get("transaction_mode")).upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        yield Error(
            f"The SQLite database {alias!r} doesn't begin its transactions with IMMEDIATE: with more than one worker, "
            'steps and starts fail with "database is locked".',
            hint=hint,
            id="django_workflow.E010",
        )
    if not re.search(r"journal_mode\s*[=(]\s*['\"]?wal\b", commands, re.IGNORECASE) and not _is_wal(name):
        yield Warning(
            f"The SQLite database {alias!r} is not in WAL mode: whoever reads holds up the workers, and they it.",
            hint=hint,
            id="django_workflow.W006",
        )
    waits = _busy_timeout(given, commands)
    if waits < BUSY_TIMEOUT:
        yield Warning(
            f"The SQLite database {alias!r} waits {waits:g} s for a lock, less than {BUSY_TIMEOUT:g} s: under load, "
            'steps and starts fail with "database is locked".',
            hint=hint,
            id="django_workflow.W007",
        )


def _is_wal(name: str) -> bool:
    """True if the database file says it is in WAL mode: bytes 18, 19 are 2 (SQLite's file format, §1.3)."""
    try:
        with Path(name).open("rb") as file:
            return file.read(20)[18:] == b"\x02\x02"
    except OSError:
        return False


def _busy_timeout(given: dict[str, Any], commands: str) -> float:
    pragma = re.search(r"busy_timeout\s*[=(]\s*(\d+)", commands, re.IGNORECASE)
    # Python's sqlite3 waits 5 s unless told otherwise.
    return int(pragma[1]) / 1000 if pragma else float(given.get("timeout", 5.0))


def mysql_isolation(alias: str, options: dict[str, Any]) -> Iterator[CheckMessage]:
    """E011, for the settings of a MySQL or MariaDB database."""
    given = options.get("OPTIONS", {})
    level = given.get("isolation_level", "read committed")
    if level is None and "read committed" in str(given.get("init_command", "")).lower():
        return
    if str(level).lower() != "read committed":
        shown = "the server's default, REPEATABLE READ" if level is None else str(level).upper()
        yield Error(
            f"The database {alias!r} runs its transactions under {shown}: a cancel misses steps that have just been "
            "written, and a start with a known key doesn't see the first one.",
            hint=f'Set DATABASES[{alias!r}] = {{..., "OPTIONS": {{"isolation_level": "read committed"}}}}.',
            id="django_workflow.E011",
        )


def postgresql_isolation(alias: str, options: dict[str, Any]) -> Iterator[CheckMessage]:
    """W008, for the settings of a PostgreSQL database."""
    given = options.get("OPTIONS", {})
    if "isolation_level" not in given:
        return
    # Not at the top: without psycopg, which a project on another database hasn't got, the import fails.
    from django.db.backends.postgresql.psycopg_any import IsolationLevel

    yield from postgresql_server_isolation(
        alias, IsolationLevel(given["isolation_level"]).name.replace("_", " ")
    )


def postgresql_server_isolation(alias: str, level: str) -> Iterator[CheckMessage]:
    """W008, for the name of the level under which transactions run."""
    # A warning, where MariaDB gets an error: PostgreSQL reports a conflict instead of overlooking it.
    if level.lower() != "read committed":
        yield Warning(
            f"The database {alias!r} runs its transactions under {level.upper()}: turns that meet fail with "
            "serialization errors and start again.",
            hint=f"Leave DATABASES[{alias!r}]['OPTIONS']['isolation_level'] out, and see that the server's "
            "default_transaction_isolation is 'read committed'.",
            id="django_workflow.W008",
        )


def skip_locked(alias: str, supported: bool, server: str) -> Iterator[CheckMessage]:
    """E012, for a server that has no SKIP LOCKED."""
    if not supported:
        yield Error(
            f"The database {alias!r} is {server}, which has no SELECT … FOR UPDATE SKIP LOCKED: workers that look for "
            "work wait for one another.",
            hint="Upgrade the server: MariaDB 10.6, MySQL 8.0.1 or later.",
            id="django_workflow.E012",
        )


def connection_age(alias: str, options: dict[str, Any]) -> Iterator[CheckMessage]:
    """W005, for the settings of a database behind a network connection."""
    # Django refuses CONN_MAX_AGE beside a pool, which keeps connections open by itself.
    if options.get("CONN_MAX_AGE") == 0 and not options.get("OPTIONS", {}).get("pool"):
        yield Warning(
            f"The database {alias!r} has CONN_MAX_AGE = 0: django-q2 connects anew for each task, which makes short "
            "tasks several times slower.",
            hint=f'Set DATABASES[{alias!r}] = {{..., "CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}}.',
            id="django_workflow.W005",
        )


def _orm_broker_alias() -> list[str]:
    configured = getattr(settings, "Q_CLUSTER", {})
    alias = configured.get("orm") if isinstance(configured, dict) else None
    return [alias] if isinstance(alias, str) and alias in connections else []


def _server(connection: BaseDatabaseWrapper) -> str:
    product = "MariaDB" if getattr(connection, "mysql_is_mariadb", False) else "MySQL"
    return f"{product} {'.'.join(map(str, connection.get_database_version()))}"


def _server_isolation(connection: BaseDatabaseWrapper) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        return str(cursor.fetchone()[0])


def _some(labels: list[str]) -> str:
    shown = ", ".join(labels[:3])
    return f"{shown} and {len(labels) - 3} more" if len(labels) > 3 else shown
