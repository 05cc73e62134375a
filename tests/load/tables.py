"""Fills the tables by a few statements: rows like one that the engine has written, many times over.

Rules of this file: what differs from row to row is SQL over the row's number `n`, which counts back into the past from
the newest. Finished workflows are of a kind that an optimiser's averages are wrong about: what is rare lies in a heap
at the old end, what is common is half of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import connection, models

from django_workflow.engine.drain import drain
from django_workflow.journal import wakes
from django_workflow.journal.database import atomic
from django_workflow.keys import label_digests
from django_workflow.manager import workflow
from django_workflow.models import Event, Label, Step, Workflow
from tests.load import definitions
from tests.load.size import Size

BATCH: Final = 50_000
GAP: Final = 30  # seconds between two finished workflows: a million are a year
KEY: Final = "'key '"
BIG: Final = {"tenant": "big"}  # on every second finished workflow
TABLES: Final = (Workflow, Step, Event, Label)


@dataclass(frozen=True)
class Filled:
    """What tests ask for by name."""

    now: datetime
    finished: Workflow  # the newest that was copied
    sleeper: Workflow
    oldest: Workflow  # with a key, a label, a parked state, at the far end of all
    due: list[Workflow]


def fill(size: Size) -> Filled:
    """Fill empty tables."""
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION max_recursive_iterations = {BATCH + 1}")
    with wakes.sent_by(None):
        finished = definitions.common.start(1)
        sleeper = definitions.sleeps.start(1)
        assert drain("") >= 2
        now = workflow.now()
        _date(finished, now)
        _date(sleeper, now)
        _copy_finished(finished, now, size.finished)
        _copy_sleepers(sleeper, now, size)
        oldest = _oldest(now - timedelta(seconds=GAP * (size.finished + 10)))
        due = [definitions.common.start(n) for n in range(20)]
        _besides(now)
    analyze()
    return Filled(now, finished, sleeper, oldest, due)


def analyze() -> None:
    """Let the database count."""
    tables = [model._meta.db_table for model in TABLES]
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute(f"ANALYZE TABLE {', '.join(tables)}")
            cursor.fetchall()
        elif connection.vendor == "postgresql" and not connection.in_atomic_block:
            cursor.execute(f"VACUUM ANALYZE {', '.join(tables)}")  # as its own daemon does
        else:
            cursor.execute("ANALYZE")


def empty() -> None:
    """Leave nothing behind, the quick way."""
    names = [connection.ops.quote_name(model._meta.db_table) for model in TABLES]
    with connection.constraint_checks_disabled(), connection.cursor() as cursor:
        match connection.vendor:
            case "postgresql":
                cursor.execute(f"TRUNCATE {', '.join(names)} CASCADE")
            case "mysql":
                for name in names:
                    cursor.execute(f"TRUNCATE TABLE {name}")
            case _:
                for name in names:
                    cursor.execute(f"DELETE FROM {name}")  # noqa: S608  a table of ours


# ── copies ──────────────────────────────────────────────────────────────────────────────────────────────────


def _date(run: Workflow, now: datetime) -> None:
    """Let all of its life have been now."""
    Workflow.objects.filter(id=run.id).update(created_at=now, started_at=now)
    Workflow.objects.filter(id=run.id).exclude(completed_at=None).update(completed_at=now)
    Step.objects.filter(workflow_id=run.id).update(created_at=now)


def _copy_finished(run: Workflow, now: datetime, count: int) -> None:
    old, ancient = int(count * 0.8), int(count * 0.95)
    at = ago(now, f"n * {GAP}")
    copy(
        Workflow,
        run.id,
        count,
        {
            "id": id_of(1, "n"),
            "parent_id": f"CASE WHEN n % 20 = 2 THEN {id_of(1, 'n - 1')} END",
            "depth": "CASE WHEN n % 20 = 2 THEN 1 ELSE 0 END",
            "definition": f"CASE WHEN n > {old} THEN 'load.retired' WHEN n % 1000 = 7 THEN 'load.rare' ELSE definition END",
            "state": f"CASE WHEN n > {ancient} AND n % 5 = 1 THEN 'canceled' WHEN n % 50 = 3 THEN 'failed' ELSE state END",
            "key": f"CASE WHEN n % 10 = 0 THEN {_joined(KEY, 'n')} END",
            "key_digest": f"CASE WHEN n % 10 = 0 THEN {_hex('n', 64)} END",
            "created_at": at,
            "started_at": at,
            "completed_at": at,
        },
    )
    copy(Step, run.id, count, {"workflow_id": id_of(1, "n"), "created_at": at, "completed_at": at})
    big = label_digests("", BIG)["tenant"]
    _insert(Label, {"workflow_id": id_of(1, "n"), "digest": f"'{big}'"}, "n % 2 = 0", count)
    _insert(Label, {"workflow_id": id_of(1, "n"), "digest": _hex("n", 64)}, "n % 10 = 1", count)
    event = {"workflow_id": id_of(1, "n"), "name": "'e'", "value": "'1'", "sent_at": at, "consumed_at": at}
    _insert(Event, event, "n % 10 = 5", count)


def _copy_sleepers(run: Workflow, now: datetime, size: Size) -> None:
    apart = GAP * size.finished // size.sleeping
    at, wakes_at = ago(now, f"n * {apart} + 1"), ago(now, "-(86400 + n * 60)")
    copy(
        Workflow,
        run.id,
        size.sleeping,
        {"id": id_of(2, "n"), "created_at": at, "started_at": at, "due_at": wakes_at},
    )
    due = f"CASE WHEN kind = 'sleep' THEN {wakes_at} END"
    copy(Step, run.id, size.sleeping, {"workflow_id": id_of(2, "n"), "created_at": at, "due_at": due})


def copy(model: type[models.Model], template: Any, count: int, changed: Mapping[str, str]) -> None:
    """Copies of a workflow's row, or of its steps."""
    fields = [field for field in model._meta.concrete_fields if not field.generated]
    columns = [str(field.column) for field in fields if not (field.primary_key and model is Step)]
    quote = connection.ops.quote_name
    values = {column: changed.get(column, quote(column)) for column in columns}
    table = quote(model._meta.db_table)
    of = "id" if model is Workflow else "workflow_id"
    pk = Workflow._meta.pk.get_db_prep_value(template, connection)
    _insert(model, values, f"{table}.{of} = %s", count, table, [pk])


