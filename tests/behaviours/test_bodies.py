"""What bodies may be and do: async ones, queries that write, mutations with transactions and hooks of their own."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F

from django_workflow import Completed, Failed, StepContext, action, mutation, query, workflow
from django_workflow.exceptions import QueryWrote, StepFailed
from django_workflow.testing import Harness
from tests.behaviours.bodies import CardDeclined, act, as_failure, calls, rows, write
from tests.behaviours.code import deploy, deployed
from tests.engine.committed import committed
from tests.shop.models import Entry

pytestmark = pytest.mark.usefixtures("any_mode")
DAY = timedelta(days=1)


# ── async bodies ────────────────────────────────────────────────────────────────────────────────────────────


@query
async def count_async(label: str) -> int:
    calls.append("count_async")
    await asyncio.sleep(0)
    return await Entry.objects.filter(label=label).acount()


@mutation
async def write_async(label: str) -> int:
    calls.append("write_async")
    await Entry.objects.acreate(label=label)
    return await Entry.objects.filter(label=label).acount()


@mutation
async def write_async_and_decline(label: str) -> None:
    await Entry.objects.acreate(label=label)
    await asyncio.sleep(0)
    raise CardDeclined(label)


@query
async def write_async_in_a_query(label: str) -> None:
    await Entry.objects.acreate(label=label)


@action
async def act_async(value: int) -> list[int]:
    calls.append("act_async")
    return await asyncio.gather(*(asyncio.sleep(0, value + n) for n in range(3)))


def test_async_bodies_of_every_kind_run(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> list[Any]:
        seen: list[Any] = [await step.run_query(count_async, "a")]
        seen.append(await step.run_mutation(write_async, "a"))
        seen.append(await step.run_query(count_async, "a"))
        seen.append(await step.run_action(act_async, 7))
        await step.sleep(DAY)
        return seen

    assert workflow_harness.run(deployed) == Completed([0, 1, 1, [7, 8, 9]])
    assert calls == ["count_async", "write_async", "count_async", "act_async"]
    assert rows("a") == 1


@pytest.mark.parametrize("inline", [None, False])
def test_a_raising_async_mutation_leaves_no_row(workflow_harness: Harness, inline: bool | None) -> None:
    @deploy
    async def handler(step: StepContext) -> list[int]:
        here = step.using(inline=inline)
        await here.run_mutation(write_async, "b")
        try:
            await here.run_mutation(write_async_and_decline, "b")
        except CardDeclined as error:
            failure = as_failure(error)
            assert failure.number == 2
        return [await here.run_query(count_async, "b"), await here.run_mutation(write_async, "b")]

    assert workflow_harness.run(deployed) == Completed([1, 2])
    assert rows("b") == 2


@committed
def test_a_raising_async_mutation_leaves_no_row_after_a_real_commit(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.run_mutation(write_async_and_decline, "c")

    assert isinstance(workflow_harness.run(deployed), Failed)
    assert rows("c") == 0


def test_an_async_query_that_writes_is_refused(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        try:
            await step.run_query(write_async_in_a_query, "d")
        except QueryWrote as error:
            failure = as_failure(error)
            return failure.error.message
        return "not refused"

    run = deployed.start()
    workflow_harness.drain()
    assert "write_async_in_a_query" in workflow_harness.result(run)
    assert rows("d") == 0


# ── queries only read ───────────────────────────────────────────────────────────────────────────────────────


def existing() -> Entry:
    entry = Entry.objects.filter(label="existing").first()
    assert entry is not None
    return entry


def _save() -> None:
    entry = existing()
    entry.value = 99
    entry.save()


def _delete() -> None:
    existing().delete()


def _swallowed() -> None:
    with suppress(Exception):
        Entry.objects.create(label="sneaked in")


def _swallowed_in_atomic() -> None:
    try:
        with transaction.atomic():
            Entry.objects.create(label="sneaked in")
    except BaseException:  # noqa: BLE001, S110  what is shown
        pass


def _raw(sql: str) -> Callable[[], None]:
    def body() -> None:
        with connection.cursor() as cursor:
            cursor.execute(sql)

    return body


def _many() -> None:
    with connection.cursor() as cursor:
        cursor.executemany("UPDATE shop_entry SET value = %s", [[5], [6]])


WRITES: dict[str, Callable[[], Any]] = {
    "create": lambda: Entry.objects.create(label="sneaked in"),
    "save": _save,
    "delete": _delete,
    "update": lambda: Entry.objects.update(value=99),
    "update with F": lambda: Entry.objects.update(value=F("value") + 1),
    "delete of a queryset": lambda: Entry.objects.all().delete(),
    "bulk_create": lambda: Entry.objects.bulk_create([Entry(label="sneaked in")]),
    "bulk_update": lambda: Entry.objects.bulk_update([existing()], ["value"]),
    "get_or_create": lambda: Entry.objects.get_or_create(label="sneaked in"),
    "update_or_create": lambda: Entry.objects.update_or_create(label="sneaked in"),
    "raw insert": _raw(
        "INSERT INTO shop_entry (label, value, created) VALUES ('sneaked in', 1, '2031-01-01')"
    ),
    "raw update": _raw("  /* a comment */ update shop_entry set value = 99"),
    "raw delete": _raw("-- a comment\nDELETE FROM shop_entry"),
    "executemany": _many,
    "swallowed": _swallowed,
    "swallowed in atomic": _swallowed_in_atomic,
    "starts a workflow": lambda: deployed.start(),
}


def write_in_a_query(how: str) -> str:
    calls.append(how)
    WRITES[how]()
    return "not refused"


@pytest.mark.parametrize("inline", [None, False])
def test_a_query_that_writes_is_refused_and_nothing_is_written(
    workflow_harness: Harness, inline: bool | None
) -> None:
    @deploy
    async def handler(step: StepContext) -> dict[str, str]:
        told = {}
        for how in sorted(WRITES):
            try:
                told[how] = await step.using(inline=inline).run_query(write_in_a_query, how)
            except QueryWrote as error:
                failure = as_failure(error)
                told[how] = failure.error.message
        await step.run_mutation(write, "went on")
        return told

    Entry.objects.create(label="existing", value=7)
    run = deployed.start()
    workflow_harness.drain()
    told = workflow_harness.result(run)
    assert sorted(told) == sorted(WRITES)
    for how, message in told.items():
        assert "write_in_a_query" in message, how
        assert "mutation" in message, how
    assert list(Entry.objects.order_by("id").values_list("label", "value")) == [
        ("existing", 7),
        ("went on", 0),
    ]
    assert [call for call in calls if call in WRITES] == sorted(WRITES)
    assert workflow.list().count() == 1


@committed
@pytest.mark.parametrize("after_a_mutation", [False, True])
@pytest.mark.parametrize("how", ["create", "swallowed", "swallowed in atomic", "bulk_update", "raw delete"])
def test_a_query_that_writes_is_refused_where_no_transaction_is_around_it(
    workflow_harness: Harness, how: str, after_a_mutation: bool
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        if after_a_mutation:
            await step.run_mutation(write, "before")
        try:
            return await step.run_query(write_in_a_query, how)
        except QueryWrote:
            await step.run_mutation(write, "went on")
            return "refused"

    Entry.objects.create(label="existing", value=7)
    run = deployed.start()
    workflow_harness.drain()
    assert workflow_harness.result(run) == "refused"
    before = [("before", 0)] if after_a_mutation else []
    assert list(Entry.objects.order_by("id").values_list("label", "value")) == [
        ("existing", 7),
        *before,
        ("went on", 0),
    ]


@query
def read_in_every_way() -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute("WITH found AS (SELECT value FROM shop_entry) SELECT COUNT(*) FROM found")
        counted = cursor.fetchone()[0]
    with transaction.atomic():
        labels = list(Entry.objects.values_list("label", flat=True).iterator(chunk_size=1))
    return [
        counted,
        labels,
        Entry.objects.filter(label__contains="insert into x").exists(),
        Entry.objects.select_related(None).count(),
    ]


def test_a_query_may_read_in_every_way(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.run_mutation(write, "update shop_entry set")
        return await step.run_query(read_in_every_way)

    assert workflow_harness.run(deployed) == Completed([1, ["update shop_entry set"], False, 1])


# ── mutations: transactions and hooks of their own ──────────────────────────────────────────────────────────


@mutation
def write_with_inner_atomics(label: str) -> int:
    Entry.objects.create(label=label)
    with transaction.atomic():
        Entry.objects.create(label=label)
        try:
            with transaction.atomic():
                Entry.objects.create(label="rolled back")
                raise CardDeclined
        except CardDeclined:
            pass
        Entry.objects.create(label=label)
    return Entry.objects.filter(label=label).count()


def test_a_mutation_may_use_atomic_blocks_of_its_own(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> int:
        return await step.run_mutation(write_with_inner_atomics, "inner")

    assert workflow_harness.run(deployed) == Completed(3)
    assert (rows("inner"), rows("rolled back")) == (3, 0)


@mutation
def write_then_set_rollback(label: str) -> None:
    Entry.objects.create(label=label)
    transaction.set_rollback(True)


def test_a_mutation_that_asks_for_a_rollback_loses_its_own_writes_alone(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.run_mutation(write, "before")
        try:
            await step.run_mutation(write_then_set_rollback, "gone")
        except StepFailed:
            await step.run_mutation(write, "after")
            return "failed"
        return "not told"

    assert workflow_harness.run(deployed) == Completed("failed")
    assert (rows("before"), rows("gone"), rows("after")) == (1, 0, 1)


@mutation
def write_with_hooks(label: str) -> None:
    Entry.objects.create(label=label)
    transaction.on_commit(lambda: calls.append(f"hook of {label}: {rows(label)}"))


@mutation
def write_with_a_raising_hook(label: str) -> None:
    def hook() -> None:
        calls.append(f"raising hook of {label}")
        raise RuntimeError("a hook")

    Entry.objects.create(label=label)
    transaction.on_commit(hook)


@mutation
def write_with_a_hook_and_decline(label: str) -> None:
    transaction.on_commit(lambda: calls.append("hook of a failed mutation"))
    raise CardDeclined(label)


@committed
def test_on_commit_hooks_of_a_mutation_run_once_after_the_commit(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.run_mutation(write_with_hooks, "hooked")
        await step.run_action(act, "between")
        try:
            await step.run_mutation(write_with_a_hook_and_decline, "no")
        except CardDeclined:
            await step.run_mutation(write_with_hooks, "again")
        await step.sleep(DAY)
        await step.sleep(DAY)

    assert workflow_harness.run(deployed) == Completed(None)
    assert [call for call in calls if "hook" in str(call)] == ["hook of hooked: 1", "hook of again: 1"]
    assert calls.index("hook of hooked: 1") < calls.index(("act", "between"))


@committed
@pytest.mark.parametrize("inline", [None, False])
def test_a_raising_hook_harms_nobody(
    workflow_harness: Harness, inline: bool | None, caplog: pytest.LogCaptureFixture
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        here = step.using(inline=inline)
        await here.run_mutation(write_with_a_raising_hook, "raising")
        await here.run_mutation(write_with_hooks, "after it")
        return "ended"

    assert workflow_harness.run(deployed) == Completed("ended")
    assert (rows("raising"), rows("after it")) == (1, 1)
    assert calls.count("raising hook of raising") == 1
    assert calls.count("hook of after it: 1") == 1
    assert "a hook" in caplog.text


@mutation
def start_another(label: str) -> str:
    return str(workflow.start("shop.echo", label).id)


@mutation
def start_another_and_decline(label: str) -> None:
    workflow.start("shop.echo", label)
    raise CardDeclined(label)


def test_a_mutation_may_start_workflows_which_exist_if_it_completes(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        with suppress(CardDeclined):
            await step.run_mutation(start_another_and_decline, "never")
        return await step.run_mutation(start_another, "other")

    run = deployed.start()
    workflow_harness.drain()
    other = workflow_harness.result(run)
    assert workflow.status(other) == Completed("other")
    assert [str(each.id) for each in workflow.list("shop.echo")] == [other]


def raise_keyboard_interrupt() -> None:
    calls.append("interrupted")
    if calls.count("interrupted") == 1:
        raise KeyboardInterrupt


def test_a_keyboard_interrupt_in_an_action_is_the_processes_own_and_the_action_is_attempted_again(
    workflow_harness: Harness,
) -> None:
    @deploy
    async def handler(step: StepContext) -> str:
        await step.run_action(raise_keyboard_interrupt)
        return "ended"

    run = deployed.start()
    with pytest.raises(KeyboardInterrupt):
        workflow_harness.drain()
    workflow_harness.advance(timedelta(seconds=31))
    assert workflow_harness.result(run) == "ended"
    (step,) = workflow_harness.journal(run)
    assert step.attempts == 2
    assert [attempt["outcome"] for attempt in step.history] == ["interrupted", "completed"]
