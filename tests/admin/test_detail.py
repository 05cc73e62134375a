"""The page of a workflow, its fragment and the pages of its steps: what they say, to whom, and with how many queries."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_workflow import Retry, StepContext, action, mutation, workflow
from django_workflow.admin.head import progress
from django_workflow.models import Process, Workflow
from django_workflow.testing import Harness
from tests.admin.stage import DETAIL, client_of, everything, user
from tests.shop.workflows import parallel, steps_of_all_kinds

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>\"'&"
CANARY = "canary-5f2b"
# What a body is to do while it runs, and which of them fail.
looks: list[Callable[[], None]] = []
failing: set[str] = set()


@action
def look(text: str) -> str:
    for each in looks:
        each()
    return text


@action
def fail(text: str) -> None:
    raise ValueError(text)


@action
def undo(error: Any, result: Any, text: str) -> None:
    raise ValueError("not now")


@mutation
def told(workflow_id: Any, result: Any, context: Any) -> None:
    if "told" in failing:
        raise ValueError(f"nobody listens to {HOSTILE}")


@workflow.define(name="detail.flaky")
async def flaky(step: StepContext, text: str) -> None:
    retry = Retry(max_attempts=2, initial=60, jitter=False)
    await step.using(retry=retry).run_action(fail, text)


@workflow.define(name="detail.looks")
async def looking(step: StepContext, text: str) -> str:
    return await step.run_action(look, text)


@workflow.define(name="detail.waits", redact=("pin",))
async def waits(step: StepContext, given: Any) -> Any:
    step.set_status(given)
    await step.run_action(look, str(given.get("text", "")))
    await step.wait_for_event("detail.go", timeout=timedelta(days=5))
    got = await step.wait_for_event("detail.go")
    return {"given": given, "got": got}


@workflow.define(name="detail.family")
async def family(step: StepContext, text: str) -> str:
    return await step.run_workflow(looking, text)


@workflow.define(name="detail.undoes")
async def undoes(step: StepContext, text: str) -> None:
    await step.using(rollback=undo).run_action(look, text)
    await step.wait_for_event("detail.never")


@workflow.define(name="detail.tells", on_complete=told)
async def tells(step: StepContext) -> None:
    return None


@pytest.fixture(autouse=True)
def a_clean_slate() -> Iterator[None]:
    looks.clear()
    failing.clear()
    yield
    looks.clear()
    failing.clear()


@pytest.fixture
def boss(db: None) -> Client:
    return client_of(User.objects.create_superuser("boss"))


@pytest.fixture
def reader(db: None) -> Client:
    return client_of(user("reader", "view_workflow"))


def address(run: Workflow) -> str:
    return reverse(DETAIL, args=[run.pk])


def fragment(run: Workflow) -> str:
    return reverse("admin:django_workflow_workflow_fragment", args=[run.pk])


def step_page(run: Workflow, number: int) -> str:
    return reverse("admin:django_workflow_workflow_step", args=[run.pk, number])


def text(client: Client, where: str) -> str:
    response = client.get(where)
    assert response.status_code == 200
    return response.content.decode()


def words(html: str) -> str:
    """A page as it is read: without tags, blanks run together."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def cells(html: str) -> list[list[str]]:
    """The timeline's rows by column, the bars left out."""
    table = html[html.index('<table class="workflow-timeline">') :]
    body = table[table.index("<tbody>") : table.index("</tbody>")]
    rows = re.findall(r"<tr.*?</tr>", body, re.DOTALL)
    return [[words(cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)][:6] for row in rows]


# ── the head ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_head_says_what_it_is_and_what_it_waits_for(boss: Client, workflow_harness: Harness) -> None:
    run = waits.using(key="order-1", labels={"customer": 42}, priority=5).start({})
    workflow_harness.drain()
    page = words(text(boss, address(run)))
    assert "waiting for event &quot;detail.go&quot;" in page
    assert re.search(r"\(times out in (5 d|4 d 23 h)\)", page)
    for fact in (
        f"ID {run.pk}",
        "Key order-1",
        "Labels customer = 42",
        "Version 1",
        "Cluster default",
        "Priority 5",
        "Created 20",
        "Started 20",
        "Runs for",
        "executing)",
    ):
        assert fact in page
    assert "Ended 20" not in page


