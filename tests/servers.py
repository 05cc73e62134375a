"""Where the servers that tests use are: one place for the settings and for the runner.

The addresses come from the variables that each server's own client reads, so that a shell in which `psql` works is
all a developer needs. Nothing here imports Django or connects.
"""

import os
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Server:
    """The address and the login of one database server."""

    host: str
    port: int
    user: str
    password: str


POSTGRES: Final = Server(
    host=os.environ.get("PGHOST", "127.0.0.1"),
    port=int(os.environ.get("PGPORT", "5432")),
    user=os.environ.get("PGUSER", "postgres"),
    password=os.environ.get("PGPASSWORD", ""),
)
MARIADB: Final = Server(
    host=os.environ.get("MYSQL_HOST", "127.0.0.1"),
    port=int(os.environ.get("MYSQL_TCP_PORT", "3306")),
    user=os.environ.get("MYSQL_USER", "root"),
    password=os.environ.get("MYSQL_PWD", ""),
)
REDIS_URL: Final = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
