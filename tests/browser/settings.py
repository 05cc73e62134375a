"""Settings of the cluster beside the browser: those of the tests' clusters, and the workflows that the pages show.

* ``MEDIA``: the folder of the example's files, which the test removes
"""

import os
from pathlib import Path

from tests.cluster.settings import *  # noqa: F403
from tests.cluster.settings import INSTALLED_APPS as CLUSTER_APPS
from tests.cluster.settings import MEDIA_ROOT as TEST_MEDIA

INSTALLED_APPS = [*CLUSTER_APPS, "tests.browser"]
MEDIA_ROOT = Path(os.environ.get("MEDIA", TEST_MEDIA))
