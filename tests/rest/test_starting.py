"""`POST workflows/`."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import override_settings
from rest_framework.test import APIClient

from django_workflow import workflow
from django_workflow.models import Workflow
from django_workflow.payloads.plain import DEPTH_LIMIT
from django_workflow.testing import Harness
from tests.rest.stage import at, boss, client_of, fields, problem, user

pytestmark = pytest.mark.django_db


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def start(client: APIClient, name: str = "rest.order", **body: Any) -> Any:
    text = json.dumps({"definition": name, **body})
    return client.post(at("workflow-list"), text, content_type="application/json")


def test_it_is_created_and_its_address_told(workflow_harness: Harness) -> None:
    client = boss()
    response = start(
        client, args={"label": "pear"}, key="order-1", labels={"customer": 42}, run_at="2031-01-01T00:00:00Z"
    )
    assert response.status_code == 201
    run = Workflow.objects.get()
    assert response.headers["Location"] == f"http://testserver{at('workflow-detail', run.id)}"
    assert client.get(response.headers["Location"]).json()["args"] == {"label": "pear", "amount": 1}
    shown = response.json()
    assert (shown["id"], shown["definition"], shown["state"]) == (str(run.id), "rest.order", "in_progress")
    assert (shown["key"], shown["labels"], shown["started_at"]) == ("order-1", {"customer": 42}, None)
    assert run.due_at == datetime(2031, 1, 1, tzinfo=UTC)
    assert (run.key, run.labels) == ("order-1", {"customer": 42})
    assert workflow_harness.drain() == 0


def test_what_was_started_runs(workflow_harness: Harness) -> None:
    response = start(boss(), "rest.note", args={"value": {"a": [1, None, "ü"]}})
    workflow_harness.drain()
    assert workflow_harness.result(response.json()["id"]) == {"a": [1, None, "ü"]}


def test_a_known_key_is_200_and_the_same_workflow() -> None:
    client = boss()
    first = start(client, args={"label": "pear"}, key="k")
    again = start(client, args=["pear", 1], key="k", labels={"a": 1})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["Location"] == first.headers["Location"]
    assert Workflow.objects.count() == 1


def test_a_known_key_with_other_arguments_is_422() -> None:
    client = boss()
    first = start(client, args={"label": "pear"}, key="k")
    told = problem(start(client, args={"label": "plum"}, key="k"), "key-conflict")
    assert first.json()["id"] in told["detail"]
    assert Workflow.objects.count() == 1


def test_the_same_key_of_another_definition_is_another() -> None:
    client = boss()
    assert start(client, args=["pear"], key="k").status_code == 201
    assert start(client, "rest.note", key="k").status_code == 201


@pytest.mark.parametrize("header", ["order-1", '"order-1"', ' "order-1" '])
def test_the_header_is_a_key_quoted_or_not(header: str) -> None:
    client = boss()
    body = {"definition": "rest.order", "args": ["pear"]}
    first = client.post(at("workflow-list"), body, format="json", headers={"Idempotency-Key": header})
    assert first.status_code == 201
    assert first.json()["key"] == "order-1"
    again = start(client, args=["pear"], key="order-1")
    assert again.status_code == 200
    both = {**body, "key": "order-1"}
    agreed = client.post(at("workflow-list"), both, format="json", headers={"Idempotency-Key": header})
    assert agreed.status_code == 200


def test_a_header_that_says_another_key_than_the_body() -> None:
    body = {"definition": "rest.order", "args": ["pear"], "key": "a"}
    response = boss().post(at("workflow-list"), body, format="json", headers={"Idempotency-Key": "b"})
    assert set(fields(response)) == {"key"}
    assert not Workflow.objects.exists()


@pytest.mark.parametrize("header", ["", '""', "x" * 201, "caf\x85e"])
def test_a_header_that_is_no_key(header: str) -> None:
    body = {"definition": "rest.order", "args": ["pear"]}
    response = boss().post(at("workflow-list"), body, format="json", headers={"Idempotency-Key": header})
    assert set(fields(response)) == {"key"}
    assert not Workflow.objects.exists()


@pytest.mark.parametrize(
    ("args", "placed_as"),
    [
        ([1], [1, 2, 3]),
        ([1, 5], [1, 5, 3]),
        ([1, 5, 7], [1, 5, 7]),
        ({"first": 1}, [1, 2, 3]),
        ({"first": 1, "second": 5}, [1, 5, 3]),
        ({"first": 1, "third": 7}, [1, 2, 7]),
        ({"third": 7, "second": 5, "first": 1}, [1, 5, 7]),
    ],
)
def test_arguments_by_position_and_by_name(
    workflow_harness: Harness, args: Any, placed_as: list[int]
) -> None:
    response = start(boss(), "rest.placed", args=args)
    assert response.status_code == 201, response.content
    workflow_harness.drain()
    assert workflow_harness.result(response.json()["id"]) == placed_as


def test_an_argument_by_position_only_that_is_missing() -> None:
    assert fields(start(boss(), "rest.placed", args={"second": 5})) == {"args.first": "is missing"}


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, {"definition"}),
        ({"definition": 7}, {"definition"}),
        ({"definition": None}, {"definition"}),
        ({"definition": ""}, {"definition"}),
        ({"definition": ["rest.order"]}, {"definition"}),
        ({"definition": "rest.order"}, {"args.label"}),
        ({"definition": "rest.order", "args": None}, {"args"}),
        ({"definition": "rest.order", "args": "pear"}, {"args"}),
        ({"definition": "rest.order", "args": {"label": 5}}, {"args.label"}),
        ({"definition": "rest.order", "args": {"label": 5, "amount": "many"}}, {"args.label", "args.amount"}),
        ({"definition": "rest.order", "args": {"label": "a", "colour": "red"}}, {"args.colour"}),
        ({"definition": "rest.order", "args": {"label": "a"}, "key": ""}, {"key"}),
        ({"definition": "rest.order", "args": {"label": "a"}, "key": 7}, {"key"}),
        ({"definition": "rest.order", "args": {"label": "a"}, "key": "x" * 201}, {"key"}),
        ({"definition": "rest.order", "args": {"label": "a"}, "key": "a\x00b"}, {"key"}),
        ({"definition": "rest.order", "args": {"label": "a"}, "labels": ["a"]}, {"labels"}),
        ({"definition": "rest.order", "args": {"label": "a"}, "labels": {"a": [1]}}, {"labels['a']"}),
        ({"definition": "rest.order", "args": {"label": "a"}, "labels": {"": 1}}, {"labels"}),
        ({"definition": "rest.order", "args": {"label": "a"}, "run_at": "tomorrow"}, {"run_at"}),
        ({"definition": "rest.order", "args": {"label": "a"}, "run_at": "2031-01-01T00:00:00"}, {"run_at"}),
        ({"definition": "rest.order", "args": {"label": "a"}, "run_at": 1_900_000_000}, {"run_at"}),
        (
            {"definition": "rest.order", "args": {"label": "a"}, "run_at": "9999-12-31T23:59:59-14:00"},
            {"run_at"},
        ),
        ({"definition": "rest.order", "args": {"label": "a"}, "priority": 9}, {"priority"}),
        ({"definition": "rest.order", "args": {"label": "a"}, "reason": "why"}, {"reason"}),
        ({"definition": 5, "args": 5, "key": 5, "labels": 5, "run_at": 5, "x": 5},
         {"definition", "args", "key", "labels", "run_at", "x"}),
    ],
)  # fmt: skip
def test_each_wrong_field_is_told_and_nothing_is_stored(body: dict[str, Any], wrong: set[str]) -> None:
    response = boss().post(at("workflow-list"), body, format="json")
    assert set(fields(response)) == wrong
    assert not Workflow.objects.exists()


@override_settings(TIME_ZONE="America/New_York")
def test_the_ends_of_the_calendar_are_those_of_utc() -> None:
    late = start(boss(), args=["a"], run_at="9999-12-31T23:59:59-01:00")
    assert set(fields(late)) == {"run_at"}


def test_null_is_nothing_given() -> None:
    response = start(boss(), args=["pear"], key=None, labels=None, run_at=None)
    assert response.status_code == 201
    assert (response.json()["key"], response.json()["labels"]) == (None, {})


NAMES = [
    "os.system",
    "django.core.management.call_command",
    "tests.rest.stage.order",
    "tests.rest.stage:order",
    "rest.inside",  # there is one, and it is not for the outside
    "Rest.Order",
    "REST.ORDER",
    "rest.order ",
    " rest.order",
    "rest.order\n",
    "rest.order:1",
    "order",
    "rest.ord\u00e9r",
    "../rest.order",
    "rest.order'; DROP TABLE",
    "x" * 10_000,
]


@pytest.mark.parametrize("name", NAMES)
def test_only_what_is_for_the_outside_has_a_name_here(name: str) -> None:
    response = start(boss(), name, args={"label": "a"})
    told = problem(response, "unknown-definition")
    assert [each["field"] for each in told["errors"]] == ["definition"]
    assert not Workflow.objects.exists()


def test_what_is_not_for_the_outside_answers_like_what_is_not_there() -> None:
    client = boss()
    inside, nowhere = (start(client, name, args={"value": 1}) for name in ("rest.inside", "rest.nowhr"))
    assert inside.content.replace(b"rest.inside", b"?") == nowhere.content.replace(b"rest.nowhr", b"?")
    assert inside.headers == {**nowhere.headers, "Content-Length": inside.headers["Content-Length"]}


def test_a_newer_version_that_is_not_for_the_outside_shuts_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    from django_workflow.handler import registry

    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))

    @workflow.define(name="rest.order", version=2)
    async def closed(step: Any, label: str) -> None: ...

    problem(start(boss(), args=["a"]), "unknown-definition")


def test_a_secret_argument_that_is_wrong_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    from django_workflow.handler import registry

    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))

    @workflow.define(name="rest.secretive", api=True, redact=["pin"])
    async def secretive(step: Any, password: int, pin: int, order: int) -> None: ...

    args = {"password": "canary", "pin": "canary", "order": {"PASSWORD": "canary", "pin": "canary"}}
    labels = {"token": ["canary"], "PIN": ["canary"]}
    for body in ({"args": args}, {"args": {"password": 1, "pin": 1, "order": 1}, "labels": labels}):
        response = start(boss() if "labels" not in body else client_of(user("b", "start_workflow")),
                         "rest.secretive", **body)  # fmt: skip
        assert response.status_code == 400
        assert "canary" not in response.content.decode()
    response = start(client_of(user("c", "start_workflow")), "rest.secretive", args={"password": "canary"})
    assert fields(response)["args.pin"] == "is missing"


@pytest.mark.parametrize(("depth", "status"), [(DEPTH_LIMIT, 201), (DEPTH_LIMIT + 1, 400)])
def test_the_deepest_value(workflow_harness: Harness, depth: int, status: int) -> None:
    client = boss()
    response = start(client, "rest.note", args={"value": nested(depth)})
    assert response.status_code == status
    if status == 400:
        assert {name.partition("[")[0] for name in fields(response)} == {"args.value"}
    workflow_harness.drain()
    assert client.get(at("workflow-list")).status_code == 200
    assert Workflow.objects.completed().count() == (1 if status == 201 else 0)


def test_whatever_is_stored_can_be_shown(workflow_harness: Harness) -> None:
    client = boss()
    values = ["\ud800", "a\x00b", "\u2028", {"\udfff": "\x00"}, 10**4000, -0.0, 1e308, "</script>"]
    for value in values:
        response = start(client, "rest.note", args={"value": value})
        assert response.status_code in (201, 400), response.content
    workflow_harness.drain()
    for run in Workflow.objects.all():
        for name in ("workflow-detail", "workflow-status", "workflow-steps"):
            assert client.get(at(name, run.id)).status_code == 200
    assert client.get(at("workflow-list")).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_it_is_there_even_where_requests_are_transactions(workflow_harness: Harness) -> None:
    from django.db import connection

    connection.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        response = start(boss(), args=["pear"])
    finally:
        connection.settings_dict["ATOMIC_REQUESTS"] = False
    assert response.status_code == 201
    assert workflow_harness.drain() > 0


def test_a_user_who_may_start_sees_what_he_has_started_and_no_more() -> None:
    client = client_of(user("program", "start_workflow"))
    response = start(client, args=["pear"])
    assert response.status_code == 201
    problem(client.get(response.headers["Location"]), "permission-denied")
