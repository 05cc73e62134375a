"""Settings of the example project, meant to be read: each setting that django_workflow cares for says why.

SQLite is embedded and needs nothing. For PostgreSQL set DATABASE=postgres; the address and the login then come
from the usual variables PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE. DEMO_DATABASE moves the SQLite file.
"""

import os
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

BASE_DIR = Path(__file__).resolve().parent

SECRET_KEY = "for-development-only-never-use-this-one-in-production"  # noqa: S105 - the example's, not a secret
DEBUG = True
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_q",
    "django_workflow",
    "rest_framework",
    "example_project.documents",
    "example_project.pages",
    "example_project.publishing",
]

REST_FRAMEWORK: dict[str, Any] = {}

# The API's description, at api/schema/, where the extra `openapi` is installed.
if find_spec("drf_spectacular") is not None:
    INSTALLED_APPS.append("drf_spectacular")
    REST_FRAMEWORK["DEFAULT_SCHEMA_CLASS"] = "drf_spectacular.openapi.AutoSchema"
SPECTACULAR_SETTINGS = {
    "TITLE": "Workflows",
    "DESCRIPTION": "Start workflows, watch them and act on them.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,  # the description doesn't describe itself
}

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
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
            ],
        },
    },
]

ROOT_URLCONF = "example_project.urls"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
MEDIA_ROOT = BASE_DIR / "media"


def sqlite(path: Path) -> dict[str, Any]:
    """Return database settings for an SQLite file that a web server and several workers write to at once."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": path,
        "CONN_MAX_AGE": 600,
        "OPTIONS": {
            # WAL lets readers and one writer work side by side. IMMEDIATE takes the write lock when a transaction
            # begins: taken later it fails with "database is locked", without waiting for the timeout (seconds).
            "init_command": "PRAGMA journal_mode=WAL;",
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
        },
    }


def postgres() -> dict[str, Any]:
    """Return database settings for the PostgreSQL that libpq's variables (PGHOST …) lead to."""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ.get("PGDATABASE", "example"),
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
    }


DATABASES = {
    "default": postgres()
    if os.environ.get("DATABASE") == "postgres"
    else sqlite(Path(os.environ.get("DEMO_DATABASE") or BASE_DIR / "db.sqlite3")),
}

# The cluster, `manage.py qcluster`, is the one process that workflows need. The ORM broker keeps its queue in the
# database, too. A worker fetches one wake-up at a time, so that none waits behind a long step.
Q_CLUSTER = {
    "name": "example",
    "orm": "default",
    "workers": 4,
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

DJANGO_WORKFLOW: dict[str, Any] = {}

# How long a document rests between its analysis and its publication.
COOLING_OFF = timedelta(days=30)

# How long a release waits for somebody's approval, and how many seconds the agency takes for an answer.
APPROVAL_TIME = timedelta(days=7)
AGENCY_SECONDS = 0.0
