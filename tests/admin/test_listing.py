"""The list of workflows: what a row says, what is above it, what is found, what it costs, and who may see it."""

import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape

from django_workflow import Event, StepContext, WorkflowManager, action, mutation, workflow
from django_workflow.admin.attention import COUNTED
from django_workflow.admin.finding import short
from django_workflow.admin.reach import REACH
from django_workflow.models import Process, Step, Workflow
from django_workflow.testing import Harness
from tests.load import tables
from tests.shop.workflows import echo, steps_of_all_kinds

LIST = "admin:django_workflow_workflow_changelist"
DETAIL = "admin:django_workflow_workflow_change"
HOSTILE = "<script>alert(1)</script>"

elsewhere = WorkflowManager("listing elsewhere", cluster="listing's other cluster")


@action
def refuse(text: str) -> None:
    raise ValueError(text)


@mutation
def refuse_to_end(workflow_id: str, result: Any, context: Any) -> None:
    raise RuntimeError("no mail today")


@workflow.define(name="listing.fails")
async def fails(step: StepContext, text: str) -> None:
    await step.run_action(refuse, text)


@workflow.define(name="listing.waits")
async def waits(step: StepContext, name: str) -> Any:
    return await step.wait_for_event(name)


@workflow.define(name="listing.parent")
async def parent(step: StepContext) -> Any:
    return await step.run_workflow(waits, "delivered")


@elsewhere.define(name="listing.elsewhere")
async def runs_elsewhere(step: StepContext) -> None:
    return None


@pytest.fixture
def reader(client: Client, db: None) -> Client:
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_workflow"))
    client.force_login(user)
    return client


def page(client: Client, **query: str) -> str:
    answer = client.get(reverse(LIST), query)
    assert answer.status_code == 200, answer
    return answer.content.decode()


def rows(client: Client, **query: str) -> list[str]:
    """The ids in the list, in its order."""
    listed = page(client, **query)
    return re.findall(r'class="workflow-id" title="([0-9a-f-]{36})"', listed)


def text(html: str) -> str:
    """What a reader sees of it, roughly."""
    return unescape(" ".join(re.sub(r"<[^>]+>", "", html).split()))


# ── what a row says ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_row_tells_state_times_and_parent(reader: Client, workflow_harness: Harness) -> None:
    run = parent.start()
    workflow_harness.drain()
    child = Workflow.objects.get(parent=run)
    listed = page(reader)
    assert short(run.id) in listed
    said = text(listed)
    assert 'waiting for workflow "waits"' in said
    assert 'waiting for event "delivered" since' in said
    assert "just now" in said
    # The child's row links its parent.
    assert f'<a href="{reverse(DETAIL, args=[run.id])}">listing.parent</a>' in listed
    child.send_event("delivered", 1)
    workflow_harness.drain()
    said = text(page(reader))
    assert said.count("completed") >= 2
    assert "waiting for" not in said


def test_a_row_tells_when_it_started_and_what_it_took(reader: Client, workflow_harness: Harness) -> None:
    run = waits.start("paid")
    workflow_harness.drain()
    now = workflow.now()
    Workflow.objects.filter(pk=run.pk).update(started_at=now - timedelta(days=2, hours=4, minutes=10))
    said = text(page(reader))
    assert "2 d 4 h ago" in said
    assert said.count("2 d 4 h") == 2  # it still runs
    Workflow.objects.filter(pk=run.pk).update(
        state="completed", due_at=None, completed_at=now - timedelta(days=2, hours=4, minutes=9, seconds=29)
    )
    said = text(page(reader))
    assert "31 s" in said
    assert said.count("2 d 4 h") == 1


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda: steps_of_all_kinds.start("apple"), "sleeping until "),
        (lambda: waits.start("paid").cancel("the customer left"), "canceled: the customer left"),
        (lambda: fails.start("card declined"), "failed: ValueError: card declined"),
    ],
    ids=["sleeping", "canceled", "failed"],
)
def test_a_row_says_what_it_waits_for_or_how_it_ended(
    reader: Client, workflow_harness: Harness, prepare: Callable[[], object], said: str
) -> None:
    prepare()
    workflow_harness.drain()
    assert said in text(page(reader))


def test_a_paused_cluster_shows_in_its_rows_and_above(reader: Client, workflow_harness: Harness) -> None:
    waits.start("paid")
    runs_elsewhere.start()
    workflow.pause("moving house", cluster=elsewhere.cluster)
    said = text(page(reader))
    assert said.count("paused: moving house") == 1 + 1  # the row, and the line above the list
    assert f'cluster "{elsewhere.cluster}" is paused: moving house' in said
    assert "waiting for its first turn" in said


