"""Behaviour 45: a secret under a redacted name leaves the database through no page, log, text or log entry."""

import logging
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from django_workflow import StepContext, action, workflow
from django_workflow.models import Workflow
from django_workflow.testing import Harness

CANARY = "canary-7d1e"
VERBS = ("cancel", "restart", "fork", "event", "cleanup", "complete")


def fails_to_complete(workflow_id: Any, result: Any, context: Any) -> None:
    raise ValueError("no")


@action
def pay(order: dict[str, Any], password: str) -> dict[str, Any]:
    return {"token": CANARY, "nested": [{"Api_Key": CANARY}]}


@action
def refuse(card: dict[str, Any]) -> None:
    raise ValueError("refused")


@workflow.define(name="canary.waits", redact=["card_number"], on_complete=fails_to_complete)
async def waits(step: StepContext, order: dict[str, Any], password: str) -> dict[str, Any]:
    step.set_status({"done": 1, "of": 2, "secret": CANARY})
    paid = await step.run_action(pay, order, password)
    told = await step.wait_for_event("canary.go")
    if told.get("fail"):
        await step.run_action(refuse, {"card_number": CANARY})
    return {"paid": paid, "authorization": CANARY}


@pytest.fixture
def runs(workflow_harness: Harness) -> list[Workflow]:
    """One that waits, one that has completed, one that has failed."""
    order = {"card_number": CANARY, "items": [{"TOKEN": CANARY}]}
    started = [waits.using(labels={"api_key": CANARY}).start(order, password=CANARY) for _ in range(3)]
    workflow_harness.drain()
    for run, fail in ((started[1], False), (started[2], True)):
        workflow.send_event(run, "canary.go", {"secret": CANARY, "fail": fail})
    workflow.send_event(started[0], "canary.later", {"token": CANARY})
    workflow_harness.drain()
    assert [workflow.get(run).state for run in started] == ["in_progress", "completed", "failed"]
    return started


def test_45_a_secret_is_on_no_page(admin_client: Client, runs: list[Workflow]) -> None:
    names: list[tuple[str, list[Any]]] = [("changelist", []), ("definitions", [])]
    for run in runs:
        names += [(name, [run.pk]) for name in ("change", "fragment", "history", *VERBS)]
        names += [("step", [run.pk, step.number]) for step in workflow.steps(run)]
    for name, args in names:
        answer = admin_client.get(reverse(f"admin:django_workflow_workflow_{name}", args=args), follow=True)
        assert answer.status_code == 200, name
        page = answer.content.decode()
        assert CANARY not in page, f"{name} {args} shows it"
        assert "********" in page or name not in ("change", "fragment"), f"{name} {args} shows no mask"


def test_45_a_secret_is_in_no_log_text_or_log_entry(
    admin_client: Client, runs: list[Workflow], workflow_harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        for verb, run in (("event", runs[0]), ("restart", runs[1]), ("fork", runs[2])):
            address = reverse(f"admin:django_workflow_workflow_{verb}", args=[run.pk])
            data = {
                "from_step": "2",
                "name": "canary.go",
                "value": f'{{"token": "{CANARY}"}}',
                "reason": "why",
            }
            admin_client.post(address, data)
        workflow_harness.drain()
    assert LogEntry.objects.filter(user=User.objects.get(is_superuser=True)).count() == 3
    logged = [
        record.getMessage() + str(record.exc_info)
        for record in caplog.records
        if "django_workflow" in record.name
    ]
    texts = [
        str(each) + repr(each) for run in runs for each in (run, *workflow.steps(run), *run.events.all())
    ]
    entries = [entry.change_message + entry.object_repr for entry in LogEntry.objects.all()]
    assert CANARY not in "".join([*logged, *texts, *entries])
