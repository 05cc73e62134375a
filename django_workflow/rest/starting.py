"""A start over HTTP: from the body to a workflow.

Rules of this file: only definitions with `api=True` exist here, and a name is looked up, never imported. A key finds
no workflow that the user couldn't see.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from django_workflow.exceptions import InvalidArguments, KeyConflict, NotStorable
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.manager import workflow
from django_workflow.models import Workflow
from django_workflow.rest.problems import Problem, WrongField, wrong_fields

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
        key = self._key()
        if key is not None:
            options["key"] = key
        configured = definition.using(**self.view.start_options(definition, options))
        args, kwargs = _placed(definition, self.body.get("args", {}))
        try:
            run = workflow.start(configured, *args, **kwargs)
        except InvalidArguments as error:
            within = "" if error.what.endswith(".using()") else "args"
            found = wrong_fields(error.problems, within, definition.redact)
            raise Problem("invalid", "", found) from error
        except NotStorable as error:
            told = f"{error.path.removeprefix('$.')}: {error.reason}; {error.remedy}"
            raise Problem("invalid", "", wrong_fields([told], "args", definition.redact)) from error
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

    def _key(self) -> str | None:
        """The key, from the body or from the header `Idempotency-Key`, quoted or not."""
        key: str | None = self.body.get("key")
        header = self.view.request.headers.get("Idempotency-Key")
        if header is None:
            return key
        text = header.strip()
        if len(text) >= 2 and text[0] == text[-1] == '"':
            text = text[1:-1]
        if key is not None and key != text:
            raise Problem("invalid", "", [WrongField("key", "Idempotency-Key says another one")])
        return text

    def _exists(self, id: Any) -> bool:
        return self.view.get_queryset().filter(id=id).exists()

    def _conflict(self, id: Any) -> Problem:
        whose = f"of workflow {id}" if self._exists(id) else "taken"
        return Problem("key-conflict", f"The key is {whose}; use another one, or the same arguments.")


def _placed(definition: Definition, given: Any) -> tuple[list[Any], dict[str, Any]]:
    """The arguments for `start()`: what can only go by position goes by position."""
    if isinstance(given, list):
        return given, {}
    args: list[Any] = []
    rest = dict(given)
    for parameter in definition.signature.parameters:
        if parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
            break
        if parameter.name in rest:
            args.append(rest.pop(parameter.name))
        elif parameter.default is not inspect.Parameter.empty:
            args.append(parameter.default)
        else:
            break
    return args, rest
