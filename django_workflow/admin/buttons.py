"""The verbs that a user may press now.

Rules of this file: whether a verb is possible is for its deed to say, who may do it for the permissions, and where its
page is for the addresses; it asks nothing of the database.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from django_workflow.admin.deeds import DEEDS
from django_workflow.windows.permissions import User, may_do

if TYPE_CHECKING:
    from django_workflow.admin.addresses import Addresses
    from django_workflow.admin.deed import Text
    from django_workflow.models import Step, Workflow


@dataclass(frozen=True)
class Button:
    """A verb that this user may press now."""

    verb: str
    label: Text
    url: str


FROM_HERE: dict[str, Text] = {"restart": _("Restart from here…"), "fork": _("Fork from here…")}
FOR_ALL: dict[str, Text] = {"pause": _("Pause"), "resume": _("Resume")}


def buttons(user: User, run: Workflow, addresses: Addresses) -> list[Button]:
    """What this user may do with a workflow in the state that it is in."""
    return [
        Button(verb, deed.label, url)
        for verb, deed in DEEDS.items()
        if deed.possible(run) and may_do(user, verb)
        if (url := addresses.verb(verb, run.pk)) is not None
    ]


def from_here(user: User, run: Workflow, step: Step, addresses: Addresses) -> list[Button]:
    """What this user may do with it from a step on."""
    return [
        Button(verb, label, url)
        for verb, label in FROM_HERE.items()
        if DEEDS[verb].possible(run) and may_do(user, verb)
        if (url := addresses.verb(verb, run.pk, step.number)) is not None
    ]


def for_all(user: User, addresses: Addresses) -> list[Button]:
    """What this user may do with all workflows at once."""
    return [
        Button(verb, label, url)
        for verb, label in FOR_ALL.items()
        if may_do(user, verb)
        if (url := addresses.for_all(verb)) is not None
    ]
