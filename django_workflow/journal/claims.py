"""How a worker gets the right to take a turn or to run a step: a lease. What it does with it: `holding`.

Rules of this file: a claim is a token that is never used twice (R1); what this worker can't run is never
claimed (R7); a live lease is never taken. Times are the database's (R24).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from django_workflow.fields import unseal
from django_workflow.journal import clock, pauses, processes, slots, writing
from django_workflow.journal.clock import Now, TurnClock, lease
from django_workflow.journal.database import alias, atomic, connection, retrying
from django_workflow.journal.writing import AtMost
from django_workflow.models import Process, Slot, Step, Workflow
from django_workflow.states import BODY_KINDS, StepState, WorkflowState


class Known(NamedTuple):
    """What this process can run."""

    definitions: Sequence[tuple[str, int]]  # (name, version)
    fingerprints: Sequence[str] = ()  # of all code that this process has, or has had
    limits: Mapping[str, int] = {}  # of limited pools, by name


class Turnable(NamedTuple):
    """A workflow that this worker has claimed, as it was at the claim."""

    id: UUID
    definition: str
    version: int
    args: str
    cluster: str
    generation: int
    wakes: int
    interruptions: int
    setbacks: int
    created_at: datetime
    started_at: datetime | None
    fingerprint: str
    ending: str | None
    timeout: float | None
    deadline_at: datetime | None
    seed: str
    depth: int
    priority: int
    on_complete: str
    parent_id: UUID | None
    parent_step_id: int | None
    custom: str | None
    taken_over: bool
    clock: TurnClock
    token: str


class Runnable(NamedTuple):
    """A step that this worker has claimed to run by itself."""

    id: int
    workflow_id: UUID
    number: int
    kind: str
    name: str
    function: str
    args: str
    attempts: int
    history: str
    started_at: datetime | None
    generation: int
    cluster: str
    home: str  # its workflow's cluster
    retry: str | None
    timeout: float | None
    at_most_once: bool
    pool: str
    definition: str
    born: int  # the generation of its workflow in which it was asked for
    deadline_at: datetime | None  # of its workflow
    interrupted: bool  # its last attempt began and never ended
    clock: TurnClock
    token: str
    begun: bool = False  # the claim has counted an attempt


# ── claiming workflows ──────────────────────────────────────────────────────────────────────────────────────

# On MariaDB and MySQL: batches to look at before saying that others have claimed all that is due.
LOOK_AHEAD = 4
ENDED = tuple(state for state in WorkflowState if state != WorkflowState.IN_PROGRESS)

_TURNABLE = (
    "id",
    "definition",
    "version",
    "args",
    "cluster",
    "generation",
    "wakes",
    "interruptions",
    "setbacks",
    "created_at",
    "started_at",
    "fingerprint",
    "ending",
    "timeout",
    "deadline_at",
    "seed",
    "depth",
    "priority",
    "on_complete",
    "parent_id",
    "parent_step_id",
    "custom",
)


@retrying
def claim_workflows(
    token: str,
    cluster: str | None,
    known: Known,
    limit: int,
    *,
    taken_over: bool = False,
    only: UUID | None = None,
) -> list[Turnable]:
    """Claim due workflows of a cluster, in the order of R7.

    Args:
        token: owns what is claimed.
        cluster: whose workflows; None: of all.
        known: the (definition, version) pairs that this process can run.
        limit: at most so many.
        taken_over: claim those whose lease has run out, counted as interrupted, instead of the free ones.
        only: this one and no other, if it is due.

    """
    if not known.definitions:
        return []
    here = connection()
    want = _Want(cluster, known, limit, taken_over, None if only is None else [_id_to_db(here, only)])
    rows = (_claim_by_returning if here.vendor == "postgresql" else _claim_by_update)(here, token, want)
    return [_turnable(here, row, token, taken_over) for row in rows]


class _Want(NamedTuple):
    """Which workflows to claim."""

    cluster: str | None
    known: Known
    limit: int
    taken_over: bool
    among: Sequence[Any] | None = None


def _id_to_db(here: BaseDatabaseWrapper, workflow_id: UUID) -> Any:
    return Workflow._meta.pk.get_db_prep_value(workflow_id, here)


def _due_workflows(
    here: BaseDatabaseWrapper, want: _Want, columns: str, *, lock: bool = True
) -> tuple[str, list[Any]]:
    table = here.ops.quote_name(Workflow._meta.db_table)
    now = clock.sql_once(here)
    pairs, parameters = _known_pairs(here, want.known)
    ours, fingerprints = _known_code(here, want.known)
    locking = _locking(here) if lock else ""
    chosen = f"AND w.id IN ({', '.join(['%s'] * len(want.among))}) " if want.among is not None else ""
    query = (
        f"SELECT {columns} FROM {table} w "
        f"WHERE w.due_at <= {now} AND {_in_progress(here)} AND {_of_cluster('w.cluster', want.cluster)} "
        f"AND w.lease_owner IS {'NOT NULL' if want.taken_over else 'NULL'} "
        f"AND (w.definition, w.version) IN ({pairs}) AND {ours} AND {pauses.condition(here, 'w.cluster')} {chosen}"
        # R7: what is overdue by more than a lease comes first, then priority, then age.
        f"ORDER BY (w.due_at < {clock.sql_once(here, -lease())}) DESC, w.priority DESC, w.due_at, w.id "
        f"LIMIT {int(want.limit)} {locking}"
    )
    return query, [*_given(want.cluster), *parameters, *fingerprints, *(want.among or ())]


def _in_progress(here: BaseDatabaseWrapper) -> str:
    # SQLite, which nobody has count its rows, would go by the index of states and read all sleepers; a plus forbids it.
    return f"{'+' if here.vendor == 'sqlite' else ''}w.state = 'in_progress'"


def _known_code(here: BaseDatabaseWrapper, known: Known) -> tuple[str, list[Any]]:
    """R27: not what other code has advanced since this process began, and has it differently."""
    process = here.ops.quote_name(Process._meta.db_table)
    me = Process._meta.pk.get_db_prep_value(processes.identity().id, here)
    listed = ", ".join(["%s"] * (1 + len(known.fingerprints)))
    return (
        f"(w.fingerprint IN ({listed}) OR w.advanced_at IS NULL "
        f"OR w.advanced_at <= (SELECT started_at FROM {process} WHERE id = %s))",
        ["", *known.fingerprints, me],
    )


def _locking(here: BaseDatabaseWrapper) -> str:
    if here.features.has_select_for_update_skip_locked:
        # The claimed table alone: pauses and processes are only read.
        return "FOR UPDATE OF w SKIP LOCKED" if here.vendor == "postgresql" else "FOR UPDATE SKIP LOCKED"
    # MariaDB 10.5 has to wait for the other claim; SQLite's transaction is the only writer anyway.
    return "FOR UPDATE" if here.features.has_select_for_update else ""


def _of_cluster(column: str, cluster: str | None) -> str:
    return "1 = 1" if cluster is None else f"{column} = %s"


def _given(cluster: str | None) -> list[str]:
    return [] if cluster is None else [cluster]


def _known_pairs(here: BaseDatabaseWrapper, known: Known) -> tuple[str, list[Any]]:
    pair = "(%s, %s)"
    # SQLite knows row values in IN only as VALUES; MariaDB only as a list.
    listed = ", ".join([pair] * len(known.definitions))
    return (listed if here.vendor == "mysql" else f"VALUES {listed}"), [
        part for pair in known.definitions for part in pair
    ]


def _claim_by_returning(here: BaseDatabaseWrapper, token: str, want: _Want) -> list[tuple[Any, ...]]:
    due, parameters = _due_workflows(
        here,
        want,
        f"w.id, (w.due_at < {clock.sql_once(here, -lease())}) AS overdue, w.priority, w.due_at AS was_due",
    )
    table = here.ops.quote_name(Workflow._meta.db_table)
    returned = ", ".join(f"w.{column}" for column in _TURNABLE)
    with here.cursor() as cursor:
        cursor.execute(
            f"WITH due AS MATERIALIZED ({due}) "
            f"UPDATE {table} AS w SET lease_owner = %s, due_at = {clock.sql(here, lease())}, "
            f"interruptions = interruptions + {int(want.taken_over)} FROM due WHERE w.id = due.id "
            f"RETURNING {returned}, {clock.sql(here)}, due.overdue, due.priority, due.was_due",
            [*parameters, token],
        )
        rows = cursor.fetchall()
    # RETURNING promises no order.
    rows.sort(key=lambda row: (not row[-3], -row[-2], row[-1], row[0]))
    return [row[:-3] for row in rows]


def _claim_by_update(here: BaseDatabaseWrapper, token: str, want: _Want) -> list[tuple[Any, ...]]:
    table = here.ops.quote_name(Workflow._meta.db_table)
    # R7: both statements in one transaction; on SQLite it is the only writer from its BEGIN IMMEDIATE on.
    with atomic(), here.cursor() as cursor:
        rows = _lock_due(here, cursor, want)
        if rows:
            ids = ", ".join(["%s"] * len(rows))
            cursor.execute(
                f"UPDATE {table} SET lease_owner = %s, due_at = {clock.sql(here, lease())}, "
                f"interruptions = interruptions + {int(want.taken_over)} WHERE id IN ({ids})",
                [token, *(row[0] for row in rows)],
            )
    return rows


def _lock_due(here: BaseDatabaseWrapper, cursor: Any, want: _Want) -> list[tuple[Any, ...]]:
    columns = f"{', '.join(f'w.{column}' for column in _TURNABLE)}, {clock.sql(here)}"
    if here.vendor != "mysql":
        cursor.execute(*_due_workflows(here, want, columns))
        return list(cursor.fetchall())
    # InnoDB locks every row that it reads before it sorts and cuts off: with FOR UPDATE in the first SELECT, one
    # claim would hide all due work from the others. So look first, then lock as many as are wanted, in their order.
    look = _due_workflows(here, want._replace(limit=LOOK_AHEAD * want.limit), "w.id", lock=False)
    cursor.execute(*look)
    seen = [row[0] for row in cursor.fetchall()]
    for start in range(0, len(seen), want.limit):
        batch = seen[start : start + want.limit]
        cursor.execute(*_due_workflows(here, want._replace(among=batch), columns))
        if rows := list(cursor.fetchall()):
            return rows
    return []


def _turnable(here: BaseDatabaseWrapper, row: Sequence[Any], token: str, taken_over: bool) -> Turnable:
    *columns, claimed_at = row
    values = dict(zip(_TURNABLE, columns, strict=True))
    values["id"] = Workflow._meta.pk.to_python(values["id"])
    for column in ("created_at", "started_at", "deadline_at"):
        values[column] = clock.to_python(values[column])
    if values["parent_id"] is not None:
        values["parent_id"] = Workflow._meta.pk.to_python(values["parent_id"])
    values["args"], values["custom"] = unseal(values["args"]), unseal(values["custom"])
    values["interruptions"] += taken_over and here.vendor != "postgresql"  # RETURNING has counted it
    return Turnable(**values, taken_over=taken_over, clock=TurnClock(claimed_at), token=token)


# ── steps that run by themselves ────────────────────────────────────────────────────────────────────────────

_RUNNABLE = (
    "s.id",
    "s.workflow_id",
    "s.number",
    "s.kind",
    "s.name",
    "s.function",
    "s.args",
    "s.attempts",
    "s.history",
    "s.started_at",
    "w.generation",
    "s.cluster",
    "w.cluster",
    "s.retry",
    "s.timeout",
    "s.at_most_once",
    "s.pool",
    "w.definition",
    "s.generation",
    "w.deadline_at",
)
CANDIDATES = 8


@retrying
def take_slot(pool: str, known: Known, token: str, instead_of: str | None = None) -> bool:
    """Lease a place in a pool, for a body (R23). True, too, for a pool that this process knows no limit of."""
    if pool not in known.limits:
        return True
    return slots.take(pool, known.limits[pool], token, instead_of)


class Seen(NamedTuple):
    """A step that was due when it was looked for, and is not claimed yet."""

    step: Runnable  # without a token, and its columns as the database has them
    state: str
    owner: str | None


def claim_step(
    token: str,
    cluster: str | None,
    known: Known,
    *,
    timed: bool = True,
    without: Sequence[str] = (),
    seen: list[Seen] | None = None,
    begins: Callable[[Runnable], bool] = lambda step: False,
) -> Runnable | None:
    """Claim one due step of a cluster, in the order of R7; None when there is none.

    One at a time: its body may take long, and others run the rest meanwhile (R3).

    Args:
        token: for whom.
        cluster: whose steps; None: those of all.
        known: what this process can run.
        timed: also one that has a timeout, which needs a thread that can interrupt it (R26).
        without: not one of these functions.
        seen: those that the last look has shown besides, which are tried before there is another look. For calls that
            follow each other at once: what else the WHERE asks for (R7) is as old as that look.
        begins: whether the body of a step, as it would be claimed, is begun at once. Then its attempt is counted by the
            claim (R3), which says so: `begun`.

    """
    if not known.definitions:
        return None
    here = connection()
    seen = [] if seen is None else seen
    looked = False
    while True:
        while seen:
            step, state, owner = seen.pop(0)
            step = step._replace(token=token)
            if step.function in without:
                continue
            begun = _begun(step, begins) if state == StepState.PENDING else None
            step = step._replace(begun=begun is not None)
            if _claim_surely(step, state, owner, known):
                return begun or _decoded(step)
        if looked:
            return None
        looked = True
        seen += [_seen(row) for row in retrying(_due_steps)(here, cluster, known, timed, without)]


def _seen(row: tuple[Any, ...]) -> Seen:
    *columns, state, owner, looked_at = row
    step = Runnable(*columns, state == StepState.RUNNING, TurnClock(looked_at), "")  # type: ignore[call-arg]
    return Seen(step, state, owner)


def _decoded(step: Runnable) -> Runnable:
    # Only what is claimed: one that can't be unsealed must not keep the others of the same look from being claimed.
    return step._replace(
        workflow_id=Workflow._meta.pk.to_python(step.workflow_id),
        args=unseal(step.args) or "",
        history=unseal(step.history) or "",
        started_at=clock.to_python(step.started_at),
        deadline_at=clock.to_python(step.deadline_at),
        at_most_once=bool(step.at_most_once),
    )


def _begun(step: Runnable, begins: Callable[[Runnable], bool]) -> Runnable | None:
    """The step as it is claimed when its body is begun at once; None when it isn't."""
    try:
        decoded = _decoded(step)._replace(begun=True)
        return decoded if begins(decoded) else None
    except Exception:  # noqa: BLE001  whatever keeps it from being unsealed is met again when it is claimed
        return None