def test_a_parked_workflow_says_why(reader: Client, workflow_harness: Harness) -> None:
    run = waits.start("paid")
    workflow_harness.drain()
    Workflow.objects.filter(pk=run.pk).update(paused="its code changed", due_at=None)
    assert "paused: its code changed" in text(page(reader))


def test_a_later_start_says_when(reader: Client, workflow_harness: Harness) -> None:
    waits.using(run_after=timedelta(days=400)).start("paid")
    said = text(page(reader))
    assert "starts at " in said
    assert "not yet" in said


def test_several_steps_are_counted(reader: Client, workflow_harness: Harness) -> None:
    run = waits.start("paid")
    workflow_harness.drain()
    first = Step.objects.get(workflow=run)
    for number in (2, 3):
        Step.objects.create(
            workflow=run,
            number=number,
            kind="event",
            name="other",
            state="pending",
            created_at=first.created_at,
        )
    said = text(page(reader))
    assert 'waiting for event "paid" since' in said
    assert "and 2 more steps" in said
    assert '"other"' not in said


def test_hostile_text_is_text(reader: Client, workflow_harness: Harness) -> None:
    Event(HOSTILE)
    fails.start(HOSTILE)
    waits.start(HOSTILE)
    waits.start("paid").cancel(HOSTILE)
    workflow.pause(HOSTILE, cluster=HOSTILE)
    workflow_harness.drain()
    listed = page(reader, q=HOSTILE[:20])
    assert "<script>alert" not in listed
    listed = page(reader)
    assert "<script>alert" not in listed
    assert listed.count(escape(HOSTILE)) >= 4


def test_no_payload_is_in_the_list_or_fetched_for_it(reader: Client, workflow_harness: Harness) -> None:
    echo.start("the canary")
    workflow_harness.drain()
    with CaptureQueriesContext(
        connection,
    ) as captured:
        listed = page(reader)
    assert "the canary" not in listed
    payloads = [f'"{name}"' for name in ("args", "result", "custom", "context", "on_complete_error")]
    selects = [
        query["sql"].replace("`", '"').partition(" FROM ")[0]
        for query in captured.captured_queries
        if "django_workflow_workflow" in query["sql"]
    ]
    assert selects
    assert not [sql for sql in selects for name in payloads if f".{name}" in sql]


def test_a_lookup_in_the_address_can_not_guess_at_payloads(reader: Client, workflow_harness: Harness) -> None:
    echo.start("the canary")
    answer = reader.get(reverse(LIST), {"args_text__contains": "canary"})
    assert answer.status_code == 400


# ── above the list ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_health_line(reader: Client, workflow_harness: Harness) -> None:
    Process.objects.exclude(cluster="").delete()
    said = text(page(reader))
    assert "Health: look at this · nothing is due · 0 clusters, 0 workers, 0 busy" in said
    assert "no ticker leads: is a cluster running?" in said


def test_a_definition_that_no_worker_knows_is_named(reader: Client, workflow_harness: Harness) -> None:
    waits.start("paid")
    Workflow.objects.update(due_at=workflow.now() - timedelta(minutes=5))
    said = text(page(reader))
    assert "no live worker knows 'listing.waits' v1: restart qcluster?" in said
    assert "due work has waited for 5 min" in said


def attention(client: Client) -> dict[str, str]:
    """The links above the list: where they lead, and what they say."""
    listed = page(client)
    line = re.search(r'<p class="workflow-attention">(.*?)</p>', listed, re.DOTALL)
    return {} if line is None else dict(re.findall(r'<a href="\?attention=(\w+)">([^<]+)</a>', line[1]))


def test_nothing_needs_attention(reader: Client, workflow_harness: Harness) -> None:
    waits.start("paid")
    workflow_harness.drain()
    assert attention(reader) == {}


