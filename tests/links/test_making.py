"""`event_url()`: whom it makes an address for, and how long that is good."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core import signing
from django.test import Client, RequestFactory, override_settings

from django_workflow import Event, workflow
from django_workflow.exceptions import InvalidArguments, UsageError, WorkflowFinished, WorkflowNotFound
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.links.conftest import NOON, Waiting, rows, values
from tests.links.definitions import approved

DAY = timedelta(days=1)


def test_it_is_a_short_path_of_characters_that_every_mail_program_takes(waiting: Waiting) -> None:
    address = waiting(approved).event_url(approved)
    assert re.fullmatch(r"/api/events/[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+/", address)
    assert len(address) < 150


def test_with_a_request_it_begins_with_its_scheme_and_host(waiting: Waiting) -> None:
    request = RequestFactory().get("/", secure=True, headers={"host": "shop.example"})
    address = waiting(approved).event_url(approved, request=request)
    assert address.startswith("https://shop.example/api/events/")


def test_all_ways_to_name_workflow_and_event_are_one(waiting: Waiting, anybody: Client) -> None:
    run = waiting(approved, 4)
    addresses = [
        workflow.event_url(run.id, approved),
        workflow.event_url(str(run.id), "links.approved"),
        run.event_url("links.approved"),
        async_to_sync(run.aevent_url)(approved),
        async_to_sync(workflow.aevent_url)(run, approved),
    ]
    assert len(set(addresses)) == 5
    for address in addresses:
        assert anybody.get(address).json()["event"] == "links.approved"


def test_it_changes_nothing(waiting: Waiting) -> None:
    run = waiting(approved)
    before = rows()
    run.event_url(approved)
    assert rows() == before


def test_an_unknown_workflow_has_none(frozen: Harness) -> None:
    with pytest.raises(WorkflowNotFound):
        workflow.event_url("0193f2aa-0000-7000-8000-000000000000", approved)
    with pytest.raises(WorkflowNotFound):
        workflow.event_url("nonsense", approved)


def test_a_finished_workflow_has_none(waiting: Waiting) -> None:
    run = waiting(approved)
    run.cancel()
    with pytest.raises(WorkflowFinished, match="canceled"):
        run.event_url(approved)


@pytest.mark.parametrize("expires", [timedelta(0), -DAY, 60, None, "7 days", timedelta.max])
def test_expires_has_to_be_a_time_from_now(waiting: Waiting, expires: Any) -> None:
    with pytest.raises(InvalidArguments) as refused:
        waiting(approved).event_url(approved, expires=expires)
    (problem,) = refused.value.problems
    assert problem.startswith(f"expires: {expires!r} ")
    assert "; give " in problem


def test_request_has_to_be_one(waiting: Waiting) -> None:
    with pytest.raises(InvalidArguments, match=r"request: 'https://shop.example' is no request; give "):
        waiting(approved).event_url(approved, request="https://shop.example")  # type: ignore[arg-type]


@pytest.mark.parametrize("event", ["", "two\nlines", 7, None])
def test_event_has_to_be_one(waiting: Waiting, event: Any) -> None:
    with pytest.raises(InvalidArguments, match=r"event_url\(\)"):
        waiting(approved).event_url(event)


def test_without_our_urls_it_says_which_line_is_missing(waiting: Waiting) -> None:
    run = waiting(approved)
    with (
        override_settings(ROOT_URLCONF="example_project.pages.urls"),
        pytest.raises(UsageError, match=r'add path\("api/", include\("django_workflow.rest.urls"\)\) to its'),
    ):
        run.event_url(approved)


# ── how long it is good ─────────────────────────────────────────────────────────────────────────────────────


def test_it_is_good_for_a_week_and_not_a_moment_longer(
    waiting: Waiting, frozen: Harness, anybody: Client
) -> None:
    address = waiting(approved).event_url(approved)
    assert anybody.get(address).json()["expires_at"] == "2031-05-13T12:00:00Z"
    frozen.advance(7 * DAY - timedelta(microseconds=1))
    assert anybody.get(address).status_code == 200
    frozen.advance(timedelta(microseconds=1))
    assert anybody.get(address).status_code == 404


def test_it_expires_when_it_is_told_to(waiting: Waiting, frozen: Harness, anybody: Client) -> None:
    run = waiting(approved)
    address = run.event_url(approved, expires=timedelta(hours=1))
    assert anybody.get(address).json()["expires_at"] == "2031-05-06T13:00:00Z"
    frozen.freeze(NOON + timedelta(hours=1))
    assert anybody.post(address, {"value": True}, "application/json").status_code == 404
    assert values(run) == []


def test_it_outlives_a_change_of_the_secret_key_while_the_old_one_is_a_fallback(
    waiting: Waiting, anybody: Client
) -> None:
    run = waiting(approved, 2)
    with override_settings(SECRET_KEY="old"):
        address = run.event_url(approved)
    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["old"]):
        for _ in range(2):
            assert anybody.post(address, {"value": True}, "application/json").status_code == 202
    assert values(run) == [True]
    with override_settings(SECRET_KEY="new"):
        assert anybody.get(address).status_code == 404


def test_the_signature_is_good_for_nothing_else(waiting: Waiting) -> None:
    token = waiting(approved).event_url(approved).split("/")[-2]
    for salt in (None, "django_workflow", "django.core.signing"):
        with pytest.raises(signing.BadSignature):
            signing.Signer(sep=".", salt=salt).unsign(token)


def test_a_link_for_a_long_name_in_any_script_works(
    waiting: Waiting, anybody: Client, frozen: Harness
) -> None:
    name = "签" * 200
    run = waiting(name)
    assert anybody.post(run.event_url(name), {}, "application/json").status_code == 202
    frozen.drain()
    assert frozen.result(run) == ["None"]


def test_the_harness_clock_is_the_one_that_counts(waiting: Waiting, frozen: Harness, anybody: Client) -> None:
    run: Workflow = waiting(Event("links.clock"))
    address = run.event_url("links.clock")
    frozen.advance(8 * DAY)
    assert anybody.get(address).status_code == 404
