"""The progress of one workflow as server-sent events (HTML Living Standard, section 9.2).

Rules of this file: it only looks, and tells a client what has changed since the client last heard of it, at least once.
An event's id says what a client that has got it knows, so that any process can go on where another one stopped.
Nothing is held between two looks: no transaction, and no connection that the project doesn't keep anyway.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Final

from asgiref.sync import sync_to_async
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.db import connections
from django.db.models import OuterRef, Q, Subquery
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from rest_framework.exceptions import APIException

from django_workflow.exceptions import WorkflowNotFound
from django_workflow.models import Pause, Step, StepQuerySet
from django_workflow.rest import shapes
from django_workflow.rest.renderers import AsciiJSONRenderer
from django_workflow.states import UNSETTLED, StepState
from django_workflow.windows.values import Values

if TYPE_CHECKING:
    from django_workflow.models import Workflow
    from django_workflow.rest.views import WorkflowViewSet

MEDIA_TYPE: Final = "text/event-stream"
HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would keep events back until its buffer is full
    "Content-Encoding": "identity",  # and so would Django's GZipMiddleware, which leaves alone what has an encoding
}
KEEP_ALIVE: Final = b": keep-alive\n\n"
STEP_COLUMNS: Final = (
    "number",
    "name",
    "kind",
    "state",
    "attempts",
    "created_at",
    "started_at",
    "completed_at",
    "due_at",
    "error_text",
)
WATCHED_LIMIT: Final = 500  # numbers in one statement


class EventStreamRenderer(AsciiJSONRenderer):
    """Makes `text/event-stream` acceptable; what it renders is a problem, for the stream itself is rendered here."""

    media_type = MEDIA_TYPE


# ── where a client is ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Position:
    """What a client knows; as text, the id of an event."""

    workflow: str  # the end of its id, so that the id of another stream's event is none of this one's
    generation: int
    settled: int = 0  # every step up to this number has settled, and the client knows it
    custom: str = ""  # digests of what it knows; "": nothing
    status: str = ""
    ended: bool = False

    def __str__(self) -> str:
        known = f"{self.workflow}.{self.generation}.{self.settled}.{self.custom}.{self.status}"
        return f"{known}.end" if self.ended else known

    @classmethod
    def read(cls, text: str, run: Workflow) -> Position | None:
        """A position in the stream of this workflow; None for what is none."""
        found = _POSITION.fullmatch(text)
        if found is None or found["workflow"] != _tail(run):
            return None
        generation, settled = int(found["generation"]), int(found["settled"])
        if max(generation, settled) >= 2**31:
            return None
        ended = found["ended"] is not None
        return cls(found["workflow"], generation, settled, found["custom"], found["status"], ended)


_DIGEST = "[0-9a-f]{16}"
_POSITION: Final = re.compile(
    r"(?P<workflow>[0-9a-f]{12})\.(?P<generation>[0-9]{1,10})\.(?P<settled>[0-9]{1,10})"
    rf"\.(?P<custom>(?:{_DIGEST})?)\.(?P<status>(?:{_DIGEST})?)(?P<ended>\.end)?"
)


def _tail(run: Workflow) -> str:
    return run.id.hex[-12:]


def _digest(shown: Any) -> str:
    return hashlib.sha256(_json(shown)).hexdigest()[:16]


# ── the stream ──────────────────────────────────────────────────────────────────────────────────────────────────


class EventStream:
    """What one client is told of one workflow. A view set takes a subclass as its `stream_class`."""

    keep_alive: ClassVar[float] = 15.0  # seconds of silence after which a comment is sent
    lifetime: ClassVar[float] = (
        300.0  # seconds, after which the client connects again, and is asked who it is
    )
    first_look: ClassVar[float] = 0.1  # seconds between two looks after a change
    slowest_look: ClassVar[float] = 1.0  # … and when nothing changes
    retry: ClassVar[int] = 2_000  # milliseconds until a client connects again
    page: ClassVar[int] = 500  # steps that one look reads

    def __init__(self, view: WorkflowViewSet, run: Workflow, last_event_id: str | None = None) -> None:
        self._view = view
        self._run = run
        self._at = Position(_tail(run), run.generation, custom=_digest(None))
        self._foreign = False  # True iff the client may hold what isn't so
        if last_event_id:
            known = Position.read(last_event_id, run)
            self._foreign = known is None
            self._at = known or self._at
        self._in_a_thread_of_its_own = isinstance(view.request._request, ASGIRequest)
        self._seen: Any = None  # what the last probe found
        self._known: dict[int, str] = {}  # digests of steps behind the settled ones that the client knows
        self._open: set[int] = set()  # those of them that may change
        self._top = self._at.settled  # the highest number that was read
        self._from = self._at.settled  # the number behind which the next look reads
        self._more = False  # True iff the last look hasn't read all steps
        self._changed = True  # True iff the status may have changed since it was last made
        self._over = False

    def response(self) -> HttpResponseBase:
        """The answer: a stream, or 204 for a client that has got the end already, and so stops asking."""
        if self._at.ended and self._at.generation == self._run.generation and self._run.finished:
            return HttpResponse(status=204)
        self._at = replace(self._at, ended=False)
        content: Any = self._asynchronous() if self._in_a_thread_of_its_own else self._synchronous()
        if self._view.request.method == "HEAD":
            content = ()
        return StreamingHttpResponse(content, content_type=MEDIA_TYPE, headers=HEADERS)

    # ── pace: one script, played by a thread or by an event loop ────────────────────────────────────────────

    def _synchronous(self) -> Iterator[bytes]:
        for cue in self._script():
            if isinstance(cue, bytes):
                yield cue
            else:
                threading.Event().wait(cue)

    async def _asynchronous(self) -> AsyncIterator[bytes]:
        # Thread-sensitive: in the request's own thread, where a middleware may have chosen a tenant.
        following = sync_to_async(_following, thread_sensitive=True)
        script = self._script()
        while (cue := await following(script)) is not None:
            if isinstance(cue, bytes):
                yield cue
            else:
                await asyncio.sleep(cue)

    def _script(self) -> Iterator[bytes | float]:
        """What is to be sent, and seconds to wait."""
        until = monotonic() + self.lifetime
        told = monotonic()
        pause = self.first_look
        yield f"retry: {self.retry}\n\n".encode()
        while True:
            news = self._look()
            if news:
                yield news
                told, pause = monotonic(), self.first_look
            elif monotonic() - told >= self.keep_alive:
                yield KEEP_ALIVE
                told = monotonic()
            if self._over or monotonic() >= until:
                return
            if not self._more:
                yield min(pause, self.keep_alive)
                pause = min(pause * 1.5, self.slowest_look)

    # ── a look ──────────────────────────────────────────────────────────────────────────────────────────────

    def _look(self) -> bytes:
        """All that has changed since the last look, or the first part of it."""
        try:
            return b"".join(self._news())
        except (WorkflowNotFound, Http404, PermissionDenied, APIException):
            # Cleaned up, or no longer this user's.
            return self._end("gone")
        finally:
            self._let_go()

    def _news(self) -> Iterator[bytes]:
        seen = self._probe()
        if seen != self._seen:
            self._run = self._view.get_object()
            self._seen, self._changed = seen, True
        values = Values(self._run, self._view.may_see_payloads())
        is_silent = True
        for event in self._events(values):
            is_silent = False
            yield event
        # What was read after the ending's commit is final: the end is told when a whole look has brought nothing.
        if is_silent and not self._more and self._run.finished:
            yield self._end("finished")

    def _probe(self) -> tuple[Any, ...]:
        """What of the workflow's row a status depends on. Raises `WorkflowNotFound`."""
        held = Pause.objects.filter(Q(cluster=None) | Q(cluster=OuterRef("cluster")))
        row: tuple[Any, ...] | None = (
            self._view.get_queryset()
            .filter(id=self._run.id)
            .annotate(stream_held=Subquery(held.order_by("name").values("reason")[:1]))
            .values_list("generation", "state", "paused", "ending", "custom_text", "stream_held")
            .first()
        )
        if row is None:
            raise WorkflowNotFound(self._run.id)
        return row

    def _events(self, values: Values) -> Iterator[bytes]:
        """Steps come before the status: a client that reads of the end has all of them."""
        if self._foreign or self._at.generation != self._run.generation:
            yield self._reset()
        yield from self._steps(values)
        if not self._more and self._changed:
            yield from self._custom(values)
            yield from self._status(values)
            self._changed = False

    def _reset(self) -> bytes:
        self._at = Position(_tail(self._run), self._run.generation, custom=_digest(None))
        self._foreign = False
        self._known.clear()
        self._open.clear()
        self._top = self._from = 0
        self._changed = True
        return self._event("reset", {"generation": self._run.generation})

    def _steps(self, values: Values) -> Iterator[bytes]:
        rows = list(self._unknown()[: self.page])
        for row in rows:
            shown = step(row, values)
            digest = _digest(shown)
            is_news = self._known.get(row.number) != digest
            self._learn(row, digest)
            if is_news:
                self._changed = True
                yield self._event("step", shown)
        self._more = len(rows) == self.page
        self._from = rows[-1].number if self._more else self._at.settled

    def _unknown(self) -> StepQuerySet:
        """Steps that the client doesn't know, or that may have changed: not those that it knows to have settled."""
        # With the generation in the same statement no step of the next life is told as one of this.
        rows = Step.objects.using(self._run._state.db).filter(
            workflow_id=self._run.id,
            workflow__generation=self._run.generation,
            number__gt=max(self._from, self._at.settled),
        )
        # A gap may be filled: a number is taken when the handler asks, and written later.
        watched = [
            number
            for number in range(self._at.settled + 1, self._top + 1)
            if number in self._open or number not in self._known
        ]
        if len(watched) <= WATCHED_LIMIT:
            rows = rows.filter(Q(number__gt=self._top) | Q(number__in=watched))
        return rows.only(*STEP_COLUMNS).order_by("number")

    def _learn(self, row: Step, digest: str) -> None:
        self._known[row.number] = digest
        if row.state in UNSETTLED:
            self._open.add(row.number)
        else:
            self._open.discard(row.number)
        self._top = max(self._top, row.number)
        settled = self._at.settled
        while settled + 1 in self._known and settled + 1 not in self._open:
            settled += 1
            del self._known[settled]
        self._at = replace(self._at, settled=settled)

    def _custom(self, values: Values) -> Iterator[bytes]:
        shown = values.masked(self._run.custom)
        digest = _digest(shown)
        if digest != self._at.custom:
            self._at = replace(self._at, custom=digest)
            yield self._event("custom", shown)

    def _status(self, values: Values) -> Iterator[bytes]:
        shown = shapes.status(self._run, values)
        for running in shown.get("running", ()):
            if running["state"] == StepState.RUNNING:
                running["due_at"] = None  # its lease's end, which moves with every heartbeat
        digest = _digest({**shown, "custom": None})
        if digest != self._at.status:
            self._at = replace(self._at, status=digest)
            yield self._event("status", shown)

    def _end(self, reason: str) -> bytes:
        self._over = True
        self._at = replace(self._at, ended=reason == "finished")
        return self._event("end", {"reason": reason})

    def _event(self, name: str, shown: Any) -> bytes:
        return b"event: %s\nid: %s\ndata: %s\n\n" % (name.encode(), str(self._at).encode(), _json(shown))

    def _let_go(self) -> None:
        """Between two looks a stream holds no more than its thread would hold between two requests."""
        for connection in connections.all(initialized_only=True):
            if connection.in_atomic_block:  # a TestCase's
                continue
            if self._in_a_thread_of_its_own:
                connection.close()  # the thread ends with the request: nobody would use the connection again
            else:
                connection.close_if_unusable_or_obsolete()


def _following(script: Iterator[bytes | float]) -> bytes | float | None:
    return next(script, None)


# ── what is shown ───────────────────────────────────────────────────────────────────────────────────────────────


def step(row: Step, values: Values) -> dict[str, Any]:
    """A step's progress: no arguments, no result, no traceback."""
    error = values.error(row.error)
    return {
        "number": row.number,
        "name": row.name,
        "kind": row.kind,
        "state": row.state,
        "attempts": row.attempts,
        "created_at": shapes.moment(row.created_at),
        "started_at": shapes.moment(row.started_at),
        "completed_at": shapes.moment(row.completed_at),
        "due_at": shapes.moment(row.due_at) if row.state != StepState.RUNNING else None,
        "error": {"type": error.type, "message": error.message} if error is not None else None,
    }


def _json(shown: Any) -> bytes:
    """One line of ASCII."""
    text: bytes = AsciiJSONRenderer().render(shown)
    return text or b"null"  # the renderer writes nothing for None
