"""Errors as problem details (RFC 9457, `application/problem+json`): one table from exceptions to types.

Rules of this file: a client's mistake is never a 500, and what it says is written for the client: which field, what
is wrong with it, what to do. Types are stable names; titles and details are for people and may change. Values under
redacted names are not repeated, not even to who has sent them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import Http404
from rest_framework import exceptions as drf
from rest_framework.response import Response

from django_workflow.conf import settings
from django_workflow.exceptions import (
    DefinitionError,
    InvalidArguments,
    KeyConflict,
    LimitReached,
    NotStorable,
    PayloadTooLarge,
    StepNotFound,
    UsageError,
    WorkflowFinished,
    WorkflowInProgress,
    WorkflowNotFound,
)

MEDIA_TYPE: Final = "application/problem+json"
URN: Final = "urn:django-workflow:problem:"
DETAIL_LIMIT: Final = 2_000  # characters of one text
ERRORS_LIMIT: Final = 100  # wrong fields that are told
HIDDEN: Final = "its value doesn't fit; it isn't repeated here, since its name is redacted"


class Kind(NamedTuple):
    """A type of problem, as docs/rest.md lists them."""

    status: int
    title: str


KINDS: Final[Mapping[str, Kind]] = {
    "bad-request": Kind(400, "The request can't be understood."),
    "invalid": Kind(400, "Some fields are wrong."),
    "unknown-definition": Kind(400, "Nothing of that name may be started."),
    "not-authenticated": Kind(401, "Say who you are."),
    "permission-denied": Kind(403, "You may not do this."),
    "not-found": Kind(404, "There is no such thing."),
    "step-not-found": Kind(404, "The workflow has no such step."),
    "method-not-allowed": Kind(405, "This method can't be used here."),
    "not-acceptable": Kind(406, "None of the media types that you accept is spoken here."),
    "in-progress": Kind(409, "The workflow is in progress."),
    "finished": Kind(409, "The workflow has finished."),
    "limit-reached": Kind(409, "The workflow takes no more."),
    "too-large": Kind(413, "That is too large."),
    "unsupported-media-type": Kind(415, "Send JSON."),
    "key-conflict": Kind(422, "The key is that of a workflow with other arguments."),
    "throttled": Kind(429, "Too many requests."),
}


@dataclass(frozen=True)
class WrongField:
    """A field that is wrong: its name in the body, with dots and brackets, and what is wrong with it."""

    field: str
    detail: str


class Answer(Response):
    """A response that is a problem."""


class Problem(Exception):
    """An answer of `KINDS` that a view gives by raising it."""

    def __init__(self, kind: str, detail: str = "", errors: Iterable[WrongField] = ()) -> None:
        self.kind, self.detail, self.errors = kind, detail, tuple(errors)
        super().__init__(f"{kind}: {detail}")

    def body(self) -> dict[str, Any]:
        """The members of the problem."""
        kind = KINDS[self.kind]
        told: dict[str, Any] = {"type": URN + self.kind, "title": kind.title, "status": kind.status}
        if self.detail:
            told["detail"] = self.detail[:DETAIL_LIMIT]
        if self.errors:
            told["errors"] = [
                {"field": each.field[:DETAIL_LIMIT], "detail": each.detail[:DETAIL_LIMIT]}
                for each in self.errors[:ERRORS_LIMIT]
            ]
        return told


def answer(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """The response to an exception, for views as their exception handler; None: it is no client's mistake."""
    problem = problem_of(error)
    if problem is None:
        return None
    response = Answer(problem.body(), status=KINDS[problem.kind].status)
    response.headers["Cache-Control"] = "no-store"
    if getattr(error, "auth_header", None):
        response.headers["WWW-Authenticate"] = error.auth_header  # type: ignore[attr-defined]
    if getattr(error, "wait", None):
        response.headers["Retry-After"] = str(int(error.wait))  # type: ignore[attr-defined]
    return response


