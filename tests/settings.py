"""Settings of the test project.

Two variables choose what the tests run against:

* ``DATABASE``: ``sqlite`` (default), ``postgres`` or ``mariadb``
* ``BROKER``: ``orm`` (default) or ``redis``, for a cluster started by a test

``PREPARED=1`` lets PostgreSQL prepare statements, as the documentation recommends and Django by itself does not.

A run makes a database of its own, named after its process, so that any number of runs go on side by side.
``DATABASE_NAME`` names an existing one instead: a test that starts a cluster hands its test database over that way.
"""

import os
import secrets
import tempfile
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from example_project.settings import AGENCY_SECONDS as AGENCY_SECONDS
from example_project.settings import APPROVAL_TIME as APPROVAL_TIME
from example_project.settings import COOLING_OFF as COOLING_OFF
from example_project.settings import REST_FRAMEWORK as REST_FRAMEWORK
from example_project.settings import SPECTACULAR_SETTINGS as SPECTACULAR_SETTINGS
from tests.servers import MARIADB, POSTGRES, REDIS_URL, Server

DATABASE = os.environ.get("DATABASE", "sqlite")
BROKER = os.environ.get("BROKER", "orm")
TEST_DATABASE = f"test_django_workflow_{os.getpid()}_{secrets.token_hex(3)}"


def _sqlite() -> dict[str, Any]:
    # A file: threads and processes of a cluster can't share a database in memory.
    folder = Path(tempfile.gettempdir())
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DATABASE_NAME", str(folder / "django_workflow.sqlite3")),
        "OPTIONS": {
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
        },
        "TEST": {"NAME": str(folder / f"{TEST_DATABASE}.sqlite3")},
    }


def _postgres() -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ.get("DATABASE_NAME", "postgres"),
        **_login(POSTGRES),
        # No test fells the server: what a killed client or a closed connection has committed is there all the same.
        "OPTIONS": {
            "options": "-c synchronous_commit=off",
            **({"server_side_binding": True, "prepare_threshold": 3} if "PREPARED" in os.environ else {}),
        },
        "TEST": {"NAME": TEST_DATABASE},
    }


def _mariadb() -> dict[str, Any]:
    import pymysql

    # Django asks for mysqlclient, which PyMySQL stands in for.
    pymysql.install_as_MySQLdb()
    return {
        "ENGINE": "django.db.backends.mysql",
        "NAME": os.environ.get("DATABASE_NAME", ""),
        **_login(MARIADB),
        "OPTIONS": {"charset": "utf8mb4", "isolation_level": "read committed"},
        "TEST": {"NAME": TEST_DATABASE, "CHARSET": "utf8mb4"},
    }


def _login(server: Server) -> dict[str, Any]:
    return {
        "HOST": server.host,
        "PORT": server.port,
        "USER": server.user,
        "PASSWORD": server.password,
        # A cluster that reconnects for each task is several times slower.
        "CONN_MAX_AGE": 600,
    }


def _chosen(variable: str, value: str, choices: dict[str, Any]) -> Any:
    if value not in choices:
        raise ImproperlyConfigured(f"{variable}={value!r} is unknown; use one of {', '.join(choices)}.")
    return choices[value]


DATABASES = {
    "default": _chosen(
        "DATABASE", DATABASE, {"sqlite": _sqlite, "postgres": _postgres, "mariadb": _mariadb}
    )()
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django_q",
    "django_workflow",
    "rest_framework",
    "drf_spectacular",
    "example_project.documents",
    "example_project.pages",
    "example_project.publishing",
    "tests.flushing",
    "tests.shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "tests.urls"
STATIC_URL = "static/"
MEDIA_ROOT = Path(tempfile.gettempdir()) / f"{TEST_DATABASE}-media"
SECRET_KEY = "the-tests-of-django-workflow"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
TIME_ZONE = "UTC"
# Logging in is not what these tests are about.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

Q_CLUSTER = {
    "name": "tests",
    **_chosen("BROKER", BROKER, {"orm": {"orm": "default"}, "redis": {"redis": REDIS_URL}}),
    "workers": 2,
    "queue_limit": 1,
    "bulk": 1,
    "poll": 0.03,
    "timeout": 300,
    "retry": 1000,
    "ack_failures": True,
    "max_attempts": 3,
    "save_limit": -1,
    "catch_up": False,
    # Q_CLUSTER_NAME=reports starts a second cluster on the same database.
    "ALT_CLUSTERS": {"reports": {"workers": 2}},
}
DJANGO_WORKFLOW: dict[str, Any] = {}

# Examples in the docs send mail, which Django 6.1 wants to be told how; earlier versions don't know the setting.
MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