def _claim_surely(step: Runnable, state: str, owner: str | None, known: Known) -> bool:
    """`_claim_step()`, repeated when the database had to be asked again: one whose answer was lost is found to be ours.

    Left to its lease it would count as interrupted, although nothing has begun (R3).
    """
    sent = False

    @retrying
    def claim() -> bool:
        nonlocal sent
        if sent:
            ours = {"id": step.id, "lease_owner": step.token, "attempts": step.attempts + step.begun}
            if writing.update(Step, ours, {"due_at": Now(lease())}):
                return True
        sent = True
        return _claim_step(step, state, owner, known)

    return claim()


def _claim_step(step: Runnable, state: str, owner: str | None, known: Known) -> bool:
    # Compare-and-set on what was seen: of several workers that saw it, one gets it. The attempts are part of that: one
    # that was run and given back meanwhile looks the same otherwise, and its next attempt would be counted twice (P4).
    seen = {
        "id": step.id,
        "state": state,
        "lease_owner": owner,
        "attempts": step.attempts,
        "due_at": AtMost(Now()),
    }
    leased = {"lease_owner": step.token, "due_at": Now(lease())}
    if step.begun:
        leased |= started(step)
    if step.pool not in known.limits:
        return bool(writing.update(Step, seen, leased))
    with atomic():
        if not writing.update(Step, seen, leased):
            return False
        if not take_slot(step.pool, known, step.token, owner):
            transaction.set_rollback(True, using=alias())  # R23: no place, no claim
            return False
    return True


