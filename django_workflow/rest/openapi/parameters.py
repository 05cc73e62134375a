"""What stands in addresses, queries and headers."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter

from django_workflow.rest.filters import LABEL
from django_workflow.rest.pagination import CURSOR, SIZE, InJournalOrder, NewestFirst
from django_workflow.rest.views import WAIT_LIMIT
from django_workflow.states import WorkflowState

Parameter = OpenApiParameter

ID: Final = Parameter("id", UUID, Parameter.PATH, description="The workflow's id.")
DEFINITION: Final = Parameter("name", str, Parameter.PATH, description="The definition's name.")
TOKEN: Final = Parameter("token", str, Parameter.PATH, description="What `event_url()` has signed.")

IDEMPOTENCY_KEY: Final = Parameter(
    "Idempotency-Key", str, Parameter.HEADER, description="The same as `key` in the body; quoted or not."
)
IF_NONE_MATCH: Final = Parameter(
    "If-None-Match", str, Parameter.HEADER, description="The `ETag` of what the client has already."
)
ETAG: Final = Parameter(
    "ETag", str, Parameter.HEADER, response=[200, 304], description="Equal as long as the answer is."
)
LAST_EVENT_ID: Final = Parameter(
    "Last-Event-ID",
    str,
    Parameter.HEADER,
    description="Go on behind this message of a stream that broke off.",
)


def location(*statuses: int) -> OpenApiParameter:
    """The header `Location` of answers with these statuses."""
    told = "The address of the workflow."
    return Parameter("Location", str, Parameter.HEADER, response=list(statuses), description=told)


RETRY_AFTER: Final = Parameter(
    "Retry-After",
    int,
    Parameter.HEADER,
    response=[429],
    description="Seconds until the next request may come.",
)

WAIT: Final = Parameter(
    "wait",
    {"type": "integer", "minimum": 0, "maximum": WAIT_LIMIT, "default": 0},
    description="Answer when the status has changed, or after so many seconds.",
)


def _page_parameters(pages: type[NewestFirst | InJournalOrder]) -> list[OpenApiParameter]:
    size = {"type": "integer", "minimum": 1, "maximum": pages.page_size_limit, "default": pages.page_size}
    return [
        Parameter(CURSOR, str, description="A place in the list, as `next` and `previous` have it."),
        Parameter(SIZE, size, description="How many results a page has."),
    ]


FILTERS: Final = [
    Parameter("state", str, enum=list(WorkflowState), description="Of this state."),
    Parameter("definition", str, description="Of the definition of this name."),
    Parameter("key", str, description="With this key."),
    Parameter("created_after", datetime, description="Created later than this."),
    Parameter("created_before", datetime, description="Created earlier than this."),
    # OpenAPI has no word for parameters that share the beginning of their names; an object that is "exploded" has
    # each of its members for a parameter of its own.
    Parameter(
        "labels",
        {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "example": {f"{LABEL}customer": "42"},
        },
        style="form",
        explode=True,
        description=f"With these labels: `{LABEL}customer=42` has the label `customer` with the value 42.",
    ),
]
PAGES: Final = _page_parameters(NewestFirst)
JOURNAL_PAGES: Final = _page_parameters(InJournalOrder)
