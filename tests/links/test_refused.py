"""Addresses that are no good: one answer for all of them, byte for byte; and what a good one refuses."""

from __future__ import annotations

import logging
import string
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.core import signing
from django.test import Client, override_settings
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_workflow import links, workflow
from django_workflow.models import Event as SentEvent
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.links.conftest import BROWSER, NOON, Waiting, rows, values
from tests.links.definitions import approved, counted, waits

ALPHABET = string.ascii_letters + string.digits + "-_."
NOWHERE = "/api/events/nothing/"


def answer(client: Client, address: str, method: str = "get", **extra: Any) -> tuple[Any, ...]:
    """All of an answer that somebody could compare."""
    response = getattr(client, method)(address, **extra)
    return response.status_code, response.content, sorted(response.items())


def all_answers(client: Client, address: str) -> list[tuple[Any, ...]]:
    """To all that can be asked of an address."""
    yes = {"data": {"value": True}, "content_type": "application/json"}
    return [
        answer(client, address),
        answer(client, address, headers={"accept": BROWSER}),
        answer(client, address, "head"),
        answer(client, address, "post", **yes),
        answer(client, address, "post", headers={"accept": BROWSER}, **yes),
        answer(client, address, "post", data="no json", content_type="application/json"),
        answer(client, address, "post", data={"other": 1}, content_type="application/json"),
    ]


def bad_addresses(waiting: Waiting, frozen: Harness) -> dict[str, str]:
    """An address for each way of being no good."""
    expired = waiting(approved).event_url(approved, expires=timedelta(minutes=1))
    frozen.advance(timedelta(minutes=1))
    cleaned_up = waiting(approved)
    of_cleaned_up = cleaned_up.event_url(approved)
    used = cleaned_up.event_url(approved)
    Client().post(used, {"value": True}, "application/json")
    frozen.drain()
    cleaned_up.cleanup()
    good = waiting(approved).event_url(approved)
    token = good.split("/")[-2]
    body, _, signature = token.rpartition(".")
    other = waiting(approved).event_url(approved).split("/")[-2]
    with override_settings(SECRET_KEY="another"):
        foreign = waiting(approved).event_url(approved)
    return {
        "expired": expired,
        "cleaned up": of_cleaned_up,
        "cleaned up and used": used,
        "tampered": good.replace(body, body[:-1] + ("A" if body[-1] != "A" else "B")),
        "another's signature": good.replace(signature, other.rpartition(".")[2]),
        "another key": foreign,
        "another salt": good.replace(token, signing.Signer(sep=".", salt="mine").sign(body)),
        "cut": good.replace(token, token[:-1]),
        "no signature": good.replace(token, body),
        "signed nonsense": good.replace(token, signing.Signer(sep=".", salt=links.SALT).sign("nonsense")),
        "signed too short": good.replace(token, signing.Signer(sep=".", salt=links.SALT).sign("AAAA")),
        "signed no base64": good.replace(token, signing.Signer(sep=".", salt=links.SALT).sign("A")),
        "not ASCII": good.replace(token, quote("\N{SNOWMAN}" + token)),
        "dots": good.replace(token, "..."),
        "long": good.replace(token, token * 30),
    }


def test_of_a_bad_address_nobody_learns_why(waiting: Waiting, frozen: Harness, anybody: Client) -> None:
    constant = all_answers(anybody, NOWHERE)
    assert [status for status, *_ in constant] == [404] * 7
    assert constant[0][1] == constant[3][1] == constant[5][1] != b""
    addresses = bad_addresses(waiting, frozen)
    before = rows()
    for why, address in addresses.items():
        assert all_answers(anybody, address) == constant, why
    assert rows() == before


def test_what_a_bad_address_says(anybody: Client, browser: Client, frozen: Harness) -> None:
    problem = anybody.get(NOWHERE)
    assert problem.headers["Content-Type"] == "application/problem+json"
    assert problem.json() == {
        "type": "urn:django-workflow:problem:not-found",
        "title": "There is no such thing.",
        "status": 404,
    }
    page = browser.get(NOWHERE)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "This link doesn’t work" in page.content.decode()


