"""The fixtures that start clusters, and servers of a test's own."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections

from tests.cluster.own_servers import OwnPostgres, OwnRedis, missing_postgres, missing_redis
from tests.cluster.qcluster import QCluster

Start = Callable[..., QCluster]
NEEDS = {"own_postgres": missing_postgres, "own_redis": missing_redis}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, aloud, what needs a server that can't be started here; in CI that is a failure."""
    for fixture, missing in NEEDS.items():
        without = [item for item in items if fixture in getattr(item, "fixturenames", ())]
        if not without or (gap := missing()) is None:
            continue
        told = f"{len(without)} tests need a server of their own, and there is {gap}"
        if os.environ.get("CI") == "true":
            raise pytest.UsageError(told)
        if reporter := config.pluginmanager.get_plugin("terminalreporter"):
            reporter.write_line(f"{told}: left out")
        config.hook.pytest_deselected(items=without)
        items[:] = [item for item in items if item not in without]


@pytest.fixture
def start_cluster(transactional_db: None, tmp_path: Path) -> Iterator[Start]:
    """Starts clusters on the test's database; all are gone when the test ends, and before the database is."""
    with _clusters(tmp_path) as start:
        yield start


@pytest.fixture
def start_cluster_there(own_postgres: OwnPostgres, tmp_path: Path) -> Iterator[Start]:
    """Starts clusters on a PostgreSQL of the test's own, where committed is committed."""
    with _clusters(tmp_path) as start:
        yield lambda **options: start(variables={"DURABLE": "1"}, **options)


@contextmanager
def _clusters(folder: Path) -> Iterator[Start]:
    started: list[QCluster] = []

    def start(**options: Any) -> QCluster:
        cluster = QCluster(folder / f"cluster-{len(started)}.log", **options)
        started.append(cluster)
        cluster.start()
        return cluster

    yield start
    for cluster in started:
        cluster.kill()
        # Shown by pytest with a test that fails.
        print(f"── {cluster.log.name}\n{cluster.log.read_text(errors='replace')}")  # noqa: T201


@pytest.fixture
def own_postgres(django_db_setup: None, django_db_blocker: Any) -> Iterator[OwnPostgres]:
    """A PostgreSQL that may be felled. This process works on it as long as the test lasts."""
    with OwnPostgres() as server, django_db_blocker.unblock():
        at_home = dict(connections.settings["default"])
        connections.close_all()
        try:
            there = {"HOST": "127.0.0.1", "PORT": server.port, "USER": "postgres", "PASSWORD": ""}
            connections.settings["default"].update({**there, "NAME": "postgres", "OPTIONS": {}})
            call_command("migrate", verbosity=0)
            yield server
        finally:
            connections.close_all()
            connections.settings["default"].update(at_home)


@pytest.fixture
def own_redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnRedis]:
    """A Redis that may be emptied, for the clusters of the test."""
    with OwnRedis() as server:
        monkeypatch.setenv("REDIS_URL", server.url)
        yield server
