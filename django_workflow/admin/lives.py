"""The deeds that run a handler again on a part of its journal: restart, and fork.

Rules of this file: those of `deeds`. What will be dropped or copied is asked of the manager, or selected as it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from django_workflow.admin.deed import Deed, Done, Fact, listed
from django_workflow.admin.refusals import in_progress, refusals
from django_workflow.admin.verb_forms import FAILURE, WHOLE, FromStepForm, ReasonForm, from_choices
from django_workflow.exceptions import StepNotFound
from django_workflow.manager import workflow
from django_workflow.models import Event, Step, StepQuerySet, Workflow
from django_workflow.states import StepKind, StepState, WorkflowState

NUMBER_LENGTH = 10  # digits of a step's number, at most


class Restart(Deed):
    """Run the handler again on what is kept of the journal."""

    verb = "restart"
    label = _("Restart")
    question = _("Restart this workflow?")
    submit = _("Yes, restart")

    def possible(self, run: Workflow) -> bool:
        return run.finished or run.paused is not None

    def impossible(self, run: Workflow) -> str:
        return in_progress()

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
            *listed(
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
            *listed(
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
            *listed(
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
            *listed(
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
            *listed(
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