def test_no_character_of_a_token_can_be_another(waiting: Waiting) -> None:
    token = waiting(approved).event_url(approved).split("/")[-2]
    assert links.read(token, NOON) is not None
    for place, character in enumerate(token):
        for other in ALPHABET:
            if other != character:
                assert links.read(token[:place] + other + token[place + 1 :], NOON) is None
        assert links.read(token[:place] + token[place + 1 :], NOON) is None
        assert links.read(token[:place] + character + token[place:], NOON) is None


@given(st.text(st.characters()) | st.text(ALPHABET, min_size=1))
def test_a_token_that_we_did_not_make_is_none(text: str) -> None:
    assert links.read(text, NOON) is None


@given(st.binary(max_size=80))
def test_bytes_that_we_signed_but_did_not_pack_never_raise(body: bytes) -> None:
    signed = signing.Signer(sep=".", salt=links.SALT).sign(body.hex())
    read = links.read(signed, NOON)
    assert read is None or read.expires_at > NOON


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(text=st.text(min_size=1, max_size=60).filter(lambda text: "/" not in text and text not in (".", "..")))
def test_any_text_as_an_address_is_the_same_404(text: str, anybody: Client, frozen: Harness) -> None:
    encoded = quote(text.encode("utf-8", "surrogatepass"))
    response = anybody.get(f"/api/events/{encoded}/")
    assert response.status_code == 404
    if "\n" not in text:  # which no address of Django's matches at its end
        assert response.content == anybody.get(NOWHERE).content


def test_no_method_but_get_head_and_post(waiting: Waiting, anybody: Client) -> None:
    good = waiting(approved).event_url(approved)
    before = rows()
    for method in ("put", "patch", "delete", "options"):
        assert [getattr(anybody, method)(each).status_code for each in (good, NOWHERE)] == [405, 405]
    assert rows() == before


# ── what a good one refuses ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "content_type", "status", "says"),
    [
        ('{"value": "several"}', "application/json", 400, "value"),
        ("{}", "application/json", 400, "value"),
        ("", "application/json", 400, "value"),
        ('{"value": 1, "key": "mine"}', "application/json", 400, "key: there is no such field; give value"),
        ('{"error": "no"}', "application/json", 400, "error: there is no such field; give value"),
        ("[1]", "application/json", 400, "is no object"),
        ("7", "application/json", 400, "is no object"),
        ("{", "application/json", 400, "no JSON"),
        ('{"value": NaN}', "application/json", 400, "NaN"),
        ("[" * 3000 + "]" * 3000, "application/json", 400, "nested"),
        (b"\xff", "application/json", 400, "UTF-8"),
        ("value=several", "application/x-www-form-urlencoded", 400, "value"),
        ("value=1&key=mine", "application/x-www-form-urlencoded", 400, "key"),
        ("1", "text/plain", 415, "Send JSON"),
    ],
)
def test_what_it_refuses_is_a_problem_and_sends_nothing(
    waiting: Waiting, anybody: Client, body: Any, content_type: str, status: int, says: str
) -> None:
    run = waiting(counted)
    before = rows()
    response = anybody.post(run.event_url(counted), body, content_type)
    assert (response.status_code, response.headers["Content-Type"]) == (status, "application/problem+json")
    problem = response.json()
    told = [f"{each['field']}: {each['detail']}" for each in problem.get("errors", ())]
    assert says in " ".join([problem["title"], problem.get("detail", ""), *told])
    assert rows() == before


def test_a_value_over_the_limit_is_too_large(waiting: Waiting, anybody: Client) -> None:
    run = waiting("links.large")
    address = run.event_url("links.large")
    with override_settings(DJANGO_WORKFLOW={"VALUE_LIMIT": 1000}):
        statuses = [
            anybody.post(address, {"value": "x" * size}, "application/json").status_code
            for size in (1000, 200_000)
        ]
        assert statuses == [413, 413]
        form = f"value=%22{'x' * 200_000}%22"
        assert anybody.post(address, form, "application/x-www-form-urlencoded").status_code == 413
    assert values(run) == []


