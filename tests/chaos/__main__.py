"""Chaos: ``python -m tests.chaos --seconds 120 --workflows 1000 --seed 1 --database postgres --broker redis``.

Two clusters work off workflows of every shape (`tests/cluster/app/load.py`) while a seed chooses what is killed, stopped,
restarted or emptied. Then all is left alone until everything has ended, and the ledger is settled: exit code 1 if anything
was lost, happened twice, or did not end.

Rules of this file: PostgreSQL and Redis are always of its own; Django is set up here, when they are known.
"""

import argparse
import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.cluster.own_servers import OwnPostgres, OwnRedis


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="for which things are killed")
    parser.add_argument("--workflows", type=int, default=1000, help="started evenly over that time")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="postgres")
    parser.add_argument("--broker", choices=["orm", "redis"], default="orm")
    parser.add_argument("--clusters", type=int, default=2, choices=[1, 2])
    parser.add_argument("--every", type=float, default=1.5, help="seconds between two faults, on average")
    parser.add_argument("--rounds", type=int, default=5, help="takeovers measured beforehand, in quiet")
    parser.add_argument("--patience", type=float, default=300, help="seconds until all has to have ended")
    parser.add_argument("--keep", action="store_true", help="the logs, though all is well")
    parser.add_argument("--faults", default="", help="only these, separated by commas")
    options = parser.parse_args(arguments)

    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    with ExitStack() as servers:
        postgres = servers.enter_context(OwnPostgres()) if options.database == "postgres" else None
        redis = servers.enter_context(OwnRedis()) if options.broker == "redis" else None
        os.environ.update(
            DJANGO_SETTINGS_MODULE="tests.cluster.settings",
            DATABASE=options.database,
            BROKER=options.broker,
            DURABLE="1",
            DATABASE_NAME="postgres" if postgres else str(folder / "db.sqlite3"),
        )
        if postgres:
            os.environ.update(PGHOST="127.0.0.1", PGPORT=str(postgres.port), PGUSER="postgres", PGPASSWORD="")
        if redis:
            os.environ["REDIS_URL"] = redis.url
        import django

        django.setup()
        from django.core.management import call_command

        # What this process has to say is the report; the clusters log into files.
        logging.disable(logging.CRITICAL)
        from tests.chaos.play import Play

        call_command("migrate", verbosity=0)
        passed = Play(options, folder, postgres, redis).run()
    if passed and not options.keep:
        shutil.rmtree(folder)
    else:
        sys.stdout.write(f"The clusters' logs are in {folder}.\n")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
