"""What opens and what sends: a GET shows, a POST sends once, and each type is asked for in its own way."""

from __future__ import annotations

import io
import re
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils.html import escape
from django.utils.translation import override

from django_workflow import Completed, Event, workflow
from django_workflow.testing import Harness
from tests.links.conftest import Waiting, rows, values
from tests.links.definitions import (
    HOSTILE,
    Offer,
    Size,
    approved,
    counted,
    done,
    maybe,
    named,
    offered,
    picked,
    sized,
)

NO_SCRIPT_OR_STYLE = re.compile(r"<script|<style|style=|\bon[a-z]+=|javascript:", re.IGNORECASE)


# ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["get", "head"])
def test_a_scanner_of_mails_that_opens_it_changes_nothing(
    waiting: Waiting, browser: Client, anybody: Client, frozen: Harness, method: str
) -> None:
    run = waiting(approved)
    address = run.event_url(approved)
    before = rows()
    for client in (browser, anybody):
        for _ in range(3):
            assert getattr(client, method)(address).status_code == 200
    assert frozen.drain() == 0
    assert rows() == before


def test_a_program_is_told_what_would_be_sent(waiting: Waiting, anybody: Client) -> None:
    response = anybody.get(waiting(counted).event_url(counted))
    assert response.json() == {
        "event": "links.counted",
        "definition": "links.waits",
        "expires_at": "2031-05-13T12:00:00Z",
        "used": False,
        "value_schema": {"type": "integer"},
    }


def test_the_page_stands_alone_without_script_and_style_of_its_own(waiting: Waiting, browser: Client) -> None:
    for event in (approved, counted, named, sized, offered, done):
        page = browser.get(waiting(event).event_url(event)).content.decode()
        assert not NO_SCRIPT_OR_STYLE.search(page)
        assert re.findall(r'(?:href|src|action)="([^"]*)"', page) == [
            "/static/django_workflow/event_link.css"
        ]
        assert '<html lang="en' in page
        assert 'name="viewport"' in page


def test_a_hostile_name_is_text(waiting: Waiting, browser: Client, anybody: Client) -> None:
    run = waiting(HOSTILE)
    address = run.event_url(HOSTILE)
    assert anybody.get(address).json()["event"] == HOSTILE
    for response in (browser.get(address), browser.post(address, {"value": "<b>"}), browser.post(address)):
        page = response.content.decode()
        assert escape(HOSTILE) in page
        assert "<script" not in page
        assert "<b>" not in page


@pytest.mark.parametrize(
    ("event", "asked"),
    [
        (approved, [r'<button name="value" value="true">Approve', r'<button name="value" value="false"']),
        (maybe, [r'<button name="value" value="true">Approve', r'<button name="value" value="false"']),
        (counted, [r'<input name="value" id="value" type="text" inputmode="numeric" required>']),
        (named, [r'<input name="value" id="value" type="text" inputmode="text" required>']),
        (sized, [r"<option>SMALL</option><option>LARGE</option>"]),
        (picked, [r"<option>red</option><option>blue</option>"]),
        (offered, [r'<textarea name="value" id="value" rows="4" required>']),
        (done, [r"<button>Confirm</button>"]),
        ("links.untyped", [r"<button>Confirm</button>"]),
    ],
    ids=str,
)
def test_each_type_is_asked_for_in_its_own_way(
    waiting: Waiting, browser: Client, event: Event[Any] | str, asked: list[str]
) -> None:
    page = browser.get(waiting(event).event_url(event)).content.decode()
    assert [each for each in asked if each not in page] == []
    assert page.count("<form ") == 1


# ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_post_of_a_program_sends_and_a_repeat_delivers_nothing(
    waiting: Waiting, anybody: Client, frozen: Harness
) -> None:
    run = waiting(approved, 2)
    address = run.event_url(approved)
    answers = [anybody.post(address, {"value": value}, "application/json") for value in (True, True, False)]
    assert [each.status_code for each in answers] == [202, 202, 202]
    assert answers[0].json() == {"event": "links.approved", "definition": "links.waits"}
    assert len({each.content for each in answers}) == 1
    assert values(run) == [True]
    assert anybody.get(address).json()["used"] is True
    frozen.drain()
    assert not isinstance(workflow.status(run), Completed)


def test_a_repeat_is_accepted_of_a_workflow_that_has_finished_by_it(
    waiting: Waiting, anybody: Client, browser: Client, frozen: Harness
) -> None:
    run = waiting(approved)
    address = run.event_url(approved)
    anybody.post(address, {"value": True}, "application/json")
    frozen.drain()
    assert workflow.status(run) == Completed(["True"])
    before = rows()
    assert anybody.post(address, {"value": True}, "application/json").status_code == 202
    assert anybody.get(address).json()["used"] is True
    page = browser.post(address, {"value": "false"})
    assert page.status_code == 202
    assert "The first answer counts" in page.content.decode()
    assert rows() == before


