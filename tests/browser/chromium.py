"""Chromium without a window: found, started, and looked at as a person, a screen reader and its own console do.

Rules of this file: it knows browsers, not our pages. Nothing here needs Django.
"""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Literal

from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver import Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

AXE: Final = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
WITHIN: Final = 20.0  # seconds after which a test gives up
PHONE, DESK = 390, 1280  # CSS pixels
HEIGHT: Final = {PHONE: 844, DESK: 900}
Scheme = Literal["light", "dark"]

FLAGS: Final = [
    "--headless=new",
    "--no-sandbox",  # as root in a container there is none
    "--disable-gpu",
    "--disable-dev-shm-usage",  # /dev/shm of a container is small
    # It talks to our server and to nobody else.
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--lang=en",
]


def missing() -> list[str]:
    """What a test in a browser needs and this machine has not."""
    gaps = [] if _program() else ["chromium"]
    gaps += [] if shutil.which("chromedriver") else ["chromedriver"]
    return gaps + ([] if AXE.is_file() else ["axe-core"])


def _program() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One browser with one page."""

    def __init__(self, profile: Path) -> None:
        """Start it, with a fresh profile in this folder."""
        options = ChromeOptions()
        options.binary_location = _program() or ""
        for flag in [*FLAGS, f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = Chrome(options, Service(shutil.which("chromedriver")))
        self.driver.set_page_load_timeout(WITHIN)

    def quit(self) -> None:
        """Close it."""
        self.driver.quit()

    # ── what it is like ─────────────────────────────────────────────────────────────────────────────────────

    def show(self, width: int = DESK, scheme: Scheme = "light") -> None:
        """Be a screen of this width, of a person who prefers this scheme."""
        metrics = {"width": width, "height": HEIGHT[width], "deviceScaleFactor": 1, "mobile": width == PHONE}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def scripts(self, *, on: bool) -> None:
        """Let pages run scripts, or don't."""
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not on})

    def evaluate(self, expression: str) -> Any:
        """The value of an expression; the console's way in, which no policy of the page stops."""
        asked = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = self.driver.execute_cdp_cmd("Runtime.evaluate", asked)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    # ── what it shows ───────────────────────────────────────────────────────────────────────────────────────

    def text(self) -> str:
        """All that is to be read on the page."""
        return str(self.driver.find_element(By.TAG_NAME, "body").text)

    def all(self, selector: str) -> list[WebElement]:
        """Every element of a CSS selector."""
        found: list[WebElement] = self.driver.find_elements(By.CSS_SELECTOR, selector)
        return found

    def one(self, selector: str) -> WebElement:
        """The element of a CSS selector."""
        (found,) = self.all(selector)
        return found

    def link(self, text: str) -> WebElement:
        """The first link or button that is called so."""
        condition = f"starts-with(normalize-space(), '{text}')"
        path = f"//a[{condition}] | //button[{condition}] | //input[@type='submit'][starts-with(@value, '{text}')]"
        found = [each for each in self.driver.find_elements(By.XPATH, path) if each.is_displayed()]
        assert found, f"no {text!r} on {self.driver.current_url}"
        return found[0]

    def eventually(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait until something is so on the page, which may be changing under our hands."""

        def look(_: Any) -> Any:
            with suppress(StaleElementReferenceException):
                return condition()

        return WebDriverWait(self.driver, WITHIN, poll_frequency=0.1).until(
            look, f"not within {WITHIN:.0f} s: {what}\n{self.driver.current_url}\n{self.text()}"
        )

    def save_picture(self, file: Path) -> None:
        """The whole page, as a PNG."""
        asked = {"format": "png", "captureBeyondViewport": True}
        file.write_bytes(
            base64.b64decode(self.driver.execute_cdp_cmd("Page.captureScreenshot", asked)["data"])
        )

    # ── what is wrong with it ───────────────────────────────────────────────────────────────────────────────

    def complaints(self) -> list[str]:
        """Warnings and errors of the console since the last call, those of the Content-Security-Policy among them."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [str(entry["message"]) for entry in entries if entry["level"] in {"WARNING", "SEVERE"}]

    def barriers(self) -> list[str]:
        """What axe-core finds serious or critical, one line an element."""
        self.evaluate(AXE.read_text())
        options = json.dumps({"resultTypes": ["violations"]})
        found = self.evaluate(f"axe.run(document, {options}).then(found => JSON.stringify(found.violations))")
        self.complaints()  # of styles that axe tries to set
        return [
            f"{rule['impact']} {rule['id']}: {node['html']} ({node['failureSummary']})"
            for rule in json.loads(found)
            if rule["impact"] in {"serious", "critical"}
            for node in rule["nodes"]
        ]

    def overflow(self) -> int:
        """By how many pixels the page is wider than the screen."""
        return int(
            self.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        )

    # ── hands on the keyboard ───────────────────────────────────────────────────────────────────────────────

    def press(self, *keys: str) -> None:
        """Press keys, whatever has the focus."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def tab_to(self, wanted: Callable[[WebElement], bool], what: str, limit: int = 150) -> WebElement:
        """Press Tab until the focus is where it is wanted."""
        for _ in range(limit):
            with suppress(StaleElementReferenceException):  # a refresh came between: look again
                focused = self.driver.switch_to.active_element
                if wanted(focused):
                    return focused
                self.press(Keys.TAB)
        raise AssertionError(f"{limit} times Tab on {self.driver.current_url} didn't lead to {what}")

    def leave_by(self, act: Callable[[], Any]) -> None:
        """Do what leads to another page, and wait for it."""
        page = self.driver.find_element(By.TAG_NAME, "html")
        act()

        def has_gone(_: Any) -> bool:
            try:
                page.is_enabled()
            except WebDriverException:  # stale, or in between two documents
                return True
            return False

        WebDriverWait(self.driver, WITHIN, poll_frequency=0.05).until(has_gone, "another page")
        self.eventually(lambda: self.evaluate("document.readyState") == "complete", "a whole page")