def test_what_needs_attention_is_counted_and_filtered(reader: Client, workflow_harness: Harness) -> None:
    failed, old = fails.start("no"), fails.start("no")
    parked, due = waits.start("paid"), waits.start("paid")
    unended = echo.using(on_complete=refuse_to_end).start(1)
    workflow_harness.drain()
    long_ago = workflow.now() - timedelta(hours=25)
    Workflow.objects.filter(pk=old.pk).update(completed_at=long_ago)
    Workflow.objects.filter(pk=parked.pk).update(paused="odd", due_at=None)
    Workflow.objects.filter(pk=due.pk).update(due_at=long_ago)
    assert attention(reader) == {
        "failed": "1 failed (24 h)",
        "paused": "1 paused",
        "due": escape("1 due for > 1 min"),
        "on_complete": "1 on_complete failed",
    }
    found = {slug: rows(reader, attention=slug) for slug in attention(reader)}
    assert found == {
        "failed": [str(failed.id)],
        "paused": [str(parked.id)],
        "due": [str(due.id)],
        "on_complete": [str(unended.id)],
    }


def test_counts_stop_at_their_limit(reader: Client, workflow_harness: Harness) -> None:
    fails.start("no")
    workflow_harness.drain()
    copies(Workflow.objects.get(), COUNTED + 1)
    assert attention(reader) == {"failed": "100+ failed (24 h)"}


# ── filters and search ──────────────────────────────────────────────────────────────────────────────────────


def test_filters(reader: Client, workflow_harness: Harness) -> None:
    failed, waiting, other = fails.start("no"), waits.start("paid"), runs_elsewhere.start()
    workflow_harness.drain()
    Workflow.objects.filter(pk=waiting.pk).update(created_at=workflow.now() - timedelta(hours=2))
    assert rows(reader, state="failed") == [str(failed.id)]
    assert rows(reader, definition="listing.waits") == [str(waiting.id)]
    assert set(rows(reader, created="1h")) == {str(failed.id), str(other.id)}
    assert set(rows(reader, created="24h")) == {str(failed.id), str(other.id), str(waiting.id)}
    assert rows(reader, cluster=f"cluster:{elsewhere.cluster}") == [str(other.id)]
    assert set(rows(reader, cluster="cluster:")) == {str(failed.id), str(waiting.id)}
    assert rows(reader, cluster="cluster:", state="failed") == [str(failed.id)]


@pytest.mark.parametrize("query", ["state=lost", "created=1y", "attention=x", "cluster=x"])
def test_what_is_no_choice_shows_everything(reader: Client, workflow_harness: Harness, query: str) -> None:
    answer = reader.get(f"{reverse(LIST)}?{query}")
    assert (answer.status_code, answer["Location"]) == (302, f"{reverse(LIST)}?e=1")


@pytest.mark.parametrize(
    "query", ["definition=%00", "q=%00", "p=9999", "p=x", "o=9.-1.x", "all=", "_facets=True"]
)
def test_a_nonsensical_address_is_no_error(reader: Client, workflow_harness: Harness, query: str) -> None:
    waits.start("paid")
    assert reader.get(f"{reverse(LIST)}?{query}", follow=True).status_code == 200


def test_the_choices_come_from_the_code(reader: Client, workflow_harness: Harness) -> None:
    waits.start("paid")
    Workflow.objects.update(definition="gone.with_its_code")
    listed = page(reader)
    assert "?definition=listing.fails" in listed  # of which there is none
    assert "?definition=gone.with_its_code" not in listed
    assert rows(reader, definition="gone.with_its_code") == [str(Workflow.objects.get().id)]


def test_search(reader: Client, workflow_harness: Harness) -> None:
    run = waits.using(key="Order 1").start("paid")
    other = fails.start("no")
    wanted = [str(run.id)]
    assert rows(reader, q=str(run.id)) == wanted
    assert rows(reader, q=f" {run.id.hex} ") == wanted
    assert rows(reader, q=short(run.id)) == wanted
    assert rows(reader, q=str(run.id)[:-2]) == wanted
    assert set(rows(reader, q=run.id.hex[:6])) == {str(run.id), str(other.id)}  # begun in the same hours
    assert rows(reader, q="Order 1") == wanted
    assert rows(reader, q="order 1") == []  # a key is exact
    assert rows(reader, q="ING.WAIT") == wanted
    assert rows(reader, q=str(uuid.uuid4())) == []
    assert rows(reader, q="ffffff") == []
    assert rows(reader, q="%") == []
    assert rows(reader, q="listing.waits", state="failed") == []


def test_search_finds_the_name_of_a_definition_that_is_gone(
    reader: Client, workflow_harness: Harness
) -> None:
    run = waits.start("paid")
    Workflow.objects.update(definition="gone.with_its_code")
    assert rows(reader, q="gone.with_its_code") == [str(run.id)]


