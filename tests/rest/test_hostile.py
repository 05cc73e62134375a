"""Payload bombs, hostile text and media types: a client's mistake is a problem, never a 500, and nothing else breaks."""

import json
from typing import Any

import pytest
from django.test import override_settings

from django_workflow import workflow
from django_workflow.models import Workflow
from django_workflow.rest.parsers import DEPTH_LIMIT, body_limit
from django_workflow.testing import Harness
from tests.rest.stage import at, boss, everything, fields, note, order, problem

pytestmark = pytest.mark.django_db


def post(client: Any, text: str | bytes, content_type: str = "application/json", **headers: str) -> Any:
    return client.post(at("workflow-list"), text, content_type=content_type, headers=headers)


# ── bombs ───────────────────────────────────────────────────────────────────────────────────────────────────


@override_settings(DJANGO_WORKFLOW={"VALUE_LIMIT": 2_000})
@pytest.mark.parametrize(("bytes_more", "kind"), [(0, "invalid"), (1, "too-large")])
def test_the_largest_body(bytes_more: int, kind: str) -> None:
    body = json.dumps({"definition": "rest.note", "x": ""})
    text = body.replace('""', '"' + "x" * (body_limit() + bytes_more - len(body)) + '"')
    assert len(text) == body_limit() + bytes_more
    problem(post(boss(), text), kind)


@override_settings(DJANGO_WORKFLOW={"VALUE_LIMIT": 2_000})
def test_the_largest_value(workflow_harness: Harness) -> None:
    client = boss()

    def start(size: int) -> Any:
        return client.post(
            at("workflow-list"), {"definition": "rest.note", "args": {"value": "x" * size}}, format="json"
        )

    sizes = range(1_900, 2_010)
    fits = [size for size in sizes if start(size).status_code == 201]
    assert fits == list(range(1_900, fits[-1] + 1))
    assert 1_950 < fits[-1] <= 2_000
    problem(start(fits[-1] + 1), "too-large")
    run = order.start("a")
    value = {"name": "rest.big", "value": "x" * 2_001}
    problem(client.post(at("workflow-events", run.id), value, format="json"), "too-large")
    assert Workflow.objects.count() == len(fits) + 1


@pytest.mark.parametrize(("depth", "kind"), [(DEPTH_LIMIT, "invalid"), (DEPTH_LIMIT + 1, "bad-request")])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_the_deepest_body(depth: int, kind: str, brackets: str) -> None:
    opening = "[" if brackets == "[]" else '{"a":'
    inner = "1" if brackets == "{}" else ""
    text = opening * depth + inner + brackets[1] * depth
    problem(post(boss(), text), kind)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[" * 2_000 + "]" * 2_000])
def test_a_tower(text: str) -> None:
    client = boss()
    note.start()
    problem(post(client, text), "bad-request")
    assert len(client.get(at("workflow-list")).json()["results"]) == 1


def test_brackets_in_a_text_are_text(workflow_harness: Harness) -> None:
    value = '[{"' * 500 + "\\\\"
    response = boss().post(
        at("workflow-list"), {"definition": "rest.note", "args": {"value": value}}, format="json"
    )
    workflow_harness.drain()
    assert workflow_harness.result(response.json()["id"]) == value


MALFORMED = [
    "", "{", "}", "{'a': 1}", '{"a": 1,}', "NaN", "Infinity", '{"definition": NaN}', "1e999x", "\ufeff{}", "{} {}",
    '{"definition": "a", "definition": "rest.note"}', '{"args": {"a": 1, "a": 2}}', "9" * 5_000, "-", "\x00", "tru",
    '"\\ud8"', '"\n"', "<xml/>", "definition=rest.note",
]  # fmt: skip


@pytest.mark.parametrize("text", [text for text in MALFORMED if text])
def test_what_is_no_json(text: str) -> None:
    client = boss()
    before = everything()
    problem(post(client, text), "bad-request")
    assert everything() == before


