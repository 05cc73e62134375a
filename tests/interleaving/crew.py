"""Workers that go on one at a time, and a seed that says who is next.

Rules of this file: it knows threads, connections and locks, and nothing of workflows. A member of the crew stops before
each statement that it sends, before each COMMIT, and wherever a body calls `stop()`; one that is let go runs to its
next stop, to its end, or until the database makes it wait for a lock. That it waits is what the database says, never a
guess by the clock, so that a seed does the same each time.
"""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from django.db import DEFAULT_DB_ALIAS, DatabaseError, connection, connections

from django_workflow.engine.statements import first_word, writing_word

Job = Callable[[], Any]

PATIENCE = 60.0  # seconds; only ever used up by a hang
GLANCE = 0.003  # before the database is asked whether somebody waits (seconds)
SHOWN = 400  # steps of a schedule that a failure shows
# How often the one who went last goes on, if it can: a seed for each kind of schedule.
STEADINESS = (0.0, 0.5, 0.8, 0.95)
CHANGE = 0.06  # how often it changes who is fast and who is slow

IDLE, PARKED, RUNNING, ENDED = "idle", "parked", "running", "ended"

_here = threading.local()


class Ended(NamedTuple):
    """What became of one job."""

    result: Any = None
    error: BaseException | None = None

    def get(self) -> Any:
        """What it returned; raises what it raised."""
        if self.error is not None:
            raise self.error
        return self.result


class Hung(AssertionError):
    """A schedule that did not come to its end."""


def stop(where: str) -> None:
    """A point at which a member of a crew lets others go first; elsewhere nothing."""
    member: Member | None = getattr(_here, "member", None)
    if member is not None:
        member.park(where)


@contextmanager
def unwatched() -> Iterator[None]:
    """No stops meanwhile: for what a test looks at from inside of a body."""
    member, _here.member = getattr(_here, "member", None), None
    try:
        yield
    finally:
        _here.member = member


