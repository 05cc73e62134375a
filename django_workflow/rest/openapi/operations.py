"""Every operation: what it is called, takes and answers. Importing this module tells drf-spectacular.

Rules of this file: an operation's id is a promise to generated clients, and the same wherever the routes are mounted.
Descriptions are what a view's method says of itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final, NamedTuple

from drf_spectacular.extensions import OpenApiViewExtension
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework.views import APIView

from django_workflow.rest import bodies
from django_workflow.rest.openapi import answers, fields
from django_workflow.rest.openapi import parameters as at
from django_workflow.rest.openapi.problems import ALWAYS, WITH_BODY, problems

__all__ = ["fields"]  # imported so that drf-spectacular knows our fields

JSON: Final = "application/json"
HTML: Final = "text/html"
FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")
EVENT_STREAM: Final = "text/event-stream"

NO_BODY: Final = OpenApiResponse(None, "Nothing more to say.")
NOT_CHANGED: Final = OpenApiResponse(None, "The client has this answer already.")

ANYBODY: Final = ("invalid", "not-found", "not-acceptable")
STARTS: Final = (*WITH_BODY, "limit-reached")


class Operation(NamedTuple):
    """One method of a view."""

    id: str
    summary: str
    answers: Mapping[int, Any]  # status → serializer or response
    kinds: tuple[str, ...] = ()  # of problems, besides those of `usual`
    request: Any = None
    parameters: tuple[OpenApiParameter, ...] = ()
    media: tuple[str, ...] = (JSON,)
    usual: tuple[str, ...] = ALWAYS
    pages: bool = False  # whether browsers are shown a page in place of a problem


WORKFLOW_OPERATIONS: Final[Mapping[str, Operation]] = {
    "list": Operation(
        "workflow_list",
        "List workflows",
        {200: answers.EntriesAnswer},
        parameters=(*at.FILTERS, *at.PAGES),
    ),
    "create": Operation(
        "workflow_start",
        "Start a workflow",
        {
            201: OpenApiResponse(answers.EntryAnswer, "It was started."),
            200: OpenApiResponse(answers.EntryAnswer, "The key is known: the workflow that has it."),
        },
        (*STARTS, "unknown-definition", "key-conflict"),
        request=bodies.StartBody,
        parameters=(at.IDEMPOTENCY_KEY, at.location(200, 201)),
    ),
    "retrieve": Operation(
        "workflow_get",
        "Show a workflow",
        {200: answers.WholeAnswer, 304: NOT_CHANGED},
        parameters=(at.ID, at.IF_NONE_MATCH, at.ETAG),
    ),
    "destroy": Operation(
        "workflow_delete", "Delete a workflow", {204: NO_BODY}, ("in-progress",), parameters=(at.ID,)
    ),
    "status": Operation(
        "workflow_status",
        "Show or await its status",
        {200: answers.StatusAnswer, 304: NOT_CHANGED},
        parameters=(at.ID, at.WAIT, at.IF_NONE_MATCH, at.ETAG),
    ),
    "steps": Operation(
        "workflow_steps",
        "Show its journal",
        {200: answers.StepsAnswer},
        parameters=(at.ID, *at.JOURNAL_PAGES),
    ),
    "stream": Operation(
        "workflow_stream",
        "Follow it",
        {200: OpenApiResponse(str, "Server-sent events.")},
        parameters=(at.ID, at.LAST_EVENT_ID),
        media=(EVENT_STREAM,),
    ),
    "cancel": Operation(
        "workflow_cancel",
        "Cancel a workflow",
        {200: answers.StatusAnswer},
        WITH_BODY,
        request=bodies.CancelBody,
        parameters=(at.ID,),
    ),
    "restart": Operation(
        "workflow_restart",
        "Restart a workflow",
        {202: answers.StatusAnswer},
        (*STARTS, "in-progress", "step-not-found"),
        request=bodies.RestartBody,
        parameters=(at.ID,),
    ),
    "fork": Operation(
        "workflow_fork",
        "Fork a workflow",
        {201: answers.EntryAnswer},
        (*STARTS, "step-not-found"),
        request=bodies.ForkBody,
        parameters=(at.ID, at.location(201)),
    ),
    "events": Operation(
        "workflow_send_event",
        "Send an event",
        {202: answers.SentAnswer},
        (*WITH_BODY, "finished", "limit-reached"),
        request=bodies.EventBody,
        parameters=(at.ID,),
    ),
    "cleanup": Operation(
        "workflow_cleanup",
        "Clean up a workflow",
        {204: NO_BODY},
        (*WITH_BODY, "in-progress"),
        request=bodies.CleanupBody,
        parameters=(at.ID,),
    ),
}
DEFINITIONS_OPERATIONS: Final = {
    "get": Operation("workflow_definition_list", "List what may be started", {200: answers.DefinitionsAnswer})
}
DEFINITION_OPERATIONS: Final = {
    "get": Operation(
        "workflow_definition_get",
        "Show what may be started",
        {200: answers.DefinitionAnswer},
        parameters=(at.DEFINITION,),
    )
}
HEALTH_OPERATIONS: Final = {
    "get": Operation(
        "workflow_health",
        "Tell whether work gets done",
        {
            200: OpenApiResponse(answers.HealthAnswer, "It does."),
            503: OpenApiResponse(answers.HealthAnswer, "It does not."),
        },
        usual=ANYBODY,
    )
}
LINK_OPERATIONS: Final = {
    "get": Operation(
        "workflow_event_link_get",
        "Show what a link would send",
        {200: answers.LinkAnswer},
        ("finished",),
        parameters=(at.TOKEN,),
        usual=(*ANYBODY, "throttled"),
        pages=True,
    ),
    "post": Operation(
        "workflow_event_link_send",
        "Send a link's event",
        {202: answers.LinkSentAnswer},
        (*WITH_BODY, "finished", "limit-reached"),
        request={JSON: answers.LinkBody, **dict.fromkeys(FORMS, answers.LinkForm)},
        parameters=(at.TOKEN,),
        usual=(*ANYBODY, "throttled"),
        pages=True,
    ),
}


def _schema(operation: Operation, tag: str) -> Any:
    """What `@extend_schema` makes of it."""
    told: dict[Any, Any] = {
        (status, *operation.media): answer if isinstance(answer, OpenApiResponse) else OpenApiResponse(answer)
        for status, answer in operation.answers.items()
    }
    refused = problems((*operation.usual, *operation.kinds))
    limits = (at.RETRY_AFTER,) if "throttled" in operation.usual else ()
    if operation.pages:
        page = OpenApiResponse(str, "A page, for browsers.")
        refused |= {(status, HTML): page for status, _ in [*told, *refused]}
    return extend_schema(
        operation_id=operation.id,
        summary=operation.summary,
        tags=[tag],
        request=operation.request,
        responses={**told, **refused},
        parameters=[*operation.parameters, *limits],
        filters=False,
    )


class _Described(OpenApiViewExtension):
    """A view of ours, and what projects have made of it."""

    match_subclasses = True
    tag: ClassVar[str]
    operations: ClassVar[Mapping[str, Operation]]

    def view_replacement(self) -> type[APIView]:
        """The view, with every method described."""
        view: type[APIView] = self.target
        described = {
            name: _schema(operation, self.tag)
            for name, operation in self.operations.items()
            if hasattr(view, name)
        }
        replaced: type[APIView] = extend_schema_view(**described)(type(view.__name__, (view,), {}))
        return replaced


class DescribedWorkflows(_Described):
    """Workflows."""

    target_class = "django_workflow.rest.views.WorkflowViewSet"
    tag = "workflows"
    operations = WORKFLOW_OPERATIONS


class DescribedDefinitions(_Described):
    """Definitions."""

    target_class = "django_workflow.rest.definitions.DefinitionsView"
    tag = "workflow definitions"
    operations = DEFINITIONS_OPERATIONS


class DescribedDefinition(_Described):
    """A definition."""

    target_class = "django_workflow.rest.definitions.DefinitionView"
    tag = "workflow definitions"
    operations = DEFINITION_OPERATIONS


class DescribedHealth(_Described):
    """The health."""

    target_class = "django_workflow.rest.health.HealthView"
    tag = "workflow health"
    operations = HEALTH_OPERATIONS


class DescribedLink(_Described):
    """A link that sends an event."""

    target_class = "django_workflow.rest.links.EventLinkView"
    tag = "workflow event links"
    operations = LINK_OPERATIONS
