"""The forms of the verbs, and the fields that an event's type asks for.

Rules of this file: forms are made of what may be chosen, never bound to a model, and nothing here changes anything.
"""

from __future__ import annotations

import enum
import json
import types
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, Union, get_args, get_origin
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

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
        (str(number), f"{number} {name} ({kind}, {state})") for number, name, kind, state in rows
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


def type_name(annotation: Any) -> str:
    """A type as its author would write it."""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


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

    def clean(self) -> dict[str, Any]:
        """A value or an error; an empty field is a value only where its type has one."""
        data: dict[str, Any] = super().clean() or {}
        if data.get("error"):
            if self.data.get("value"):
                raise ValidationError(_("Give a value or an error, not both."))
            self.errors.pop("value", None)
            data["value"] = None
        return data


def event_form(name: str, data: Any = None) -> EventValueForm:
    """The form of an event: by the type that is registered under its name."""
    kind = registry.find_event(name)
    form = EventValueForm(data, hidden={"name": name})
    form.fields["value"] = field_of(Any if kind is None else kind.type)
    if kind is not None and kind.type is bool:
        form.fields["value"].widget = forms.HiddenInput()
        form.fields["value"].error_messages["required"] = _("Approve, reject, or give an error.")
        form.buttons = [("true", _("Approve")), ("false", _("Reject"))]
    form.order_fields(form.field_order)
    return form


def field_of(annotation: Any) -> forms.Field:
    """The field that fits a type; a field of JSON where none does. What it gives is checked by the manager again."""
    inner, optional = _without_none(annotation)
    field = _choices_of(inner) or _plain_field(inner)
    if field is None:
        return JSONText(label=_("Value, as JSON"), help_text=type_name(annotation))
    field.label = _("Value")
    field.help_text = type_name(annotation)
    # An empty text is a text, unless it may also be none.
    field.required = not optional and inner is not str
    if inner is str and optional:
        field.empty_value = None  # type: ignore[attr-defined]
    return field


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        left = [each for each in get_args(annotation) if each is not type(None)]
        if len(left) == 1 and len(left) < len(get_args(annotation)):
            return left[0], True
    return annotation, False


def _plain_field(annotation: Any) -> forms.Field | None:
    if annotation is str:
        return forms.CharField(strip=False, widget=forms.Textarea(attrs={"rows": 2}))
    if annotation is int:
        return forms.IntegerField()
    if annotation is float:
        return forms.FloatField()
    if annotation is Decimal:
        return forms.DecimalField()
    if annotation is datetime:
        return forms.DateTimeField(
            widget=forms.DateTimeInput(attrs={"type": "datetime-local", "step": "any"})
        )
    if annotation is date:
        return forms.DateField(widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}))
    if annotation is UUID:
        return forms.UUIDField()
    return None


def _choices_of(annotation: Any) -> OneOf | None:
    if annotation is bool:
        return OneOf([("true", _("yes"), True), ("false", _("no"), False)])
    if get_origin(annotation) is Literal:
        return OneOf([(str(value), str(value), value) for value in get_args(annotation)])
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return OneOf([(name, name, member) for name, member in annotation.__members__.items()])
    return None


class OneOf(forms.ChoiceField):
    """One of some values, each with the text that stands for it."""

    def __init__(self, values: Sequence[tuple[str, str | Promise, Any]]) -> None:
        self._values = {text: value for text, _label, value in values}
        super().__init__(choices=[("", "–"), *((text, label) for text, label, _value in values)])

    def clean(self, value: Any) -> Any:
        """The value that the text stands for; None for none."""
        text = super().clean(value)
        return self._values[text] if text else None


class JSONText(forms.CharField):
    """Any JSON; nothing is null."""

    widget = forms.Textarea

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, **options)

    def clean(self, value: Any) -> Any:
        """What the text says."""
        text = super().clean(value)
        if not text:
            return None
        try:
            return json.loads(text)
        except (ValueError, RecursionError):  # no JSON, thousands of digits, or nested too deeply
            raise ValidationError(_("This is no JSON that can be read.")) from None