class Member:
    """One thread with connections of its own."""

    def __init__(self, crew: Crew, number: int) -> None:
        self._crew = crew
        self.number = number
        self.name = ""
        self.state = IDLE
        self.where = ""  # the stop at which it is parked
        self.in_transaction = False
        self.wants_lock = False  # SQLite: what it is about to send needs the one write lock
        self.session: int | None = None  # the database's number of its connection
        self.job: Job | None = None
        self.ended = Ended()
        self.go = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._work, name=f"crew {number}", daemon=True)
        self.thread.start()

    def park(self, where: str, sql: str = "") -> None:
        """Wait until it is this one's turn."""
        if self._crew.is_over:
            return
        self._look_at_connection(sql)
        self.where = where
        self._crew.tell(self, PARKED)
        self.go.acquire()

    def _work(self) -> None:
        mine = connections[DEFAULT_DB_ALIAS]  # this thread's own
        self._commit = mine.commit
        mine.execute_wrappers.append(self._on_execute)
        mine.commit = self._on_commit  # type: ignore[method-assign]
        try:
            while True:
                self.go.acquire()
                job = self.job
                if job is None:
                    return
                _here.member = self
                try:
                    self.park("begin")
                    self.ended = Ended(job())
                except BaseException as error:  # noqa: BLE001  handed to whoever asks for the result
                    self.ended = Ended(error=error)
                finally:
                    _here.member = None
                self.in_transaction = False
                self._crew.tell(self, ENDED)
        finally:
            connections.close_all()

    def _on_execute(self, execute: Any, sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
        stop_here = getattr(_here, "member", None) is self
        if stop_here:
            self.park(_short(str(sql)), str(sql))
        try:
            return execute(sql, params, many, context)
        except DatabaseError as error:
            if stop_here and _is_deadlock(error):
                self._crew.deadlocks.append(f"{self.name}: {_short(str(sql))}: {error}")
            raise

    def _on_commit(self) -> None:
        stop("COMMIT")
        self._commit()
        stop("after the commit")

    def _look_at_connection(self, sql: str) -> None:
        raw = connection.connection
        match connection.vendor:
            case "sqlite":
                self.in_transaction = raw is not None and raw.in_transaction
                begins = first_word(sql) == "BEGIN" or writing_word(sql) is not None
                self.wants_lock = bool(sql) and not self.in_transaction and begins
            case "postgresql":
                self.session = None if raw is None else raw.info.backend_pid
            case _:
                self.session = None if raw is None else raw.thread_id()


class Crew:
    """Up to `size` members. A context manager: at its end their connections are closed."""

    def __init__(self, size: int) -> None:
        self.changed = threading.Condition()
        self.is_over = False  # True once nobody stops any more, so that threads come to their end
        self.deadlocks: list[str] = []  # of the last schedule
        self.trace: list[str] = []  # who was let go from where, of the last schedule
        self._members = [Member(self, number) for number in range(size)]

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *error: object) -> None:
        self.is_over = True
        for member in self._members:
            member.job = None
            member.go.release()
        for member in self._members:
            member.thread.join(PATIENCE)

    def tell(self, member: Member, state: str) -> None:
        """A member has come to a stop, or to its end."""
        with self.changed:
            member.state = state
            self.changed.notify_all()

    def run(self, seed: int, jobs: Mapping[str, Job]) -> dict[str, Ended]:
        """Do all jobs, each by a member, interleaved as the seed says.

        Raises:
            Hung: nobody could go on.

        """
        dice = random.Random(seed)
        steady = dice.choice(STEADINESS)
        pace: dict[str, float] = {}
        self.deadlocks, self.trace = [], []
        working = self._members[: len(jobs)]
        assert len(working) == len(jobs), "this crew is too small"
        for member, (name, job) in zip(working, jobs.items(), strict=True):
            member.name, member.job, member.state, member.session = name, job, RUNNING, None
            member.go.release()
        last: Member | None = None
        while True:
            self._let_run(working)
            if all(member.state == ENDED for member in working):
                return {member.name: member.ended for member in working}
            ready = [member for member in working if member.state == PARKED and self._may_go(member)]
            if not ready:
                self._await_tie_break(working)
                continue
            if not pace or dice.random() < CHANGE:
                # Some are slow for a while: else what is soon done would always be done at the beginning.
                pace = {name: 10 ** dice.uniform(-3, 0) for name in jobs}
            if last not in ready or dice.random() >= steady:
                (last,) = dice.choices(ready, [pace[member.name] for member in ready])
            self.trace.append(f"{last.name}: {last.where}")
            last.state = RUNNING
            last.go.release()

    def _may_go(self, member: Member) -> bool:
        """SQLite has one writer: who would have to wait for it is not let go, and no busy timeout runs."""
        return not member.wants_lock or not any(
            other.in_transaction for other in self._members if other is not member
        )

    def _let_run(self, working: Sequence[Member]) -> None:
        """Until everybody is parked, has ended, or waits for a lock."""
        for _ in range(int(PATIENCE / GLANCE)):
            with self.changed:
                if self.changed.wait_for(lambda: not _running(working), GLANCE):
                    return
                running = _running(working)
            if running and _all_wait(running):
                # What was seen parked since then may have been what somebody waited for: look once more.
                with self.changed:
                    if _running(working) == running:
                        return
        self._give_up(working, "somebody neither went on nor waited for a lock")

    def _await_tie_break(self, working: Sequence[Member]) -> None:
        """All wait for each other: the database finds out, and one of them goes on."""
        waiting = _running(working)
        if waiting:
            with self.changed:
                if self.changed.wait_for(lambda: _running(working) != waiting, PATIENCE):
                    return
        self._give_up(working, "all wait for each other")

    def _give_up(self, working: Sequence[Member], why: str) -> None:
        self.is_over = True
        for member in working:
            member.go.release()
        states = ", ".join(f"{member.name} is {member.state} at {member.where!r}" for member in working)
        raise Hung(f"{why}: {states}")


def _running(members: Sequence[Member]) -> list[Member]:
    return [member for member in members if member.state == RUNNING]


def _all_wait(members: Sequence[Member]) -> bool:
    sessions = {member.session for member in members}
    return None not in sessions and sessions <= _waiting(sessions)


def _waiting(sessions: set[int | None]) -> set[int | None]:
    """Those of these connections that wait for a lock, says the database."""
    if connection.vendor == "sqlite":
        return set()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT pid FROM unnest(%s::int[]) AS pid WHERE cardinality(pg_blocking_pids(pid)) > 0",
                [list(sessions)],
            )
            return {row[0] for row in cursor.fetchall()}
        # Not information_schema.innodb_trx: what it shows may be 0.1 s old, for as long as somebody looks.
        cursor.execute("SHOW ENGINE INNODB STATUS")
        (_, _, text) = cursor.fetchone()
    transactions = text.rpartition("\nTRANSACTIONS\n")[2].split("---TRANSACTION ")
    waiting = [each for each in transactions if "\nLOCK WAIT " in each]
    return {
        int(found) for each in waiting for found in re.findall(r"(?:MariaDB|MySQL) thread id (\d+)", each)
    }


def _is_deadlock(error: DatabaseError) -> bool:
    code = getattr(error.__cause__, "sqlstate", None) or (error.args[0] if error.args else None)
    return code in ("40P01", 1213) or "database is locked" in str(error)


def _short(sql: str) -> str:
    """A statement as one can read it in a trace."""
    text = " ".join(sql.replace('"', "").replace("`", "").replace("django_workflow_", "").split())
    text = re.sub(r"^SELECT .*? FROM", "SELECT … FROM", text)
    return text if len(text) <= 160 else f"{text[:110]} … {text[-48:]}"
