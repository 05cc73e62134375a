"""The form that starts a workflow: a field for each argument, made of its type.

Rules of this file: what the form gives is checked by `start()`, and what that says is shown beside the fields.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.admin import widgets
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from django_workflow.admin.fields import (
    EMPTY,
    OMITTED,
    JsonField,
    empty_of,
    field_of,
    moment_widget,
    read_json,
    type_name,
)
from django_workflow.admin.refusals import misfit
from django_workflow.conf import settings
from django_workflow.keys import KEY_LIMIT

if TYPE_CHECKING:
    from django_workflow.handler.definition import WorkflowDefinition
    from django_workflow.payloads.arguments import Parameter

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
PREFIX = "arg_"  # before the names of arguments, which may be called key or labels, too
HELP_LIMIT = 300


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
        widget=moment_widget(),
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
                self.add_error(field, misfit(problem))
                return
        self.add_error(None, misfit(problem))


REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def start_form(definition: WorkflowDefinition[Any, Any], data: Any = None) -> StartForm:
    """The form of a definition. Raises `InvalidDefinition` where an annotation can't be resolved."""
    parameters = definition.signature.parameters
    form = StartForm(data)
    form.parameters = parameters
    secret = {name.casefold() for name in (*settings.REDACT, *definition.redact)}
    form.empties = {parameter.name: _empty_of(parameter) for parameter in parameters}
    asked = {
        PREFIX + parameter.name: _field_of(parameter, secret=parameter.name.casefold() in secret)
        for parameter in parameters
    }
    form.fields = {**asked, **form.fields}
    return form


def _empty_of(parameter: Parameter) -> Any:
    return OMITTED if parameter.kind in REST else empty_of(parameter.annotation, parameter.default)


def _field_of(parameter: Parameter, *, secret: bool) -> forms.Field:
    match parameter.kind:
        case inspect.Parameter.VAR_POSITIONAL:
            field: forms.Field = JsonField(of_kind=list)
            label = f"*{parameter.name}"
        case inspect.Parameter.VAR_KEYWORD:
            field, label = JsonField(of_kind=dict), f"**{parameter.name}"
        case _:
            field, label = field_of(parameter.annotation, parameter.default, secret=secret), parameter.name
    if parameter.kind in REST:
        field.required = False
    field.label, field.help_text = label, _help(parameter)
    return field


def _help(parameter: Parameter) -> str:
    said = type_name(parameter.annotation)
    if parameter.default is not EMPTY:
        said = _("%(type)s, without it %(default)s") % {"type": said, "default": _repr(parameter.default)}
    return said if len(said) <= HELP_LIMIT else said[: HELP_LIMIT - 1] + "…"


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  a default is foreign code
        return type(value).__name__
