"""Behaviour 44, one workflow at a time: each verb has a page that says what happens, does it once, and is logged."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.contrib.auth.models import User
from django.test import Client, override_settings
from django.urls import reverse

from django_workflow import workflow
from django_workflow.admin.addresses import Addresses
from django_workflow.admin.buttons import buttons
from django_workflow.models import Event, Pause, Step, Workflow
from django_workflow.testing import Harness
from tests.admin.stage import (
    DETAIL,
    LIST,
    Size,
    asks,
    client_of,
    everything,
    failed,
    faults,
    finished,
    logged,
    order,
    page,
    parent,
    untold,
    waiting,
)

pytestmark = pytest.mark.django_db
HOSTILE = "<script>alert(1)</script> {{ 7|add:1 }} ' \" &"
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;"


@pytest.fixture(autouse=True)
def a_clean_slate() -> Iterator[None]:
    faults.clear()
    yield
    faults.clear()


@pytest.fixture
def boss(db: None) -> Client:
    return client_of(User.objects.create_superuser("boss"))


def text(client: Client, address: str, data: dict[str, Any] | None = None) -> str:
    response = client.get(address, data or {})
    assert response.status_code == 200
    return response.content.decode()


def refused(client: Client, address: str, data: dict[str, Any]) -> str:
    """POST what can't be done: the page comes again, and nothing has changed, the log neither."""
    before = everything()
    response = client.post(address, data)
    assert response.status_code == 200, response
    assert everything() == before
    return response.content.decode()


def done(client: Client, address: str, data: dict[str, Any], to: str) -> str:
    """POST what can be done; the page that it leads to."""
    response = client.post(address, data)
    assert (response.status_code, response.headers.get("Location")) == (302, to), response.content.decode()
    return text(client, to)


def detail(run: Workflow) -> str:
    return reverse(DETAIL, args=[run.pk])


# ── cancel ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_cancel_says_what_happens_and_does_it(boss: Client, workflow_harness: Harness) -> None:
    run = parent.start()
    workflow_harness.drain()
    child = Workflow.objects.get(parent=run)
    before = everything()
    shown = text(boss, page("cancel", run))
    assert "1 child that is in progress is canceled" in shown
    assert str(child.id) in shown
    assert everything() == before

    shown = done(boss, page("cancel", run), {"reason": "out of stock"}, detail(run))
    assert "It was canceled." in shown
    assert [Workflow.objects.get(id=each.id).state for each in (run, child)] == ["canceled"] * 2
    assert Workflow.objects.get(id=run.id).reason == "out of stock"
    assert logged() == [("boss", str(run.id), CHANGE, "cancel: out of stock")]


