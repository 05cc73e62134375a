"""Settings of the cluster that is idle: the one of the cluster's tests, and what counts its statements."""

import os

from tests.cluster.settings import *  # noqa: F403
from tests.cluster.settings import INSTALLED_APPS as CLUSTER_APPS
from tests.cluster.settings import Q_CLUSTER as CLUSTER

INSTALLED_APPS = [*CLUSTER_APPS, "tests.load.counted.apps.CountedConfig"]
Q_CLUSTER = {**CLUSTER, "workers": int(os.environ.get("WORKERS", "4"))}