# ── cost ────────────────────────────────────────────────────────────────────────────────────────────────────


def copies(run: Workflow, count: int, **changed: Any) -> None:
    """Rows like this one, each a bit older than the one before."""
    written = [field.attname for field in Workflow._meta.concrete_fields if not field.generated]
    fields = {name: getattr(run, name) for name in written}
    made = (
        Workflow(
            **{
                **fields,
                "id": uuid.UUID(int=run.id.int - ((number + 1) << 64)),
                "created_at": run.created_at - timedelta(seconds=number + 1),
                **changed,
            }
        )
        for number in range(count)
    )
    Workflow.objects.bulk_create(made, batch_size=1000)


def many_older(run: Workflow, count: int) -> None:
    """The same by one statement."""
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET SESSION max_recursive_iterations = {count + 1}")
    at = tables.ago(run.created_at, "n + 1")
    tables.copy(Workflow, run.id, count, {"id": tables.id_of(1, "n"), "created_at": at})


def statements(client: Client, **query: str) -> list[str]:
    page(client, **query)  # content types and the like are cached
    with CaptureQueriesContext(connection) as captured:
        page(client, **query)
    return [each["sql"] for each in captured.captured_queries]


def test_a_hundred_rows_cost_as_many_statements_as_one(reader: Client, workflow_harness: Harness) -> None:
    run = waits.start("paid")
    workflow_harness.drain()
    one = statements(reader)
    stored, step = Workflow.objects.get(pk=run.pk), Step.objects.get()
    copies(stored, 120, parent_id=run.pk)
    made = [
        Step(workflow_id=pk, number=1, kind="event", name="paid", created_at=step.created_at)
        for pk in Workflow.objects.exclude(pk=run.pk).values_list("pk", flat=True)
    ]
    Step.objects.bulk_create(made)
    hundred = statements(reader)
    assert len(rows(reader)) == 100
    assert text(page(reader)).count('waiting for event "paid"') == 100
    assert len(hundred) == len(one) + 1 <= 26  # one for all parents, which the first has none of
    about_steps = [sql for sql in hundred if "ROW_NUMBER" in sql]
    assert len(about_steps) == 1


def test_the_count_and_the_pages_end_at_the_reach_of_the_list(
    reader: Client, workflow_harness: Harness
) -> None:
    echo.start(1)
    workflow_harness.drain()
    many_older(Workflow.objects.get(), REACH + 50)
    said = text(page(reader))
    assert "More than 10,000 workflows" in said
    assert "10051" not in said
    assert len(rows(reader, p="101")) == 1
    assert reader.get(reverse(LIST), {"p": "102"}).status_code == 302
    oldest = Workflow.objects.order_by("created_at").first()
    assert oldest is not None
    Workflow.objects.filter(pk=oldest.pk).update(cluster=elsewhere.cluster)
    # What no index knows is looked for within the reach only; a filter brings it there.
    assert rows(reader, cluster=f"cluster:{elsewhere.cluster}") == []
    Workflow.objects.filter(pk=oldest.pk).update(state="failed")
    assert rows(reader, cluster=f"cluster:{elsewhere.cluster}", state="failed") == [str(oldest.pk)]


@pytest.mark.parametrize(
    ("slug", "marked"),
    [
        ("paused", {"paused": "the code has changed"}),
        ("on_complete", {"state": "completed", "on_complete_error_text": '{"type": "builtins.ValueError"}'}),
    ],
)
def test_what_needs_attention_is_found_however_old_it_is(
    reader: Client, workflow_harness: Harness, slug: str, marked: dict[str, Any]
) -> None:
    echo.start(1)
    workflow_harness.drain()
    many_older(Workflow.objects.get(), REACH + 50)
    oldest = Workflow.objects.order_by("created_at").first()
    assert oldest is not None
    Workflow.objects.filter(pk=oldest.pk).update(**marked)
    assert f'<a href="?attention={slug}">1 ' in page(reader)
    assert rows(reader, attention=slug) == [str(oldest.pk)]
    if connection.vendor != "mysql":  # whose ANALYZE commits, and which counts by itself
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    asked = [
        sql
        for sql in statements(reader, attention=slug)
        if f"attention\" = '{slug}'" in sql.replace("`", '"')
    ]
    assert len(asked) == 3  # the page, its count, and the count above the list
    assert [sql for sql in asked if "workflow_attention" not in explained(sql)] == []


