"""What the drivers of peers on PostgreSQL share; psycopg comes with each of those peers."""

import os
from typing import Any


def url() -> str:
    """Of this run's database, for libpq: the rest stands in its variables."""
    return f"postgresql://{os.environ['PGUSER']}@{os.environ['PGHOST']}:{os.environ['PGPORT']}/{os.environ['BENCHMARK_DATABASE_NAME']}"


def connect() -> Any:
    """A connection of the driver's own."""
    import psycopg

    return psycopg.connect(url(), autocommit=True)


def transactions(connection: Any) -> int:
    """That the server has counted in this database so far."""
    row = connection.execute(
        "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    ).fetchone()
    return int(row[0])
