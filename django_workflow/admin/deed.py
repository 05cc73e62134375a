"""What a verb is, and how it says what it will do.

Rules of this file: no request, no HTML; it reads rows to name them, and never changes one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.db.models import QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext

from django_workflow.admin.verb_forms import ReasonForm
from django_workflow.models import Event, Step, Workflow

SHOWN = 20  # of what is listed, the first so many

Text = str | Promise


@dataclass(frozen=True)
class Done:
    """What was done: for the log of the admin, and for whoever did it."""

    log: str  # in English, like all of the log: it is read by everybody
    message: str
    well: bool = True
    go_to: Workflow | None = None  # another workflow than the one it was done to


@dataclass(frozen=True)
class Fact:
    """Something that is going to happen, with what it happens to."""

    text: str
    items: tuple[str, ...] = ()
    more: int = 0  # items that are not listed


class Deed:
    """A verb. `possible` asks nothing of the database."""

    verb: ClassVar[str]
    label: ClassVar[Text]
    question: ClassVar[Text]
    submit: ClassVar[Text]  # on the button that does it
    deletes: ClassVar[bool] = False

    def possible(self, run: Workflow) -> bool:
        """Whether its state allows this."""
        raise NotImplementedError

    def impossible(self, run: Workflow) -> str:
        """Why its state does not."""
        raise NotImplementedError

    def chooser(self, run: Workflow, chosen: Mapping[str, Any]) -> forms.Form | None:
        """A form that changes nothing: what is chosen by it decides on the rest of the page."""
        return None

    def form(self, run: Workflow, chosen: Mapping[str, Any], data: Any = None) -> forms.Form | None:
        """What is asked for; None while something has to be chosen first."""
        return ReasonForm(data)

    def facts(self, run: Workflow, chosen: Mapping[str, Any]) -> list[Fact]:
        """What is going to happen."""
        return []

    def act(self, run: Workflow, data: Mapping[str, Any]) -> Done:
        """Do it. Raises `Refused`, and `WorkflowNotFound`."""
        raise NotImplementedError


# The columns by which a row is named: what else it holds may be large, and is not for everybody.
_SAID: dict[Any, tuple[str, ...]] = {
    Workflow: ("id", "definition"),
    Step: ("number", "name"),
    Event: ("name",),
}


def _name(row: Workflow | Step | Event) -> str:
    """As `str()` has it, in the reader's language."""
    match row:
        case Step():
            return gettext("step %(number)s (%(name)s)") % {"number": row.number, "name": row.name}
        case Event():
            return gettext("event %(name)s") % {"name": row.name}
    return str(row)


def listed(rows: QuerySet[Any], say: Callable[[int], str]) -> list[Fact]:
    """One fact of all these rows; none where there are none."""
    first = [_name(row) for row in rows.only(*_SAID[rows.model])[:SHOWN]]
    if not first:
        return []
    count = len(first) if len(first) < SHOWN else rows.count()
    return [Fact(say(count), tuple(first), count - len(first))]
