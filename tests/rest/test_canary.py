"""Behaviour 45 over HTTP: a secret under a redacted name leaves through no answer, log or log entry."""

import logging
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry

from django_workflow import Event, StepContext, action, workflow
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.rest.stage import EVERYTHING, VERBS, VIEW, at, client_of, user

pytestmark = pytest.mark.django_db
CANARY = "canary-7d1e"
MASK = "********"


@action
def pay(order: dict[str, Any], password: str) -> dict[str, Any]:
    return {"token": CANARY, "nested": [{"Api_Key": CANARY}]}


@action
def refuse(card: dict[str, Any], password: int) -> None:
    raise ValueError("refused")


@workflow.define(name="rest.canary", redact=["card_number"], api=True)
async def canary(step: StepContext, order: dict[str, Any], password: str) -> dict[str, Any]:
    step.set_status({"done": 1, "of": 2, "secret": CANARY})
    paid = await step.run_action(pay, order, password)
    told = await step.wait_for_event("rest.canary.go")
    if told.get("fail"):
        await step.run_action(refuse, {"card_number": CANARY}, password=told["password"])
    return {"paid": paid, "authorization": CANARY}


counted: Event[Any] = Event("rest.canary.counted", dict[str, int])
ARGS: dict[str, Any] = {"order": {"card_number": CANARY, "items": [{"TOKEN": CANARY}]}, "password": CANARY}
LABELS = {"api_key": CANARY, "card_number": CANARY}


@pytest.fixture
def runs(workflow_harness: Harness) -> list[Workflow]:
    """One that waits, one that has completed, one that has failed, one whose call of a step is wrong."""
    started = [canary.using(labels=LABELS).start(**ARGS) for _ in range(4)]
    workflow_harness.drain()
    values: list[dict[str, Any]] = [
        {"fail": False},
        {"fail": True, "password": 5},
        {"fail": True, "password": CANARY},
    ]
    for run, value in zip(started[1:], values, strict=True):
        workflow.send_event(run, "rest.canary.go", {"secret": CANARY, **value})
    workflow.send_event(started[0], "rest.canary.later", {"token": CANARY})
    workflow_harness.drain()
    assert [workflow.get(run).state for run in started] == ["in_progress", "completed", "failed", "failed"]
    return started


def text_of(response: Any) -> str:
    body = b"".join(response.streaming_content) if response.streaming else response.content
    return f"{body.decode()} {response.headers}"


@pytest.mark.parametrize("payloads", [True, False])
@pytest.mark.parametrize("accept", ["application/json", "text/html", "*/*"])
def test_45_a_secret_is_in_no_answer(runs: list[Workflow], payloads: bool, accept: str) -> None:
    client = client_of(user("reader", *(EVERYTHING if payloads else (VIEW, *VERBS))))
    addresses = [
        at("workflow-list"),
        at("definition-list"),
        at("definition-detail", "rest.canary"),
        at("health"),
    ]
    for run in runs:
        names = ["workflow-detail", "workflow-status", "workflow-steps"]
        names += ["workflow-stream"] if accept == "*/*" and run is not runs[0] else []
        addresses += [at(name, run.id) for name in names]
    for address in addresses:
        response = client.get(address, headers={"Accept": accept})
        assert response.status_code in (200, 503), address
        text = text_of(response)
        assert CANARY not in text, address
        assert MASK in text or "steps" in address or "status" in address or "workflows" not in address, (
            address
        )


def test_45_without_view_payload_there_are_no_payloads_at_all(runs: list[Workflow]) -> None:
    client = client_of(user("reader", VIEW))
    for run in runs:
        for name in ("workflow-detail", "workflow-steps"):
            text = text_of(client.get(at(name, run.id)))
            assert "nested" not in text
            assert "Traceback" not in text


def test_45_a_secret_is_in_no_answer_to_a_verb_and_in_no_log(
    runs: list[Workflow], workflow_harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_of(user("boss", *EVERYTHING))
    wrong = {"order": {"password": CANARY}, "password": [CANARY], "token": CANARY}
    bodies: list[tuple[str, Any]] = [
        (at("workflow-list"), {"definition": "rest.canary", "args": ARGS, "labels": LABELS, "key": "k"}),
        (at("workflow-list"), {"definition": "rest.canary", "args": ARGS, "key": "k"}),
        (at("workflow-list"), {"definition": "rest.canary", "args": wrong}),
        (
            at("workflow-list"),
            {"definition": "rest.canary", "args": ARGS, "labels": {"card_number": [CANARY]}},
        ),
        (at("workflow-list"), {"definition": "rest.canary", "args": {**ARGS, "order": [ARGS]}}),
        (
            at("workflow-events", runs[0].id),
            {"name": "rest.canary.go", "value": {"token": CANARY}, "key": "x"},
        ),
        (
            at("workflow-events", runs[0].id),
            {"name": "rest.canary.counted", "value": {"card_number": CANARY}},
        ),
        (
            at("workflow-events", runs[0].id),
            {"name": "rest.canary.counted", "value": {"a": {"token": CANARY}}},
        ),
        (at("workflow-fork", runs[1].id), {"from_step": 2}),
        (at("workflow-restart", runs[2].id), {"from_step": 3}),
        (at("workflow-cancel", runs[0].id), {}),
        (at("workflow-cleanup", runs[3].id), {}),
    ]
    with caplog.at_level(logging.DEBUG):
        statuses = []
        for address, body in bodies:
            response = client.post(address, body, format="json")
            statuses.append(response.status_code)
            assert CANARY not in text_of(response), (address, body)
        workflow_harness.drain()
    assert statuses == [201, 200, 400, 400, 400, 202, 400, 400, 201, 202, 200, 204]
    ours = [
        record for record in caplog.records if record.name.startswith(("django_workflow", "django.request"))
    ]
    logged = [f"{record.getMessage()} {record.exc_info} {vars(record)}" for record in ours]
    entries = [entry.change_message + entry.object_repr for entry in LogEntry.objects.all()]
    assert entries
    assert CANARY not in "".join([*logged, *entries])


def test_45_defaults_of_secret_arguments_are_in_no_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    from django_workflow.handler import registry

    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))

    @workflow.define(name="rest.default", api=True, redact=["pin"])
    async def default(
        step: StepContext, pin: str = CANARY, token: str = CANARY, open: str = "shown"
    ) -> None: ...

    told = text_of(client_of(user("s", "start_workflow")).get(at("definition-detail", "rest.default")))
    assert CANARY not in told
    assert "shown" in told
