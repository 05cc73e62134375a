"""The modes in which every result must be the same, and a clean slate for each test."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from django.test import override_settings

from django_workflow.testing import Harness
from tests.behaviours import bodies, code

MODES = {
    "live": {},
    "suspended": {"ALWAYS_SUSPEND": True},
    "checked": {"CHECK_DETERMINISM": True},
}
# Each but the first bears a marker of its name, by which a run can leave it out.
PARAMS = {
    name: pytest.param(name, marks=[getattr(pytest.mark, name)] if name != "live" else []) for name in MODES
}
NOON = datetime(2031, 5, 6, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def clean_slate() -> Iterator[None]:
    bodies.calls.clear()
    code.deploy(code.nothing)
    yield
    code.deploy(code.nothing)


@pytest.fixture(params=[PARAMS[name] for name in sorted(MODES)])
def any_mode(request: pytest.FixtureRequest) -> Iterator[str]:
    """Live continuation is an optimisation: with every turn cut short, and every turn checked, nothing changes."""
    with override_settings(DJANGO_WORKFLOW=MODES[request.param]):
        yield str(request.param)


@pytest.fixture(params=[PARAMS["live"], PARAMS["suspended"]])
def either_mode(request: pytest.FixtureRequest) -> Iterator[str]:
    """The two of them that differ most, for tests to which a check at the end of each turn adds little."""
    with override_settings(DJANGO_WORKFLOW=MODES[request.param]):
        yield str(request.param)


@pytest.fixture
def frozen(workflow_harness: Harness) -> Harness:
    """The harness with its clock standing still at `NOON`."""
    workflow_harness.freeze(NOON)
    return workflow_harness
