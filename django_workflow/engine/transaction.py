"""The transaction of a turn: opened at its first body, bounded in time, committed with the journal's writes.

What can happen at a COMMIT is told apart here. A deadlock or a lock before any body ran in it: the writes are
repeated. The same with bodies: the turn is (R13). A lasting refusal (a deferred foreign key): `CommitRefused`,
so that the turn can find the body to blame (R14). A connection lost: nobody knows, so nothing is assumed (R18).
"""

from __future__ import annotations

import logging
import select
from collections.abc import Callable
from typing import Any

from django.db import Error, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_workflow.conf import settings
from django_workflow.engine.attempts import TurnAborted, TurnOvertaken
from django_workflow.journal.clock import monotonic
from django_workflow.journal.database import RETRIES, alias, connection, passes, pause

logger = logging.getLogger("django_workflow.engine")


def make_hooks_robust(since: int) -> None:
    """See to it that what the open transaction's on_commit hooks raise is logged, and nothing else (R18).

    They run when everything is committed: that one raises must neither fail the turn nor keep later ones from
    running. Django's own `robust=True` can't name a hook that has no `__qualname__`, like a partial.

    Args:
        since: how many hooks the connection had when the transaction began; these are not ours.

    """
    hooks: list[Any] = connection().run_on_commit
    hooks[since:] = [
        (savepoints, hook if robust else _robust(hook), robust) for savepoints, hook, robust in hooks[since:]
    ]


def _robust(hook: Callable[[], object]) -> Callable[[], None]:
    def call() -> None:
        try:
            hook()
        except Exception:
            logger.exception("an on_commit hook of a mutation raised; the mutation is committed all the same")

    return call


# After which time without an answer of the database a statement alone is no commit: what was dropped in silence meanwhile
# (a firewall that forgets, a host that has failed) is met by a BEGIN, while nothing is in doubt yet.
QUIET_SECONDS = 1.0


class CommitRefused(Exception):
    """The database refused the commit of a transaction, and would refuse it again."""


class TurnTransaction:
    """Open or not; a commit opens it if need be."""

    def __init__(self) -> None:
        self._atomic: Any = None
        self._opened_at = 0.0
        self._answered_at = monotonic()  # when the database last answered this turn: at first to its claim
        self._has_bodies = False
        self._at_commit = False  # True iff COMMIT may have reached the database
        self._hooks_before = 0

    def open(self) -> None:
        """Begin, unless it is open, for a body to run in."""
        self._begin()
        self._has_bodies = True

    def _begin(self) -> None:
        if self._atomic is None:
            here = connection()
            _close_broken(here)
            atomic = transaction.atomic(using=alias())
            try:
                atomic.__enter__()
            except Error as error:
                if passes(error):
                    raise TurnAborted(f"no transaction could be begun: {error!r}") from error
                raise
            self._atomic = atomic
            self._opened_at = monotonic()
            self._hooks_before = len(here.run_on_commit)

    @property
    def has_bodies(self) -> bool:
        """True iff bodies of this turn have run in it since the last commit."""
        return self._has_bodies

    def spares_reads(self) -> bool:
        """True where a read outside of a transaction is better: on SQLite each transaction holds the write lock."""
        # Inside a caller's transaction (a `TestCase`) a failed statement would break that one: a savepoint is needed.
        here = connection()
        return self._atomic is None and here.vendor == "sqlite" and not here.in_atomic_block

    def takes_statements(self) -> bool:
        """True where a statement alone is a commit, and is known to find the database.

        A connection on which a server has something to say that nobody has asked for is one that it has closed. That
        must be met before the commit is sent: from then on a lost connection means that nobody knows (R11, R18).
        """
        here = connection()
        if self._atomic is not None or here.in_atomic_block:
            return False
        _close_broken(here)
        if here.vendor == "sqlite":
            return True
        if here.connection is None or monotonic() - self._answered_at > QUIET_SECONDS:
            return False
        try:
            return not _has_something_to_say(here.connection.fileno())
        except Exception:  # noqa: BLE001  the driver's own word for a connection that a body has closed
            return False

    def is_overdue(self) -> bool:
        """True when it has been open for long enough."""
        return self._atomic is not None and (monotonic() - self._opened_at) * 1000 >= settings.TURN_COMMIT_MS

    def roll_back(self, error: BaseException) -> None:
        """Give up what is open, because of `error`."""
        atomic, self._atomic = self._atomic, None
        if atomic is not None:
            atomic.__exit__(type(error), error, error.__traceback__)

    def commit(
        self,
        write: Callable[[], None],
        may_repeat: Callable[[], bool],
        at_once: Callable[[], None] | None = None,
    ) -> None:
        """Run `write` and commit it together with the bodies that ran.

        Args:
            write: the journal's writes; run again when it is safe to.
            may_repeat: whether there is still time to.
            at_once: does what `write` does, in one statement; where that can be a commit, it is done instead.

        Raises:
            TurnAborted: the transaction is gone, and it is nobody's fault.
            CommitRefused: it would be refused each time.

        """
        for attempt in range(1, RETRIES + 1):
            had_bodies = self._has_bodies
            self._at_commit = False
            session = None
            try:
                if at_once is not None and self.takes_statements():
                    session = connection().connection
                    self._at_commit = True
                    at_once()
                else:
                    self._begin()
                    session = connection().connection
                    self._write_and_commit(write)
                self._answered_at = monotonic()
                return
            except Error as error:
                rolled_back = self._recover(error, session)
                if not passes(error):
                    if self._at_commit:
                        raise CommitRefused(f"the database refused the commit: {error!r}") from error
                    raise
                # R11: until COMMIT is sent a lost connection is a rollback, and an action's result can be kept.
                unknown = self._at_commit and not rolled_back
                if had_bodies or unknown or attempt == RETRIES or not may_repeat():
                    raise TurnAborted(f"the commit met {error!r}") from error
            except TurnOvertaken:
                raise
            except TurnAborted:
                if had_bodies or attempt == RETRIES or not may_repeat():
                    raise
            pause(0.02 * 2**attempt)

    def _write_and_commit(self, write: Callable[[], None]) -> None:
        try:
            write()
        except BaseException as error:
            self.roll_back(error)
            raise
        make_hooks_robust(self._hooks_before)
        self._at_commit = True
        atomic, self._atomic = self._atomic, None
        self._has_bodies = False
        atomic.__exit__(None, None, None)

    def _recover(self, error: BaseException, session: Any) -> bool:
        """Be ready for another try. True when the database has surely rolled back: it said so in this session."""
        self.roll_back(error)
        self._has_bodies = False
        here = connection()
        if here.in_atomic_block:
            return True
        # Asked before a connection is closed that is merely old. Django connects anew by itself when a rollback finds
        # the connection gone.
        answered = session is not None and here.connection is session and here.is_usable()
        here.close_if_unusable_or_obsolete()
        return answered


def _close_broken(here: BaseDatabaseWrapper) -> None:
    if here.errors_occurred and not here.in_atomic_block:
        # Only then: it would also end a healthy connection, each time, where CONN_MAX_AGE is 0.
        here.close_if_unusable_or_obsolete()


def _has_something_to_say(descriptor: int) -> bool:
    # Not select(): a process with a thousand open files has descriptors that it doesn't take.
    if not hasattr(select, "poll"):
        return True  # not known
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
