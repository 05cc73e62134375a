"""The systems to compare with: what each needs, on what it runs, and in what its work differs from ours."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.peers import environments
from benchmarks.peers.environments import Environment
from benchmarks.systems import System
from tests.servers import POSTGRES


@dataclass(frozen=True)
class Peer:
    """One system to compare with."""

    name: str  # as its makers write it
    environment: Environment
    module: str  # of its driver
    databases: Sequence[str]  # that it can be run on; "": its own storage
    notes: Sequence[str]


PEERS = {
    "dbos": Peer(
        "DBOS 3.4",
        environments.DBOS,
        "benchmarks.peers.dbos_driver",
        ("postgres", "sqlite"),
        (
            "steps are recorded at least once; its exactly-once transactions are not for the Django ORM",
            "workflows are called directly, which its documentation shows first: each worker starts its share, so starting is part of the time; "
            "its queues would look once a second",
            "a workflow runs in the process that started it; after a crash that process has to come back, or another one is told to recover it",
            "sleeping workflows are held in memory",
        ),
    ),
    "absurd": Peer(
        "absurd 0.5",
        environments.ABSURD,
        "benchmarks.peers.absurd_driver",
        ("postgres",),
        (
            "steps are recorded at least once",
            "workers look every 0.25 s; a dead worker's task goes on when its claim of 120 s has run out",
            "parallel steps of a task share one connection, one after the other",
        ),
    ),
    "restate": Peer(
        "Restate 1.7",
        environments.RESTATE,
        "benchmarks.peers.restate_driver",
        ("",),
        (
            "a server of its own with its own storage: steps are recorded at least once, apart from your database",
            "workflows are called over HTTP, 50 at a time, so starting is part of the time; CPU is that of the services, without the server's",
        ),
    ),
}


def systems(name: str, databases: Sequence[str], workers: int) -> list[System]:
    """A peer on those of these databases that it can be run on. Installs it. Raises `NotInstalled`."""
    peer = PEERS[name]
    peer.environment.make()
    return [
        System(
            peer.name,
            database,
            "",
            [peer.environment.interpreter, "-m", peer.module],
            {
                "BENCHMARK_DATABASE": database,
                "BENCHMARK_WORKERS": str(workers),
                "BENCHMARK_PEER_FOLDER": str(peer.environment.folder),
                "PGHOST": POSTGRES.host,
                "PGPORT": str(POSTGRES.port),
                "PGUSER": POSTGRES.user,
                "PGPASSWORD": POSTGRES.password,
                # Nothing of the project's own environment, from which this was started.
                "PYTHONPATH": "",
                "PATH": os.environ.get("PATH", ""),
            },
            notes=peer.notes,
        )
        for database in peer.databases
        if not database or database in databases
    ]
