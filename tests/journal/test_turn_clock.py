"""The clock within a turn: what is due now by it is due by the database's, too."""

import random
from time import monotonic

from django.db import connection

from django_workflow.journal import clock
from django_workflow.journal.clock import TurnClock
from tests.engine.committed import committed

pytestmark = committed

SPREAD = 0.003  # seconds: some of SQLite's milliseconds


def _asked() -> str:
    """The database's time as a claim gets it: as its driver gives it."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {clock.sql(connection)}", [])
        (moment,) = cursor.fetchone()
    return moment  # type: ignore[no-any-return]


def test_it_is_never_ahead_of_the_database() -> None:
    """Else a turn makes a row due now that the worker's next claim doesn't find, and that waits for another look."""
    for _ in range(200):
        turns = TurnClock(_asked())
        until = monotonic() + random.random() * SPREAD
        while monotonic() < until:
            pass
        by_turn = turns.now()
        assert by_turn <= clock.read(connection)


def test_it_never_says_less_than_the_claim_was_told() -> None:
    for _ in range(50):
        asked = _asked()
        told = clock.to_python(asked)
        assert told is not None
        assert TurnClock(asked).now() >= told