def started(step: Runnable) -> dict[str, Any]:
    """What is written of a step whose body is begun."""
    return {"state": StepState.RUNNING, "attempts": step.attempts + 1, "started_at": Now()}


def _due_steps(
    here: BaseDatabaseWrapper,
    cluster: str | None,
    known: Known,
    timed: bool = True,
    without: Sequence[str] = (),
) -> list[tuple[Any, ...]]:
    due = _select_due_steps(here, cluster, known, timed, (), without)
    # Which pools are full is asked where it matters only: most steps are in none.
    if any(row[_POOL] in known.limits for row in due) and (full := slots.full(known.limits)):
        return _select_due_steps(here, cluster, known, timed, full, without)
    return due


_POOL = _RUNNABLE.index("s.pool")


def _select_due_steps(
    here: BaseDatabaseWrapper,
    cluster: str | None,
    known: Known,
    timed: bool,
    full: Sequence[str],
    without: Sequence[str],
) -> list[tuple[Any, ...]]:
    # R23: a step that is taken over may have the place that its dead worker still holds.
    places = here.ops.quote_name(Slot._meta.db_table)
    crowded = (
        f"AND (s.pool NOT IN ({', '.join(['%s'] * len(full))}) "
        f"OR EXISTS (SELECT 1 FROM {places} h WHERE h.lease_owner = s.lease_owner)) "
        if full
        else ""
    )
    others = f"AND s.function NOT IN ({', '.join(['%s'] * len(without))}) " if without else ""
    ours, fingerprints = _known_code(here, known)
    step, workflow = (here.ops.quote_name(model._meta.db_table) for model in (Step, Workflow))
    pairs, parameters = _known_pairs(here, known)
    kinds = ", ".join(f"'{kind}'" for kind in sorted(BODY_KINDS))
    with here.cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(_RUNNABLE)}, s.state, s.lease_owner, {clock.sql(here)} "
            f"FROM {step} s JOIN {workflow} w ON w.id = s.workflow_id "
            f"WHERE s.due_at <= {clock.sql_once(here)} AND s.kind IN ({kinds}) "
            f"AND s.state IN ('pending', 'running') AND {_of_cluster('s.cluster', cluster)} "
            f"{'' if timed else 'AND s.timeout IS NULL AND w.deadline_at IS NULL '}"
            f"AND {_in_progress(here)} AND w.paused IS NULL AND (w.definition, w.version) IN ({pairs}) "
            # What its workflow is too late for is not begun any more; its turn is due, and ends it.
            f"AND (w.deadline_at IS NULL OR w.deadline_at > {clock.sql_once(here)}) "
            f"AND {ours} {crowded}{others}AND {pauses.condition(here, 's.cluster')} "
            f"ORDER BY (s.due_at < {clock.sql_once(here, -lease())}) DESC, w.priority DESC, s.due_at, s.id "
            f"LIMIT {CANDIDATES}",
            [*_given(cluster), *parameters, *fingerprints, *full, *without],
        )
        return list(cursor.fetchall())


def anything_due(cluster: str | None, known: Known, *, without: Sequence[str] = ()) -> bool:
    """True iff this process could claim something now. `without`: steps of these functions don't count."""
    if not known.definitions:
        return False
    here = connection()
    query, parameters = _due_workflows(here, _Want(cluster, known, 1, False), "1", lock=False)
    with here.cursor() as cursor:
        cursor.execute(query, parameters)
        if cursor.fetchone():
            return True
    return bool(_due_steps(here, cluster, known, without=without))
