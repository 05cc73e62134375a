"""Limits: none unless the project sets a rate."""

from typing import Any

import pytest
from django.test import override_settings
from rest_framework.throttling import UserRateThrottle

from django_workflow.testing import Harness
from tests.rest.stage import EVERYTHING, at, boss, client_of, failed, problem, user, waiting

pytestmark = pytest.mark.django_db
BODY = {"definition": "rest.note"}


class OncePerHour(UserRateThrottle):
    rate = "1/hour"


def rates(**rates: str) -> Any:
    return override_settings(
        REST_FRAMEWORK={
            "DEFAULT_THROTTLE_RATES": {name.replace("_", "-"): rate for name, rate in rates.items()}
        }
    )


def test_none_by_default() -> None:
    client = boss()
    assert {client.post(at("workflow-list"), BODY, format="json").status_code for _ in range(30)} == {201}


def assert_throttled(response: Any) -> None:
    problem(response, "throttled")
    assert 1 <= int(response.headers["Retry-After"]) <= 3600


def test_starts_restarts_and_forks_share_a_rate(workflow_harness: Harness) -> None:
    client, run = boss(), failed(workflow_harness)
    with rates(workflow_start="2/hour"):
        assert client.post(at("workflow-list"), BODY, format="json").status_code == 201
        assert client.post(at("workflow-fork", run.id), {"from_step": 1}, format="json").status_code == 201
        for address in (at("workflow-list"), at("workflow-fork", run.id), at("workflow-restart", run.id)):
            assert_throttled(client.post(address, BODY, format="json"))
        assert client.get(at("workflow-list")).status_code == 200
        assert client.post(at("workflow-cancel", run.id), {}, format="json").status_code == 200
        other = client_of(user("other", *EVERYTHING))
        assert other.post(at("workflow-list"), BODY, format="json").status_code == 201


def test_events_have_a_rate_of_their_own(workflow_harness: Harness) -> None:
    client, run = boss(), waiting(workflow_harness)
    with rates(workflow_event="1/minute"):
        assert client.post(at("workflow-events", run.id), {"name": "x"}, format="json").status_code == 202
        assert_throttled(client.post(at("workflow-events", run.id), {"name": "x"}, format="json"))
        assert client.post(at("workflow-list"), BODY, format="json").status_code == 201


def test_the_projects_own_throttles_hold_here_too_but_for_health() -> None:
    throttled = {"DEFAULT_THROTTLE_CLASSES": ["tests.rest.test_throttling.OncePerHour"]}
    client = boss()
    with override_settings(REST_FRAMEWORK=throttled):
        assert client.get(at("workflow-list")).status_code == 200
        assert_throttled(client.get(at("workflow-list")))
        assert {client.get(at("health")).status_code for _ in range(3)} == {503}