def test_custom_status_is_a_bar_where_it_says_how_far_it_is(boss: Client, workflow_harness: Harness) -> None:
    run = waits.start({"done": 3, "of": 10})
    workflow_harness.drain()
    page = text(boss, address(run))
    assert 'max="10" value="3"' in page
    assert "3 of 10" in page


@pytest.mark.parametrize(
    ("custom", "bar"),
    [
        ({"done": 3, "of": 10}, ("3", "10")),
        ({"done": 12, "of": 10}, ("10", "10")),
        ({"done": -1, "of": 10}, ("0", "10")),
        ({"done": 0.5, "of": 1}, ("0.5", "1")),
        ({"done": 3, "of": 0}, None),
        ({"done": True, "of": 10}, None),
        ({"done": "3", "of": "10"}, None),
        ({"done": 3}, None),
        ({"done": 10**400, "of": 10**401}, None),
        ([3, 10], None),
        (None, None),
    ],
)
def test_what_makes_a_bar(custom: Any, bar: tuple[str, str] | None) -> None:
    found = progress(custom)
    assert (found and (found.done, found.of)) == bar


def test_paused_canceling_and_canceled_say_why(boss: Client, workflow_harness: Harness) -> None:
    run = undoes.start("apple")
    workflow_harness.drain()
    workflow.pause("the backup <b>runs</b>")
    page = text(boss, address(run))
    assert "paused" in words(page)
    assert "the backup &lt;b&gt;runs&lt;/b&gt;" in page
    workflow.resume()

    run.cancel("sold out", rollback=True)
    page = words(text(boss, address(run)))
    assert "canceling" in page
    assert "Its rollbacks run; then it is canceled." in page
    assert "Reason sold out" in page

    other = waits.start({})
    other.cancel("a mistake")
    page = words(text(boss, address(other)))
    assert "Reason a mistake" in page
    assert "Ended 20" in page


def test_a_start_that_is_put_off_says_when_it_is_due(boss: Client, workflow_harness: Harness) -> None:
    run = waits.using(run_after=timedelta(days=2)).start({})
    page = words(text(boss, address(run)))
    assert "starts at" in page
    assert re.search(r"Due 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d \(in (2 d|1 d 23 h)\)", page)
    assert "No step yet." in page


def test_a_failure_of_on_complete_is_shown(boss: Client, workflow_harness: Harness) -> None:
    failing.add("told")
    run = tells.start()
    workflow_harness.drain()
    page = text(boss, address(run))
    assert "on_complete failed" in page
    assert "builtins.ValueError: nobody listens to &lt;script&gt;" in page


def test_parents_and_children_link_to_each_other(boss: Client, workflow_harness: Harness) -> None:
    run = family.start("apple")
    workflow_harness.drain()
    child = Workflow.objects.get(parent=run)
    page = text(boss, address(run))
    assert page.count(f'href="{address(child)}"') == 2  # in its row, and among the children
    assert "1 child" in words(page)
    assert f'href="{address(run)}"' in text(boss, address(child))
    assert f'href="{address(child)}"' in text(boss, step_page(run, 1))


# ── the timeline ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_timeline_is_one_table_that_says_what_its_bars_show(
    boss: Client, workflow_harness: Harness
) -> None:
    run = steps_of_all_kinds.start("apple")
    workflow_harness.drain()
    workflow_harness.advance(timedelta(days=30))
    page = text(boss, address(run))
    assert page.count('<table class="workflow-timeline">') == 1
    assert 'tabindex="0" role="region" aria-labelledby="workflow-timeline"' in page
    assert "<caption><span>5 steps, in the order in which the handler asked." in page
    assert page.count('<th scope="row" class="workflow-step">') == 5
    assert [row[:3] for row in cells(page)] == [
        ["1 count_entries", "query", "completed"],
        ["2 add_entry", "mutation", "completed"],
        ["3 double", "action", "completed"],
        ["4 sleep", "sleep", "completed"],
        ["5 add_entry", "mutation", "completed"],
    ]
    assert cells(page)[3][5] == "30 d"
    assert cells(page)[4][3] == "+30 d"


