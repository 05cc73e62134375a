"""What holds for the tests of HTTP."""

from collections.abc import Iterator

import pytest
from django.core.cache import cache

from tests.rest.stage import faults


@pytest.fixture(autouse=True)
def a_clean_slate() -> Iterator[None]:
    """Nothing fails, and nobody has been counted by a throttle."""
    faults.clear()
    cache.clear()
    yield
    faults.clear()
    cache.clear()