def copy_steps(run: Workflow, count: int) -> None:
    """So many more steps of a workflow, like its first."""
    pk = Workflow._meta.pk.get_db_prep_value(run.id, connection)
    step = connection.ops.quote_name(Step._meta.db_table)
    columns = {
        str(field.column): connection.ops.quote_name(str(field.column))
        for field in Step._meta.concrete_fields
        if not field.primary_key
    }
    _insert(
        Step, {**columns, "number": "n + 1"}, f"workflow_id = %s AND {step}.number = 1", count, step, [pk]
    )


def _insert(
    model: type[models.Model],
    values: Mapping[str, str],
    condition: str,
    count: int,
    source: str = "",
    parameters: list[Any] | None = None,
) -> None:
    """Rows for each n from 1 to `count`, in batches."""
    quote = connection.ops.quote_name
    if parameters is None:
        condition = condition.replace("%", "%%")
    expressions = [value.replace("%", "%%") for value in values.values()]
    insert = f"INSERT INTO {quote(model._meta.db_table)} ({', '.join(map(quote, values))})"
    of = f"numbers, {source}" if source else "numbers"
    select = f"SELECT {', '.join(expressions)} FROM {of} WHERE {condition}"  # noqa: S608  no input
    for first in range(1, count + 1, BATCH):
        last = min(first + BATCH - 1, count)
        numbers = f"SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last}"  # noqa: S608  none
        with atomic(), connection.cursor() as cursor:
            cursor.execute(
                f"{insert} WITH RECURSIVE numbers(n) AS ({numbers}) {select}",
                parameters or [],
            )


# ── SQL for each database ───────────────────────────────────────────────────────────────────────────────────


def id_of(kind: int, n: str) -> str:
    """An id that sorts by age, as UUIDv7 do: the older the lower."""
    digits = _joined("'0193'", _hex(f"(4000000000 - ({n}))", 8), f"'700{kind}8000000000000000'")
    return f"({digits})::uuid" if connection.vendor == "postgresql" else f"({digits})"


def _hex(n: str, width: int) -> str:
    match connection.vendor:
        case "postgresql":
            return f"lpad(to_hex(({n})::bigint), {width}, '0')"
        case "mysql":
            return f"LPAD(LOWER(HEX({n})), {width}, '0')"
        case _:
            return f"printf('%0{width}x', {n})"


def _joined(*parts: str) -> str:
    return f"CONCAT({', '.join(parts)})" if connection.vendor == "mysql" else f"({' || '.join(parts)})"


def ago(moment: datetime, seconds: str) -> str:
    """SQL for a moment so many seconds (SQL, too) before this one."""
    text = moment.astimezone(UTC).replace(tzinfo=None, microsecond=0).isoformat(" ")
    match connection.vendor:
        case "postgresql":
            return f"(timestamptz '{text}+00' - ({seconds}) * interval '1 second')"
        case "mysql":
            return f"(TIMESTAMP '{text}' - INTERVAL ({seconds}) SECOND)"
        case _:
            return f"datetime('{text}', (-({seconds})) || ' seconds')"


# ── the few that are looked for ─────────────────────────────────────────────────────────────────────────────


def _oldest(at: datetime) -> Workflow:
    run = definitions.retired.using(key="the oldest", labels={"customer": 1}).start(1)
    Workflow.objects.filter(id=run.id).update(created_at=at, started_at=at, due_at=None, paused="odd")
    return Workflow.objects.get(id=run.id)


def _besides(now: datetime) -> None:
    """Leases that hold and leases that have run out, a step that is due, an `on_complete` that has failed."""
    held = [definitions.common.start(n) for n in range(5)]
    Workflow.objects.filter(id__in=[run.id for run in held]).update(
        lease_owner="somebody:1", due_at=now + timedelta(hours=1), started_at=now
    )
    left = [definitions.common.start(n) for n in range(3)]
    Workflow.objects.filter(id__in=[run.id for run in left]).update(
        lease_owner="nobody:1", due_at=now - timedelta(minutes=1), started_at=now
    )
    action = definitions.common.start(9)
    Workflow.objects.filter(id=action.id).update(due_at=None, started_at=now)
    Step.objects.create(
        workflow=action,
        number=1,
        kind="action",
        name="echo",
        function="tests.shop.workflows.double",
        state="pending",
        due_at=now - timedelta(minutes=2),
        created_at=now,
    )
    failed = Workflow.objects.filter(state="canceled").order_by("created_at").values_list("id", flat=True)[:1]
    Workflow.objects.filter(id__in=list(failed)).update(
        on_complete_error_text='{"type": "builtins.ValueError"}'
    )
