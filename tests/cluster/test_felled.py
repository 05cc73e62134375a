"""What the clusters stand on is felled under load: the database, its connections, the queue. The ledger is right."""

from threading import Event

import pytest
from django.db import connection

from tests.cluster.conftest import Start
from tests.cluster.ledger import Ledger, Load, settle, unfinished
from tests.cluster.own_servers import OwnPostgres, OwnRedis
from tests.cluster.qcluster import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.postgres]

SEED = 1
LEASE = 5
LONG = 60.0


def the_end(load: Load) -> Ledger:
    """All that was started has ended, and left what it had to, once."""
    load.finish()
    eventually(lambda: not unfinished(), "the end of all", LONG)
    ledger = settle(load)
    assert ledger.problems == []
    assert ledger.expected == ledger.found > 0
    return ledger


def test_postgresql_is_restarted_twice(own_postgres: OwnPostgres, start_cluster_there: Start) -> None:
    clusters = [start_cluster_there(LEASE_SECONDS=LEASE), start_cluster_there(LEASE_SECONDS=LEASE)]
    load = Load(SEED)
    for immediately in (False, True):
        load.start(12, seconds=1.0)
        before = unfinished()
        own_postgres.restart(immediately=immediately)
        assert before
    load.start(3)
    the_end(load)
    for cluster in clusters:
        assert cluster.is_running()


@pytest.mark.redis
def test_redis_is_emptied_again_and_again(own_redis: OwnRedis, start_cluster: Start) -> None:
    start_cluster(broker="redis", LEASE_SECONDS=LEASE)
    load = Load(SEED)
    for _ in range(12):
        load.start(2)
        own_redis.forget_everything()
        Event().wait(0.05)
    the_end(load)


def test_all_connections_are_ended_again_and_again(start_cluster: Start) -> None:
    start_cluster(LEASE_SECONDS=LEASE)
    load = Load(SEED)
    ended = 0
    for _ in range(5):
        load.start(5, seconds=0.5)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            ended += cursor.rowcount
    the_end(load)
    assert ended >= 5
