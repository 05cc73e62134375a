"""The fixture that starts clusters."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.qcluster import QCluster

Start = Callable[..., QCluster]


@pytest.fixture
def start_cluster(transactional_db: None, tmp_path: Path) -> Iterator[Start]:
    """Starts clusters on the test's database; all are gone when the test ends, and before the database is."""
    started: list[QCluster] = []

    def start(**options: Any) -> QCluster:
        cluster = QCluster(tmp_path / f"cluster-{len(started)}.log", **options)
        started.append(cluster)
        cluster.start()
        return cluster

    yield start
    for cluster in started:
        cluster.kill()
        # Shown by pytest with a test that fails.
        print(f"── {cluster.log.name}\n{cluster.log.read_text(errors='replace')}")  # noqa: T201