def test_two_links_for_one_event_deliver_twice(waiting: Waiting, anybody: Client, frozen: Harness) -> None:
    run = waiting(counted, 2)
    for value, address in enumerate([run.event_url(counted), run.event_url(counted)]):
        anybody.post(address, {"value": value}, "application/json")
    frozen.drain()
    assert frozen.result(run) == ["0", "1"]


def test_a_link_sends_to_its_own_workflow_only(waiting: Waiting, anybody: Client) -> None:
    one, other = waiting(approved), waiting(approved)
    anybody.post(one.event_url(approved), {"value": True}, "application/json")
    assert (values(one), values(other)) == ([True], [])


@pytest.mark.parametrize(
    ("event", "body", "received"),
    [
        (approved, {"value": False}, False),
        (maybe, {}, None),
        (counted, {"value": 3}, 3),
        (named, {"value": "Ann \N{SNOWMAN} \0"}, "Ann \N{SNOWMAN} \0"),
        (sized, {"value": 2}, Size.LARGE),
        (offered, {"value": {"price": "9.90", "by": "Ann"}}, Offer(Decimal("9.90"), "Ann")),
        (done, {}, None),
        (done, {"value": None}, None),
        ("links.untyped", {}, None),
        ("links.untyped", {"value": {"any": ["JSON", 1]}}, {"any": ["JSON", 1]}),
    ],
    ids=str,
)
def test_a_value_arrives_by_its_type(
    waiting: Waiting, anybody: Client, frozen: Harness, event: Event[Any] | str, body: Any, received: Any
) -> None:
    run = waiting(event)
    assert anybody.post(run.event_url(event), body, "application/json").status_code == 202
    frozen.drain()
    assert frozen.result(run) == [repr(received)]


def test_a_body_is_read_however_it_is_sent(waiting: Waiting, anybody: Client) -> None:
    run = waiting(approved, 3)
    for body in ({"value": "true"}, {"value": "false"}):  # multipart, as Django's test client has it
        assert anybody.post(run.event_url(approved), body).status_code == 202
    assert values(run) == [True, False]
    file = anybody.post(run.event_url(approved), {"value": io.BytesIO(b"true")})
    assert (file.status_code, values(run)) == (400, [True, False])


@pytest.mark.parametrize(
    ("event", "form", "received"),
    [
        (approved, {"value": "true"}, True),
        (approved, {"value": "false"}, False),
        (maybe, {}, None),
        (counted, {"value": "12"}, 12),
        (named, {"value": "Zoë"}, "Zoë"),
        (named, {"value": ""}, ""),
        (sized, {"value": "LARGE"}, 2),
        (picked, {"value": "blue"}, "blue"),
        (offered, {"value": '{"price": "9.90", "by": "Ann"}'}, {"price": "9.90", "by": "Ann"}),
        (done, {}, None),
        ("links.untyped", {}, None),
        ("links.untyped", {"value": "[1]"}, [1]),
    ],
    ids=str,
)
def test_the_page_sends_what_was_pressed(
    waiting: Waiting, browser: Client, event: Event[Any] | str, form: dict[str, str], received: Any
) -> None:
    run = waiting(event)
    response = browser.post(
        run.event_url(event),
        "&".join(f"{k}={v}" for k, v in form.items()),
        "application/x-www-form-urlencoded",
    )
    assert response.status_code == 202
    assert "your answer has arrived" in response.content.decode()
    assert values(run) == [received]


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (approved, "perhaps"),
        (counted, "twelve"),
        (sized, "HUGE"),
        (picked, "<i>"),
        (offered, "{"),
        (offered, "[1]"),
    ],
    ids=str,
)
def test_what_the_page_can_not_send_it_shows_and_asks_again(
    waiting: Waiting, browser: Client, event: Event[Any], text: str
) -> None:
    run = waiting(event)
    response = browser.post(run.event_url(event), f"value={text}", "application/x-www-form-urlencoded")
    page = response.content.decode()
    assert response.status_code == 400
    assert 'role="alert"' in page
    assert "<form " in page
    assert "<i>" not in page
    assert values(run) == []


def test_half_a_character_in_a_problem_breaks_no_page(waiting: Waiting, browser: Client) -> None:
    run = waiting(counted)
    for body in ('{"\\ud800": 1}', '{"value": "\\ud800"}'):
        response = browser.post(run.event_url(counted), body, "application/json")
        assert response.status_code == 400
        assert 'role="alert"' in response.content.decode()


def test_the_page_is_marked_for_translation(waiting: Waiting, browser: Client) -> None:
    address = waiting(approved).event_url(approved)
    with override("de"):
        page = browser.get(address).content.decode()
    assert '<html lang="de"' in page
    assert ">Approve<" not in page