def test_a_finished_workflow_says_so_to_whoever_has_its_link(
    waiting: Waiting, anybody: Client, browser: Client
) -> None:
    run = waiting(approved)
    address = run.event_url(approved)
    run.cancel("secret reason")
    problem = anybody.post(address, {"value": True}, "application/json")
    assert problem.status_code == 409
    assert problem.json()["type"] == "urn:django-workflow:problem:finished"
    assert anybody.get(address).content == problem.content
    page = browser.post(address, {"value": "true"})
    assert page.status_code == 409
    assert "has finished" in page.content.decode()
    for said in (problem, page):
        assert str(run.id) not in said.content.decode()
        assert "secret reason" not in said.content.decode()
    assert values(run) == []


def test_a_full_mailbox_is_a_problem_without_the_workflows_id(waiting: Waiting, anybody: Client) -> None:
    run = waiting(approved)
    addresses = [run.event_url(approved) for _ in range(2)]
    with override_settings(DJANGO_WORKFLOW={"PENDING_EVENT_LIMIT": 1}):
        said = [anybody.post(each, {"value": True}, "application/json") for each in addresses]
        again = anybody.post(addresses[0], {"value": True}, "application/json")
    assert [each.status_code for each in (*said, again)] == [202, 409, 202]
    assert said[1].json()["type"] == "urn:django-workflow:problem:limit-reached"
    assert str(run.id) not in said[1].content.decode()


@override_settings(REST_FRAMEWORK={"DEFAULT_THROTTLE_RATES": {"workflow-event": "2/min"}})
def test_a_rate_limits_how_often_one_may_try(waiting: Waiting, anybody: Client) -> None:
    address = waiting(approved).event_url(approved)
    tried = [anybody.get(each) for each in (address, NOWHERE, address)]
    assert [each.status_code for each in tried] == [200, 404, 429]
    assert tried[2].headers["Content-Type"] == "application/problem+json"
    assert int(tried[2].headers["Retry-After"]) > 0


# ── the address is a secret ─────────────────────────────────────────────────────────────────────────────────


def test_the_address_is_in_no_log_row_or_answer(
    waiting: Waiting, anybody: Client, browser: Client, caplog: pytest.LogCaptureFixture, frozen: Harness
) -> None:
    run = waiting(approved)
    address = run.event_url(approved)
    token = address.split("/")[-2]
    signature = token.rpartition(".")[2]
    with caplog.at_level(logging.DEBUG):
        responses = [
            anybody.post(address, {"value": "several"}, "application/json"),
            anybody.post(address, {"value": True}, "application/json"),
            anybody.post(address, {"value": True}, "application/json"),
            browser.get(address),
            anybody.put(address),
        ]
        frozen.drain()
        responses += [anybody.get(address), browser.post(address)]
        frozen.advance(timedelta(days=8))
        responses.append(anybody.get(address))
    for record in caplog.records:
        assert signature not in record.getMessage() + str(record.__dict__), record.name
    for response in responses:
        assert signature not in response.content.decode()
        assert signature not in str(response.headers)
    assert signature not in str(list(SentEvent.objects.values())) + str(list(Workflow.objects.values()))
    (event,) = SentEvent.objects.filter(workflow=run)
    assert event.key is not None
    assert event.key.startswith("link-")
    assert links.read(event.key, NOON) is None


@pytest.mark.parametrize("accept", ["application/json", BROWSER])
def test_no_cache_referrer_frame_or_search_engine_has_it(waiting: Waiting, accept: str) -> None:
    client = Client(headers={"accept": accept})
    address = waiting(approved).event_url(approved)
    asked = [
        client.get(address),
        client.get(NOWHERE),
        client.post(address, {"value": 7}, "application/json"),
        client.post(address, {"value": True}, "application/json"),
        client.put(address),
    ]
    assert [each.status_code for each in asked] == [200, 404, 400, 202, 405]
    for response in asked:
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["X-Robots-Tag"] == "noindex"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.cookies == {}


def test_of_a_workflow_a_link_shows_the_definition_and_no_more(
    waiting: Waiting, anybody: Client, browser: Client
) -> None:
    canary = "canary-51ab"
    run = waits.using(labels={"for": canary}, key=canary, context={"of": canary}).start(approved.name)
    workflow.send_event(run, "links.other", canary, key=f"{canary}-key")
    address = run.event_url(approved)
    for client in (anybody, browser):
        for response in (client.get(address), client.post(address), client.post(NOWHERE)):
            assert canary not in response.content.decode()
            assert str(run.id) not in response.content.decode()
            assert run.id.hex not in response.content.decode()
