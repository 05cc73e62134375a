"""What a request may bring: serializers that convert nothing, and take no field that they don't know.

Rules of this file: a body says whether its form is right. What a value means (is there such a definition, do the
arguments fit, is the label too long) says the manager.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from django_workflow.keys import KEY_LIMIT
from django_workflow.rest.moments import EXAMPLE, moment_of

REASON_LIMIT = 1_000

if TYPE_CHECKING:  # generic for type checkers only
    _Any = serializers.Field[Any, Any, Any, Any]
    _Bool = serializers.Field[bool, bool, bool, bool]
    _Moment = serializers.Field[datetime, str, str, datetime]
    _Serializer = serializers.Serializer[Any]
else:
    _Any = _Bool = _Moment = serializers.Field
    _Serializer = serializers.Serializer


class Text(serializers.CharField):
    """A JSON string, as it is."""

    default_error_messages = {"invalid": "This is no text."}

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> str:
        """The string."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Flag(_Bool):
    """JSON's true or false, and no word for them."""

    default_error_messages = {"invalid": "This is neither true nor false."}

    def to_internal_value(self, data: Any) -> bool:
        """The bool."""
        if not isinstance(data, bool):
            self.fail("invalid")
        return data

    def to_representation(self, value: bool) -> bool:
        """The bool."""
        return value


class JSONValue(_Any):
    """Any JSON."""

    def to_internal_value(self, data: Any) -> Any:
        """The value."""
        return data

    def to_representation(self, value: Any) -> Any:
        """The value."""
        return value


class Arguments(JSONValue):
    """An object with arguments by name, or an array of them by position."""

    default_error_messages = {"invalid": "Give an object with the arguments by name, or an array of them."}

    def to_internal_value(self, data: Any) -> Any:
        """The dict, or the list."""
        if not isinstance(data, dict | list):
            self.fail("invalid")
        return data


class Labels(JSONValue):
    """An object of names and values."""

    default_error_messages = {"invalid": "Give an object of names and values."}

    def to_internal_value(self, data: Any) -> Any:
        """The dict."""
        if not isinstance(data, dict):
            self.fail("invalid")
        return data


class Moment(_Moment):
    """A time with its offset from UTC."""

    default_error_messages = {"invalid": f"Give a time with an offset, like {EXAMPLE}."}

    def to_internal_value(self, data: Any) -> datetime:
        """The aware datetime."""
        moment = moment_of(data)
        if moment is None:
            self.fail("invalid")
        return moment

    def to_representation(self, value: datetime) -> str:
        """ISO 8601."""
        return value.isoformat()


class StepChoice(_Any):
    """The number of a step, or its name."""

    default_error_messages = {"invalid": "Give the number of a step, or its name."}

    def to_internal_value(self, data: Any) -> int | str:
        """The number or the name."""
        if not isinstance(data, str) and not (type(data) is int and 0 <= data < 2**31):
            self.fail("invalid")
        step: int | str = data
        return step

    def to_representation(self, value: int | str) -> int | str:
        """The same."""
        return value


class Body(_Serializer):
    """An object with these fields and no others."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """The fields that were given."""
        if not isinstance(data, Mapping):
            raise ValidationError({"non_field_errors": ["Give a JSON object."]})
        unknown = [name for name in data if name not in self.fields]
        errors: dict[str, Any] = {}
        if unknown:
            known = ", ".join(self.fields)
            errors = {
                name[:100]: [f"There is no such field; there are {known or 'none'}."]
                for name in unknown[:100]
            }
        try:
            values: dict[str, Any] = super().to_internal_value(data)
        except ValidationError as error:
            detail: Any = error.detail
            raise ValidationError({**detail, **errors}) from None
        if errors:
            raise ValidationError(errors)
        return values


class StartBody(Body):
    """What is started, and how."""

    definition = Text(help_text="The name of a definition that may be started over HTTP.")
    args = Arguments(required=False, help_text="By name in an object, or by position in an array.")
    key = Text(
        required=False,
        allow_null=True,
        help_text="The same key starts no second workflow of this definition.",
    )
    labels = Labels(required=False, allow_null=True, help_text="Names and values to find the workflow by.")
    run_at = Moment(
        required=False, allow_null=True, help_text="Its first turn is not taken before this time."
    )


class CancelBody(Body):
    """Why, and whether what was done is undone."""

    reason = Text(required=False, allow_blank=True, max_length=REASON_LIMIT)
    rollback = Flag(required=False)


class _Reasoned(Body):
    reason = Text(required=False, allow_blank=True, max_length=REASON_LIMIT, help_text="For the log.")


class RestartBody(_Reasoned):
    """From where on."""

    from_step = StepChoice(required=False, allow_null=True)
    from_failure = Flag(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One place, not two."""
        if attrs.get("from_failure") and attrs.get("from_step") is not None:
            raise ValidationError({"from_failure": ["Give from_step or from_failure, not both."]})
        return attrs


class ForkBody(_Reasoned):
    """From where on."""

    from_step = StepChoice()


class EventBody(_Reasoned):
    """What is delivered: a value or an error."""

    name = Text()
    value = JSONValue(required=False, allow_null=True)
    error = Text(required=False, allow_null=True)
    key = Text(required=False, allow_null=True, max_length=KEY_LIMIT)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One of them."""
        if attrs.get("error") is not None and "value" in attrs:
            raise ValidationError({"error": ["Give a value or an error, not both."]})
        return attrs


class CleanupBody(_Reasoned):
    """Why."""
