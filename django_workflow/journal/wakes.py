"""Wake-ups are asked for here, and sent on commit by whoever registered as the sender.

This is the hinge between the engine, which must not know django-q2, and `cluster/`, which does. A wake-up
says no more than "something is due in this cluster"; one that is never sent costs latency, nothing else (P12).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_workflow.journal import database

Sender = Callable[[str], None]

_sender: Sender | None = None


def register(sender: Sender | None) -> None:
    """Make `sender` the one that is called with the name of a cluster; None: nobody is."""
    global _sender
    _sender = sender


@contextmanager
def sent_by(sender: Sender | None) -> Iterator[None]:
    """Put `sender` in the registered one's place for a while: for tests that count wake-ups or do without."""
    previous = _sender
    register(sender)
    try:
        yield
    finally:
        register(previous)


def ask(cluster: str, using: str | None = None) -> None:
    """Ask for a wake-up of `cluster` when the current transaction commits; at once outside of one.

    Args:
        cluster: the name as rows have it; "" is django-q2's default cluster.
        using: the alias whose transaction it is; by default the journal's.
    """
    alias = using or database.alias()
    wake = _Wake(cluster)
    if not _asked(connections[alias], wake):
        # robust: what was committed stays committed, whatever becomes of the wake-up.
        transaction.on_commit(wake.send, using=alias, robust=True)


@dataclass(frozen=True)
class _Wake:
    """What is sent on commit. Equal ones of one transaction are one."""

    cluster: str

    def send(self) -> None:
        if _sender is not None:
            _sender(self.cluster)


def _asked(connection: BaseDatabaseWrapper, wake: _Wake) -> bool:
    """True iff the transaction already has this wake-up, in a place that outlives the current savepoints."""
    # An ask inside a savepoint is dropped with it, so it stands only for asks inside the same savepoint.
    current = set(connection.savepoint_ids)
    return any(
        getattr(hook[1], "__self__", None) == wake and hook[0] <= current for hook in connection.run_on_commit
    )
