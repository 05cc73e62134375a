"""A start over HTTP: from the body to a workflow.

Rules of this file: only definitions with `api=True` exist here, and a name is looked up, never imported. A key finds
no workflow that the user couldn't see.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from django_workflow.exceptions import KeyConflict
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.manager import workflow
from django_workflow.models import Workflow
from django_workflow.rest.idempotency import key_of
from django_workflow.rest.problems import Problem, WrongField, of_fields

if TYPE_CHECKING:
    from django_workflow.rest.views import WorkflowViewSet

Definition = WorkflowDefinition[..., Any]


def startable() -> dict[str, Definition]:
    """What may be started over HTTP: name → its newest definition."""
    newest = {definition.name: definition for definition in workflow.definitions()}  # by name and version
    return {name: definition for name, definition in newest.items() if definition.api}


class Start:
    """One start. `view` is who asks, `body` what was sent."""

    def __init__(self, view: WorkflowViewSet, body: dict[str, Any]) -> None:
        self.view, self.body = view, body

    def run(self) -> Workflow:
        """The workflow, new or known by its key. Raises `Problem`, or what the manager raises."""
        definition = self._definition()
        options = {name: self.body[name] for name in ("labels", "run_at") if self.body.get(name) is not None}
        key = key_of(self.view.request, self.body)
        if key is not None:
            options["key"] = key
        with of_fields({}, definition.redact):
            configured = definition.using(**self.view.start_options(definition, options))
        args, kwargs = _placed(definition, self.body.get("args", {}))
        try:
            with of_fields({"": "args"}, definition.redact):
                run = workflow.start(configured, *args, **kwargs)
        except KeyConflict as error:
            raise self._conflict(error.id) from error
        if not run.is_new and not self._exists(run.id):
            raise self._conflict(run.id)
        return run

    def _definition(self) -> Definition:
        name = self.body["definition"]
        definition = startable().get(name)
        if definition is None:
            told = f"{name[:200]!r} can't be started here; definitions/ lists what can"
            raise Problem("unknown-definition", "", [WrongField("definition", told)])
        return definition

    def _exists(self, id: Any) -> bool:
        return self.view.get_queryset().filter(id=id).exists()

    def _conflict(self, id: Any) -> Problem:
        whose = f"of workflow {id}" if self._exists(id) else "taken"
        return Problem("key-conflict", f"The key is {whose}; use another one, or the same arguments.")


def _placed(definition: Definition, given: Any) -> tuple[list[Any], dict[str, Any]]:
    """The arguments for `start()`: what can only go by position goes by position."""
    if isinstance(given, list):
        return given, {}
    first = [p for p in definition.signature.parameters if p.kind is inspect.Parameter.POSITIONAL_ONLY]
    rest = {name: value for name, value in given.items() if name not in {p.name for p in first}}
    args: list[Any] = []
    for parameter in first:
        value = given.get(parameter.name, parameter.default)
        if value is inspect.Parameter.empty:  # what is behind it has no place, and isn't missing
            break
        args.append(value)
    return args, rest
