"""Settings of the cluster beside the browser: those of the tests' clusters, and the workflows that the pages show."""

from tests.cluster.settings import *  # noqa: F403
from tests.cluster.settings import INSTALLED_APPS as CLUSTER_APPS

INSTALLED_APPS = [*CLUSTER_APPS, "tests.browser"]
