"""Every page of the admin on every screen: whole, silent in the console, and open to everybody."""

from datetime import timedelta

import pytest
from django.urls import reverse
from selenium.webdriver import Keys
from selenium.webdriver.remote.webelement import WebElement

from django_workflow import workflow
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.browser.chromium import DESK, PHONE, Browser, Scheme
from tests.browser.visit import ADMIN, DETAIL, LIST, Visit
from tests.browser.workflows import checkout

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

CHECKOUT = "?name=shop.checkout&version=1"
SCREENS = [(width, scheme) for width in (DESK, PHONE) for scheme in ("light", "dark")]


@pytest.fixture
def orders(transactional_db: None, workflow_harness: Harness) -> list[Workflow]:
    """One that waits for its delivery, one that has failed, one that sleeps; and a cluster that is paused."""
    waiting = checkout.start(17, ["rose", "tulip"], "4111-1111", cooling_off=timedelta(days=1))
    failed = checkout.start(18, ["<b>oak</b>"], "4111-1110", cooling_off=timedelta(days=1))
    workflow_harness.advance(timedelta(days=2))
    sleeping = checkout.start(19, ["daisy"], "4111-1111", cooling_off=timedelta(days=30))
    workflow_harness.advance(timedelta(minutes=1))
    assert workflow.status(failed).type == "failed"
    workflow.pause("the reports are being moved", cluster="reports")
    return [waiting, failed, sleeping]


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_every_page_is_whole_on_every_screen(
    operator: Visit, orders: list[Workflow], width: int, scheme: Scheme
) -> None:
    browser = operator.browser
    browser.show(width, scheme)
    found = []
    for name, args, query in pages(orders):
        operator.open(name, *args, query=query)
        assert not browser.all(".errornote"), f"{name}: {browser.text()}"
        found += faults(browser, f"{name} {args}")
    for verb in ("cancel", "restart", "cleanup"):
        operator.choose_for_all(verb)
        assert not browser.all(".errornote"), f"{verb}: {browser.text()}"
        assert "What happens" in browser.text()
        found += faults(browser, f"{verb} many")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_pages_that_refuse_are_whole_too(
    operator: Visit, orders: list[Workflow], width: int, scheme: Scheme
) -> None:
    browser = operator.browser
    browser.show(width, scheme)
    waiting, failed, _ = orders
    found = []
    for name, args, query, button in (
        (f"{ADMIN}start", (), CHECKOUT, "Start"),
        (f"{ADMIN}event", (waiting.pk,), "?other=" + "n" * 150, "Send"),
        (f"{ADMIN}restart", (failed.pk,), "?from_step=99", ""),
        (f"{ADMIN}cleanup", (waiting.pk,), "", ""),
    ):
        operator.open(name, *args, query=query)
        if name == f"{ADMIN}event":
            browser.one("textarea[name=value]").send_keys("[" * 90 + "]" * 90)
        if button:
            browser.leave_by(browser.one(".submit-row [type=submit].default").click)
        assert browser.all(".errornote"), f"{name}: {browser.text()}"
        found += faults(browser, f"{name} {args}, refused")
    assert not found, "\n".join(found)


def faults(browser: Browser, page: str) -> list[str]:
    """What is wrong with the page that is open."""
    assert browser.all("#content, main"), f"{page}: {browser.text()}"
    found = [f"{page}: {line}" for line in browser.complaints() + browser.barriers()]
    if browser.overflow():
        found.append(f"{page}: {browser.overflow()} px wider than the screen")
    return found


def pages(orders: list[Workflow]) -> list[tuple[str, tuple[object, ...], str]]:
    """The name, the arguments and the query of each page that a link leads to."""
    found: list[tuple[str, tuple[object, ...]]] = [("admin:index", ()), (LIST, ())]
    found += [(DETAIL, (run.pk,)) for run in orders]
    waiting, failed, _ = orders
    found += [(f"{ADMIN}step", (waiting.pk, 2)), (f"{ADMIN}step", (failed.pk, 2))]
    found += [(f"{ADMIN}{verb}", (waiting.pk,)) for verb in ("cancel", "event", "fork")]
    found += [(f"{ADMIN}{verb}", (failed.pk,)) for verb in ("restart", "cleanup")]
    found += [(f"{ADMIN}{page}", ()) for page in ("pause", "resume", "definitions")]
    found += [("pages:home", ())]
    return [*((name, args, "") for name, args in found), (f"{ADMIN}start", (), CHECKOUT)]


def test_the_pages_can_be_read_without_scripts(operator: Visit, orders: list[Workflow]) -> None:
    operator.browser.scripts(on=False)
    operator.open(DETAIL, orders[0].pk)
    assert "reserve_stock" in operator.browser.text()


def test_from_the_list_to_a_workflow_by_keyboard_alone(operator: Visit, orders: list[Workflow]) -> None:
    browser = operator.browser
    operator.open(LIST)
    address = reverse(DETAIL, args=[orders[1].pk])

    def leads_there(focused: WebElement) -> bool:
        return address in (focused.get_attribute("href") or "")

    browser.tab_to(leads_there, "the failed order")
    browser.leave_by(lambda: browser.press(Keys.ENTER))
    assert "insufficient funds" in browser.text()
