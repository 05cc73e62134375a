"""What is answered, as serializers that only describe: `shapes.py` makes the same as plain dicts.

Rules of this file: every field is always there unless it says otherwise; one that may have nothing to say is null.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema_serializer
from rest_framework import serializers

from django_workflow.rest.bodies import JSONValue, Labels
from django_workflow.rest.openapi.fields import Word
from django_workflow.states import StepKind, StepState, WorkflowState

if TYPE_CHECKING:  # generic for type checkers only
    _Serializer = serializers.Serializer[Any]
else:
    _Serializer = serializers.Serializer

HIDDEN = "Which of the fields are null because this user may not see payloads."


def _moment(**options: Any) -> serializers.DateTimeField:
    return serializers.DateTimeField(allow_null=True, **options)


def _text(**options: Any) -> serializers.CharField:
    return serializers.CharField(allow_null=True, **options)


def _hidden() -> serializers.ListField:
    return serializers.ListField(child=serializers.CharField(), help_text=HIDDEN)


@extend_schema_serializer(component_name="WorkflowError")
class ErrorAnswer(_Serializer):
    """Why a workflow or a step failed."""

    type = serializers.CharField(help_text="The dotted path of the exception's class.")
    message = serializers.CharField()
    traceback = _text(help_text="Null for who may not see payloads.")
    step = serializers.IntegerField(allow_null=True, help_text="The number of the step that it came from.")


@extend_schema_serializer(component_name="Workflow")
class EntryAnswer(_Serializer):
    """A workflow, without payloads."""

    id = serializers.UUIDField()
    definition = serializers.CharField()
    version = serializers.IntegerField()
    state = Word("WorkflowState", *WorkflowState)
    key = _text()
    labels = Labels()
    priority = serializers.IntegerField()
    cluster = serializers.CharField(help_text="Empty for django-q2's default cluster.")
    # A serializer has an attribute of this name, too; fields are taken out of the class before that matters.
    parent = serializers.UUIDField(allow_null=True, help_text="Whose child it is.")  # type: ignore[assignment]
    paused = _text(help_text="Why it is parked until somebody restarts it.")
    canceling = serializers.BooleanField(help_text="Whether its rollbacks run.")
    created_at = serializers.DateTimeField()
    started_at = _moment()
    completed_at = _moment()


@extend_schema_serializer(component_name="WorkflowDetail")
class WholeAnswer(EntryAnswer):
    """All of a workflow."""

    due_at = _moment(help_text="When it needs its next turn; null while only an event or a step can wake it.")
    deadline_at = _moment()
    custom = JSONValue(help_text="What the handler gave to `set_status()`.")
    reason = _text(help_text="Why it was canceled.")
    error = ErrorAnswer(allow_null=True)
    on_complete_error = ErrorAnswer(allow_null=True)
    args = JSONValue()
    result = JSONValue()
    context = JSONValue()  # type: ignore[assignment]  # as above
    hidden = _hidden()


@extend_schema_serializer(component_name="WorkflowRunningStep")
class RunningStepAnswer(_Serializer):
    """A step that has not settled."""

    number = serializers.IntegerField()
    name = serializers.CharField()
    kind = Word("WorkflowStepKind", *StepKind)
    state = Word("WorkflowStepState", *StepState)
    attempts = serializers.IntegerField()
    started_at = _moment()
    due_at = _moment()


class _StatusAnswer(_Serializer):
    id = serializers.UUIDField()
    custom = JSONValue(help_text="What the handler gave to `set_status()`.")
    paused = _text(help_text="Why it is held.")
    canceling = serializers.BooleanField(help_text="Whether its rollbacks run.")
    hidden = _hidden()


@extend_schema_serializer(component_name="WorkflowInProgress")
class InProgressAnswer(_StatusAnswer):
    """It has not ended."""

    type = Word("WorkflowInProgressType", WorkflowState.IN_PROGRESS)
    running = RunningStepAnswer(many=True)


@extend_schema_serializer(component_name="WorkflowCompleted")
class CompletedAnswer(_StatusAnswer):
    """The handler returned."""

    type = Word("WorkflowCompletedType", WorkflowState.COMPLETED)
    result = JSONValue()


@extend_schema_serializer(component_name="WorkflowFailed")
class FailedAnswer(_StatusAnswer):
    """The handler raised."""

    type = Word("WorkflowFailedType", WorkflowState.FAILED)
    error = ErrorAnswer(allow_null=True)


@extend_schema_serializer(component_name="WorkflowCanceled")
class CanceledAnswer(_StatusAnswer):
    """Somebody canceled it."""

    type = Word("WorkflowCanceledType", WorkflowState.CANCELED)
    reason = serializers.CharField()


STATUSES: dict[str, Any] = {
    WorkflowState.IN_PROGRESS.value: InProgressAnswer,
    WorkflowState.COMPLETED.value: CompletedAnswer,
    WorkflowState.FAILED.value: FailedAnswer,
    WorkflowState.CANCELED.value: CanceledAnswer,
}
StatusAnswer = PolymorphicProxySerializer("WorkflowStatus", STATUSES, "type", many=False)


@extend_schema_serializer(component_name="WorkflowStep")
class StepAnswer(_Serializer):
    """A step of the journal."""

    number = serializers.IntegerField()
    name = serializers.CharField()
    kind = Word("WorkflowStepKind", *StepKind)
    function = serializers.CharField(
        help_text="The dotted path of what it runs; empty where that is no function."
    )
    state = Word("WorkflowStepState", *StepState)
    attempts = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    started_at = _moment()
    completed_at = _moment()
    due_at = _moment()
    error = ErrorAnswer(allow_null=True)
    args = JSONValue()
    result = JSONValue()
    hidden = _hidden()


class _PageAnswer(_Serializer):
    next = serializers.URLField(allow_null=True, help_text="The address of the next page.")
    previous = serializers.URLField(allow_null=True, help_text="The address of the page before.")


@extend_schema_serializer(component_name="WorkflowPage", many=False)
class EntriesAnswer(_PageAnswer):
    """Workflows, the newest first."""

    results = EntryAnswer(many=True)


@extend_schema_serializer(component_name="WorkflowStepPage", many=False)
class StepsAnswer(_PageAnswer):
    """Steps, in the order in which the handler asked for them."""

    results = StepAnswer(many=True)


@extend_schema_serializer(component_name="WorkflowSentEvent")
class SentAnswer(_Serializer):
    """An event that was accepted."""

    name = serializers.CharField()
    key = _text()
    sent_at = serializers.DateTimeField()


@extend_schema_serializer(component_name="WorkflowDefinition")
class DefinitionAnswer(_Serializer):
    """What may be started."""

    name = serializers.CharField()
    version = serializers.IntegerField()
    description = serializers.CharField()
    args_schema = Labels(help_text="JSON Schema (draft 2020-12) of an object with the arguments by name.")


@extend_schema_serializer(component_name="WorkflowDefinitions", many=False)
class DefinitionsAnswer(_Serializer):
    """All that may be started, by name."""

    results = DefinitionAnswer(many=True)


@extend_schema_serializer(component_name="WorkflowHealthCluster")
class ClusterAnswer(_Serializer):
    """A cluster and its workers."""

    name = serializers.CharField()
    workers = serializers.IntegerField()
    busy = serializers.IntegerField()


@extend_schema_serializer(component_name="WorkflowHealthUnknown")
class UnknownAnswer(_Serializer):
    """A definition of workflows in progress that no live worker knows."""

    definition = serializers.CharField()
    version = serializers.IntegerField()


@extend_schema_serializer(component_name="WorkflowHealthPause")
class PauseAnswer(_Serializer):
    """A hold on a cluster, or on all of them."""

    cluster = _text(help_text="Null: all of them.")
    reason = serializers.CharField()


@extend_schema_serializer(component_name="WorkflowHealth")
class HealthAnswer(_Serializer):
    """Whether work gets done. All but the status is there only for who may see workflows."""

    status = Word("WorkflowHealthStatus", "ok", "unavailable")
    problems = serializers.ListField(child=serializers.CharField(), required=False)
    oldest_due_seconds = serializers.FloatField(allow_null=True, required=False)
    ticker_seen_seconds = serializers.FloatField(allow_null=True, required=False)
    clusters = ClusterAnswer(many=True, required=False)
    unknown = UnknownAnswer(many=True, required=False)
    pauses = PauseAnswer(many=True, required=False)


@extend_schema_serializer(component_name="WorkflowEventLink")
class LinkAnswer(_Serializer):
    """What an event link would send."""

    event = serializers.CharField()
    definition = serializers.CharField()
    expires_at = serializers.DateTimeField()
    used = serializers.BooleanField(help_text="Whether it has been sent already.")
    value_schema = Labels(help_text="JSON Schema (draft 2020-12) of the value.")


@extend_schema_serializer(component_name="WorkflowEventLinkSent")
class LinkSentAnswer(_Serializer):
    """What an event link has sent, now or before."""

    event = serializers.CharField()
    definition = serializers.CharField()


@extend_schema_serializer(component_name="WorkflowEventLinkValue")
class LinkBody(_Serializer):
    """The value of the event."""

    value = JSONValue(required=False)


@extend_schema_serializer(component_name="WorkflowEventLinkForm")
class LinkForm(_Serializer):
    """The same, as a form has it: its text."""

    value = serializers.CharField(required=False, allow_blank=True)
