"""Values and errors of one workflow, as one user sees them: masked, pretty, and as text that every page can hold.

Rules of this file: whatever shows a payload goes through here. Without the permission `view_payload` there is None in
place of values and tracebacks; the type and the message of an error are shown to whoever may see the workflow.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.utils.translation import gettext as _

from django_workflow.conf import settings
from django_workflow.handler import registry
from django_workflow.redaction import masked, masked_refusals

if TYPE_CHECKING:
    from django_workflow.exceptions import ErrorInfo
    from django_workflow.models import Workflow

LIMIT: Final = 100_000  # characters of one value


@dataclass(frozen=True)
class ShownError:
    """An error as text; `traceback` is "" where there is none, or none to be shown."""

    type: str
    message: str
    traceback: str
    step: int | None = None

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type

    @property
    def short(self) -> str:
        """The same for a line of a table: without the module."""
        kind = self.type.rpartition(".")[2]
        return f"{kind}: {self.message}" if self.message else kind


class Values:
    """How values of this workflow are shown."""

    def __init__(self, run: Workflow, visible: bool) -> None:
        definition = registry.find(run.definition, run.version)
        self.visible = visible
        # What is masked, whoever looks.
        self.names = (*settings.REDACT, *(definition.redact if definition is not None else ()))

    def pretty(self, value: Any) -> str | None:
        """A plain JSON value as JSON with indents; None for who may not see it."""
        if not self.visible:
            return None
        try:
            text = json.dumps(masked(value, self.names), indent=2, ensure_ascii=False)
        except (ValueError, RecursionError):  # digits or depth that Python refuses, in rows that others wrote
            return _("This value can't be shown.")
        return printable(text if len(text) <= LIMIT else f"{text[:LIMIT]}\n…")

    def masked(self, value: Any) -> Any:
        """A plain JSON value without what is never shown, for who reads a part of it out."""
        return masked(value, self.names)

    def labels(self, labels: dict[str, Any]) -> list[str]:
        """Labels, for whoever may see the workflow: `name = value`."""
        return [
            printable(f"{name} = {value if isinstance(value, str) else json.dumps(value)}")
            for name, value in masked(labels, self.names).items()
        ]

    def error(self, error: ErrorInfo | None) -> ShownError | None:
        """What is shown of an error."""
        if error is None:
            return None
        traceback = printable(masked_refusals(error.traceback, self.names)) if self.visible else ""
        message = printable(masked_refusals(error.message, self.names))
        return ShownError(printable(error.type), message, traceback, error.step)


def printable(text: str) -> str:
    """Text that UTF-8 can hold: halves of surrogate pairs, which JSON may carry, are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()
