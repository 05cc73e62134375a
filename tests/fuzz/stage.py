"""Workflows in every state, who asks about them, and how many times.

`FUZZ=all` (`make fuzz`) asks as often as was promised; a plain run takes a sample, and always the same one.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection, models, transaction
from hypothesis import HealthCheck, settings

from django_workflow import workflow
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.fuzz.definitions import approved, asks, breaks, go, keeps, waits

ALL: Final = os.environ.get("FUZZ") == "all"
PASSWORD: Final = "open sesame"
NOBODY, READER, DOER, BOSS = "nobody", "reader", "doer", "boss"
WHO: Final = (NOBODY, READER, DOER, BOSS)
STARTABLE: Final = ("fuzz.keeps", "fuzz.waits", "fuzz.asks", "fuzz.breaks", "fuzz.particular")


def times(sample: int, whole: int) -> settings:
    """So many examples, of which a database server, where each takes longer, gets half; all of them by `make fuzz`."""
    if django_settings.DATABASE != "sqlite":
        sample = (sample + 1) // 2
    return settings(
        max_examples=whole if ALL else sample,
        deadline=None,
        database=None,
        derandomize=not ALL,
        suppress_health_check=list(HealthCheck),
    )


@dataclass(frozen=True)
class Stage:
    """What there is to ask about."""

    runs: list[Workflow]
    tokens: list[str]

    @property
    def ids(self) -> list[str]:
        return [str(run.id) for run in self.runs]


def set_up(harness: Harness) -> Stage:
    """One workflow in each state, some with steps behind them, some with keys and labels."""
    waiting = waits.using(key="waiting", labels={"customer": 42}).start({"password": "of nobody's business"})
    done = waits.start("done")
    dropped = waits.start("dropped")
    failed = breaks.using(labels={"customer": "42"}).start([1, 2])
    kept = keeps.using(key="kept").start({"a": [None, True, 1.5, "é"]})
    asking, asked = asks.start(), asks.start()
    harness.drain()
    done.send_event(go, {"went": True})
    dropped.cancel("not wanted")
    harness.drain()
    unstarted = keeps.start(None)
    tokens = [
        address.rstrip("/").rpartition("/")[2]
        for address in (workflow.event_url(asking.id, approved), workflow.event_url(asked.id, approved))
    ]
    return Stage([waiting, done, dropped, failed, kept, asking, asked, unstarted], tokens)


def make_users() -> None:
    """Who may look only, who may do everything but look, and who may do all without being a superuser."""
    ours = Permission.objects.filter(content_type__app_label="django_workflow")
    for name, permissions in (
        (READER, ours.filter(codename="view_workflow")),
        (DOER, ours.exclude(codename__in=["view_workflow", "view_payload"])),
        (BOSS, ours),
    ):
        User.objects.create_user(name, password=PASSWORD).user_permissions.set(permissions)


def credentials(who: str) -> dict[str, str]:
    """The headers by which somebody says who he is."""
    if who == NOBODY:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(f"{who}:{PASSWORD}".encode()).decode()}


@contextmanager
def undone() -> Iterator[None]:
    """Whatever happens to the rows in here is undone."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def everything() -> dict[str, list[Any]]:
    """All rows that HTTP can write, as the database has them."""
    rows = {}
    with connection.cursor() as cursor:
        ours: list[type[models.Model]] = [*apps.get_app_config("django_workflow").get_models(), LogEntry]
        for model in ours:
            table = model._meta.db_table
            cursor.execute(f"SELECT * FROM {table} ORDER BY {_key(model)}")  # noqa: S608  names of ours
            rows[table] = cursor.fetchall()
    return rows


def _key(model: type[models.Model]) -> str:
    column = model._meta.pk.column
    assert column is not None
    return column
