"""Settings of the processes that are measured: what the documentation recommends, and nothing that it doesn't.

The driver gets them by variables, and hands them on to its workers and clusters:

* ``BENCHMARK_DATABASE``: ``sqlite``, ``postgres`` or ``mariadb``; ``BENCHMARK_DATABASE_NAME``: an existing, empty one
* ``BENCHMARK_BROKER``: ``orm`` or ``redis``; ``BENCHMARK_QUEUE``: the name of the cluster and of its queue
* ``BENCHMARK_WORKERS``: how many workers a cluster has
* ``BENCHMARK_ALONE``: set for a cluster of django-q2 alone, without this project
"""

import os
from typing import Any

from tests.servers import MARIADB, POSTGRES, REDIS_URL, Server

DATABASE = os.environ.get("BENCHMARK_DATABASE", "sqlite")
NAME = os.environ.get("BENCHMARK_DATABASE_NAME", "")


def _database() -> dict[str, Any]:
    match DATABASE:
        case "sqlite":
            return {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": NAME,
                "OPTIONS": {
                    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
                    "transaction_mode": "IMMEDIATE",
                    "timeout": 30,
                },
            }
        case "postgres":
            prepared: dict[str, Any] = {"server_side_binding": True, "prepare_threshold": 3}
            return {"ENGINE": "django.db.backends.postgresql", "OPTIONS": prepared, **_server(POSTGRES)}
        case _:
            import pymysql

            # Django asks for mysqlclient, which PyMySQL stands in for.
            pymysql.install_as_MySQLdb()
            options = {"charset": "utf8mb4", "isolation_level": "read committed"}
            return {"ENGINE": "django.db.backends.mysql", "OPTIONS": options, **_server(MARIADB)}


def _server(server: Server) -> dict[str, Any]:
    return {
        "NAME": NAME,
        "HOST": server.host,
        "PORT": server.port,
        "USER": server.user,
        "PASSWORD": server.password,
        "CONN_MAX_AGE": 600,
    }


DATABASES = {"default": _database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django_q",
    *([] if "BENCHMARK_ALONE" in os.environ else ["django_workflow", "benchmarks.app"]),
]
SECRET_KEY = "the-benchmarks-of-django-workflow"
USE_TZ = True
TIME_ZONE = "UTC"

BROKER: dict[str, Any] = (
    {"redis": REDIS_URL} if os.environ.get("BENCHMARK_BROKER") == "redis" else {"orm": "default"}
)
Q_CLUSTER = {
    "name": os.environ.get("BENCHMARK_QUEUE", "benchmarks"),
    **BROKER,
    "workers": int(os.environ.get("BENCHMARK_WORKERS", "2")),
    "queue_limit": 1,
    "bulk": 1,
    "poll": 0.03,
    "timeout": 300,
    "retry": 1000,
    "ack_failures": True,
    "max_attempts": 3,
    "save_limit": -1,
    "catch_up": False,
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    # django-q2 writes a line for each message, and to the terminal where nobody else cares.
    "loggers": {"django-q": {"handlers": ["stderr"], "level": "WARNING", "propagate": False}},
}
