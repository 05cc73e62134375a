"""For users' tests: the real engine on the test database, with a clock that the test moves.

`Harness` works in any test case; the pytest plugin gives it as the fixture `workflow_harness`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_workflow.testing.faults import SimulatedCrash
    from django_workflow.testing.harness import Harness
    from django_workflow.testing.journals import assert_replays_files

__all__ = ["Harness", "SimulatedCrash", "assert_replays_files"]

_HOMES = {
    "Harness": "django_workflow.testing.harness",
    "SimulatedCrash": "django_workflow.testing.faults",
    "assert_replays_files": "django_workflow.testing.journals",
}


def __getattr__(name: str) -> Any:
    # pytest loads the plugin below before Django is set up, so nothing is imported before it is used.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
