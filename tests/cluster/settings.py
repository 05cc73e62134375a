"""Settings of the clusters that tests start: the test project, on the database of the test, with their own app.

* ``DATABASE_NAME``: the test's database
* ``QUEUE_NAME``: the name of the cluster, and of its queue at the broker
* ``RECYCLE``: tasks after which a worker is replaced
* ``Q_CLUSTER``: other keys of that setting, as JSON
* ``SECRET_KEY``: another one than that of the tests
* ``DURABLE``: set iff the server may be felled, so that what has committed is to survive that
* ``DJANGO_WORKFLOW``: the setting of that name, as JSON; its ``RETENTION`` in seconds
"""

import json
import os
from datetime import timedelta

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, SECRET_KEY
from tests.settings import INSTALLED_APPS as TEST_APPS
from tests.settings import Q_CLUSTER as TEST_CLUSTER

INSTALLED_APPS = [*TEST_APPS, "tests.cluster.app"]
Q_CLUSTER = {
    **TEST_CLUSTER,
    "name": os.environ.get("QUEUE_NAME", TEST_CLUSTER["name"]),
    "recycle": int(os.environ.get("RECYCLE", "500")),
    **json.loads(os.environ.get("Q_CLUSTER", "{}")),
}
SECRET_KEY = os.environ.get("SECRET_KEY", SECRET_KEY)
if "DURABLE" in os.environ:
    DATABASES["default"]["OPTIONS"].pop("options", None)  # synchronous_commit=off
DJANGO_WORKFLOW = json.loads(os.environ.get("DJANGO_WORKFLOW", "{}"))
if "RETENTION" in DJANGO_WORKFLOW:
    DJANGO_WORKFLOW["RETENTION"] = timedelta(seconds=DJANGO_WORKFLOW["RETENTION"])
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(process)d %(threadName)s %(levelname)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {name: {"handlers": ["stderr"], "level": "INFO"} for name in ("django_workflow", "django-q")},
}
