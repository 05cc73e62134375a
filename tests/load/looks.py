"""What workers and windows ask often, by name: of the engine, of the admin, of the REST API.

Rules of this file: each look is a call of the code itself, with an answer that is checked, in a transaction that is
rolled back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final
from uuid import uuid4

from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from django_workflow import workflow
from django_workflow.engine.drain import known
from django_workflow.journal import claims, due, events, holding, processes, steps
from django_workflow.journal.workflows import with_key
from django_workflow.models import Process
from tests.load.size import ALL
from tests.load.tables import Filled

LIST: Final = "admin:django_workflow_workflow_changelist"


@dataclass(frozen=True)
class Stage:
    """What looks are taken from."""

    filled: Filled
    client: Client


def stage(filled: Filled) -> Stage:
    """A browser in which somebody has logged in who may see everything."""
    processes.token()  # registers this process
    user = User.objects.create_superuser("load")
    client = Client()
    client.force_login(user)
    client.get(reverse(LIST))  # content types are cached
    return Stage(filled, client)


Look = Callable[[Stage], Any]


def _claimed(count: int, **how: Any) -> Look:
    def look(stage: Stage) -> None:
        assert len(claims.claim_workflows(processes.token(), "", known(), count, **how)) == min(count, 16)

    return look


def _dead(stage: Stage) -> None:
    me = processes.identity()
    dead = Process.objects.create(
        id=uuid4(),
        boot_id=me.boot_id,
        pid_namespace=me.pid_namespace,
        pid=0,
        start_time="",
        started_at=stage.filled.now,
        seen_at=stage.filled.now,
    )
    assert processes.release_dead(dead) == 0


def _prune(stage: Stage) -> None:
    # The oldest of all, a few.
    assert workflow.prune(timedelta(0), 5) == 5


ENGINE: Final[dict[str, Look]] = {
    "claim of workflows": _claimed(16),
    "takeover": _claimed(1, taken_over=True),
    "claim of a step": lambda stage: claims.claim_step(processes.token(), "", known()),
    "is anything due": lambda stage: claims.anything_due("", known()),
    "is anything due elsewhere": lambda stage: claims.anything_due("none", known()),
    "the ticker's look": lambda stage: due.look("tests", stage.filled.now, timedelta(seconds=1)),
    "the ticker's first look": lambda stage: due.look("tests"),
    "the oldest due": lambda stage: due.oldest_due_age(),
    "extending leases": lambda stage: holding.extend("nobody's"),
    "whether a lease holds": lambda stage: holding.holds("nobody's"),
    "a dead process": _dead,
    "processes that gave no sign of life": lambda stage: processes.drop_stale(),
    "health": lambda stage: workflow.health(),
    "status": lambda stage: workflow.status(stage.filled.sleeper),
    "a journal": lambda stage: steps.load([stage.filled.sleeper.id]),
    "a key": lambda stage: with_key("load.retired", "the oldest"),
    "events that wait": lambda stage: events.unconsumed(stage.filled.sleeper.id),
    "an event": lambda stage: stage.filled.sleeper.send_event("e", 1),
    "cancel": lambda stage: stage.filled.sleeper.cancel(),
    "restart": lambda stage: stage.filled.finished.restart(),
    "fork": lambda stage: stage.filled.finished.fork(1),
    "cleanup": lambda stage: stage.filled.finished.cleanup(),
    "prune, nothing": lambda stage: workflow.prune(timedelta(days=36500)),
    "prune, five": _prune,
}


def _get(address: str, query: dict[str, str], stage: Stage) -> Any:
    answer = stage.client.get(address, query)
    assert answer.status_code in (200, 503), (query, answer.status_code)
    return answer


ADMIN: Final[list[dict[str, str]]] = [
    {},
    {"p": "2"},
    *({"p": page} for page in ("50", "100") if ALL),
    *({"state": state} for state in ("in_progress", "completed", "failed", "canceled")),
    *({"definition": name} for name in ("load.common", "load.rare", "load.retired", "load.sleeps", "none")),
    *({"created": age} for age in ("1h", "24h", "7d")),
    {"cluster": "cluster:"},
    {"cluster": "cluster:load's other cluster"},
    *({"attention": slug} for slug in ("failed", "paused", "due", "on_complete")),
    {"q": "load.retired"},
    {"q": "the oldest"},
    {"q": "0193ee"},
    {"q": "none"},
    {"state": "canceled", "created": "7d"},
    {"state": "failed", "definition": "load.retired"},
    {"state": "canceled", "definition": "load.retired", "created": "24h"},
    {"state": "canceled", "definition": "load.common"},
    {"state": "failed", "cluster": "cluster:load's other cluster"},
    {"attention": "failed", "definition": "load.retired"},
    {"q": "load.retired", "state": "in_progress"},
]

REST: Final[list[dict[str, str]]] = [
    {},
    *({"page_size": size} for size in ("200",) if ALL),
    *({"state": state} for state in ("in_progress", "completed", "failed", "canceled")),
    *({"definition": name} for name in ("load.common", "load.rare", "load.retired", "load.sleeps", "none")),
    {"definition": "load.retired", "state": "canceled"},
    {"definition": "load.common", "state": "canceled"},
    {"key": "the oldest"},
    {"key": "none"},
    {"label.tenant": "big"},
    {"label.customer": "1"},
    {"label.tenant": "none"},
    {"label.tenant": "big", "label.customer": "1"},
    {"created_after": "NOW"},
    {"created_before": "NOW"},
    {"created_before": "LONG AGO"},
    {"created_after": "LONG AGO", "state": "canceled"},
    {"created_before": "LONG AGO", "definition": "load.common"},
    {"state": "in_progress", "created_before": "LONG AGO"},
]


def _list(query: dict[str, str], stage: Stage) -> None:
    now = stage.filled.now
    words = {
        "NOW": now - timedelta(minutes=2),
        "LONG AGO": stage.filled.oldest.created_at + timedelta(minutes=30),
    }
    asked = {name: words[value].isoformat() if value in words else value for name, value in query.items()}
    address = reverse("django_workflow:workflow-list")
    answer = _get(address, asked, stage).json()
    if answer["next"]:
        _get(answer["next"], {}, stage)


OF_ADMIN: Final[dict[str, Look]] = {
    **{f"admin {query}": partial(_get, reverse(LIST), query) for query in ADMIN},
    "admin definitions": partial(_get, reverse("admin:django_workflow_workflow_definitions"), {}),
}

OF_REST: Final[dict[str, Look]] = {
    **{f"rest {query}": partial(_list, query) for query in REST},
    "rest health": partial(_get, reverse("django_workflow:health"), {}),
}
