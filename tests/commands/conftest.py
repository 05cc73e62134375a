"""What holds for the tests of commands."""

from collections.abc import Iterator

import pytest

from tests.commands.stage import faults


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """No faults, and no width but the one that a test sets."""
    faults.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COLUMNS", raising=False)
        yield
    faults.clear()
