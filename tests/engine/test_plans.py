"""Behaviour 43: with many finished workflows every query that workers and windows ask often goes by an index.

The tables are filled, counted by the database (ANALYZE), and the very statements that the code sends are explained.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import transaction

from django_workflow import StepContext, WorkflowManager, workflow
from django_workflow.engine.drain import known
from django_workflow.journal import claims, clock, due, events, holding, processes, steps, wakes
from django_workflow.journal.workflows import key_digest, with_key
from django_workflow.keys import label_digests
from django_workflow.models import Event, Label, Slot, Step, Workflow
from tests.behaviours.bodies import act
from tests.engine.committed import committed
from tests.engine.plans import analyze, explained, full_scans, sent_by
from tests.shop.workflows import echo

pytestmark = committed  # ANALYZE commits on MariaDB
FINISHED = 3000
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)

pool = WorkflowManager("plans", max_parallelism=3)


@pool.define(name="plans.in_a_pool")
async def in_a_pool(step: StepContext) -> Any:
    return await step.using(inline=False).run_action(act, 1)


@pytest.fixture
def filled(transactional_db: None) -> Workflow:
    """A few thousand finished workflows with steps, labels and keys, a few in progress, and what the planner knows."""
    with wakes.sent_by(None):
        finished = [
            Workflow(
                id=clock.new_id(),
                definition="shop.echo",
                state="completed",
                key=f"key {n}",
                key_digest=key_digest("shop.echo", f"key {n}"),
                created_at=LONG_AGO + timedelta(minutes=n),
                started_at=LONG_AGO + timedelta(minutes=n),
                completed_at=LONG_AGO + timedelta(minutes=n),
            )
            for n in range(FINISHED)
        ]
        for parent, child in zip(finished[::3], finished[1::3], strict=True):
            child.parent_id = parent.id
        Workflow.objects.bulk_create(finished, batch_size=500)
        Step.objects.bulk_create(
            [
                Step(
                    workflow=run,
                    number=number,
                    kind="mutation",
                    name="write",
                    state="completed",
                    seq=number,
                    created_at=run.created_at,
                    completed_at=run.created_at,
                    attempts=1,
                )
                for run in finished
                for number in (1, 2, 3)
            ],
            batch_size=1000,
        )
        Label.objects.bulk_create(
            [
                Label(workflow=run, digest=label_digests("", {"customer": n})["customer"])
                for n, run in enumerate(finished)
            ],
            batch_size=1000,
        )
        Event.objects.bulk_create(
            [Event(workflow=run, name="e", value_text="1", sent_at=run.created_at) for run in finished],
            batch_size=1000,
        )
        workflow.start_many(echo, [(n,) for n in range(20)])
        run = echo.start("looked at")
        Step.objects.create(
            workflow=run,
            number=1,
            kind="action",
            name="act",
            function="tests.behaviours.bodies.act",
            state="pending",
            due_at=LONG_AGO,
            created_at=LONG_AGO,
        )
        Slot.objects.bulk_create([Slot(pool="plans", n=n) for n in (1, 2, 3)])
    analyze()
    return run


def token() -> str:
    return processes.token()


LOOKS: dict[str, Callable[[Workflow], Any]] = {
    "claim of workflows": lambda run: claims.claim_workflows(token(), "", known(), 16),
    "claim of any cluster": lambda run: claims.claim_workflows(token(), None, known(), 16),
    "takeover": lambda run: claims.claim_workflows(token(), "", known(), 1, taken_over=True),
    "claim of one, for an eager start": lambda run: claims.claim_workflows(
        token(), None, known(), 1, only=run.id
    ),
    "claim of a step": lambda run: claims.claim_step(token(), "", known()),
    "is anything due": lambda run: claims.anything_due("", known()),
    "the ticker's look": lambda run: due.look("tests", LONG_AGO, timedelta(seconds=1)),
    "the oldest due": lambda run: due.oldest_due_age(),
    "extending leases": lambda run: holding.extend("nobody's"),
    "whether a lease holds": lambda run: holding.holds("nobody's"),
    "the first page of the list": lambda run: list(workflow.list()[:50]),
    "the first page of a definition": lambda run: list(workflow.list(echo)[:50]),
    "the first page of a state": lambda run: list(workflow.list(state="in_progress")[:50]),
    "the first page of both": lambda run: list(workflow.list(echo, "in_progress")[:50]),
    "a label": lambda run: list(workflow.list(labels={"customer": 42})),
    "two labels": lambda run: list(workflow.list(labels={"customer": 42, "other": 1})),
    "status": lambda run: workflow.status(run),
    "steps": lambda run: list(workflow.steps(run)),
    "a journal": lambda run: steps.load([run.id]),
    "a key": lambda run: with_key("shop.echo", "key 7"),
    "a start with a key": lambda run: echo.using(key="new").start(1),
    "events that wait": lambda run: events.unconsumed(run.id),
    "an event": lambda run: run.send_event("e", 1),
    "cancel": lambda run: run.cancel(),
    "children": lambda run: list(Workflow.objects.filter(parent=run)),
    "prune": lambda run: workflow.prune(timedelta(days=36500)),
}


def test_43_what_is_asked_often_goes_by_an_index(filled: Workflow) -> None:
    scans: dict[str, str] = {}
    for look, call in LOOKS.items():
        with transaction.atomic():  # the next one finds the tables as this one has
            sent = sent_by(partial(call, filled))
            assert sent, f"{look}: nothing was asked"
            for sql in sent:
                plan = explained(sql)
                if full_scans(plan):
                    scans[look] = "\n".join([sql, *plan])
            transaction.set_rollback(True)
    assert scans == {}, "\n\n".join(f"{look}: {plan}" for look, plan in scans.items())


def test_43_a_whole_scan_is_seen(filled: Workflow) -> None:
    """The measure itself: what has no index is told."""
    for sql in sent_by(lambda: list(Workflow.objects.filter(reason="x"))):
        assert full_scans(explained(sql)) != []
    for sql in sent_by(lambda: list(Step.objects.filter(name="x").order_by())):
        assert full_scans(explained(sql)) != []
