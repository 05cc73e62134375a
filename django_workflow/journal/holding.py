"""How a worker keeps the right to take a turn or to run a step, writes by it, and gives it back.

Rules of this file: every write of a holder names its token, and 0 rows mean that the right is lost (R2). Times are
the database's (R24).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F

from django_workflow.journal import clock, slots, steps, writing
from django_workflow.journal.claims import ENDED, Runnable, Turnable, started
from django_workflow.journal.clock import Now, lease
from django_workflow.journal.database import alias, atomic, connection, retrying
from django_workflow.journal.workflows import NearestOrNow, wake, waking
from django_workflow.journal.writing import Fence
from django_workflow.models import Step, Workflow
from django_workflow.states import StepState, WorkflowState

# ── workflows ───────────────────────────────────────────────────────────────────────────────────────────────


def fence(claim: Turnable, **columns: Any) -> bool:
    """The first write of a turn's commit: True iff the claim still holds; the lease is renewed (R2, R12)."""
    return bool(writing.update(*fencing(claim, renews=True, **columns)))


def fencing(claim: Turnable, *, renews: bool, **columns: Any) -> Fence:
    """What `fence()` asks and writes, for a statement that does more. `renews`: the lease, too."""
    where = {
        "id": claim.id,
        "generation": claim.generation,
        "lease_owner": claim.token,
        "state": WorkflowState.IN_PROGRESS.value,
    }
    return Fence(Workflow, where, {"due_at": Now(lease()), **columns} if renews else columns)


def release_columns(claim: Turnable, nearest: datetime | None) -> dict[str, Any]:
    """What `fence()` writes besides, when the turn ends and the workflow goes on later."""
    return {"lease_owner": None, "due_at": NearestOrNow(claim.wakes, nearest), "setbacks": 0}


@retrying
def hand_back(claims: Iterable[Turnable]) -> int:
    """Give claims back untouched: due at once, nothing counted (R3)."""
    claims = list(claims)
    if not claims:
        return 0
    return (
        Workflow.objects.using(alias())
        .filter(id__in=[claim.id for claim in claims], lease_owner=claims[0].token)
        .update(lease_owner=None, due_at=Now())
    )


@retrying
def set_back(claim: Turnable, delay: timedelta) -> bool:
    """Give a claim back after an error that was nobody's fault: due after `delay`."""
    return bool(
        Workflow.objects.using(alias())
        .filter(id=claim.id, lease_owner=claim.token)
        .update(lease_owner=None, due_at=Now(delay), setbacks=F("setbacks") + 1)
    )


@retrying
def give_up(token: str, delay: timedelta, *, claimed: bool = True) -> None:
    """Give back what a token still leases, after an error of the database kept its holder from doing so.

    A step that was begun is left to its lease: what became of its body is not known (P4).

    Args:
        token: whose.
        delay: until it is due.
        claimed: False: its holder never learned that it had claimed something, so no body has begun.

    """
    _workflows_of(token).update(lease_owner=None, due_at=Now(delay), setbacks=F("setbacks") + 1)
    mine = Step.objects.using(alias()).filter(lease_owner=token)
    mine.filter(state=StepState.PENDING).update(lease_owner=None, due_at=Now(delay))
    if not claimed:
        mine.filter(state=StepState.RUNNING).update(
            state=StepState.PENDING, lease_owner=None, due_at=Now(delay), attempts=F("attempts") - 1
        )


def extend(token: str) -> int:
    """Renew every lease of a token. How many it still holds; 0: all lost (R6)."""
    rows: int = _workflows_of(token).update(due_at=Now(lease()))
    slots.extend(token)
    if not rows:
        rows = (
            Step.objects.using(alias())
            .filter(lease_owner=token, state__in=steps.UNSETTLED)
            .update(due_at=Now(lease()))
        )
    return rows


class Renewed(NamedTuple):
    """What came of renewing many."""

    held: set[str]  # the tokens whose leases are renewed
    lost: set[str]  # those that hold nothing any more; the rest were locked by somebody else


def extend_steps(tokens: Sequence[str]) -> Renewed:
    """Renew the leases of steps, of one step by each token, in one statement (two on MariaDB and MySQL).

    What somebody else has locked is left to the next time: it is being settled or canceled, and a statement that
    waits with many rows in its hands would deadlock with those that lock some of them in another order (R20).
    """
    here = connection()
    if here.vendor == "postgresql":
        held = _extend_by_returning(here, tokens)
    elif here.features.has_select_for_update_skip_locked:
        with atomic():
            rows = dict(
                _steps_of(tokens).select_for_update(skip_locked=True).values_list("id", "lease_owner")
            )
            Step.objects.using(alias()).filter(id__in=list(rows)).update(due_at=Now(lease()))
        held = set(rows.values())
    else:
        renewed = _steps_of(tokens).update(due_at=Now(lease()))
        held = set(tokens) if renewed == len(tokens) else set(tokens) - missing_steps(tokens)
    slots.extend(*tokens)
    left = set(tokens) - held
    return Renewed(held, missing_steps(sorted(left)) if left else set())


