"""The tests in a browser would see what they look for."""

import pytest

from tests.browser.chromium import DESK, PHONE
from tests.browser.visit import Visit

pytestmark = pytest.mark.browser


def test_what_the_policy_forbids_is_heard_and_does_not_happen(visit: Visit) -> None:
    visit.open("forbidden")
    heard = visit.browser.complaints()
    assert any("Applying inline style violates" in each for each in heard), heard
    assert any("inline script violates" in each for each in heard), heard
    assert visit.browser.evaluate("window.inline") is None


def test_barriers_are_found(visit: Visit) -> None:
    visit.open("forbidden")
    found = visit.browser.barriers()
    assert any(each.startswith("critical image-alt") for each in found), found
    assert any(each.startswith("critical label") for each in found), found


def test_a_page_that_is_too_wide_is_noticed(visit: Visit) -> None:
    visit.open("pages:home")
    visit.browser.show(PHONE)
    assert visit.browser.overflow() == 0
    visit.browser.evaluate("void document.body.append('W'.repeat(200))")
    assert visit.browser.overflow() > 0


def test_it_is_a_screen_of_either_scheme(visit: Visit) -> None:
    visit.open("pages:home")
    colours = []
    for scheme in ("light", "dark"):
        visit.browser.show(DESK, scheme)
        colours.append(visit.browser.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colours[0] != colours[1]
