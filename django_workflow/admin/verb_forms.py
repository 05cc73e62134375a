"""The forms of the verbs. The field of an event's value is made as that of an argument, by its type.

Rules of this file: forms are made of what may be chosen, never bound to a model, and nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from django_workflow.admin.fields import OMITTED, JsonField, empty_of, field_of, type_name
from django_workflow.admin.steps import WORDS
from django_workflow.handler import registry
from django_workflow.handler.events import NAME_LIMIT
from django_workflow.keys import KEY_LIMIT
from django_workflow.models import Step, Workflow
from django_workflow.states import StepKind

REASON_LIMIT = 1000
LISTED = 200  # steps, or waits, that a page offers for choice
WHOLE, FAILURE = "whole", "failure"

CHOOSER_ID = "id_choose_%s"  # two forms on one page must not share the ids of their fields

Choices = list[tuple[str, str | Promise]]


class ReasonForm(forms.Form):
    """Why; and, hidden, what was chosen on the page before."""

    reason = forms.CharField(
        label=_("Reason"),
        help_text=_("For people. It stands in the log."),
        max_length=REASON_LIMIT,
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
    )

    def __init__(self, data: Any = None, *, hidden: Mapping[str, str] | None = None) -> None:
        super().__init__(data, initial=dict(hidden or {}))
        for name in hidden or {}:
            self.fields[name] = forms.CharField(widget=forms.HiddenInput, max_length=NAME_LIMIT)


class CancelForm(ReasonForm):
    """Why, and whether what was done is undone."""

    rollback = forms.BooleanField(
        label=_("Run the rollbacks of its steps first"),
        help_text=_("It stays in progress, canceling, until they have ended."),
        required=False,
    )
    field_order = ["rollback", "reason"]


class PauseForm(forms.Form):
    """What is held, and why."""

    cluster = forms.ChoiceField(label=_("Cluster"), help_text=_("What runs just now runs to its end."))
    reason = forms.CharField(
        label=_("Reason"),
        help_text=_("Shown wherever something waits for this."),
        max_length=REASON_LIMIT,
        widget=forms.Textarea(attrs={"rows": 2}),
    )

    def __init__(self, clusters: Choices, data: Any = None) -> None:
        super().__init__(data)
        self.fields["cluster"].choices = clusters  # type: ignore[attr-defined]


class ResumeForm(ReasonForm):
    """Which pause ends."""

    cluster = forms.ChoiceField(label=_("Pause"))
    field_order = ["cluster", "reason"]

    def __init__(self, pauses: Choices, data: Any = None) -> None:
        super().__init__(data)
        self.fields["cluster"].choices = pauses  # type: ignore[attr-defined]


class RestartManyForm(ReasonForm):
    """From where many workflows are restarted."""

    from_step = forms.ChoiceField(
        label=_("Restart"),
        choices=[
            (FAILURE, _("from the last failed step of each")),
            (WHOLE, _("with the whole journal of each")),
        ],
        initial=FAILURE,
        widget=forms.RadioSelect,
    )
    field_order = ["from_step", "reason"]


# ── choosing ────────────────────────────────────────────────────────────────────────────────────────────────


class FromStepForm(forms.Form):
    """From which step on. A GET form: it only shows what would happen."""

    from_step = forms.ChoiceField(label=_("From"))

    def __init__(self, choices: Choices, chosen: str) -> None:
        super().__init__(initial={"from_step": chosen}, auto_id=CHOOSER_ID)
        self.fields["from_step"].choices = choices  # type: ignore[attr-defined]


def from_choices(run: Workflow, chosen: str, *, restart: bool) -> Choices:
    """The last steps of a journal, and the one that is chosen already."""
    steps = Step.objects.filter(workflow=run).exclude(kind=StepKind.ROLLBACK).order_by("-number")
    columns = ("number", "name", "kind", "state")
    rows = list(steps.values_list(*columns)[:LISTED])
    if chosen.isdecimal() and len(chosen) <= len(str(2**31)) - 1 and len(rows) == LISTED:
        rows += steps.filter(number=int(chosen), number__lt=rows[-1][0]).values_list(*columns)
    found: Choices = [
        (str(number), f"{number} {name} ({WORDS[kind]}, {WORDS[state]})")
        for number, name, kind, state in rows
    ]
    if not restart:
        return found
    return [
        (WHOLE, _("keep the whole journal")),
        (FAILURE, _("from the last failed step")),
        *found,
    ]


class EventForm(forms.Form):
    """Which event. A GET form: what it is asked for decides on the fields of the next one."""

    name = forms.ChoiceField(label=_("It waits for"), required=False)
    other = forms.CharField(label=_("Another event"), max_length=NAME_LIMIT, required=False)

    def __init__(self, waiting: Sequence[str], chosen: str) -> None:
        known = chosen in waiting
        super().__init__(
            initial={"name": chosen if known else "", "other": "" if known else chosen},
            auto_id=CHOOSER_ID,
        )
        if waiting:
            labels = [(name, _labelled(name)) for name in waiting]
            self.fields["name"].choices = [("", "–"), *labels]  # type: ignore[attr-defined]
        else:
            del self.fields["name"]
            self.fields["other"].label = _("Event")
            self.fields["other"].help_text = _("No step waits for an event now.")


def _labelled(name: str) -> str:
    kind = registry.find_event(name)
    return name if kind is None else f"{name} ({type_name(kind.type)})"


# ── an event, by its type ───────────────────────────────────────────────────────────────────────────────────


class EventValueForm(ReasonForm):
    """The value of an event or an error in its place. Its field `value` is put in by `event_form`."""

    error = forms.CharField(
        label=_("Error"),
        help_text=_("In place of a value: it is raised where the event is waited for."),
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    key = forms.CharField(
        label=_("Key"),
        help_text=_("Optional. The same key again delivers nothing."),
        max_length=KEY_LIMIT,
        required=False,
    )
    field_order = ["name", "value", "error", "key", "reason"]

    # (value, label) of each button that ends the form; none: there is one, and the value is a field.
    buttons: Choices = []
    empty: Any = None  # the value of a field that was left empty

    def clean(self) -> dict[str, Any]:
        """A value or an error; an empty field is a value only where its type has one."""
        data: dict[str, Any] = super().clean() or {}
        if data.get("error"):
            if self.data.get("value"):
                raise ValidationError(_("Give a value or an error, not both."))
            self.errors.pop("value", None)
            data["value"] = None
        elif data.get("value") is OMITTED:
            data["value"] = None
        elif data.get("value") == "" and not isinstance(self.fields["value"], JsonField):
            data["value"] = self.empty
        return data


def event_form(name: str, data: Any = None) -> EventValueForm:
    """The form of an event: by the type that is registered under its name. What it gives the manager checks again."""
    kind = registry.find_event(name)
    annotation = Any if kind is None else kind.type
    form = EventValueForm(data, hidden={"name": name})
    if annotation is bool:
        form.fields["value"] = _decision()
        form.buttons = [("true", _("Approve")), ("false", _("Reject"))]
    else:
        form.fields["value"] = field_of(annotation)
        form.fields["value"].label = _("Value")
        form.fields["value"].help_text = type_name(annotation)
        form.fields["value"].required &= annotation is not Any  # an event may come without a value
        form.empty = empty_of(annotation)
    form.order_fields(form.field_order)
    return form


def _decision() -> forms.Field:
    return forms.TypedChoiceField(
        choices=[("true", "true"), ("false", "false")],
        coerce=lambda text: text == "true",
        widget=forms.HiddenInput,
        error_messages={"required": _("Approve, reject, or give an error.")},
    )
