"""A cluster with nothing due and everything in the tables: what it sends to the database by itself.

For `make load` only: over the few seconds that a suite has for it chance says how many statements fall into them. The
suite has `tests/cluster/test_budgets.py`, where a minute takes no time.
"""

import json
from collections import Counter
from pathlib import Path
from threading import Event
from time import time
from typing import Any, Final

import pytest

from django_workflow.journal.clock import Now
from django_workflow.models import Step, Workflow
from tests.cluster.qcluster import QCluster
from tests.load.conftest import measured
from tests.load.size import ALL, SIZE
from tests.load.tables import Filled

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(3600),
]

A_SECOND: Final = 2.0  # statements of our code
WORKERS: Final = 4  # as the quickstart has it
SETTLED_SECONDS: Final = 5.0  # from its start, in which a cluster gets to know itself


if ALL:

    def test_an_idle_cluster_sends_at_most_two_statements_a_second(
        filled_anew: Filled, tmp_path: Path, settings: Any
    ) -> None:
        _nothing_is_due()
        settings.Q_CLUSTER = {**settings.Q_CLUSTER, "workers": WORKERS}  # for so many its start waits
        counted = tmp_path / "statements.jsonl"
        cluster = QCluster(tmp_path / "cluster.log")
        cluster.environment |= {
            "DJANGO_SETTINGS_MODULE": "tests.load.settings",
            "COUNTED": str(counted),
            "WORKERS": str(WORKERS),
        }
        try:
            cluster.start()
            Event().wait(SETTLED_SECONDS)
            since = time()
            Event().wait(SIZE.idle_seconds)
            until = time()
        finally:
            cluster.kill()
        sent = [json.loads(line) for line in counted.read_text().splitlines()]
        idle = [each for each in sent if since <= each["at"] < until]
        ours = [each for each in idle if each["ours"]]
        rate, theirs = len(ours) / (until - since), (len(idle) - len(ours)) / (until - since)
        measured("idle", f"{rate:.2f} statements/s of ours, {theirs:.1f} of django-q2 ({WORKERS} workers)")
        assert theirs > 0
        by_text = Counter(each["sql"][:80] for each in ours).most_common()
        assert 0 < len(ours) <= A_SECOND * (until - since), by_text


def _nothing_is_due() -> None:
    Workflow.objects.filter(due_at__lte=Now()).update(due_at=None, lease_owner=None)
    Workflow.objects.filter(lease_owner__isnull=False).update(due_at=None, lease_owner=None)
    Step.objects.filter(due_at__lte=Now()).update(due_at=None)
