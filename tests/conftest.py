"""What holds for every test: which database it runs on, and which kinds of test this run leaves out.

``WITHOUT`` names markers, separated by commas; tests that bear one of them are deselected (and counted as such), so
that the command line's own ``-m`` stays free. What only PostgreSQL can do is left out elsewhere.
"""

import os

import django
import pytest
from django.conf import settings


def pytest_report_header() -> list[str]:
    left_out = ", ".join(sorted(_left_out())) or "nothing"
    return [f"django_workflow: Django {django.__version__} on {settings.DATABASE}, leaving out {left_out}"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = _left_out()
    deselected = [item for item in items if any(item.get_closest_marker(name) for name in left_out)]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in set(deselected)]


def _left_out() -> set[str]:
    asked = {name.strip() for name in os.environ.get("WITHOUT", "").split(",") if name.strip()}
    return asked if settings.DATABASE == "postgres" else asked | {"postgres"}
