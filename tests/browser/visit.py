"""What people do on our pages, in a browser."""

from __future__ import annotations

from typing import Any

from django.urls import reverse

from tests.browser.chromium import Browser

PASSWORD = "correct horse"
ADMIN = "admin:django_workflow_workflow_"  # and the name of a page
LIST, DETAIL = f"{ADMIN}changelist", f"{ADMIN}change"


class Visit:
    """A browser on the site."""

    def __init__(self, browser: Browser, site: str) -> None:
        """Begin it; no page is open yet.

        Args:
            browser: with what.
            site: the address of the server, without a slash.
        """
        self.browser = browser
        self.site = site

    def open(self, name: str, *args: Any, query: str = "") -> None:
        """Open the page of this name."""
        self.browser.driver.get(f"{self.site}{reverse(name, args=args)}{query}")

    def log_in(self, user: str) -> None:
        """Log in as somebody does, by the form."""
        self.open("admin:login")
        self.browser.one("#id_username").send_keys(user)
        self.browser.one("#id_password").send_keys(PASSWORD)
        self.browser.leave_by(self.browser.one("input[type=submit]").click)

    def choose_for_all(self, verb: str) -> None:
        """Choose an action of the list for all rows of its page, and see what it asks."""
        self.open(LIST)
        self.browser.one("#action-toggle").click()
        self.browser.one(f"select[name=action] option[value={verb}_selected]").click()
        self.browser.leave_by(self.browser.one("button[name=index]").click)

    def follow(self, text: str) -> None:
        """Click on a link or a button, and wait for the next page."""
        self.browser.leave_by(self.browser.link(text).click)
