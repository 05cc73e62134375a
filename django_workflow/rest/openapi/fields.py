"""How our serializers' fields, which drf-spectacular doesn't know, look as JSON Schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.extensions import OpenApiSerializerExtension, OpenApiSerializerFieldExtension
from rest_framework import serializers

if TYPE_CHECKING:
    from drf_spectacular.openapi import AutoSchema
    from drf_spectacular.utils import Direction

BODIES = "django_workflow.rest.bodies"

Schema = dict[str, Any]


class Word(serializers.CharField):
    """One of some words, as a component of its own."""

    def __init__(self, component: str, *words: str, **options: Any) -> None:
        self.component, self.words = component, words
        super().__init__(**options)


class WordExtension(OpenApiSerializerFieldExtension):
    """An enum."""

    target_class = Word

    def get_name(self) -> str:
        """The name of the component."""
        name: str = self.target.component
        return name

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> Schema:
        """The words."""
        return {"type": "string", "enum": list(self.target.words)}


class FlagExtension(OpenApiSerializerFieldExtension):
    """True or false."""

    target_class = f"{BODIES}.Flag"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> Schema:
        """A boolean."""
        return {"type": "boolean"}


class JSONValueExtension(OpenApiSerializerFieldExtension):
    """Anything; null, too, whatever the field's `allow_null` says of it."""

    target_class = f"{BODIES}.JSONValue"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> Schema:
        """No restriction."""
        return {}


class ArgumentsExtension(OpenApiSerializerFieldExtension):
    """By name or by position."""

    target_class = f"{BODIES}.Arguments"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> Schema:
        """An object or an array."""
        return {"oneOf": [{"type": "object", "additionalProperties": {}}, {"type": "array", "items": {}}]}


class LabelsExtension(OpenApiSerializerFieldExtension):
    """Names and values."""

    target_class = f"{BODIES}.Labels"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> Schema:
        """An object."""
        return {"type": "object", "additionalProperties": {}}


class MomentExtension(OpenApiSerializerFieldExtension):
    """A time with its offset."""

    target_class = f"{BODIES}.Moment"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> Schema:
        """As RFC 3339 has it."""
        return {"type": "string", "format": "date-time"}


class StepChoiceExtension(OpenApiSerializerFieldExtension):
    """A step."""

    target_class = f"{BODIES}.StepChoice"

    def map_serializer_field(self, auto_schema: AutoSchema, direction: Direction) -> Schema:
        """Its number, or its name."""
        return {"oneOf": [{"type": "integer", "minimum": 0, "maximum": 2**31 - 1}, {"type": "string"}]}


class BodyExtension(OpenApiSerializerExtension):
    """What a request brings: these fields and no others."""

    target_class = f"{BODIES}.Body"
    match_subclasses = True

    def get_name(self, auto_schema: AutoSchema, direction: Direction) -> str:
        """`StartBody` → `WorkflowStart`."""
        kind = self.target if isinstance(self.target, type) else type(self.target)
        return f"Workflow{kind.__name__.removesuffix('Body')}"

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> Schema:
        """The fields, and nothing else."""
        schema: Schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        return {**schema, "additionalProperties": False}