SHOWN: list[dict[str, str]] = [
    {},
    {"p": "50"},
    {"state": "failed"},
    {"state": "in_progress"},
    {"definition": "listing.waits"},
    {"created": "24h"},
    {"cluster": f"cluster:{elsewhere.cluster}"},
    {"attention": "failed"},
    {"attention": "paused"},
    {"attention": "due"},
    {"attention": "on_complete"},
    {"q": "listing.waits"},
    {"q": "a key"},
    {"q": "0193f2"},
]


@pytest.mark.postgres
def test_no_statement_scans_the_table(reader: Client, workflow_harness: Harness) -> None:
    run = echo.start(1)
    waits.start("paid")
    fails.start("no")
    workflow_harness.drain()
    many_more(run.id, 100_000)
    scanned = [
        f"{query}\n{sql}\n{plan}"
        for query in SHOWN
        for sql in statements(reader, **query)
        if sql.startswith(("SELECT", "(SELECT", "WITH")) and "django_workflow_workflow" in sql
        if "Seq Scan on django_workflow_workflow" in (plan := explained(sql))
    ]
    assert not scanned, "\n\n".join(scanned)


def many_more(pk: uuid.UUID, count: int) -> None:
    """Rows like this one, each a minute older than the one before; the planner is told of them."""
    columns = [str(field.column) for field in Workflow._meta.concrete_fields if not field.generated]
    chosen = {
        "id": "gen_random_uuid()",
        "created_at": "created_at - n * interval '1 minute'",
        "completed_at": "completed_at - n * interval '1 minute'",
    }
    names = ", ".join(f'"{column}"' for column in columns)
    values = ", ".join(chosen.get(column, f'"{column}"') for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO django_workflow_workflow ({names})"  # noqa: S608  the names are the model's own
            f" SELECT {values} FROM django_workflow_workflow, generate_series(1, %s) n WHERE id = %s",
            [count, pk],
        )
        cursor.execute("ANALYZE django_workflow_workflow")


def explained(sql: str) -> str:
    """The plan of a statement."""
    with connection.cursor() as cursor:
        cursor.execute(f"{EXPLAIN.get(connection.vendor, 'EXPLAIN')} {sql}")
        return "\n".join(" ".join(map(str, row)) for row in cursor.fetchall())


EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN"}


# ── who may see it, and that nothing changes ────────────────────────────────────────────────────────────────


def test_who_may_see_the_list(client: Client, db: None) -> None:
    assert client.get(reverse(LIST)).status_code == 302  # to the login
    client.force_login(User.objects.create_user("user"))
    assert client.get(reverse(LIST)).status_code == 302
    staff = User.objects.create_user("staff", is_staff=True)
    client.force_login(staff)
    assert client.get(reverse(LIST)).status_code == 403
    assert "Workflows" not in client.get(reverse("admin:index")).content.decode()
    staff.user_permissions.add(Permission.objects.get(codename="start_workflow"))
    assert client.get(reverse(LIST)).status_code == 403  # who may start may not see for that
    staff.user_permissions.add(Permission.objects.get(codename="view_workflow"))
    assert client.get(reverse(LIST)).status_code == 200


def test_looking_changes_nothing(reader: Client, workflow_harness: Harness) -> None:
    waits.start("paid")
    workflow_harness.drain()
    with CaptureQueriesContext(connection) as captured:
        page(reader, q="listing", state="in_progress", attention="due")
    writes = ("INSERT", "UPDATE", "DELETE")
    assert not [each["sql"] for each in captured.captured_queries if each["sql"].startswith(writes)]


def test_nothing_is_added_changed_or_deleted(admin_client: Client, workflow_harness: Harness) -> None:
    run = steps_of_all_kinds.start("apple")
    workflow_harness.drain()
    before = Workflow.objects.values().get()
    assert admin_client.get(reverse("admin:django_workflow_workflow_add")).status_code == 403
    assert admin_client.post(reverse(DETAIL, args=[run.id]), {"state": "canceled"}).status_code == 403
    assert (
        admin_client.post(reverse("admin:django_workflow_workflow_delete", args=[run.id])).status_code == 403
    )
    assert Workflow.objects.values().get() == before


def test_the_page_holds_nothing_inline(admin_client: Client, workflow_harness: Harness) -> None:
    # A policy without 'unsafe-inline' has to hold.
    waits.start("paid")
    workflow_harness.drain()
    listed = page(admin_client)
    main = listed[listed.index('id="content-main"') :]
    assert not re.findall(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", main)
