"""The form that starts a workflow: a field for each argument, made of its type.

Rules of this file: a form converts what a browser sends into a value that the annotation may take, and no more; whether
it does take it `start()` says, and its words are shown beside the fields. Simple types get a widget of their own,
everything else a box for JSON.
"""

from __future__ import annotations

import enum
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django import forms
from django.contrib.admin import widgets
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_workflow.conf import settings
from django_workflow.keys import KEY_LIMIT

if TYPE_CHECKING:
    from django_workflow.handler.definition import WorkflowDefinition
    from django_workflow.payloads.arguments import Parameter

EMPTY = inspect.Parameter.empty
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
PREFIX = "arg_"  # before the names of arguments, which may be called key or labels, too
MOMENT_FORMAT = "%Y-%m-%dT%H:%M:%S"
HELP_LIMIT = 300

OMITTED: Any = object()  # the handler's own default is to count


def _moment_widget() -> forms.DateTimeInput:
    return forms.DateTimeInput(format=MOMENT_FORMAT, attrs={"type": "datetime-local", "step": "1"})


class StartForm(forms.Form):
    """The arguments of a definition, and how to start it. Made by `start_form()`."""

    key = forms.CharField(
        label=gettext_lazy("Key"),
        help_text=gettext_lazy("Unique for this definition: the same key starts no second workflow."),
        max_length=KEY_LIMIT,
        required=False,
        strip=False,
        widget=widgets.AdminTextInputWidget,
    )
    labels = forms.CharField(
        label=gettext_lazy("Labels"),
        help_text=gettext_lazy("A JSON object of names and values to find the workflow by."),
        required=False,
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    run_at = forms.DateTimeField(
        label=gettext_lazy("Run at"),
        help_text=gettext_lazy("The first turn is not taken before this time."),
        required=False,
        widget=_moment_widget(),
    )

    parameters: tuple[Parameter, ...] = ()
    empties: Mapping[str, Any] = {}  # by parameter: what a field that was left empty stands for

    def clean_labels(self) -> dict[str, Any] | None:
        """The labels as a dict."""
        text = self.cleaned_data["labels"]
        if not text.strip():
            return None
        value = read_json(text)
        if not isinstance(value, dict):
            raise ValidationError(_("This is no JSON object."))
        return value

    def options(self) -> dict[str, Any]:
        """What `using()` is given."""
        given = {name: self.cleaned_data.get(name) for name in ("key", "labels", "run_at")}
        return {name: value for name, value in given.items() if value not in (None, "")}

    def arguments(self) -> tuple[list[Any], dict[str, Any]]:
        """What the handler is given, by position and by name."""
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        extra = self._rest(inspect.Parameter.VAR_POSITIONAL, [])
        for parameter in self.parameters:
            value = self._given(parameter)
            by_position = parameter.kind is inspect.Parameter.POSITIONAL_ONLY or (
                extra and parameter.kind in POSITIONAL
            )
            if by_position:
                args.append(parameter.default if value is OMITTED else value)
            elif value is not OMITTED and parameter.kind not in REST:
                kwargs[parameter.name] = value
        return args + extra, {**self._rest(inspect.Parameter.VAR_KEYWORD, {}), **kwargs}

    def _rest(self, kind: Any, none: Any) -> Any:
        for parameter in self.parameters:
            if parameter.kind is kind:
                value = self._given(parameter)
                return none if value is OMITTED else value
        return none

    def _given(self, parameter: Parameter) -> Any:
        name = PREFIX + parameter.name
        value = self.cleaned_data.get(name, OMITTED)
        is_json = isinstance(self.fields[name], JsonField)  # where somebody wrote null or "", it is a value
        nothing = value is OMITTED or (not is_json and (value is None or value == ""))
        return self.empties[parameter.name] if nothing else value

    def refuse(self, problem: str) -> None:
        """Show a problem, as `InvalidArguments` tells them, at its field or, where it names none, above all."""
        named = re.match(r"\w+", problem)
        for field in (PREFIX + named[0], named[0]) if named else ():
            if field in self.fields:
                self.add_error(field, problem)
                return
        self.add_error(None, problem)


REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def start_form(definition: WorkflowDefinition[Any, Any], data: Any = None) -> StartForm:
    """The form of a definition. Raises `InvalidDefinition` where an annotation can't be resolved."""
    parameters = definition.signature.parameters
    form = StartForm(data)
    form.parameters = parameters
    secret = {name.casefold() for name in (*settings.REDACT, *definition.redact)}
    form.empties = {parameter.name: empty_of(parameter) for parameter in parameters}
    asked = {
        PREFIX + parameter.name: field_of(parameter, secret=parameter.name.casefold() in secret)
        for parameter in parameters
    }
    form.fields = {**asked, **form.fields}
    return form


def empty_of(parameter: Parameter) -> Any:
    """What it means that the field of this parameter is left empty."""
    kind, optional = _without_none(parameter.annotation)
    if parameter.kind in REST:
        return OMITTED
    if optional:
        return None
    # An empty text is a text; but where a default was not shown, nothing says that it is not wanted.
    return "" if kind is str and parameter.default is EMPTY else OMITTED


def field_of(parameter: Parameter, *, secret: bool = False) -> forms.Field:
    """A field for one parameter."""
    kind, optional = _without_none(parameter.annotation)
    has_default = parameter.default is not EMPTY
    required = not optional and not has_default and parameter.kind not in REST
    if parameter.kind in REST:
        field: forms.Field = JsonField(of_kind=list if parameter.kind is REST[0] else dict)
    elif secret and kind is str:
        field = forms.CharField(strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "off"}))
    else:
        field = _simple(kind, optional=optional, choose=required) or JsonField()
    field.label = {REST[0]: f"*{parameter.name}", REST[1]: f"**{parameter.name}"}.get(
        parameter.kind, parameter.name
    )
    field.help_text = _help(parameter)
    field.required = required and not isinstance(field, forms.BooleanField) and kind is not str
    _fill_in(field, parameter)
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
    datetime: lambda: forms.DateTimeField(widget=_moment_widget()),
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


def _without_none(annotation: Any) -> tuple[Any, bool]:
    """The type without its `Annotated` and its `None`, and whether it had a `None`."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return annotation, False
    others = [each for each in typing.get_args(annotation) if each is not type(None)]
    optional = len(others) < len(typing.get_args(annotation))
    if len(others) != 1:
        return annotation, False  # a box for JSON, which knows null
    return _without_none(others[0])[0], optional


def _fill_in(field: forms.Field, parameter: Parameter) -> None:
    """Show the default as what is chosen, where the field can."""
    default = parameter.default
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


def _help(parameter: Parameter) -> str:
    annotation = parameter.annotation
    plain = isinstance(annotation, type) and not typing.get_args(annotation)
    said = annotation.__name__ if plain else str(annotation).replace("typing.", "")
    if annotation is Any:
        said = _("any JSON")
    if parameter.default is not EMPTY:
        said = _("%(type)s, without it %(default)s") % {"type": said, "default": _repr(parameter.default)}
    return said if len(said) <= HELP_LIMIT else said[: HELP_LIMIT - 1] + "…"


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  a default is foreign code
        return type(value).__name__
