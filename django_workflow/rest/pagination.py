"""Pages by a cursor: the place of a row in the order of the list, never a count and never an offset.

Rules of this file: a cursor is text that a client hands back; whatever else it hands in is a wrong field, not an
error of ours. A page costs one range of an index, however deep it lies.
"""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.db.models import Q
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from django_workflow.rest.moments import First, Last, moment_of
from django_workflow.rest.problems import Problem, WrongField

if TYPE_CHECKING:
    from django_workflow.models import Step, Workflow

CURSOR: Final = "cursor"
SIZE: Final = "page_size"
LONGEST: Final = 300  # characters of a cursor
FORWARD, BACK = "n", "p"
BORNE: Final = "borne_label"  # by which a query knows the label that its rows are joined with


class _Pages(BasePagination):
    """Rows in one order, from a place on, forwards or back."""

    page_size = 50
    page_size_limit = 200

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """The rows of the page that the request asks for."""
        self.request = request
        self.size = self._asked_size(request)
        direction, place = self._asked_place(request)
        back = direction == BACK
        rows = queryset.order_by(*(self.backwards if back else self.forwards))
        if place is not None:
            rows = rows.filter(self.past(place, back))
        found = list(rows[: self.size + 1])
        more = len(found) > self.size
        self.rows = found[: self.size][:: -1 if back else 1]
        self.has_next = (back and place is not None) or (more and not back)
        self.has_previous = (more and back) or (place is not None and not back)
        return self.rows

    def get_paginated_response(self, data: Any) -> Response:
        """The page and the addresses of its neighbours."""
        return Response({"next": self._next(), "previous": self._previous(), "results": data})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The same for OpenAPI."""
        address = {"type": "string", "nullable": True, "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": address, "previous": address, "results": schema},
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """The query parameters for OpenAPI."""
        size = {"type": "integer", "minimum": 1, "maximum": self.page_size_limit, "default": self.page_size}
        return [
            {
                "name": CURSOR,
                "in": "query",
                "required": False,
                "description": "A place in the list, as `next` and `previous` have it.",
                "schema": {"type": "string"},
            },
            {
                "name": SIZE,
                "in": "query",
                "required": False,
                "description": "How many results a page has.",
                "schema": size,
            },
        ]

    # ── what an order has to say ────────────────────────────────────────────────────────────────────────────

    forwards: tuple[str, ...]
    backwards: tuple[str, ...]

    def place_of(self, row: Any) -> list[Any]:
        """The place of a row, as JSON."""
        raise NotImplementedError

    def place_from(self, values: Any) -> Any:
        """The place again. Raises `ValueError` or `TypeError` for what is none."""
        raise NotImplementedError

    def past(self, place: Any, back: bool) -> Q:
        """The rows behind a place; `back`: before it."""
        raise NotImplementedError

    # ── the request ─────────────────────────────────────────────────────────────────────────────────────────

    def _asked_size(self, request: Request) -> int:
        text = request.query_params.get(SIZE)
        if text is None:
            return self.page_size
        size = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
        if not 1 <= size <= self.page_size_limit:
            told = f"{text[:50]!r} is no whole number from 1 to {self.page_size_limit}"
            raise Problem("invalid", "", [WrongField(SIZE, told)])
        return size

    def _asked_place(self, request: Request) -> tuple[str, Any]:
        text = request.query_params.get(CURSOR)
        if text is None:
            return FORWARD, None
        try:
            if len(text) > LONGEST:
                raise ValueError(text)
            direction, *values = json.loads(base64.urlsafe_b64decode(text.encode("ascii")))
            if direction not in (FORWARD, BACK):
                raise ValueError(direction)
            return direction, self.place_from(values)
        except (ValueError, TypeError, OverflowError, RecursionError, binascii.Error):
            told = "is no place in this list; take the address in `next` or `previous` as it is"
            raise Problem("invalid", "", [WrongField(CURSOR, told)]) from None

    def _next(self) -> str | None:
        return self._address(FORWARD, self.rows[-1]) if self.has_next and self.rows else None

    def _previous(self) -> str | None:
        return self._address(BACK, self.rows[0]) if self.has_previous and self.rows else None

    def _address(self, direction: str, row: Any) -> str:
        text = json.dumps([direction, *self.place_of(row)], separators=(",", ":"))
        cursor = base64.urlsafe_b64encode(text.encode()).decode()
        return replace_query_param(self.request.build_absolute_uri(), CURSOR, cursor)


class NewestFirst(_Pages):
    """Workflows, the newest first."""

    forwards: tuple[str, ...] = ("-created_at", "-id")
    backwards: tuple[str, ...] = ("created_at", "id")

    def place_of(self, row: Workflow) -> list[Any]:
        """When it was created, and which of those it is."""
        return [row.created_at.isoformat(), row.id.hex]

    def place_from(self, values: Any) -> tuple[datetime, UUID]:
        """The same as values."""
        text, id = values
        moment = moment_of(text)
        if moment is None or not isinstance(id, str):
            raise ValueError(values)
        return moment, UUID(id)

    def past(self, place: tuple[datetime, UUID], back: bool) -> Q:
        """Older ones; `back`: newer ones."""
        moment, id = place
        if back:
            return Q(created_at__gte=First(moment)) & (Q(created_at__gt=Last(moment)) | Q(id__gt=id))
        return Q(created_at__lte=Last(moment)) & (Q(created_at__lt=First(moment)) | Q(id__lt=id))


class NewestOfLabel(NewestFirst):
    """Workflows that bear a label, the newest first: by their ids, which begin with the time, as its index has them."""

    forwards = (f"-{BORNE}__workflow_id",)
    backwards = (f"{BORNE}__workflow_id",)

    def past(self, place: tuple[datetime, UUID], back: bool) -> Q:
        """Older ones; `back`: newer ones."""
        _moment, id = place
        return Q(**{f"{BORNE}__workflow_id__{'gt' if back else 'lt'}": id})


class InJournalOrder(_Pages):
    """Steps, in the order in which the handler asked for them."""

    page_size = 100
    page_size_limit = 500
    forwards = ("number",)
    backwards = ("-number",)

    def place_of(self, row: Step) -> list[Any]:
        """Its number."""
        return [row.number]

    def place_from(self, values: Any) -> int:
        """The number again."""
        (number,) = values
        if type(number) is not int or not 0 <= number < 2**31:
            raise ValueError(number)
        return number

    def past(self, place: int, back: bool) -> Q:
        """Later ones; `back`: earlier ones."""
        return Q(number__lt=place) if back else Q(number__gt=place)