def test_every_row_has_one_drawing_with_whole_numbers(boss: Client, workflow_harness: Harness) -> None:
    run = steps_of_all_kinds.start("apple")
    workflow_harness.drain()
    page = text(boss, address(run))
    head = '<svg viewBox="0 0 1000 18" preserveAspectRatio="none" aria-hidden="true"'
    assert page.count(head) == len(cells(page)) == 4
    rects = re.findall(r'<rect class="workflow-bar [^"]*" x="([^"]*)" y="3" width="([^"]*)"', page)
    assert len(rects) >= 4
    for x, width in rects:
        assert 0 <= int(x) < int(x) + int(width) <= 1000
    assert "workflow-bar-wait workflow-is-pending workflow-bar-open" in page


def test_attempts_are_rows_and_the_next_one_is_announced(boss: Client, workflow_harness: Harness) -> None:
    run = flaky.start("no luck")
    workflow_harness.drain()
    first, second = cells(text(boss, address(run)))
    assert first[0] == "1 fail"
    assert first[2] == "failed ValueError: no luck"
    assert second[0] == "1 fail, attempt 2"
    assert second[2] == "pending"
    assert second[4].endswith(", still")
    assert "Next attempt" in text(boss, step_page(run, 1))

    workflow_harness.advance(timedelta(minutes=2))
    first, second = cells(text(boss, address(run)))
    assert (first[0], second[0]) == ("1 fail", "1 fail, attempt 2")
    assert second[2] == "failed ValueError: no luck"
    assert second[4] == "2 min"


def test_over_two_hundred_steps_there_are_pages(boss: Client, workflow_harness: Harness) -> None:
    run = parallel.start(list(range(203)))
    workflow_harness.drain()
    page = text(boss, address(run))
    assert len(cells(page)) == 200
    assert "Page 1 of 2" in page
    assert f'href="{address(run)}?page=2"' in page
    page = text(boss, f"{address(run)}?page=2")
    assert [row[0] for row in cells(page)] == ["201 double", "202 double", "203 double"]
    assert f'data-url="{fragment(run)}?page=2"' in page
    for nonsense in ("0", "-1", "x", "99999999999999999999"):
        assert boss.get(f"{address(run)}?page={nonsense}").status_code == 200


@pytest.mark.parametrize("where", [address, fragment])
def test_as_many_queries_for_two_hundred_steps_as_for_three(
    where: Callable[[Workflow], str], boss: Client, workflow_harness: Harness
) -> None:
    few, many = parallel.start([1, 2, 3]), parallel.start(list(range(200)))
    workflow_harness.drain()
    boss.get(where(few))  # content types are looked up once
    captured = []
    for run, steps in ((few, 3), (many, 200)):
        with CaptureQueriesContext(connection) as queries:
            page = text(boss, where(run))
        assert len(cells(page)) == steps
        captured.append([query["sql"] for query in queries])
    assert len(captured[0]) == len(captured[1]) <= 17
    values = re.compile(r"workflow_step[`\"]\.[`\"](result|args)[`\"]")
    assert not [sql for sql in captured[1] if values.search(sql)]


# ── a step ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_step_shows_its_attempts_and_values(boss: Client, workflow_harness: Harness) -> None:
    run = flaky.start("no luck")
    workflow_harness.drain()
    workflow_harness.advance(timedelta(minutes=2))
    page = words(text(boss, step_page(run, 1)))
    assert "Step 1: fail" in page
    assert page.count("builtins.ValueError: no luck") == 3  # of two attempts, and the step's own
    assert page.count("Traceback (most recent call last)") == 3
    assert "&quot;text&quot;: &quot;no luck&quot;" in page
    assert "tests.admin.test_detail.fail" in page


