"""Durable workflows for Django.

The front door: names only. It imports nothing until a name is used, so that it can be imported before Django
is set up (by the pytest plugin, say), and never imports models.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_workflow.engine.current import current_step
    from django_workflow.handler.context import StepContext
    from django_workflow.handler.definition import WorkflowDefinition
    from django_workflow.handler.events import Event
    from django_workflow.handler.functions import action, mutation, query
    from django_workflow.manager import WorkflowManager, workflow
    from django_workflow.retry import Retry
    from django_workflow.status import Canceled, Completed, Failed, InProgress

__version__ = "0.1.0"

_HOMES = {
    "Canceled": "django_workflow.status",
    "Completed": "django_workflow.status",
    "Retry": "django_workflow.retry",
    "current_step": "django_workflow.engine.current",
    "Event": "django_workflow.handler.events",
    "Failed": "django_workflow.status",
    "InProgress": "django_workflow.status",
    "StepContext": "django_workflow.handler.context",
    "WorkflowDefinition": "django_workflow.handler.definition",
    "WorkflowManager": "django_workflow.manager",
    "action": "django_workflow.handler.functions",
    "mutation": "django_workflow.handler.functions",
    "query": "django_workflow.handler.functions",
    "workflow": "django_workflow.manager",
}

__all__ = [
    "Canceled",
    "Completed",
    "Event",
    "Failed",
    "InProgress",
    "Retry",
    "StepContext",
    "WorkflowDefinition",
    "WorkflowManager",
    "action",
    "current_step",
    "mutation",
    "query",
    "workflow",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
