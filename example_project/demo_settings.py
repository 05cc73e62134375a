"""Settings of `make demo`: a database and files of its own, a short cooling-off time, and a login for the admin.

DEMO_DATABASE moves the database and all that the demo writes, which lies beside it. DEMO_COOLING_OFF is a number of
seconds.
"""

import os
from datetime import timedelta
from pathlib import Path

from example_project.settings import *  # noqa: F403 - the example's settings, with the differences below
from example_project.settings import BASE_DIR, sqlite

DEMO_DATABASE = Path(os.environ.get("DEMO_DATABASE") or BASE_DIR.parent / ".demo" / "db.sqlite3").absolute()
DEMO_FOLDER = DEMO_DATABASE.parent
DATABASES = {"default": sqlite(DEMO_DATABASE)}
MEDIA_ROOT = DEMO_FOLDER / "media"

COOLING_OFF = timedelta(seconds=float(os.environ.get("DEMO_COOLING_OFF") or 5))
APPROVAL_TIME = timedelta(minutes=5)
AGENCY_SECONDS = 0.3

# The user whom the demo creates in its own database: name and password.
DEMO_LOGIN = ("demo", "demo")