def test_a_running_step_names_its_process(boss: Client, workflow_harness: Harness) -> None:
    run = looking.start("apple")
    seen: list[str] = []

    def see() -> None:
        # The step runs inside a turn: the lease is its workflow's.
        token = workflow.get(run).lease_owner
        assert token is not None
        _known_as(UUID(token.partition(":")[0]), "worker-7.example", 4711)
        seen.extend([text(boss, address(run)), text(boss, step_page(run, 1))])

    looks.append(see)
    workflow_harness.drain()
    assert len(seen) == 2
    for page in seen:
        assert "Worker worker-7.example:4711" in words(page)
    assert "worker-7.example" not in text(boss, step_page(run, 1))


def _known_as(process: UUID, host: str, pid: int) -> None:
    # The row of this process may have gone with the transaction of an earlier test.
    facts = {"host": host, "pid": pid, "started_at": workflow.now(), "seen_at": workflow.now()}
    Process.objects.update_or_create(id=process, defaults=facts)


def test_a_step_links_to_restart_and_fork_from_it(workflow_harness: Harness) -> None:
    run = looking.start("apple")
    workflow_harness.drain()
    pages = {
        verb: reverse(f"admin:django_workflow_workflow_{verb}", args=[run.pk]) for verb in ("restart", "fork")
    }
    both = client_of(user("both", "view_workflow", "restart_workflow", "fork_workflow"))
    for page in pages.values():
        assert f'href="{page}?from_step=1"' in text(both, step_page(run, 1))
        assert both.get(f"{page}?from_step=1").status_code == 200
    forks = text(client_of(user("forks", "view_workflow", "fork_workflow")), step_page(run, 1))
    assert f"{pages['fork']}?from_step=1" in forks
    assert pages["restart"] not in forks


def test_a_step_in_progress_is_not_restarted_from(boss: Client, workflow_harness: Harness) -> None:
    run = waits.start({})
    workflow_harness.drain()
    page = text(boss, step_page(run, 1))
    assert "Fork from here…" in page
    assert "Restart from here…" not in page


def test_there_is_no_page_of_what_is_not_there(boss: Client, workflow_harness: Harness) -> None:
    run = looking.start("apple")
    workflow_harness.drain()
    assert boss.get(step_page(run, 2)).status_code == 404
    nobody = Workflow(pk=uuid4())
    assert boss.get(step_page(nobody, 1)).status_code == 404
    assert boss.get(fragment(nobody)).status_code == 404
    assert boss.get(address(nobody)).status_code == 302
    assert boss.get(reverse(DETAIL, args=["no id"])).status_code == 302


# ── who sees what ────────────────────────────────────────────────────────────────────────────────────────────────

BUTTONS = {"cancel", "restart", "fork", "event", "cleanup", "complete"}


def shown_buttons(html: str) -> set[str]:
    return set(re.findall(r'<a id="do-(\w+)" href=', html))


def test_buttons_follow_the_state(boss: Client, workflow_harness: Harness) -> None:
    run = waits.start({})
    workflow_harness.drain()
    assert shown_buttons(text(boss, address(run))) == {"cancel", "fork", "event"}
    failing.add("told")
    ended = tells.start()
    workflow_harness.drain()
    assert shown_buttons(text(boss, address(ended))) == {"restart", "fork", "cleanup", "complete"}


@pytest.mark.parametrize(
    ("permission", "verbs"),
    [
        ("cancel_workflow", {"cancel"}),
        ("fork_workflow", {"fork"}),
        ("send_event", {"event"}),
        ("restart_workflow", set()),
        ("view_payload", set()),
    ],
)
def test_each_button_has_its_own_permission(
    permission: str, verbs: set[str], workflow_harness: Harness
) -> None:
    run = waits.start({})
    workflow_harness.drain()
    page = text(client_of(user("one", "view_workflow", permission)), address(run))
    assert shown_buttons(page) == verbs


def test_without_the_permission_there_is_no_page(workflow_harness: Harness) -> None:
    run = looking.start("apple")
    workflow_harness.drain()
    staff = client_of(user("staff", "view_payload", "cancel_workflow"))
    for where in (address(run), fragment(run), step_page(run, 1)):
        assert staff.get(where).status_code == 403
        for stranger in (Client(), client_of(User.objects.create_user(f"user of {where}"))):
            response = stranger.get(where)
            assert response.status_code == 302
            assert response["Location"].startswith(reverse("admin:login"))


