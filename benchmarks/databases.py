"""Empty databases that live as long as a block: a file in a temporary folder, or one on a server."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.run_matrix import SERVERS
from tests.servers import MARIADB, POSTGRES

DATABASES = ("sqlite", "postgres", "mariadb")


def answering() -> list[str]:
    """The databases that can be used here."""
    return [name for name in DATABASES if answers(name)]


def answers(server: str) -> bool:
    """True iff a real login succeeds: of `postgres`, `mariadb` or `redis`; `sqlite` is always there."""
    login = SERVERS.get(server)
    if login is None:
        return server == "sqlite"
    try:
        login()
    except Exception:  # noqa: BLE001 - each client has errors of its own, and each means that it can't be used
        return False
    return True


@contextmanager
def temporary(database: str) -> Iterator[str]:
    """An empty database of that kind, or for "" an empty folder; yields its name, and drops it when the block ends."""
    name = f"benchmarks_{os.getpid()}_{secrets.token_hex(3)}"
    if database in ("sqlite", ""):
        with tempfile.TemporaryDirectory(prefix="benchmarks-", ignore_cleanup_errors=True) as folder:
            yield str(Path(folder) / f"{name}.sqlite3") if database else folder
        return
    run = _on_postgres if database == "postgres" else _on_mariadb
    run(f"CREATE DATABASE {name}{'' if database == 'postgres' else ' CHARACTER SET utf8mb4'}")
    try:
        yield name
    finally:
        run(f"DROP DATABASE {name}{' WITH (FORCE)' if database == 'postgres' else ''}")


def _on_postgres(statement: str) -> None:
    import psycopg

    with psycopg.connect(
        host=POSTGRES.host,
        port=POSTGRES.port,
        user=POSTGRES.user,
        password=POSTGRES.password,
        dbname="postgres",
        autocommit=True,
    ) as connection:
        connection.execute(statement.encode())


def _on_mariadb(statement: str) -> None:
    import pymysql

    connection = pymysql.connect(
        host=MARIADB.host, port=MARIADB.port, user=MARIADB.user, password=MARIADB.password
    )
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()
