"""R31: bodies run in the thread that has the transaction, and the harness has no other thread than the test's."""

import threading
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection

from django_workflow import Completed, StepContext, mutation, query, workflow
from django_workflow.testing import Harness
from tests.shop.models import Entry

seen: list[tuple[int, bool, int]] = []


def note() -> None:
    seen.append((threading.get_ident(), connection.in_atomic_block, id(connection.connection)))


@query
async def look() -> int:
    await sync_to_async(note)()
    return await Entry.objects.acount()


@mutation
async def write() -> int:
    await sync_to_async(note)()
    await Entry.objects.acreate(label="async")
    return await Entry.objects.acount()


@workflow.define(name="threads.async_bodies")
async def async_bodies(step: StepContext, inline: bool | None) -> list[int]:
    using = step.using(inline=inline)
    return [await using.run_mutation(write), await using.run_query(look), await using.run_mutation(write)]


@pytest.mark.parametrize("inline", [None, False])
def test_r31_the_orm_of_async_bodies_runs_in_the_thread_and_on_the_connection_of_the_transaction(
    workflow_harness: Harness, inline: bool | None
) -> None:
    seen.clear()
    assert workflow_harness.run(async_bodies, inline) == Completed([1, 1, 2])
    note()  # inside of the test's own transaction, as the bodies were
    assert set(seen) == {(threading.get_ident(), True, id(connection.connection))}


def test_r31_the_harness_runs_without_a_heartbeat(workflow_harness: Harness) -> None:
    def threads() -> list[str]:
        return [thread.name for thread in threading.enumerate() if "django_workflow" in thread.name]

    before = threads()
    during: list[Any] = []

    def look_around() -> int:
        during.append(threads())
        return 0

    workflow_harness.replace(write, with_=look_around)
    workflow_harness.run(async_bodies, None)
    assert during == [before, before]