def test_looking_changes_nothing(boss: Client, workflow_harness: Harness) -> None:
    run = waits.start({})
    workflow_harness.drain()
    before = everything()
    for where in (address(run), fragment(run), step_page(run, 1)):
        boss.get(where)
        assert boss.post(where).status_code == 403
    assert everything() == before


def test_values_and_tracebacks_have_their_own_permission(reader: Client, workflow_harness: Harness) -> None:
    run = waits.start({"text": CANARY})
    workflow_harness.drain()
    run.send_event("detail.go", {"secret_plan": CANARY})
    run.send_event("detail.go", {"secret_plan": CANARY})
    workflow_harness.drain()
    failed = flaky.start("the reason")
    workflow_harness.drain()
    workflow_harness.advance(timedelta(minutes=2))
    pages = [address(run), fragment(run), *(step_page(run, number) for number in (1, 2, 3))]
    for where in pages:
        assert CANARY not in text(reader, where)
    for where in (address(failed), fragment(failed), step_page(failed, 1)):
        page = text(reader, where)
        assert "builtins.ValueError: the reason" in page
        assert "Traceback (most recent call last)" not in page

    payloads = client_of(user("payloads", "view_workflow", "view_payload"))
    for where in pages:
        assert CANARY in text(payloads, where)
    assert "Traceback (most recent call last)" in text(payloads, address(failed))


@pytest.mark.parametrize("name", ["password", "PIN"])
def test_redacted_names_are_masked_for_everybody(name: str, boss: Client, workflow_harness: Harness) -> None:
    run = waits.using(labels={name: CANARY, "shown": "label"}).start(
        {"deep": [{name: CANARY}], "shown": "argument"}
    )
    run.send_event("detail.go", {})
    run.send_event("detail.go", {name: CANARY, "shown": "event"})
    looks.clear()
    workflow_harness.drain()
    for where in (address(run), fragment(run), step_page(run, 2), step_page(run, 3)):
        page = text(boss, where)
        assert CANARY not in page
    page = text(boss, address(run))
    assert "********" in page
    for shown in ("shown = label", "argument", "event"):
        assert shown in page


def test_hostile_text_is_shown_as_text(boss: Client, workflow_harness: Harness) -> None:
    run = waits.using(key=HOSTILE, labels={HOSTILE: HOSTILE}, context={HOSTILE: HOSTILE}).start(
        {HOSTILE: HOSTILE, "text": HOSTILE}
    )
    run.send_event("detail.go", {HOSTILE: HOSTILE}, key=HOSTILE)
    run.send_event("detail.go", error=HOSTILE)
    workflow_harness.drain()
    named = workflow.status(run)
    assert named.type == "failed"
    failed = flaky.start(HOSTILE)
    workflow_harness.drain()
    canceled = undoes.start(HOSTILE)
    canceled.cancel(HOSTILE)
    LogEntry.objects.log_actions(
        User.objects.get().pk,
        [canceled],
        CHANGE,
        change_message=HOSTILE,
        single_object=True,
    )
    places = [address(run), fragment(run), address(failed), address(canceled), step_page(failed, 1)]
    for where in [*places, *(step_page(run, number) for number in (1, 2, 3))]:
        page = text(boss, where)
        assert "<script>alert(1)" not in page
        assert "&lt;script&gt;alert(1)" in page


def test_a_value_that_no_page_can_hold_is_shown_all_the_same(boss: Client, workflow_harness: Harness) -> None:
    run = waits.start({"text": "half \ud800 a pair"})
    workflow_harness.drain()
    assert r"half \ud800 a pair" in text(boss, address(run))
    assert r"half \ud800 a pair" in text(boss, step_page(run, 1))


def test_nothing_on_the_pages_needs_more_than_a_strict_csp(boss: Client, workflow_harness: Harness) -> None:
    run = flaky.start("no luck")
    workflow_harness.drain()
    for where in (fragment(run), step_page(run, 1), address(run)):
        page = text(boss, where)
        assert not re.search(r"<[^>]*\s(style|on\w+)=", page)
        assert not re.search(r"<style|javascript:", page)
        # Django's own admin has scripts with an address only, too.
        assert not re.search(r"<script(?![^>]*\ssrc=)", page)
        assert not re.search(r"(src|href)=\"(https?:)?//", page)


