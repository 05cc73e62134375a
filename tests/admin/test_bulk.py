"""Behaviour 44, many at once: actions of the list ask first, deal with batches of bounded size, and log each workflow."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, DELETION
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from django_workflow import workflow
from django_workflow.models import Step, Workflow
from django_workflow.testing import Harness
from tests.admin.stage import (
    LIST,
    asks,
    client_of,
    everything,
    failed,
    faults,
    finished,
    logged,
    parent,
    user,
    waiting,
)

pytestmark = pytest.mark.django_db
ADDRESS = "/admin/django_workflow/workflow/"
HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


@pytest.fixture(autouse=True)
def a_clean_slate() -> Iterator[None]:
    faults.clear()
    yield
    faults.clear()


@pytest.fixture
def boss(db: None) -> Client:
    return client_of(User.objects.create_superuser("boss"))


@pytest.fixture
def batches_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    pages: Any = admin.site.get_model_admin(Workflow)
    monkeypatch.setattr(pages, "bulk_batch", 3)


def chosen(verb: str, *runs: Workflow, across: bool = False, query: str = "") -> dict[str, Any]:
    """What the list sends when an action is chosen."""
    return {
        "action": f"{verb}_selected",
        "index": "0",
        "select_across": "1" if across else "0",
        ACTION_CHECKBOX_NAME: [str(run.pk) for run in runs],
    }


def ask(client: Client, data: dict[str, Any], address: str = ADDRESS) -> str:
    """The confirmation page; nothing has changed."""
    before = everything()
    response = client.post(address, data)
    assert response.status_code == 200, response
    assert everything() == before
    return response.content.decode()


def confirm(client: Client, shown: str, address: str = ADDRESS, **data: str) -> Any:
    """Press the button of a confirmation page."""
    hidden: dict[str, list[str]] = {}
    for name, value in HIDDEN.findall(shown[shown.index('id="content-main"') :]):
        hidden.setdefault(name, []).append(value)
    return client.post(address, {**hidden, **data})


def states(*runs: Workflow) -> list[str]:
    return [Workflow.objects.get(id=run.id).state for run in runs]


def test_cancel_many(boss: Client, workflow_harness: Harness) -> None:
    runs = [waiting(workflow_harness, label) for label in ("a", "b", "c")]
    done = finished(workflow_harness, "d")
    shown = ask(boss, chosen("cancel", *runs[:2], done))
    assert "<strong>2</strong>" in shown  # what has finished is not counted
    assert "children that are in progress are canceled" in shown
    for run in runs[:2]:
        assert str(run.id) in shown
    assert str(runs[2].id) not in shown

    response = confirm(boss, shown, reason="flood")
    assert (response.status_code, response.headers["Location"]) == (302, ADDRESS)
    assert "2 workflows are done" in boss.get(ADDRESS).content.decode()
    assert states(*runs, done) == ["canceled", "canceled", "in_progress", "completed"]
    assert {run.reason for run in Workflow.objects.canceled()} == {"flood"}
    assert sorted(logged()) == sorted(("boss", str(run.id), CHANGE, "cancel: flood") for run in runs[:2])


def test_cancel_many_with_rollbacks(boss: Client, workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    confirm(boss, ask(boss, chosen("cancel", run)), rollback="on")
    assert workflow.get(run).ending == "canceled"


def test_restart_many_from_their_failures(boss: Client, workflow_harness: Harness) -> None:
    runs = [failed(workflow_harness, label) for label in ("a", "b")]
    other = finished(workflow_harness, "c")
    faults.clear()
    shown = ask(boss, chosen("restart", *runs, other))
    assert "<strong>3</strong>" in shown
    response = confirm(boss, shown, from_step="failure", reason="fixed")
    assert response.status_code == 302
    listed = boss.get(ADDRESS).content.decode()
    assert "2 workflows are done" in listed
    assert "no such step" in listed  # of the one that has never failed
    assert states(other) == ["completed"]
    assert sorted(logged()) == sorted(
        ("boss", str(run.id), CHANGE, "restart from the last failed step: fixed") for run in runs
    )
    workflow_harness.drain()
    assert states(*runs) == ["completed"] * 2


def test_restart_many_with_their_journals(boss: Client, workflow_harness: Harness) -> None:
    run = finished(workflow_harness)
    confirm(boss, ask(boss, chosen("restart", run)), from_step="whole")
    assert states(run) == ["in_progress"]
    assert Step.objects.filter(workflow=run).count() == 4


def test_from_where_has_to_be_said(boss: Client, workflow_harness: Harness) -> None:
    run = finished(workflow_harness)
    shown = ask(boss, chosen("restart", run))
    before = everything()
    for from_step in ("", "1", "nowhere"):
        response = confirm(boss, shown, from_step=from_step)
        assert response.status_code == 200
        assert "errorlist" in response.content.decode()
    assert everything() == before


def test_clean_up_many(boss: Client, workflow_harness: Harness) -> None:
    runs = [finished(workflow_harness, label) for label in ("a", "b")]
    left = waiting(workflow_harness, "c")
    shown = ask(boss, chosen("cleanup", *runs, left))
    assert "<strong>2</strong>" in shown
    confirm(boss, shown, reason="old")
    assert set(Workflow.objects.filter(parent=None)) == {left}
    assert sorted(logged()) == sorted(("boss", str(run.id), DELETION, "clean up: old") for run in runs)


def test_a_parent_and_its_child_together(boss: Client, workflow_harness: Harness) -> None:
    run = parent.start()
    workflow_harness.drain()
    child = Workflow.objects.get(parent=run)
    confirm(boss, ask(boss, chosen("cancel", run, child)))
    assert states(run, child) == ["canceled"] * 2
    confirm(boss, ask(boss, chosen("cleanup", run, child)))
    assert not Workflow.objects.exists()


def test_none_in_a_fitting_state(boss: Client, workflow_harness: Harness) -> None:
    run = finished(workflow_harness)
    assert "None of these workflows" in ask(boss, chosen("cancel", run))
    before = everything()
    boss.post(ADDRESS, {**chosen("cancel", run), "confirmed": "yes"})
    assert everything() == before


def test_the_first_twenty_are_shown(boss: Client, workflow_harness: Harness) -> None:
    runs = workflow.start_many(asks, [("verbs.never",)] * 25)
    shown = ask(boss, chosen("cancel", *runs))
    assert "<strong>25</strong>" in shown
    assert shown.count("verbs.asks ") == 20


@pytest.mark.usefixtures("batches_of_three")
def test_all_across_pages_in_batches(boss: Client, workflow_harness: Harness) -> None:
    runs = workflow.start_many(asks, [("verbs.never",)] * 7)
    other = finished(workflow_harness)
    shown = ask(boss, chosen("cancel", other, across=True))
    assert "<strong>7</strong>" in shown
    assert "3 at a time" in shown
    counts = []
    for left in (4, 1):
        response = confirm(boss, shown, reason="flood")
        assert response.status_code == 200
        shown = response.content.decode()
        assert f"Only a part is done: {left} are left" in shown
        assert f"<strong>{left}</strong>" in shown
        counts.append(Workflow.objects.canceled().count())
    response = confirm(boss, shown, reason="flood")
    assert response.status_code == 302
    counts.append(Workflow.objects.canceled().count())
    assert counts == [3, 6, 7]
    assert len(logged()) == len({row[1] for row in logged()}) == 7
    assert states(other, *runs) == ["completed"] + ["canceled"] * 7


@pytest.mark.usefixtures("batches_of_three")
def test_those_that_refuse_do_not_keep_the_others_waiting(boss: Client, workflow_harness: Harness) -> None:
    run = failed(workflow_harness, "a")  # the oldest: dealt with last
    faults.clear()
    Workflow.objects.filter(parent=run).update(state="in_progress")  # no candidate
    for label in "bcdef":
        finished(workflow_harness, label)
    Workflow.objects.exclude(parent=None).update(state="in_progress")
    shown = ask(boss, chosen("restart", run, across=True))
    assert "<strong>6</strong>" in shown
    response = confirm(boss, shown, from_step="failure")
    shown = response.content.decode()
    assert "no such step" in shown
    assert "is done" not in shown.replace("Only a part is done", "")
    response = confirm(boss, shown, from_step="failure")
    assert response.status_code == 302
    assert states(run) == ["in_progress"]
    assert [row[1] for row in logged()] == [str(run.id)]


def test_filters_hold_for_all_across_pages(boss: Client, workflow_harness: Harness) -> None:
    mine = workflow.start_many(asks, [("verbs.never",)] * 2)
    other = waiting(workflow_harness)
    address = f"{ADDRESS}?definition=verbs.asks"
    shown = ask(boss, chosen("cancel", mine[0], across=True), address)
    assert "<strong>2</strong>" in shown
    confirm(boss, shown, address)
    assert states(*mine, other) == ["canceled", "canceled", "in_progress"]


@pytest.mark.parametrize(
    "bad", ["nothing", "", "1", "<script>", "\0", "0193f2a1-0000-7000-8000-000000000000"]
)
def test_ids_of_nothing(boss: Client, workflow_harness: Harness, bad: str) -> None:
    waiting(workflow_harness)
    before = everything()
    for extra in ({"index": "0"}, {"confirmed": "yes", "reason": "x"}, {"after": bad, "confirmed": "yes"}):
        data = {"action": "cancel_selected", "select_across": "0", ACTION_CHECKBOX_NAME: [bad], **extra}
        assert boss.post(ADDRESS, data).status_code in (200, 302)
    assert everything() == before


def test_each_action_needs_its_own_permission(workflow_harness: Harness) -> None:
    run, old = waiting(workflow_harness, "a"), failed(workflow_harness, "b")
    needed = {"cancel": "cancel_workflow", "restart": "restart_workflow", "cleanup": "cleanup_workflow"}
    for verb, permission in needed.items():
        client = client_of(user(f"may {verb}", "view_workflow", permission))
        listed = client.get(ADDRESS).content.decode()
        offered = {each for each in needed if f'value="{each}_selected"' in listed}
        assert offered == {verb}
        for other in needed:
            before = everything()
            data = {**chosen(other, run, old), "confirmed": "yes", "from_step": "failure", "reason": "x"}
            del data["index"]
            if other != verb:
                assert client.post(ADDRESS, data).status_code == 302
                assert everything() == before
                assert "No action selected" in client.get(ADDRESS).content.decode()
    viewer = client_of(user("viewer", "view_workflow"))
    before = everything()
    for verb in needed:
        assert viewer.post(ADDRESS, {**chosen(verb, run, old), "confirmed": "yes"}).status_code == 200
    assert everything() == before
    assert "_selected" not in viewer.get(ADDRESS).content.decode()


def test_hostile_texts(boss: Client, workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    hostile = '"><script>alert(1)</script>'
    shown = ask(boss, {**chosen("cancel", run), "after": hostile, "select_across": hostile})
    assert "<script>alert" not in shown
    confirm(boss, ask(boss, chosen("cancel", run)), reason=hostile)
    assert logged() == [("boss", str(run.id), CHANGE, f"cancel: {hostile}")]
    assert "<script>alert" not in boss.get(ADDRESS).content.decode()
    assert reverse(LIST) == ADDRESS