def _extend_by_returning(here: BaseDatabaseWrapper, tokens: Sequence[str]) -> set[str]:
    step = here.ops.quote_name(Step._meta.db_table)
    with here.cursor() as cursor:
        cursor.execute(
            f"WITH mine AS MATERIALIZED (SELECT id FROM {step} WHERE lease_owner = ANY(%s) "
            "AND state IN ('pending', 'running') FOR UPDATE SKIP LOCKED) "
            f"UPDATE {step} AS s SET due_at = {clock.sql(here, lease())} FROM mine WHERE s.id = mine.id "
            "RETURNING s.lease_owner",
            [list(tokens)],
        )
        return {owner for (owner,) in cursor.fetchall()}


def missing_steps(tokens: Sequence[str]) -> set[str]:
    """Of these tokens those by which no step is leased any more."""
    return set(tokens) - set(_steps_of(tokens).values_list("lease_owner", flat=True))


def _steps_of(tokens: Sequence[str]) -> Any:
    return Step.objects.using(alias()).filter(lease_owner__in=tokens, state__in=steps.UNSETTLED)


def lock_unlocked(workflow_ids: Iterable[UUID]) -> set[UUID]:
    """Lock those of these workflows that nobody else has locked; in the caller's transaction."""
    features = connection().features
    rows = Workflow.objects.using(alias()).filter(id__in=list(workflow_ids))
    if not features.has_select_for_update:
        return set(workflow_ids)  # SQLite: the transaction is the only writer
    if not features.has_select_for_update_skip_locked:
        return set()
    return set(rows.select_for_update(skip_locked=True).values_list("id", flat=True))


# ── steps that run by themselves ────────────────────────────────────────────────────────────────────────────


@retrying
def start_step(claim: Runnable, history: str) -> bool:
    """Count an attempt, just before its body (R3). False: the claim is lost, begin nothing."""
    columns = {**started(claim), "history_text": history, "due_at": Now(lease())}
    return bool(writing.update(Step, _claimed(claim, *steps.UNSETTLED), columns))


def back_off_step(claim: Runnable, delay: float, history: str) -> bool:
    """An attempt has failed; the next one is due after `delay` seconds, and no worker waits for it."""
    given_back = {
        "state": StepState.PENDING,
        "lease_owner": None,
        "due_at": Now(timedelta(seconds=delay)),
        "history_text": history,
    }
    return bool(writing.update(Step, _claimed(claim, StepState.RUNNING), given_back))


def holds(token: str) -> bool:
    """True iff something is still leased by this token."""
    leased = Step.objects.using(alias()).filter(lease_owner=token, state__in=steps.UNSETTLED)
    return _workflows_of(token).exists() or leased.exists()


def _workflows_of(token: str) -> Any:
    # In progress, said so that SQLite doesn't go by the index of states, as above.
    return Workflow.objects.using(alias()).filter(lease_owner=token).exclude(state__in=ENDED)


def settles_alone() -> bool:
    """True where `settle_step()` needs no transaction: it is one statement."""
    return writing.can_update_behind()


def settle_step(claim: Runnable, **columns: Any) -> bool:
    """Write how a step ended and wake its workflow; in the caller's transaction, which it must give up on False.

    Fenced by the workflow's row and by the step's own, in the order of the locks (R2, R20).
    """
    if settles_alone():
        mine = _claimed(claim, StepState.RUNNING)
        settled = {"lease_owner": None, "due_at": None, "completed_at": Now(), **columns}
        return writing.update_behind(waking(claim.workflow_id, claim.generation), Fence(Step, mine, settled))
    if not wake(claim.workflow_id, claim.generation):
        return False
    settled = {"lease_owner": None, "due_at": None, "completed_at": Now(), **columns}
    return bool(writing.update(Step, _claimed(claim, StepState.RUNNING), settled))


@retrying
def set_back_step(claim: Runnable, delay: timedelta, history: str, **columns: Any) -> bool:
    """Give a step back, due after `delay`. Pending again, so that the next claim doesn't take it for a crash (R15)."""
    given_back = {
        **columns,
        "state": StepState.PENDING,
        "lease_owner": None,
        "due_at": Now(delay),
        "history_text": history,
    }
    return bool(writing.update(Step, _claimed(claim, *steps.UNSETTLED), given_back))


def _claimed(claim: Runnable, *states: str) -> dict[str, Any]:
    """The row of a claimed step, while it is claimed, in one of these states."""
    return {"id": claim.id, "lease_owner": claim.token, "state": states}
