"""The site, the browser in front of it and the cluster behind it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.test import override_settings
from django.test.testcases import LiveServerThread

from tests.browser.chromium import WITHIN, Browser, missing
from tests.browser.visit import PASSWORD, Visit
from tests.cluster.qcluster import QCluster

Start = Callable[[], QCluster]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for all tests: starting it takes seconds."""
    if gaps := missing():
        pytest.fail(
            f"{', '.join(gaps)} not found: `make browser`, or leave these tests out by WITHOUT=browser"
        )
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.quit()


@pytest.fixture
def site(transactional_db: None) -> Iterator[str]:
    """The address of a server with the admin and the example's pages, under the strict policy."""
    middleware = ["tests.browser.csp.strict_csp", *settings.MIDDLEWARE]
    with override_settings(MIDDLEWARE=middleware, ROOT_URLCONF="tests.browser.urls"):
        server = LiveServerThread("localhost", StaticFilesHandler, connections_override={}, port=0)
        server.daemon = True
        server.start()
        server.is_ready.wait(WITHIN)
        if server.error:
            raise server.error
        yield f"http://{server.host}:{server.port}"
        server.terminate()


@pytest.fixture
def visit(browser: Browser, site: str) -> Iterator[Visit]:
    """A visitor whom the site doesn't know yet. When the test ends nothing may have been complained of."""
    browser.driver.delete_all_cookies()
    browser.complaints()
    browser.show()
    yield Visit(browser, site)
    browser.scripts(on=True)
    browser.driver.get("about:blank")  # no poll may reach the database while it is emptied
    assert browser.complaints() == []


@pytest.fixture
def operator(visit: Visit) -> Visit:
    """Somebody who may do everything, logged in."""
    User.objects.create_superuser("operator", password=PASSWORD)
    visit.log_in("operator")
    return visit


@pytest.fixture
def cluster(transactional_db: None, tmp_path: Path) -> Iterator[QCluster]:
    """A real cluster on the test's database."""
    started = QCluster(tmp_path / "cluster.log")
    started.environment.update(DJANGO_SETTINGS_MODULE="tests.browser.settings", MEDIA=str(tmp_path / "media"))
    try:
        started.start()
        yield started
    finally:
        started.kill()
        # Shown by pytest with a test that fails.
        print(started.log.read_text(errors="replace"))  # noqa: T201
