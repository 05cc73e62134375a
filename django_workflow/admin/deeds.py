"""What each verb is: when it is possible, what it asks for, what it does by the manager, and what the log says of it.

Rules of this file: no request but for permissions and the form's data, no HTML; a deed never writes but through the
manager. What the log is told never holds a value or the text of an error: those need a permission of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_workflow.admin.deed import Deed, Done, Fact, listed
from django_workflow.admin.lives import Fork, Restart
from django_workflow.admin.refusals import Refused, has_finished, in_progress, refusals
from django_workflow.admin.verb_forms import LISTED, CancelForm, EventForm, event_form
from django_workflow.exceptions import WorkflowNotFound
from django_workflow.manager import workflow
from django_workflow.models import Step, Workflow
from django_workflow.states import StepKind


class Cancel(Deed):
    """End a workflow now."""

    verb = "cancel"
    label = _("Cancel")
    question = _("Cancel this workflow?")
    submit = _("Yes, cancel")

    def possible(self, run: Workflow) -> bool:
        return not run.finished

    def impossible(self, run: Workflow) -> str:
        return gettext("It has finished: there is nothing to cancel.")

    def form(self, run: Workflow, chosen: Mapping[str, Any], data: Any = None) -> forms.Form:
        return CancelForm(data)

    def facts(self, run: Workflow, chosen: Mapping[str, Any]) -> list[Fact]:
        children = run.children.in_progress().order_by("created_at", "id")
        return [
            Fact(gettext("No further step starts; what a running step returns is dropped.")),
            *listed(
                children,
                lambda count: (
                    ngettext(
                        "%(count)d child that is in progress is canceled, too.",
                        "%(count)d children that are in progress are canceled, too.",
                        count,
                    )
                    % {"count": count}
                ),
            ),
        ]

    def act(self, run: Workflow, data: Mapping[str, Any]) -> Done:
        rollback = bool(data.get("rollback"))
        with refusals():
            done = workflow.cancel(run.id, data["reason"], rollback)
        if not done:
            raise Refused(gettext("It has finished, or is being canceled already."))
        what = "cancel with rollbacks" if rollback else "cancel"
        if rollback and not workflow.get(run.id).finished:
            return Done(what, gettext("It is being canceled: its rollbacks run."))
        return Done(what, gettext("It was canceled."))


class SendEvent(Deed):
    """Deliver an event: by a form of its type."""

    verb = "event"
    label = _("Send event")
    question = _("Send an event to this workflow?")
    submit = _("Send")

    def possible(self, run: Workflow) -> bool:
        return not run.finished

    def impossible(self, run: Workflow) -> str:
        return has_finished()

    def chooser(self, run: Workflow, chosen: Mapping[str, Any]) -> forms.Form:
        waiting = _waiting(run)
        return EventForm(waiting, self._name(waiting, chosen))

    def form(self, run: Workflow, chosen: Mapping[str, Any], data: Any = None) -> forms.Form | None:
        name = self._name(_waiting(run), chosen)
        return event_form(name, data) if name else None

    def _name(self, waiting: list[str], chosen: Mapping[str, Any]) -> str:
        # What is typed comes before what is selected, and a single wait needs no choice.
        name = str(chosen.get("other") or chosen.get("name") or "")
        return name if name or len(waiting) != 1 else waiting[0]

    def facts(self, run: Workflow, chosen: Mapping[str, Any]) -> list[Fact]:
        waiting = _waiting(run)
        name = self._name(waiting, chosen)
        if not name or name in waiting:
            return []
        return [Fact(gettext("No step waits for this event now: it is kept until one does."))]

    def act(self, run: Workflow, data: Mapping[str, Any]) -> Done:
        error = data.get("error") or None
        with refusals():
            sent = workflow.send_event(
                run.id, data["name"], data.get("value"), error=error, key=data.get("key") or None
            )
        what = "event as an error" if error else "event"
        return Done(f"{what} {sent.name!r}", gettext("The event “%(name)s” was sent.") % {"name": sent.name})


class Cleanup(Deed):
    """Delete a finished workflow."""

    verb = "cleanup"
    label = _("Clean up")
    question = _("Delete this workflow for ever?")
    submit = _("Yes, delete")
    deletes = True

    def possible(self, run: Workflow) -> bool:
        return run.finished

    def impossible(self, run: Workflow) -> str:
        return in_progress()

    def facts(self, run: Workflow, chosen: Mapping[str, Any]) -> list[Fact]:
        return [
            Fact(gettext("Its steps, events and labels are deleted with it.")),
            *listed(
                run.children.order_by("created_at", "id"),
                lambda count: (
                    ngettext(
                        "%(count)d child workflow is deleted, with its own children.",
                        "%(count)d child workflows are deleted, with their own children.",
                        count,
                    )
                    % {"count": count}
                ),
            ),
        ]

    def act(self, run: Workflow, data: Mapping[str, Any]) -> Done:
        with refusals(run):
            if not workflow.cleanup(run.id):
                raise WorkflowNotFound(run.id)
        return Done("clean up", gettext("It was deleted."))


class Complete(Deed):
    """Run `on_complete` again."""

    verb = "complete"
    label = _("Run on_complete again")
    question = _("Run on_complete of this workflow again?")
    submit = _("Yes, run it again")

    def possible(self, run: Workflow) -> bool:
        return run.finished and run.on_complete_error_text is not None

    def impossible(self, run: Workflow) -> str:
        return gettext("Its on_complete has not failed.")

    def facts(self, run: Workflow, chosen: Mapping[str, Any]) -> list[Fact]:
        return [Fact(gettext("The ending stays as it is, whatever comes of this."))]

    def act(self, run: Workflow, data: Mapping[str, Any]) -> Done:
        with refusals():
            if workflow.retry_on_complete(run.id):
                return Done("run on_complete again", gettext("Its on_complete has ended well."))
            if workflow.get(run.id).on_complete_error_text is None:
                raise Refused(gettext("Its on_complete has not failed."))
        return Done(
            "run on_complete again, which failed", gettext("Its on_complete has failed again."), well=False
        )


DEEDS: dict[str, Deed] = {
    deed.verb: deed for deed in (SendEvent(), Cancel(), Restart(), Fork(), Complete(), Cleanup())
}


def _waiting(run: Workflow) -> list[str]:
    """The names of the events that it waits for now, each once."""
    waits = Step.objects.filter(workflow=run, kind=StepKind.EVENT).unsettled().order_by("number")
    # A step's own name may be another one: using(name=…).
    return list(dict.fromkeys(str(step.args["event"]) for step in waits.only("args_text")[:LISTED]))