def test_the_log_has_the_newest_twenty_of_this_workflow(boss: Client, workflow_harness: Harness) -> None:
    run, other = tells.start(), tells.start()
    who = User.objects.get().pk
    for number in range(22):
        LogEntry.objects.log_actions(
            who, [run], CHANGE, change_message=f"entry {number}!", single_object=True
        )
    LogEntry.objects.log_actions(who, [other], CHANGE, change_message="of another", single_object=True)
    page = text(boss, address(run))
    assert re.findall(r"entry (\d+)!", page) == [str(number) for number in range(21, 1, -1)]
    assert "boss" in page
    assert "of another" not in page


# ── the live refresh ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_page_refreshes_itself_or_by_a_link(boss: Client, workflow_harness: Harness) -> None:
    run = waits.start({})
    workflow_harness.drain()
    page = text(boss, address(run))
    assert f'href="{address(run)}">Refresh</a>' in page
    assert 'django_workflow/live.js" defer></script>' in page
    assert f'data-url="{fragment(run)}"' in page
    assert re.search(r'<button type="button" [^>]*aria-pressed="true" hidden>', page)
    assert 'role="status" aria-live="polite"' in page
    assert 'data-finished="no"' in page
    part = text(boss, fragment(run))
    assert part.strip().startswith('<div class="workflow-body" data-finished="no"')
    assert "<html" not in part


def test_a_page_that_is_overtaken_while_it_is_made_is_not_taken_for_the_newest(
    boss: Client, workflow_harness: Harness
) -> None:
    workflow_harness.freeze(workflow_harness.now())
    run = waits.start({})
    workflow_harness.drain()
    for _ in range(2):
        run.send_event("detail.go")
    drained: list[int] = []

    def overtake(execute: Any, sql: Any, *rest: Any) -> Any:
        if (
            "COUNT(*)" in sql and "parent_id" in sql and not drained
        ):  # how many children: steps have been read
            drained.append(0)
            drained[0] = workflow_harness.drain()
        return execute(sql, *rest)

    with connection.execute_wrapper(overtake):
        page = text(boss, address(run))
    assert drained[0] >= 1
    assert 'data-finished="no"' in page
    (tag,) = re.findall(r'data-etag="([^"]+)"', page)
    response = boss.get(fragment(run), headers={"if-none-match": tag.replace("&quot;", '"')})
    assert response.status_code == 200
    assert 'data-finished="yes"' in response.content.decode()


def test_nothing_is_sent_while_nothing_has_changed(boss: Client, workflow_harness: Harness) -> None:
    workflow_harness.freeze(workflow_harness.now())
    run = waits.start({})
    workflow_harness.drain()
    tag = boss.get(fragment(run))["ETag"]
    assert f'data-etag="{tag.replace(chr(34), "&quot;")}"' in text(boss, address(run))
    response = boss.get(fragment(run), headers={"if-none-match": tag})
    assert (response.status_code, response.content) == (304, b"")

    run.send_event("detail.go")
    response = boss.get(fragment(run), headers={"if-none-match": tag})
    assert response.status_code == 200
    assert response["ETag"] != tag


def test_a_tag_knows_the_end_the_time_and_the_reader(
    boss: Client, reader: Client, workflow_harness: Harness
) -> None:
    workflow_harness.freeze(workflow_harness.now())
    run = waits.start({})
    workflow_harness.drain()
    canceler = client_of(user("canceler", "view_workflow", "cancel_workflow"))
    tags = [each.get(fragment(run))["ETag"] for each in (reader, canceler, boss)]
    workflow_harness.advance(timedelta(seconds=10))
    tags.append(boss.get(fragment(run))["ETag"])
    run.cancel("enough")
    tags.append(boss.get(fragment(run))["ETag"])
    assert len(set(tags)) == 5
    workflow_harness.advance(timedelta(hours=1))
    assert boss.get(fragment(run))["ETag"] == tags[-1]
    assert 'data-finished="yes"' in text(boss, fragment(run))
