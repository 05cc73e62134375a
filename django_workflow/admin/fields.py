"""A field for a value of a type: an argument's, or an event's.

Rules of this file: a field converts what a browser sends into a value that the annotation may take, and no more;
whether it does take it the manager says. Simple types get a widget of their own, everything else a box for JSON.
"""

from __future__ import annotations

import enum
import inspect
import json
import typing
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django import forms
from django.contrib.admin import widgets
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from django_workflow.windows.annotations import without_none

EMPTY = inspect.Parameter.empty  # as a default: there is none
OMITTED: Any = object()  # the handler's own default is to count
MOMENT_FORMAT = "%Y-%m-%dT%H:%M:%S"


def moment_widget() -> forms.DateTimeInput:
    """A box for date and time."""
    return forms.DateTimeInput(format=MOMENT_FORMAT, attrs={"type": "datetime-local", "step": "1"})


def type_name(annotation: Any) -> str:
    """A type as its author would write it."""
    if annotation is Any:
        return _("any JSON")
    plain = isinstance(annotation, type) and not typing.get_args(annotation)
    return annotation.__name__ if plain else str(annotation).replace("typing.", "")


def empty_of(annotation: Any, default: Any = EMPTY) -> Any:
    """What it means that the field of this type is left empty."""
    kind, optional = without_none(annotation)
    if optional:
        return None
    # An empty text is a text; but where a default was not shown, nothing says that it is not wanted.
    return "" if kind is str and default is EMPTY else OMITTED


def field_of(annotation: Any, default: Any = EMPTY, *, secret: bool = False) -> forms.Field:
    """A field for one value; label and help are its form's to give."""
    kind, optional = without_none(annotation)
    required = not optional and default is EMPTY
    if secret and kind is str:
        field: forms.Field = forms.CharField(
            strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "off"})
        )
    else:
        field = _simple(kind, optional=optional, choose=required) or JsonField()
    field.required = required and not isinstance(field, forms.BooleanField) and kind is not str
    _fill_in(field, default)
    return field


def _simple(kind: Any, *, optional: bool, choose: bool) -> forms.Field | None:
    """A field for a type that has a widget; None for any other."""
    if kind is bool:
        return _choice({"true": True, "false": False}, choose=True) if optional else forms.BooleanField()
    if typing.get_origin(kind) is typing.Literal:
        return _choice({str(value): value for value in typing.get_args(kind)}, choose=choose or optional)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _choice({member.name: member for member in kind}, choose=choose or optional)
    make = FIELDS.get(kind) if isinstance(kind, type) else None
    return make() if make is not None else None


FIELDS: Mapping[type, Callable[[], forms.Field]] = {
    str: lambda: forms.CharField(strip=False, widget=widgets.AdminTextInputWidget),
    int: lambda: forms.IntegerField(widget=forms.TextInput(attrs={"inputmode": "numeric"})),
    float: lambda: forms.FloatField(widget=forms.TextInput(attrs={"inputmode": "decimal"})),
    Decimal: lambda: forms.DecimalField(widget=forms.TextInput(attrs={"inputmode": "decimal"})),
    date: lambda: forms.DateField(widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"})),
    datetime: lambda: forms.DateTimeField(widget=moment_widget()),
    UUID: lambda: forms.UUIDField(widget=widgets.AdminTextInputWidget),
}


def _choice(values: Mapping[str, Any], *, choose: bool) -> forms.Field:
    labels: list[tuple[str, str]] = [(name, name) for name in values]
    nothing: list[tuple[str, str]] = [("", "---------")] if choose else []
    return forms.TypedChoiceField(
        choices=[*nothing, *labels], coerce=lambda name: values[name], empty_value=None
    )


class JsonField(forms.CharField):
    """A value as JSON."""

    def __init__(self, *, of_kind: type | None = None) -> None:
        super().__init__(widget=forms.Textarea(attrs={"rows": 3}))
        self._of_kind = of_kind

    def to_python(self, value: Any) -> Any:
        """The value; `OMITTED` for an empty box."""
        text = super().to_python(value)
        if not text:
            return OMITTED
        found = read_json(text)
        if self._of_kind is not None and not isinstance(found, self._of_kind):
            raise ValidationError(
                _("This is no JSON list.") if self._of_kind is list else _("This is no JSON object.")
            )
        return found

    def validate(self, value: Any) -> None:
        """Only nothing at all is missing: `[]` and `""` are values."""
        if value is OMITTED and self.required:
            raise ValidationError(self.error_messages["required"], code="required")

    def run_validators(self, value: Any) -> None:
        """None: they are for text."""


def read_json(text: str) -> Any:
    """The value of a JSON text that a person wrote. Raises `ValidationError`."""
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValidationError(_("This is no JSON: %(why)s") % {"why": error}) from error


def _no_number(name: str) -> Any:
    raise ValueError(_("%(name)s is no number") % {"name": name})


def _fill_in(field: forms.Field, default: Any) -> None:
    """Show the default as what is chosen, where the field can."""
    if default is EMPTY or isinstance(field.widget, forms.PasswordInput):
        return
    if isinstance(field, JsonField):
        field.initial = _json_of(default)
    elif isinstance(field, forms.TypedChoiceField):
        name = default.name if isinstance(default, enum.Enum) else str(default)
        field.initial = name.lower() if isinstance(default, bool) else name
    else:
        field.initial = default


def _json_of(value: Any) -> str | None:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None  # left out, the handler supplies it
