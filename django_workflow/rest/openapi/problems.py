"""Which problems an operation may answer: the table of `rest/problems.py`, as responses."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from drf_spectacular.utils import OpenApiResponse, extend_schema_serializer
from rest_framework import serializers

from django_workflow.rest.problems import KINDS, MEDIA_TYPE, URN

if TYPE_CHECKING:  # generic for type checkers only
    _Serializer = serializers.Serializer[Any]
else:
    _Serializer = serializers.Serializer

# What any view may answer, and what one that reads a body may answer besides.
ALWAYS: Final = (
    "invalid",
    "not-authenticated",
    "permission-denied",
    "not-found",
    "not-acceptable",
    "throttled",
)
WITH_BODY: Final = ("bad-request", "too-large", "unsupported-media-type")

Responses = dict[tuple[int, str], OpenApiResponse]


@extend_schema_serializer(component_name="WorkflowWrongField")
class WrongFieldAnswer(_Serializer):
    """A field that is wrong."""

    field = serializers.CharField(
        help_text="Its name in the body or the query, with dots and brackets; empty: the whole body."
    )
    detail = serializers.CharField()


@extend_schema_serializer(component_name="WorkflowProblem")
class ProblemAnswer(_Serializer):
    """Problem details (RFC 9457)."""

    type = serializers.CharField(help_text=f"`{URN}` and a stable name; the rest is for people.")
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(required=False)
    # A serializer has an attribute of this name, too; fields are taken out of the class before that matters.
    errors = WrongFieldAnswer(many=True, required=False)  # type: ignore[assignment]


def problems(kinds: Iterable[str]) -> Responses:
    """The responses of these kinds of problem, one for each status."""
    by_status = sorted({(KINDS[kind].status, kind) for kind in kinds})
    return {
        (status, MEDIA_TYPE): OpenApiResponse(
            ProblemAnswer, "\n".join(f"`{kind}`: {KINDS[kind].title}" for _, kind in group)
        )
        for status, group in groupby(by_status, key=lambda each: each[0])
    }
