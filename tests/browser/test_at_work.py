"""Somebody at work on live pages, with a real cluster behind them: watches, cancels, restarts, approves."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone
from selenium.webdriver import Keys

from django_workflow import Canceled, Completed, workflow
from django_workflow.models import Workflow
from example_project.documents.models import Document
from example_project.publishing.models import Release
from example_project.publishing.releases import plan
from tests.browser.chromium import DESK, PHONE, WITHIN, Browser
from tests.browser.visit import DETAIL, Visit
from tests.browser.workflows import checkout, gates, open_gate, top_up
from tests.cluster.qcluster import QCluster

FOLDS = "[aria-labelledby=workflow-values] details"

pytestmark = [pytest.mark.browser, pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True, params=[(DESK, "light"), (PHONE, "dark")], ids=["desk", "phone"])
def screen(request: pytest.FixtureRequest, visit: Visit) -> None:
    """What works on a desk works on a phone, too."""
    visit.browser.show(*request.param)


def says(browser: Browser, text: str) -> None:
    """Wait until the page says this, by itself."""
    browser.eventually(lambda: text in browser.text(), repr(text))


def is_now(browser: Browser, state: str) -> None:
    """Wait until the workflow's state is this, on its page."""
    browser.eventually(lambda: state in browser.one(".workflow-state").text, f"the state {state}")


def mark(browser: Browser) -> None:
    """Leave something on the page that a page loaded anew doesn't have."""
    browser.evaluate("window.marked = true")


def is_marked(browser: Browser) -> bool:
    """Whether it is still the page that was marked."""
    return bool(browser.evaluate("window.marked === true"))


def bars(browser: Browser) -> int:
    """How many bars the timeline has."""
    return len(browser.all(".workflow-timeline rect.workflow-bar"))


def test_the_timeline_of_a_running_workflow_moves(cluster: QCluster, operator: Visit) -> None:
    browser = operator.browser
    run = gates.start("a", 3)
    operator.open(DETAIL, run.pk)
    says(browser, "0 of 3")
    mark(browser)
    for number in range(3):
        browser.eventually(lambda: len(browser.all(".workflow-timeline tbody tr")) == 2 * number + 2, "a row")  # noqa: B023
        before = bars(browser)
        open_gate("a", number)
        if number < 2:
            says(browser, f"{number + 1} of 3")
            assert bars(browser) > before
    is_now(browser, "completed")
    assert is_marked(browser)
    assert not [each for each in browser.all("#workflow-live-switch") if each.is_displayed()]


def test_focus_and_open_folds_outlive_a_refresh(cluster: QCluster, operator: Visit) -> None:
    browser = operator.browser
    run = gates.start("a", 2)
    operator.open(DETAIL, run.pk)
    browser.eventually(lambda: browser.all("#do-cancel"), "a button")
    browser.tab_to(lambda focused: focused.get_attribute("id") == "do-cancel", "Cancel")
    fold = browser.all(FOLDS)[0]
    was = fold.get_attribute("open")
    fold.find_element("tag name", "summary").click()
    browser.tab_to(lambda focused: focused.get_attribute("id") == "do-cancel", "Cancel")
    open_gate("a", 0)
    says(browser, "1 of 2")
    assert browser.driver.switch_to.active_element.get_attribute("id") == "do-cancel"
    assert browser.all(FOLDS)[0].get_attribute("open") != was


def test_a_running_workflow_is_canceled_by_keyboard_alone(cluster: QCluster, operator: Visit) -> None:
    browser = operator.browser
    run = gates.start("a", 2)
    operator.open(DETAIL, run.pk)
    browser.eventually(lambda: "hold" in browser.text(), "a step under way")
    browser.tab_to(lambda focused: focused.get_attribute("id") == "do-cancel", "Cancel…")
    browser.leave_by(lambda: browser.press(Keys.ENTER))
    browser.tab_to(lambda focused: focused.get_attribute("name") == "reason", "the reason")
    browser.press("ordered twice")
    browser.tab_to(
        lambda _: browser.evaluate("document.activeElement.matches('.submit-row button')"), "a button"
    )
    browser.leave_by(lambda: browser.press(Keys.ENTER))
    says(browser, "ordered twice")
    assert workflow.join(run, WITHIN) == Canceled("ordered twice", custom={"done": 0, "of": 2})
    entry = LogEntry.objects.get(object_id=str(run.pk))
    assert "ordered twice" in entry.get_change_message()


def test_a_failed_order_is_restarted_and_its_delivery_approved(cluster: QCluster, operator: Visit) -> None:
    browser = operator.browser
    run = checkout.start(18, ["oak"], "4111-1110", cooling_off=timedelta(0))
    assert workflow.join(run, WITHIN).type == "failed"
    operator.open(DETAIL, run.pk)
    assert "insufficient funds" in browser.text()

    top_up(18)
    operator.follow("Restart")
    browser.one("[name=reason]").send_keys("topped up")
    browser.leave_by(browser.all("form[method=post]:not(#logout-form) button[type=submit]")[0].click)
    says(browser, "3 of 4")
    says(browser, "delivered")

    operator.follow("Send event")
    operator.follow("Approve")
    is_now(browser, "completed")
    status = workflow.join(run, WITHIN)
    assert isinstance(status, Completed)
    assert status.result == {"payment": "payment-18", "arrived": True}


def test_a_user_of_the_example_approves_a_release_and_sees_it_appear(
    cluster: QCluster, operator: Visit
) -> None:
    browser = operator.browser
    roses = Document.objects.create(title="Roses", published_at=timezone.now())
    release = plan("Garden", [roses.pk])
    operator.open("pages:home")
    says(browser, "waits for approval")
    assert browser.barriers() == []
    operator.follow("Garden")
    says(browser, "10.5555/")
    assert browser.barriers() == []

    operator.follow("Approve")
    says(browser, "appears on")
    browser.eventually(lambda: not browser.all("button[value=approve]"), "a page without the buttons")
    assert Workflow.objects.get(pk=run_of(release)).state == "completed"


def run_of(release: Release) -> str:
    """The id of its workflow."""
    return str(release.workflow_id)