def problem_of(error: Exception) -> Problem | None:
    """What an exception is to a client; None: our fault, or the server's."""
    match error:
        case Problem():
            return error
        case Http404() | WorkflowNotFound():
            return Problem("not-found", _text(error))
        case StepNotFound():
            return Problem("step-not-found", _text(error))
        case PermissionDenied():
            return Problem("permission-denied", _text(error))
        case drf.APIException():
            return _of_framework(error)
        case KeyConflict():
            return Problem("key-conflict", _text(error))
        case PayloadTooLarge():
            return Problem("too-large", _text(error))
        case InvalidArguments() | NotStorable():
            return Problem("invalid", "", wrong_fields(_told(error)))
        case WorkflowInProgress():
            return Problem("in-progress", _text(error))
        case WorkflowFinished():
            return Problem("finished", _text(error))
        case LimitReached():
            return Problem("limit-reached", _text(error))
        case SuspiciousOperation() | DefinitionError() | UsageError():
            return Problem("bad-request", _text(error))
    return None


_FRAMEWORK: Final = {
    400: "bad-request",
    401: "not-authenticated",
    403: "permission-denied",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    413: "too-large",
    415: "unsupported-media-type",
    429: "throttled",
}


def _of_framework(error: drf.APIException) -> Problem | None:
    if isinstance(error, drf.ValidationError):
        return Problem("invalid", "", _flattened(error.detail))
    kind = _FRAMEWORK.get(error.status_code)
    return None if kind is None else Problem(kind, str(error.detail))


def _flattened(detail: Any, path: str = "") -> Iterator[WrongField]:
    """The errors of a serializer, which nests them as its fields are nested."""
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            own = "" if name == "non_field_errors" else str(name)
            yield from _flattened(inner, f"{path}.{own}" if path and own else path or own)
    elif isinstance(detail, list):
        for inner in detail:
            yield from _flattened(inner, path)
    else:
        yield WrongField(path, str(detail))


_PATH: Final = re.compile(r"""[\w*]+(?:\.[\w-]+|\[(?:\d+|'[^']*'|"[^"]*")\])*(?=: )""")


def wrong_fields(problems: Iterable[str], redact: Iterable[str] = ()) -> list[WrongField]:
    """Problems as `InvalidArguments` tells them (`order_id: is missing`), each with the field that it is about.

    Args:
        problems: the texts.
        redact: names, besides those of the setting `REDACT`, whose values are not repeated.

    """
    hidden = {name.casefold() for name in (*settings.REDACT, *redact)}
    found = []
    for problem in problems:
        named = _PATH.match(problem)
        path = named[0] if named else ""
        told = problem[len(path) + 2 :] if named else problem
        # A text that tells a whole object has its names, too.
        if told != "is missing" and any(name in f"{path} {told}".casefold() for name in hidden):
            told = HIDDEN
        found.append(WrongField(path, told))
    return found


@contextmanager
def of_fields(fields: Mapping[str, str], redact: Iterable[str] = ()) -> Iterator[None]:
    """Where arguments don't fit, raise a `Problem` that calls them as the body does.

    Args:
        fields: the manager's name of an argument → the body's; "" for all that it doesn't name.
        redact: as `wrong_fields()`.

    """
    try:
        yield
    except (InvalidArguments, NotStorable) as error:
        problem = Problem("invalid", "", wrong_fields(_told(error), redact=redact))
        problem.errors = tuple(
            WrongField(_renamed(each.field, fields), each.detail) for each in problem.errors
        )
        raise problem from error


def _renamed(path: str, fields: Mapping[str, str]) -> str:
    first = re.match(r"\w*", path)
    name = first[0] if first else ""
    if name in fields:
        return fields[name] + path[len(name) :]
    return ".".join(part for part in (fields.get("", ""), path) if part)


def _told(error: InvalidArguments | NotStorable) -> Iterable[str]:
    if isinstance(error, InvalidArguments):
        return error.problems
    return [f"{error.path.removeprefix('$.')}: {error.reason}; {error.remedy}"]


def _text(error: Exception) -> str:
    return str(error) if error.args else ""
