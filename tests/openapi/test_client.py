"""A client that a generator made of the description starts a workflow, waits for it, approves it and cleans it up."""

from __future__ import annotations

import base64
import importlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User

from django_workflow import Event, StepContext, workflow
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.openapi.test_description import COMMITTED

CLIENT = "workflow_client"
CONFIG = f"""
package_name_override: {CLIENT}
post_hooks: []
"""

approved = Event("openapi.approved", bool)


@workflow.define(name="openapi.order", api=True)
async def order(step: StepContext, item: str) -> str:
    """Deliver what is approved."""
    return f"{item} delivered" if await step.wait_for_event(approved) else "dropped"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`made("api.workflows.workflow_start")`: a module of the client."""
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    generator = [
        sys.executable,
        "-m",
        "openapi_python_client",
        "generate",
        "--meta",
        "none",
        "--fail-on-warning",
    ]
    ended = subprocess.run(
        [*generator, "--path", COMMITTED, "--config", config, "--output-path", tmp_path / CLIENT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda name: importlib.import_module(f"{CLIENT}.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == CLIENT]:
        del sys.modules[name]


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_generated_client(made: Any, live_server: Any, workflow_harness: Harness) -> None:
    ours = Permission.objects.filter(content_type__app_label="django_workflow")
    User.objects.create_user("ann", password="sesame").user_permissions.set(ours)
    token = base64.b64encode(b"ann:sesame").decode()
    client = made("client").AuthenticatedClient(
        base_url=live_server.url, token=token, prefix="Basic", raise_on_unexpected_status=True, timeout=60
    )
    with client:
        _use(made, client, workflow_harness)
    assert not Workflow.objects.exists()


def _use(made: Any, client: Any, harness: Harness) -> None:
    models = made("models")

    def call(operation: str, *args: Any, **kwargs: Any) -> Any:
        return made(f"api.workflows.workflow_{operation}").sync_detailed(*args, client=client, **kwargs)

    body = models.WorkflowStart.from_dict(
        {"definition": "openapi.order", "args": {"item": "tea"}, "labels": {"customer": 42}}
    )
    started = call("start", body=body, idempotency_key="order-1")
    assert (started.status_code, call("start", body=body, idempotency_key="order-1").status_code) == (
        201,
        200,
    )
    id = started.parsed.id
    assert started.headers["Location"] == f"{client._base_url}/api/workflows/{id}/"
    harness.drain()

    status = call("status", id)
    assert isinstance(status.parsed, models.WorkflowInProgress)
    assert [(step.kind, step.name) for step in status.parsed.running] == [("event", "openapi.approved")]
    refused = call("cleanup", id, body=models.WorkflowCleanup())
    assert (refused.status_code, refused.parsed.type_) == (409, "urn:django-workflow:problem:in-progress")

    ends: list[Any] = []

    def wait(known: str) -> None:
        while True:
            answer = call("status", id, wait=30, if_none_match=known)
            if answer.status_code == 200 and not isinstance(answer.parsed, models.WorkflowInProgress):
                return ends.append(answer.parsed)
            known = answer.headers["ETag"]

    waiting = threading.Thread(target=wait, args=[status.headers["ETag"]])
    waiting.start()
    event = models.WorkflowEvent.from_dict({"name": "openapi.approved", "value": True})
    assert call("send_event", id, body=event).status_code == 202
    harness.drain()
    waiting.join()
    assert [(type(end), end.result) for end in ends] == [(models.WorkflowCompleted, "tea delivered")]

    labels = made("models.workflow_list_labels").WorkflowListLabels.from_dict({"label.customer": "42"})
    found = call("list", labels=labels, state=models.WorkflowListState.COMPLETED)
    assert [each.id for each in found.parsed.results] == [id]
    assert call("get", id).parsed.args == {"item": "tea"}
    assert [step.name for step in call("steps", id).parsed.results] == ["openapi.approved"]

    assert call("cleanup", id, body=models.WorkflowCleanup(reason="done with it")).status_code == 204
    assert call("get", id).status_code == 404
