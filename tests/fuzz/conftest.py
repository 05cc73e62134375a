"""The stage, for a test."""

import pytest

from django_workflow.testing import Harness
from tests.fuzz.stage import Stage, make_users, set_up


@pytest.fixture
def stage(workflow_harness: Harness) -> Stage:
    """Workflows in every state, and users."""
    make_users()
    return set_up(workflow_harness)