@pytest.mark.parametrize(
    "body", [b"\xff", b'{"definition": "\xed\xa0\x80"}', b"{\x00}", b"\xfe\xff\x00{\x00}"]
)
def test_what_is_no_text(body: bytes) -> None:
    problem(post(boss(), body), "bad-request")


def test_nothing_at_all_is_an_empty_object() -> None:
    response = boss().generic("POST", at("workflow-list"), "", content_type="application/json")
    assert set(fields(response)) == {"definition"}


@pytest.mark.parametrize("number", ["1e400", "-1e400"])
def test_a_number_that_is_none(number: str) -> None:
    text = '{"definition": "rest.note", "args": {"value": ' + number + "}}"
    response = post(boss(), text)
    assert response.status_code == 400
    assert not Workflow.objects.exists()


# ── media types, methods ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "multipart/form-data",
        "application/jsonp",
        "application/x-pickle",
        "garbage",
        "/",
    ],
)
def test_only_json_is_spoken(media_type: str) -> None:
    client = boss()
    problem(post(client, b'{"definition": "rest.note"}', media_type), "unsupported-media-type")
    assert not Workflow.objects.exists()


@pytest.mark.parametrize("accept", ["application/xml", "image/png", "garbage", "text/csv;q=1"])
def test_only_json_is_answered(accept: str) -> None:
    client = boss()
    problem(post(client, b'{"definition": "rest.note"}', Accept=accept), "not-acceptable")
    assert not Workflow.objects.exists()


def test_a_method_that_is_none_says_which_there_are() -> None:
    client = boss()
    for address, allowed in (
        (at("workflow-list"), {"GET", "POST", "HEAD", "OPTIONS"}),
        (at("workflow-cancel", "1"), {"POST", "OPTIONS"}),
        (at("health"), {"GET", "HEAD", "OPTIONS"}),
    ):
        response = client.put(address, {}, format="json")
        problem(response, "method-not-allowed")
        assert set(response.headers["Allow"].split(", ")) == allowed


# ── hostile text on the browsable pages ─────────────────────────────────────────────────────────────────────

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'>&{{7*7}}"


def test_45_hostile_text_is_shown_as_text(workflow_harness: Harness) -> None:
    client = boss()
    run = note.using(key=EVIL, labels={"a": EVIL}).start({"value": EVIL, EVIL: ["javascript:alert(3)"]})
    broken = order.using(labels={EVIL: EVIL}).start(EVIL)
    workflow_harness.drain()
    workflow.send_event(broken, "rest.approved", error=EVIL)
    workflow_harness.drain()
    addresses = [
        at("workflow-list"),
        f"{at('workflow-list')}?state={EVIL}",
        f"{at('workflow-list')}?{EVIL}=1",
    ]
    for each in (run, broken):
        addresses += [at(name, each.id) for name in ("workflow-detail", "workflow-status", "workflow-steps")]
    addresses += [
        "/api/workflows/<script>alert(1)<%2Fscript>/",
        "/api/definitions/<script>alert(1)</script>/",
    ]
    for address in addresses:
        page = client.get(address, headers={"Accept": "text/html"})
        assert page.headers["Content-Type"].startswith("text/html"), address
        text = page.content.decode()
        for harm in ("<script>alert", "<img src=x", 'href="javascript:'):
            assert harm not in text, (address, harm)
    for address in addresses[:-2]:
        told = client.get(address, headers={"Accept": "application/json"})
        assert told.headers["Content-Type"] in ("application/json", "application/problem+json")


def test_hostile_text_in_the_log_is_one_line(
    workflow_harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    client = boss()
    for name in ("a\nb", "a\r\nFAKE", "\x1b[31m"):
        client.post(at("workflow-list"), {"definition": name}, format="json")
        client.get(f"/api/workflows/{name.replace(chr(10), '%0a').replace(chr(13), '%0d')}/")
    for record in caplog.records:
        assert "\n" not in record.getMessage()
        assert "\x1b" not in record.getMessage()
