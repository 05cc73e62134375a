"""What each verb is: when it is possible, what it asks for, what it does by the manager, and what the log says of it.

Rules of this file: no request but for permissions and the form's data, no HTML; a deed never writes but through the
manager. What the log is told never holds a value or the text of an error: those need a permission of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.db.models import QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_workflow.admin.verb_forms import (
    FAILURE,
    LISTED,
    WHOLE,
    CancelForm,
    EventForm,
    FromStepForm,
    ReasonForm,
    event_form,
    from_choices,
)
from django_workflow.exceptions import (
    DjangoWorkflowError,
    InvalidArguments,
    StepNotFound,
    WorkflowFinished,
    WorkflowInProgress,
    WorkflowNotFound,
)
from django_workflow.manager import workflow
from django_workflow.models import Event, Step, StepQuerySet, Workflow
from django_workflow.states import StepKind, StepState, WorkflowState

SHOWN = 20  # of what is listed, the first so many
NUMBER_LENGTH = 10  # digits of a step's number, at most

Text = str | Promise


class Refused(Exception):
    """It can't be done, and nothing was; the text says why, to whoever wanted it."""


@contextmanager
def refusals() -> Iterator[None]:
    """What the manager refuses becomes `Refused`, but for a workflow that isn't there (any more)."""
    try:
        yield
    except WorkflowNotFound:
        raise
    except WorkflowInProgress:
        raise Refused(gettext("It is in progress: wait until it has finished, or cancel it first.")) from None
    except WorkflowFinished:
        raise Refused(gettext("It has finished, and takes nothing more.")) from None
    except StepNotFound:
        raise Refused(gettext("There is no such step in its journal. Nothing has changed.")) from None
    except InvalidArguments as error:
        raise Refused("\n".join(error.problems)) from None
    except DjangoWorkflowError as error:
        raise Refused(str(error)) from None


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
            *_listed(
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


class Restart(Deed):
    """Run the handler again on what is kept of the journal."""

    verb = "restart"
    label = _("Restart")
    question = _("Restart this workflow?")
    submit = _("Yes, restart")

    def possible(self, run: Workflow) -> bool:
        return run.finished or run.paused is not None

    def impossible(self, run: Workflow) -> str:
        return gettext("It is in progress: wait until it has finished, or cancel it first.")

    def chooser(self, run: Workflow, chosen: Mapping[str, Any]) -> forms.Form:
        position = _position(run, chosen)
        return FromStepForm(from_choices(run, position, restart=True), position)

    def form(self, run: Workflow, chosen: Mapping[str, Any], data: Any = None) -> forms.Form:
        return ReasonForm(data, hidden={"from_step": _position(run, chosen)})

    def facts(self, run: Workflow, chosen: Mapping[str, Any]) -> list[Fact]:
        position = _position(run, chosen)
        dropped = _dropped(run, position)
        inside = dropped.values("id")
        children = Workflow.objects.filter(parent_step__in=inside).order_by("created_at", "id")
        given_back = Event.objects.filter(workflow=run, consumed_by__in=inside).order_by("id")
        found = [
            *_listed(
                dropped.order_by("number"),
                lambda count: (
                    ngettext(
                        "%(count)d step is dropped, and asked for anew.",
                        "%(count)d steps are dropped, and asked for anew.",
                        count,
                    )
                    % {"count": count}
                ),
            ),
            *_listed(
                children,
                lambda count: (
                    ngettext(
                        "%(count)d child workflow is deleted, with its own children; one in progress is canceled first.",
                        "%(count)d child workflows are deleted, with their own children; those in progress are canceled first.",
                        count,
                    )
                    % {"count": count}
                ),
            ),
            *_listed(
                given_back,
                lambda count: (
                    ngettext(
                        "%(count)d event is given back, and can be taken again.",
                        "%(count)d events are given back, and can be taken again.",
                        count,
                    )
                    % {"count": count}
                ),
            ),
        ]
        if dropped.filter(kind=StepKind.ROLLBACK).exists():
            found.append(
                Fact(
                    gettext(
                        "Its rollbacks have run, and are dropped: what they have undone is done again only by steps that"
                        " are dropped, too."
                    )
                )
            )
        if position == WHOLE:
            found.append(
                Fact(
                    gettext(
                        "Steps that have completed or failed are kept: a failure on record is raised again. This is for"
                        " handlers whose code was fixed."
                    )
                )
            )
        return found or [Fact(gettext("Nothing of the journal is dropped."))]

    def act(self, run: Workflow, data: Mapping[str, Any]) -> Done:
        position = str(data["from_step"])
        with refusals():
            if position == FAILURE:
                workflow.restart(run.id, from_failure=True)
            else:
                workflow.restart(run.id, None if position == WHOLE else _number(run, position))
        return Done(f"restart {_from(position)}", gettext("It was restarted."))


class Fork(Deed):
    """Start a new workflow with a part of this one's journal."""

    verb = "fork"
    label = _("Fork")
    question = _("Fork this workflow?")
    submit = _("Yes, fork")

    def possible(self, run: Workflow) -> bool:
        return run.started_at is not None

    def impossible(self, run: Workflow) -> str:
        return gettext("It has no journal yet: start another one instead.")

    def chooser(self, run: Workflow, chosen: Mapping[str, Any]) -> forms.Form:
        position = chosen.get("from_step") or ""
        return FromStepForm(from_choices(run, position, restart=False), position)

    def form(self, run: Workflow, chosen: Mapping[str, Any], data: Any = None) -> forms.Form | None:
        if not chosen.get("from_step"):
            return None
        return ReasonForm(data, hidden={"from_step": chosen["from_step"]})

    def facts(self, run: Workflow, chosen: Mapping[str, Any]) -> list[Fact]:
        if not chosen.get("from_step"):
            return []
        dropped = _dropped(run, chosen["from_step"])
        left_out = dropped.values("id")
        settled = (StepState.COMPLETED, StepState.FAILED)
        kept = Step.objects.filter(workflow=run, state__in=settled).exclude(id__in=left_out)
        waits = Step.objects.filter(workflow=run, kind=StepKind.EVENT).exclude(id__in=kept.values("id"))
        events = Event.objects.filter(workflow=run)
        copied = events.filter(consumed_at=None) | events.filter(consumed_by__in=waits.values("id"))
        return [
            Fact(gettext("A new workflow starts. This one is not touched.")),
            *_listed(
                kept.order_by("number"),
                lambda count: (
                    ngettext(
                        "%(count)d step is copied, and not run again.",
                        "%(count)d steps are copied, and not run again.",
                        count,
                    )
                    % {"count": count}
                ),
            ),
            *_listed(
                copied.order_by("id"),
                lambda count: (
                    ngettext(
                        "%(count)d event is copied, and can be taken.",
                        "%(count)d events are copied, and can be taken.",
                        count,
                    )
                    % {"count": count}
                ),
            ),
            Fact(gettext("Arguments, labels, context and options are copied; the key is not.")),
        ]

    def act(self, run: Workflow, data: Mapping[str, Any]) -> Done:
        position = str(data["from_step"])
        with refusals():
            made = workflow.fork(run.id, _number(run, position))
        return Done(
            f"fork {_from(position)} as {made.id}",
            gettext("It was forked: this is the new workflow."),
            go_to=made,
        )


class SendEvent(Deed):
    """Deliver an event: by a form of its type."""

    verb = "event"
    label = _("Send event")
    question = _("Send an event to this workflow?")
    submit = _("Send")

    def possible(self, run: Workflow) -> bool:
        return not run.finished

    def impossible(self, run: Workflow) -> str:
        return gettext("It has finished, and takes nothing more.")

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
        return gettext("It is in progress: wait until it has finished, or cancel it first.")

    def facts(self, run: Workflow, chosen: Mapping[str, Any]) -> list[Fact]:
        return [
            Fact(gettext("Its steps, events and labels are deleted with it.")),
            *_listed(
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
        with refusals():
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


def _position(run: Workflow, chosen: Mapping[str, Any]) -> str:
    """What was chosen; else what helps most often."""
    if chosen.get("from_step"):
        return str(chosen["from_step"])
    if run.state != WorkflowState.FAILED:
        return WHOLE
    failed = Step.objects.filter(workflow=run, state=StepState.FAILED).exclude(kind=StepKind.ROLLBACK)
    return FAILURE if failed.exists() else WHOLE


def _number(run: Workflow, position: str) -> int:
    if not position.isdecimal() or len(position) > NUMBER_LENGTH:
        raise StepNotFound(run.id, position)
    return int(position)


def _from(position: str) -> str:
    said = {WHOLE: "with the whole journal", FAILURE: "from the last failed step"}
    return said.get(position) or f"from step {int(position)}"


def _dropped(run: Workflow, position: str) -> StepQuerySet:
    """What a restart from there drops. Raises `Refused`."""
    with refusals():
        if position == FAILURE:
            return workflow.dropped(run.id, from_failure=True)
        if position == WHOLE:
            return workflow.dropped(run.id)
        return workflow.dropped(run.id, _number(run, position))


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


def _listed(rows: QuerySet[Any], say: Any) -> list[Fact]:
    """One fact of all these rows; none where there are none."""
    first = [_name(row) for row in rows.only(*_SAID[rows.model])[:SHOWN]]
    if not first:
        return []
    count = len(first) if len(first) < SHOWN else rows.count()
    return [Fact(say(count), tuple(first), count - len(first))]
