"""The address that `event_url()` makes: a page for who opens it, and a POST that sends the event.

Rules of this file: whoever has the address may send, and nobody is asked who they are, so there is no session that
another site could make use of. A GET changes nothing, for scanners of mails open every link. Of an address that is no
good nobody learns why. The address is a secret: it is in no log of ours, no referrer and no cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import IO, Any, ClassVar, Final

from django.core.exceptions import SuspiciousOperation, TooManyFieldsSent
from django.http import Http404, QueryDict
from django.template.loader import render_to_string
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle

from django_workflow.exceptions import (
    InvalidArguments,
    LimitReached,
    NotStorable,
    WorkflowFinished,
    WorkflowNotFound,
)
from django_workflow.manager import EventLink, workflow
from django_workflow.payloads.describe import value_schema
from django_workflow.rest.answers import Question, question
from django_workflow.rest.base import WorkflowAPIView
from django_workflow.rest.parsers import StrictJSONParser, TooLarge, body_limit
from django_workflow.rest.problems import ERRORS_LIMIT, Problem
from django_workflow.rest.renderers import AsciiJSONRenderer
from django_workflow.rest.throttling import EventThrottle
from django_workflow.windows.values import printable

TEMPLATE: Final = "django_workflow/event_link.html"
FIELDS: Final = {"value"}

HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}


class PageRenderer(BaseRenderer):
    """Our page, of what a response has for it."""

    media_type = "text/html"
    format = "html"

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> str:
        """The page. Without a request: what context processors add is no concern of whoever opens a link."""
        return render_to_string(TEMPLATE, data)


class FormParser(BaseParser):
    """Reads what the page sends."""

    media_type = "application/x-www-form-urlencoded"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> QueryDict:
        """The fields. Raises `ParseError`, `TooLarge`."""
        limit = body_limit()
        data = stream.read(limit + 1)
        if len(data) > limit:
            raise TooLarge(f"The body has more than {limit:,} bytes.")
        try:
            return QueryDict(data, encoding="utf-8")
        except TooManyFieldsSent:
            raise ParseError("The body has too many fields.") from None


class FieldsParser(MultiPartParser):
    """Reads the same fields, as `curl --form` and Django's test client send them; files are none of them."""

    def parse(self, *args: Any, **kwargs: Any) -> QueryDict:  # type: ignore[override]
        """The fields. Raises `ParseError`."""
        try:
            parsed = super().parse(*args, **kwargs)
        except SuspiciousOperation:  # too many fields, or too much in them
            raise ParseError("The body is too large, or has too many fields.") from None
        if parsed.files:
            raise ParseError("The body has a file, and an event has none.")
        return parsed.data


class EventLinkView(WorkflowAPIView):
    """Send the event that the token of an address is good for."""

    authentication_classes = ()
    permission_classes = ()
    own_throttles: ClassVar[Mapping[str, type[BaseThrottle]]] = {"": EventThrottle}
    parser_classes = (StrictJSONParser, FormParser, FieldsParser)
    http_method_names = ["get", "head", "post"]

    def get(self, request: Request, token: str) -> Response:
        """What would be sent; nothing is."""
        link = _link(token)
        if link.used:
            page = _page("used", link)
        elif link.workflow.finished:
            raise _finished()
        else:
            page = _page("ask", link, question=_question(link))
        facts = {
            "event": link.event.name,
            "definition": link.workflow.definition,
            "expires_at": link.expires_at,
            "used": link.used,
            "value_schema": value_schema(link.event.type),
        }
        return Response(page if _is_page(request) else facts)

    def post(self, request: Request, token: str) -> Response:
        """Send it. A repeat is accepted, and delivers nothing."""
        link = _link(token)
        try:
            _send(link, _value(request.data, link))
        except (InvalidArguments, NotStorable) as refused:
            if not _is_page(request):
                raise
            return Response(_asked_again(link, request.data, refused), HTTPStatus.BAD_REQUEST)
        facts = {"event": link.event.name, "definition": link.workflow.definition}
        page = _page("used" if link.used else "sent", link)
        return Response(page if _is_page(request) else facts, HTTPStatus.ACCEPTED)

    def get_renderers(self) -> list[Any]:
        """JSON for programs, and for all that take anything; our page for browsers."""
        return [AsciiJSONRenderer(), PageRenderer()]

    def handle_exception(self, exc: Exception) -> Response:
        """A problem; for a browser as a page."""
        response = super().handle_exception(exc)
        if _is_page(self.request):
            response.data = _refusal(exc, response.status_code)
        return response

    def finalize_response(self, request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Keep the address to those who have it."""
        answer = super().finalize_response(request, response, *args, **kwargs)
        for name, value in HEADERS.items():
            answer[name] = value
        # Django writes the address of each request that it refuses into its log; this says that it has.
        answer._has_been_logged = True
        return answer


def _link(token: str) -> EventLink:
    link = workflow.event_link(token)
    if link is None:
        raise Http404
    return link


def _send(link: EventLink, value: Any) -> None:
    """Send it; what refuses it is told without the workflow's id, which is none of the sender's business."""
    try:
        workflow.send_event(link.workflow, link.event, value, key=link.key)
    except WorkflowNotFound:
        raise Http404 from None  # cleaned up since a moment ago
    except WorkflowFinished:
        raise _finished() from None
    except LimitReached:
        raise Problem("limit-reached", "Too many events wait to be taken; send it again later.") from None


def _finished() -> Problem:
    return Problem("finished", "It takes no more events.")


def _question(link: EventLink) -> Question:
    return question(link.event.type)


def _value(data: Any, link: EventLink) -> Any:
    """The value in a body: of JSON, or of a form."""
    if not isinstance(data, Mapping | QueryDict):
        raise InvalidArguments("the body", ['it is no object with a value, like {"value": true}'])
    if unknown := sorted(set(data) - FIELDS):
        raise InvalidArguments(
            "the body", [f"{name}: there is no such field; give value" for name in unknown]
        )
    if isinstance(data, QueryDict):
        return _question(link).value(data.get("value"))
    return data.get("value")


def _is_page(request: Any) -> bool:
    return isinstance(getattr(request, "accepted_renderer", None), PageRenderer)


# ── the page ────────────────────────────────────────────────────────────────────────────────────────────────


def _page(says: str, link: EventLink, **more: Any) -> dict[str, Any]:
    """What the template is given; of the workflow no more than the name of its definition."""
    return {
        "says": says,
        "event": printable(link.event.name),
        "definition": printable(link.workflow.definition),
        "expires_at": link.expires_at,
        **more,
    }


def _asked_again(link: EventLink, data: Any, refused: InvalidArguments | NotStorable) -> dict[str, Any]:
    problems = refused.problems if isinstance(refused, InvalidArguments) else [str(refused)]
    return _page(
        "ask",
        link,
        question=_question(link),
        problems=[printable(each) for each in problems[:ERRORS_LIMIT]],
        text=data.get("value", "") if isinstance(data, QueryDict) else "",
    )


def _refusal(exc: Exception, status: int) -> dict[str, Any]:
    if status == HTTPStatus.NOT_FOUND:
        return {"says": "invalid"}
    if isinstance(exc, Problem) and exc.kind == "finished":
        return {"says": "finished"}
    return {"says": "refused", "problem": HTTPStatus(status).phrase}
