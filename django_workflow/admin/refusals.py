"""What the manager refuses, in the reader's language.

Rules of this file: a refusal is worded by its class and its data, never by its text, which is English. What pydantic
or a definition's author says of a value is quoted in a sentence of ours. Nothing here decides, reads or writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.utils.formats import number_format
from django.utils.translation import gettext as _

from django_workflow.exceptions import (
    DjangoWorkflowError,
    InvalidArguments,
    InvalidDefinition,
    KeyConflict,
    LimitReached,
    NotReadable,
    NotStorable,
    PayloadTooLarge,
    StepNotFound,
    UnknownDefinition,
    WorkflowFinished,
    WorkflowInProgress,
    WorkflowNotFound,
)

if TYPE_CHECKING:
    from django_workflow.models import Workflow


class Refused(Exception):
    """It can't be done, and nothing was; the text says why, to whoever wanted it: a line for each reason."""


@contextmanager
def refusals(run: Workflow | None = None) -> Iterator[None]:
    """What the manager refuses becomes `Refused`, but for a workflow that isn't there (any more).

    `run` is what was to be changed, so that one of its children is told from it.
    """
    try:
        yield
    except WorkflowNotFound:
        raise
    except DjangoWorkflowError as error:
        raise Refused("\n".join(worded(error, run))) from None


def in_progress() -> str:
    """Why something is not done to a workflow in progress."""
    return _("It is in progress: wait until it has finished, or cancel it first.")


def has_finished() -> str:
    """Why something is not done to a workflow that has finished."""
    return _("It has finished, and takes nothing more.")


def misfit(problem: str) -> str:
    """One of the problems that `InvalidArguments` tells."""
    return _("This doesn't fit: %(problem)s") % {"problem": problem}


def worded(error: DjangoWorkflowError, run: Workflow | None = None) -> list[str]:
    """An error as sentences."""
    match error:
        case WorkflowInProgress() | WorkflowFinished() | StepNotFound():
            return [_of_the_state(error, run)]
        case InvalidArguments() | NotReadable():
            return [misfit(problem) for problem in error.problems]
        case NotStorable() | PayloadTooLarge():
            return [_of_a_value(error)]
        case LimitReached():
            return [_("A limit is reached: %(limit)s. Nothing has changed.") % {"limit": error.limit}]
        case KeyConflict():
            said = _(
                "The key “%(key)s” belongs to workflow %(id)s, which was started with other arguments. Use another"
                " key, or the same arguments to get that workflow."
            )
            return [said % {"key": error.key, "id": error.id}]
        case UnknownDefinition():
            return [_("No code registers a definition “%(name)s”.") % {"name": error.name}]
        case InvalidDefinition():
            return [_("The definition can't work as it is written: %(detail)s") % {"detail": error}]
    return [_("It was refused: %(detail)s") % {"detail": error}]


def _of_the_state(error: WorkflowInProgress | WorkflowFinished | StepNotFound, run: Workflow | None) -> str:
    if isinstance(error, WorkflowFinished):
        return has_finished()
    if isinstance(error, StepNotFound):
        return _("There is no such step in its journal. Nothing has changed.")
    if run is not None and str(error.id) != str(run.pk):
        said = _(
            "Workflow %(id)s, which it has started, is in progress: wait until it has finished, or cancel it first."
        )
        return said % {"id": error.id}
    return in_progress()


def _of_a_value(error: NotStorable | PayloadTooLarge) -> str:
    if isinstance(error, NotStorable):
        facts = {"path": error.path, "reason": error.reason}
        return _("This value can't be stored, at %(path)s: %(reason)s") % facts
    limit = number_format(error.limit, force_grouping=True)
    if error.size is None:
        said = _("This is larger than the limit of %(limit)s bytes.") % {"limit": limit}
    else:
        facts = {"size": number_format(error.size, force_grouping=True), "limit": limit}
        said = _("This is %(size)s bytes, more than the limit of %(limit)s bytes.") % facts
    remedy = _("Keep it in a file or a row, and give its path or key.")
    return f"{said} {remedy}"
