"""The page of an event link, for somebody who has only its address: on every screen, silent, and pressed."""

from typing import Any

import pytest

from django_workflow import Event, StepContext, workflow
from django_workflow.models import Event as SentEvent
from django_workflow.testing import Harness
from tests.browser.chromium import DESK, PHONE, Scheme
from tests.browser.visit import Visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

bought: Event[bool] = Event("browser.bought", bool)
counted: Event[int] = Event("browser.counted", int)
settled: Event[dict[str, int]] = Event("browser.settled", dict[str, int])


@workflow.define(name="browser.purchase")
async def purchase(step: StepContext, event: str) -> Any:
    return await step.wait_for_event(event)


@pytest.mark.parametrize(
    ("width", "scheme"), [(width, scheme) for width in (DESK, PHONE) for scheme in ("light", "dark")]
)
def test_every_page_is_whole_on_every_screen(
    visit: Visit, workflow_harness: Harness, width: int, scheme: Scheme
) -> None:
    browser = visit.browser
    browser.show(width, scheme)
    found = []
    for event in (bought, counted, settled, Event("browser.untyped")):
        run = purchase.start(event.name)
        token = run.event_url(event).split("/")[-2]
        visit.open("django_workflow:event-link", token)
        assert browser.one("h1").text == event.name
        found += [f"{event.name}: {line}" for line in browser.complaints() + browser.barriers()]
        if browser.overflow():
            found.append(f"{event.name}: {browser.overflow()} px wider than the screen")
    assert not found, "\n".join(found)
    assert not SentEvent.objects.exists()


def test_a_click_approves_and_another_one_is_told_so(visit: Visit, workflow_harness: Harness) -> None:
    run = purchase.start(bought.name)
    token = run.event_url(bought).split("/")[-2]
    browser = visit.browser
    visit.open("django_workflow:event-link", token)
    browser.leave_by(browser.one("button[value=true]").click)
    assert "Thank you" in browser.text()
    assert browser.barriers() == []
    visit.open("django_workflow:event-link", token)
    assert "This link has been used" in browser.text()
    assert browser.all("button") == []
    assert browser.barriers() == []
    workflow_harness.drain()
    assert workflow_harness.result(run) is True