def test_cancel_with_rollbacks(boss: Client, workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    shown = done(boss, page("cancel", run), {"rollback": "on"}, detail(run))
    assert "its rollbacks run" in shown
    assert workflow.get(run).ending == "canceled"
    assert logged() == [("boss", str(run.id), CHANGE, "cancel with rollbacks")]
    workflow_harness.drain()
    assert workflow.get(run).state == "canceled"


def test_what_has_finished_is_not_canceled(boss: Client, workflow_harness: Harness) -> None:
    run = finished(workflow_harness)
    assert "nothing to cancel" in text(boss, page("cancel", run))
    assert "It has finished" in refused(boss, page("cancel", run), {"reason": "late"})


# ── restart and fork ────────────────────────────────────────────────────────────────────────────────────────


def test_restart_drops_what_its_page_says(boss: Client, workflow_harness: Harness) -> None:
    run = failed(workflow_harness)
    child = Workflow.objects.get(parent=run)
    before = everything()
    shown = text(boss, page("restart", run), {"from_step": "2"})
    assert everything() == before
    assert "4 steps are dropped" in shown
    for step in ("step 2 (inner)", "step 3 (verbs.approved)", "step 4 (deliver)", "step 5 (unprepare)"):
        assert step in shown
    assert "step 1 (" not in shown
    assert "rollbacks have run" in shown
    assert "1 child workflow is deleted" in shown
    assert str(child.id) in shown
    assert "1 event is given back" in shown

    faults.clear()
    done(boss, page("restart", run), {"from_step": "2", "reason": "fixed"}, detail(run))
    assert list(workflow.steps(run).values_list("number", flat=True)) == [1]
    assert not Workflow.objects.filter(id=child.id).exists()
    assert Event.objects.get(workflow=run).consumed_at is None
    assert logged() == [("boss", str(run.id), CHANGE, "restart from step 2: fixed")]
    workflow_harness.drain()
    assert workflow_harness.result(run) == "delivered apple"


def test_a_failed_workflow_is_restarted_from_its_failure_by_default(
    boss: Client, workflow_harness: Harness
) -> None:
    run = failed(workflow_harness)
    shown = text(boss, page("restart", run))
    assert "2 steps are dropped" in shown
    assert "step 3 (" not in shown
    assert '<input type="hidden" name="from_step" value="failure"' in shown
    faults.clear()
    done(boss, page("restart", run), {"from_step": "failure"}, detail(run))
    assert logged() == [("boss", str(run.id), CHANGE, "restart from the last failed step")]
    workflow_harness.drain()
    assert workflow_harness.result(run) == "delivered apple"


def test_restart_with_the_whole_journal(boss: Client, workflow_harness: Harness) -> None:
    run = finished(workflow_harness)
    shown = text(boss, page("restart", run))
    assert '<input type="hidden" name="from_step" value="whole"' in shown
    assert "are dropped" not in shown
    done(boss, page("restart", run), {"from_step": "whole"}, detail(run))
    assert workflow.steps(run).count() == 4
    assert workflow.get(run).state == "in_progress"


@pytest.mark.parametrize("ending", ["failed", "canceled", "canceled with rollbacks"])
@pytest.mark.parametrize("position", ["whole", "1", "2", "3", "4"])
def test_what_is_shown_is_what_is_dropped(
    boss: Client, workflow_harness: Harness, ending: str, position: str
) -> None:
    if ending == "failed":
        run = failed(workflow_harness)
    else:
        run = waiting(workflow_harness)
        workflow.cancel(run, rollback=ending == "canceled with rollbacks")
        workflow_harness.drain()
    rows = list(workflow.steps(run))
    if position not in ("whole", *(str(row.number) for row in rows if row.kind != "rollback")):
        assert "no such step" in refused(boss, page("restart", run), {"from_step": position})
        return
    shown = text(boss, page("restart", run), {"from_step": position})
    facts = shown[shown.index("What happens") :]
    boss.post(page("restart", run), {"from_step": position})
    kept = set(workflow.steps(run).values_list("number", flat=True))
    assert len(kept) < len(rows)  # each of these endings has something to drop
    for row in rows:
        assert (f"<li>{row}</li>" in facts) == (row.number not in kept), row


@pytest.mark.parametrize("step", ["99", "0", "-1", "x", "²", "9" * 5000, "2.0", HOSTILE])
def test_a_step_that_is_not_there(boss: Client, workflow_harness: Harness, step: str) -> None:
    run = failed(workflow_harness)
    for verb in ("restart", "fork"):
        assert "no such step" in text(boss, page(verb, run), {"from_step": step})
        assert "<script>alert" not in refused(boss, page(verb, run), {"from_step": step})
    assert refused(boss, page("restart", run), {})
    assert refused(boss, page("fork", run), {})


def test_a_workflow_without_a_failed_step_has_no_failure_to_begin_from(
    boss: Client, workflow_harness: Harness
) -> None:
    run = finished(workflow_harness)
    assert "no such step" in text(boss, page("restart", run), {"from_step": "failure"})
    assert "no such step" in refused(boss, page("restart", run), {"from_step": "failure"})


def test_what_is_in_progress_is_not_restarted(boss: Client, workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    assert "It is in progress" in text(boss, page("restart", run))
    assert "It is in progress" in refused(boss, page("restart", run), {"from_step": "whole"})


def test_fork_copies_what_its_page_says(boss: Client, workflow_harness: Harness) -> None:
    run = failed(workflow_harness)
    assert "are copied, and not run again" not in text(boss, page("fork", run))
    before = everything()
    address = Addresses("admin").verb("fork", run.pk, from_step=3)
    assert address == f"{page('fork', run)}?from_step=3"
    shown = text(boss, address)
    assert everything() == before
    assert "2 steps are copied" in shown
    assert "1 event is copied" in shown

    response = boss.post(page("fork", run), {"from_step": "3", "reason": "to look into"})
    copy = Workflow.objects.exclude(id=run.id).get(definition=order.name)
    assert response.headers["Location"] == detail(copy)
    assert list(workflow.steps(copy).values_list("number", flat=True)) == [1, 2]
    assert list(Event.objects.filter(workflow=copy).values_list("name", "consumed_at")) == [
        ("verbs.approved", None)
    ]
    assert {name: rows for name, rows in everything().items() if name == "Step"}["Step"][
        : len(before["Step"])
    ] == before["Step"]
    assert logged() == [("boss", str(run.id), CHANGE, f"fork from step 3 as {copy.id}: to look into")]


def test_what_has_not_begun_has_nothing_to_fork(boss: Client, workflow_harness: Harness) -> None:
    run = order.start("apple")
    assert "no journal yet" in text(boss, page("fork", run), {"from_step": "1"})
    refused(boss, page("fork", run), {"from_step": "1"})


# ── events ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("button", "value"), [("true", True), ("false", False)])
def test_a_bool_is_approved_or_rejected(
    boss: Client, workflow_harness: Harness, button: str, value: bool
) -> None:
    run = waiting(workflow_harness)
    shown = text(boss, page("event", run))
    assert '<button type="submit" name="value" value="true"' in shown
    assert "Approve" in shown
    assert '<button type="submit" name="value" value="false"' in shown
    assert "Reject" in shown
    data = {"name": "verbs.approved", "value": button, "reason": "looks good", "key": "once"}
    shown = done(boss, page("event", run), data, detail(run))
    assert "verbs.approved” was sent" in shown
    sent = Event.objects.get()
    assert (sent.name, sent.value, sent.key) == ("verbs.approved", value, "once")
    assert logged() == [("boss", str(run.id), CHANGE, "event 'verbs.approved': looks good")]


def test_neither_approved_nor_rejected_is_no_answer(boss: Client, workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    shown = refused(boss, page("event", run), {"name": "verbs.approved"})
    assert "Approve, reject, or give an error." in shown
    refused(boss, page("event", run), {"name": "verbs.approved", "value": "perhaps"})


@pytest.mark.parametrize(
    ("name", "given", "value", "field"),
    [
        ("verbs.text", " a <b> ", " a <b> ", '<input type="text" name="value"'),
        ("verbs.text", "", "", '<input type="text" name="value"'),
        ("verbs.whole", "-7", -7, "inputmode="),
        ("verbs.number", "2.5", 2.5, "inputmode="),
        ("verbs.day", "2031-02-03", "2031-02-03", 'type="date"'),
        ("verbs.amount", "12.30", "12.30", "inputmode="),
        ("verbs.size", "LARGE", Size.LARGE.value, '<option value="LARGE"'),
        ("verbs.way", "south", "south", '<option value="south"'),
        ("verbs.maybe", "", None, "inputmode="),
        ("verbs.maybe", "3", 3, "inputmode="),
        (
            "verbs.parcel",
            '{"weight": "1.5", "to": "Ghent"}',
            {"weight": "1.5", "to": "Ghent"},
            '<textarea name="value"',
        ),
        ("verbs.untyped", '[1, {"a": null}]', [1, {"a": None}], '<textarea name="value"'),
        ("verbs.untyped", "", None, '<textarea name="value"'),
    ],
)
def test_a_field_for_each_type(
    boss: Client, workflow_harness: Harness, name: str, given: str, value: Any, field: str
) -> None:
    run = asks.start(name)
    workflow_harness.drain()
    shown = text(boss, page("event", run))
    assert field in shown
    assert f'name="name" value="{name}"' in shown  # the only wait is chosen already
    done(boss, page("event", run), {"name": name, "value": given}, detail(run))
    assert Event.objects.get().value == value
    workflow_harness.drain()
    assert workflow.status(run).type == "completed"


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("verbs.whole", ""),
        ("verbs.whole", "seven"),
        ("verbs.whole", "9" * 5000),
        ("verbs.number", "nan"),
        ("verbs.number", "1e999"),
        ("verbs.day", "2031-02-30"),
        ("verbs.amount", "Infinity"),
        ("verbs.size", "HUGE"),
        ("verbs.way", "up"),
        ("verbs.parcel", "{}"),
        ("verbs.parcel", "[1"),
        ("verbs.untyped", "NaN"),
        ("verbs.untyped", "[" * 100_000),
        ("verbs.untyped", "[" * 900 + "]" * 900),
        ("verbs.untyped", "1" * 5000),
        ("verbs.text", "a\0b"),
    ],
)
def test_values_that_do_not_fit_are_errors_of_the_form(
    boss: Client, workflow_harness: Harness, name: str, given: str
) -> None:
    run = asks.start(name)
    workflow_harness.drain()
    shown = refused(boss, page("event", run), {"name": name, "value": given, "reason": "r"})
    assert "errorlist" in shown or "errornote" in shown


def test_an_event_by_a_name_of_ones_own(boss: Client, workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    shown = text(boss, page("event", run), {"other": "verbs.whole"})
    assert "kept until one does" in shown
    assert '<input type="text" name="value"' in shown
    done(boss, page("event", run), {"name": "verbs.whole", "value": "4"}, detail(run))
    assert Event.objects.get().value == 4


@pytest.mark.parametrize("name", ["", "n" * 201, "two\nlines", "\x1b[31m", "nul\0"])
def test_names_that_no_event_has(boss: Client, workflow_harness: Harness, name: str) -> None:
    run = waiting(workflow_harness)
    refused(boss, page("event", run), {"name": name, "value": "1"})
    assert boss.get(page("event", run), {"other": name}).status_code == 200


def test_an_error_in_place_of_a_value(boss: Client, workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    both = {"name": "verbs.approved", "value": "true", "error": "no budget"}
    assert "not both" in refused(boss, page("event", run), both)
    done(boss, page("event", run), {"name": "verbs.approved", "error": "no budget"}, detail(run))
    error = Event.objects.get().error
    assert error is not None
    assert error.message == "no budget"
    assert logged() == [("boss", str(run.id), CHANGE, "event as an error 'verbs.approved'")]


def test_the_same_key_again_delivers_nothing(boss: Client, workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    for _ in range(2):
        boss.post(page("event", run), {"name": "verbs.approved", "value": "true", "key": "k"})
    assert Event.objects.count() == 1


@override_settings(DJANGO_WORKFLOW={"PENDING_EVENT_LIMIT": 1, "VALUE_LIMIT": 1000})
def test_limits_are_errors_of_the_form(boss: Client, workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    large = {"name": "verbs.text", "value": "x" * 2000}
    assert "limit of 1,000 bytes" in refused(boss, page("event", run), large)
    run.send_event("verbs.other", 1)
    assert "PENDING_EVENT_LIMIT" in refused(boss, page("event", run), {"name": "verbs.text", "value": "x"})


def test_what_has_finished_gets_no_event(boss: Client, workflow_harness: Harness) -> None:
    run = finished(workflow_harness)
    assert "takes nothing more" in text(boss, page("event", run))
    data = {"name": "verbs.approved", "value": "true"}
    assert "takes nothing more" in refused(boss, page("event", run), data)


def test_the_log_never_tells_a_value(boss: Client, workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    data = {"name": "verbs.text", "value": "canary-1"}
    boss.post(page("event", run), data)
    boss.post(page("event", run), {"name": "verbs.text", "error": "canary-2"})
    boss.post(page("event", run), {"name": "verbs.text", "value": "v", "key": "canary-3"})
    assert Event.objects.count() == 3
    assert "canary" not in json.dumps(list(LogEntry.objects.values()), default=str)


# ── cleaning up, on_complete ────────────────────────────────────────────────────────────────────────────────


def test_cleanup_deletes_it_with_its_children(boss: Client, workflow_harness: Harness) -> None:
    run = finished(workflow_harness)
    assert "1 child workflow is deleted" in text(boss, page("cleanup", run))
    assert Workflow.objects.count() == 2
    shown = done(boss, page("cleanup", run), {"reason": "GDPR"}, reverse(LIST))
    assert "It was deleted." in shown
    assert (Workflow.objects.count(), Step.objects.count(), Event.objects.count()) == (0, 0, 0)
    assert logged() == [("boss", str(run.id), DELETION, "clean up: GDPR")]
    assert LogEntry.objects.get().object_repr == f"verbs.order {run.id}"


def test_what_is_in_progress_is_not_cleaned_up(boss: Client, workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    assert "It is in progress" in text(boss, page("cleanup", run))
    assert "It is in progress" in refused(boss, page("cleanup", run), {})


def test_on_complete_runs_again(boss: Client, workflow_harness: Harness) -> None:
    run = untold(workflow_harness)
    shown = done(boss, page("complete", run), {"reason": "again"}, detail(run))
    assert "Its on_complete has failed again" in shown
    faults.clear()
    shown = done(boss, page("complete", run), {}, detail(run))
    assert "Its on_complete has ended well" in shown
    assert workflow.get(run).on_complete_error is None
    assert [said for *_, said in logged()] == [
        "run on_complete again, which failed: again",
        "run on_complete again",
    ]
    assert "has not failed" in text(boss, page("complete", run))
    assert "has not failed" in refused(boss, page("complete", run), {})


def test_on_complete_of_what_has_not_finished(boss: Client, workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    assert "in progress" in refused(boss, page("complete", run), {})


# ── pause and resume ────────────────────────────────────────────────────────────────────────────────────────


def test_pause_and_resume_all(boss: Client) -> None:
    assert "Nothing is paused" in text(boss, page("resume"))
    shown = text(boss, page("pause"))
    assert '<option value="cluster:reports"' in shown
    assert not Pause.objects.exists()
    done(boss, page("pause"), {"cluster": "all", "reason": "a backup"}, reverse(LIST))
    assert [(pause.cluster, pause.reason) for pause in workflow.health().pauses] == [(None, "a backup")]
    text(boss, page("resume"))
    done(boss, page("resume"), {"cluster": "all", "reason": "restored"}, reverse(LIST))
    assert not Pause.objects.exists()
    assert logged() == [
        ("boss", "all", CHANGE, "pause: a backup"),
        ("boss", "all", CHANGE, "resume: restored"),
    ]


def test_pause_and_resume_one_cluster(boss: Client) -> None:
    done(boss, page("pause"), {"cluster": "cluster:reports", "reason": "paper jam"}, reverse(LIST))
    assert [pause.cluster for pause in workflow.health().pauses] == ["reports"]
    assert '<option value="cluster:reports"' in text(boss, page("resume"))
    done(boss, page("resume"), {"cluster": "cluster:reports"}, reverse(LIST))
    assert [row[1] for row in logged()] == ["cluster:reports"] * 2


def test_the_default_cluster_has_two_names_in_rows_and_one_on_the_page(boss: Client) -> None:
    done(boss, page("pause"), {"cluster": "cluster:tests", "reason": "paper jam"}, reverse(LIST))
    assert {pause.cluster for pause in workflow.health().pauses} == {"", "tests"}
    assert text(boss, page("resume")).count("<option") == 1
    done(boss, page("resume"), {"cluster": "cluster:tests"}, reverse(LIST))
    assert not Pause.objects.exists()


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"cluster": "all"},
        {"cluster": "all", "reason": "  "},
        {"cluster": "all", "reason": "x" * 1001},
        {"cluster": "all", "reason": "nul\0"},
        {"cluster": "cluster:nowhere", "reason": "x"},
        {"cluster": "reports", "reason": "x"},
    ],
)
def test_a_pause_needs_a_reason_and_a_cluster(boss: Client, data: dict[str, str]) -> None:
    refused(boss, page("pause"), data)


def test_what_is_not_paused_is_not_resumed(boss: Client) -> None:
    refused(boss, page("resume"), {"cluster": "all"})
    workflow.pause("a backup")
    refused(boss, page("resume"), {"cluster": "cluster:reports"})


# ── whatever is thrown at it ────────────────────────────────────────────────────────────────────────────────

VERBS = ("cancel", "restart", "fork", "event", "cleanup", "complete")


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "bad", ["nothing", "0193f2a1-0000-7000-8000-000000000000", "1", "%00", "a/b", "%3Cscript%3E", "_3Cb_3E"]
)
def test_an_id_of_nothing_is_the_admins_usual_answer(boss: Client, verb: str, bad: str) -> None:
    address = f"{reverse(LIST)}{bad}/{verb}/"
    for response in (boss.get(address), boss.post(address, {"reason": "x", "from_step": "1", "name": "n"})):
        assert (response.status_code, response.headers["Location"]) == (302, reverse("admin:index"))
    shown = text(boss, reverse("admin:index"))
    assert "Perhaps it was deleted?" in shown
    assert "<script>alert" not in shown
    assert logged() == []


@pytest.mark.parametrize("verb", [*VERBS, "pause", "resume"])
def test_hostile_reasons_are_text(boss: Client, workflow_harness: Harness, verb: str) -> None:
    run = {
        "cancel": waiting,
        "event": waiting,
        "restart": failed,
        "fork": failed,
        "cleanup": finished,
        "complete": untold,
    }.get(verb, waiting)(workflow_harness, **({} if verb == "complete" else {"label": HOSTILE}))
    if verb == "resume":
        workflow.pause("a backup")
    reason = f"{HOSTILE}\nsecond line\x1b[31m"
    data = {"reason": reason, "from_step": "1", "name": "verbs.approved", "value": "true", "cluster": "all"}
    address = page(verb) if verb in ("pause", "resume") else page(verb, run)
    again = boss.post(address, {**data, "reason": reason + "x" * 1000}).content.decode()
    assert ESCAPED in again  # given back in the form
    assert "<script>alert" not in again
    response = boss.post(address, data)
    assert response.status_code == 302
    assert "<script>alert" not in text(boss, response.headers["Location"])
    (entry,) = LogEntry.objects.all()
    assert HOSTILE in entry.change_message
    if verb != "cleanup" and verb not in ("pause", "resume"):
        history = text(boss, reverse("admin:django_workflow_workflow_history", args=[run.pk]))
        assert ESCAPED in history
        assert "<script>alert" not in history


def test_hostile_names_are_text(boss: Client, workflow_harness: Harness) -> None:
    run = asks.start(HOSTILE)
    workflow_harness.drain()
    for verb in VERBS:
        assert "<script>alert" not in text(boss, page(verb, run), {"from_step": "1"})
    assert ESCAPED in text(boss, page("event", run))
    assert "<script>alert" not in text(boss, page("event", run), {"other": HOSTILE + "2"})
    response = boss.post(page("event", run), {"name": HOSTILE, "value": "1"})
    shown = text(boss, response.headers["Location"])
    assert ESCAPED in shown
    assert "<script>alert" not in shown
    assert Event.objects.get().name == HOSTILE


@pytest.mark.parametrize("verb", VERBS)
def test_pages_obey_a_strict_policy(boss: Client, workflow_harness: Harness, verb: str) -> None:
    run = {"cancel": waiting, "event": waiting, "complete": untold}.get(verb, failed)(workflow_harness)
    shown = text(boss, page(verb, run), {"from_step": "1"})
    content = shown[shown.index('id="content-main"') :]
    content = content[: content.index('id="footer"')] if 'id="footer"' in content else content
    for inline in (" style=", "<style", " onclick=", "javascript:"):
        assert inline not in content
    assert all(" src=" in each.split(">")[0] for each in shown.split("<script")[1:])


def test_buttons_fit_the_state(
    workflow_harness: Harness, admin_user: User, django_assert_num_queries: Any
) -> None:
    addresses = Addresses("admin")

    def verbs(run: Workflow) -> list[str]:
        known = workflow.get(run)
        with django_assert_num_queries(0):
            return [button.verb for button in buttons(admin_user, known, addresses)]

    assert verbs(order.start("early")) == ["event", "cancel"]
    assert verbs(waiting(workflow_harness)) == ["event", "cancel", "fork"]
    assert verbs(finished(workflow_harness)) == ["restart", "fork", "cleanup"]
    assert verbs(untold(workflow_harness)) == ["restart", "fork", "complete", "cleanup"]
    run = waiting(workflow_harness, "b")
    (cancel,) = (each for each in buttons(admin_user, run, addresses) if each.verb == "cancel")
    assert (str(cancel.label), cancel.url.endswith("/cancel/")) == ("Cancel", True)


def test_where_nothing_waits_any_name_may_be_given(boss: Client, workflow_harness: Harness) -> None:
    run = order.start("apple")
    shown = text(boss, page("event", run))
    assert "No step waits for an event now." in shown
    assert "<select" not in shown
    done(boss, page("event", run), {"name": "verbs.approved", "value": "true"}, detail(run))
    workflow_harness.drain()
    assert workflow_harness.result(run) == "delivered apple"


def test_enter_in_a_text_field_approves_nothing(boss: Client, workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    shown = text(boss, page("event", run))
    form = shown[shown.index('<form method="post" novalidate') :]
    # A browser presses the first button of the form, and this one is pressed by nobody.
    assert form[form.index("<button") :].startswith('<button type="submit" disabled hidden>')
