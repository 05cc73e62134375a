"""Workflows over HTTP: what can be looked at, and every verb.

Rules of this file: a view reads the request, calls the manager once, writes the log, and shows what has become of the
workflow. A workflow that is not in `get_queryset()` does not exist, for reading and for verbs alike.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from time import monotonic
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django.http.response import HttpResponseBase
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.viewsets import ViewSetMixin

from django_workflow.exceptions import WorkflowNotFound
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.manager import workflow
from django_workflow.models import Workflow, WorkflowQuerySet
from django_workflow.rest import bodies, etags, filters, shapes
from django_workflow.rest.base import WorkflowAPIView
from django_workflow.rest.idempotency import key_of
from django_workflow.rest.pagination import InJournalOrder
from django_workflow.rest.problems import Problem, WrongField, of_fields
from django_workflow.rest.starting import Start
from django_workflow.rest.stream import EventStream, EventStreamRenderer
from django_workflow.rest.throttling import EventThrottle, StartThrottle
from django_workflow.windows.logbook import log
from django_workflow.windows.values import Values

WAIT_LIMIT = 60  # seconds of one long poll
FIRST_LOOK, SLOWEST_LOOK = 0.1, 1.0  # seconds between two looks of a long poll

B = TypeVar("B", bound=bodies.Body)


class WorkflowViewSet(ViewSetMixin, WorkflowAPIView):
    """Workflows: what they do, and every verb."""

    # Subclass it for tenants: `get_queryset()`, `start_options()`, and object permissions.

    lookup_field = "id"
    lookup_value_regex = "[^/]+"  # what is no id is answered here, as a problem
    stream_class: ClassVar[type[EventStream]] = EventStream
    own_throttles: ClassVar = {
        "create": StartThrottle,
        "restart": StartThrottle,
        "fork": StartThrottle,
        "events": EventThrottle,
    }
    own_renderers: ClassVar = {"stream": EventStreamRenderer}
    body_classes: ClassVar[Mapping[str, type[bodies.Body]]] = {
        "create": bodies.StartBody,
        "cancel": bodies.CancelBody,
        "restart": bodies.RestartBody,
        "fork": bodies.ForkBody,
        "events": bodies.EventBody,
        "cleanup": bodies.CleanupBody,
    }

    # ── hooks ───────────────────────────────────────────────────────────────────────────────────────────────

    def get_queryset(self) -> WorkflowQuerySet:
        """The workflows that exist for this user."""
        return workflow.list()

    def start_options(
        self, definition: WorkflowDefinition[..., Any], options: dict[str, Any]
    ) -> dict[str, Any]:
        """What `using()` is given for a start, of `key`, `labels` and `run_at` those that the client has given."""
        return options

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────

    def list(self, request: Request) -> Response:
        """Workflows, the newest first, without payloads."""
        rows = filters.narrowed(self.get_queryset(), request.query_params).defer(*shapes.PAYLOADS)
        pages = filters.pages(request.query_params)
        page = pages.paginate_queryset(rows, request, self)
        return pages.get_paginated_response([shapes.entry(run, self._values(run)) for run in page])

    def retrieve(self, request: Request, id: str) -> Response:
        """All of a workflow; what is secret is masked."""
        filters.only(request.query_params)
        run = self.get_object()
        return etags.tagged(request, shapes.whole(run, self._values(run)))

    @action(detail=True)
    def status(self, request: Request, id: str) -> Response:
        """Where a workflow stands; with `?wait=30` when that has changed, or after so many seconds.

        With `If-None-Match` a change is one from what the client knows already, else from what it is now.
        """
        filters.only(request.query_params, "wait")
        until = monotonic() + self._asked_wait(request)
        run = self.get_object()
        shown = shapes.status(run, self._values(run))
        seen = [tag for tag in etags.known(request) if tag != "*"] or [etags.etag(shown)]
        pause = FIRST_LOOK
        while not run.finished and etags.etag(shown) in seen and (left := until - monotonic()) > 0:
            threading.Event().wait(min(pause, left))
            pause = min(pause * 1.5, SLOWEST_LOOK)
            run = self.get_object()
            shown = shapes.status(run, self._values(run))
        return etags.tagged(request, shown)

    @action(detail=True)
    def steps(self, request: Request, id: str) -> Response:
        """The journal of a workflow, in its order."""
        filters.only(request.query_params, "cursor", "page_size")
        run = self.get_object()
        values = self._values(run)
        pages = InJournalOrder()
        page = pages.paginate_queryset(workflow.steps(run.id), request, self)
        return pages.get_paginated_response([shapes.step(row, values) for row in page])

    @action(detail=True)
    def stream(self, request: Request, id: str) -> HttpResponseBase:
        """Status, custom status and steps as server-sent events, as they change; goes on after `Last-Event-ID`."""
        filters.only(request.query_params)
        return self.stream_class(self, self.get_object(), request.headers.get("Last-Event-ID")).response()

    # ── verbs ───────────────────────────────────────────────────────────────────────────────────────────────

    def create(self, request: Request) -> Response:
        """Start a workflow; with a key that is known already, get the one that has it."""
        run = Start(self, self._body(bodies.StartBody)).run()
        if run.is_new:
            self._log(run, "start over HTTP")
        shown = shapes.entry(run, self._values(run))
        return Response(shown, status=201 if run.is_new else 200, headers={"Location": self._address(run)})

    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, id: str) -> Response:
        """End a workflow now, or after its rollbacks; one that has finished stays as it is."""
        given = self._body(bodies.CancelBody)
        run = self.get_object()
        reason, rollback = given.get("reason", ""), given.get("rollback", False)
        if workflow.cancel(run.id, reason, rollback):
            self._log(run, "cancel over HTTP, with rollbacks" if rollback else "cancel over HTTP", reason)
        return self._now(run)

    @action(detail=True, methods=["post"])
    def restart(self, request: Request, id: str) -> Response:
        """Run the handler again on what is kept of the journal."""
        given = self._body(bodies.RestartBody)
        run = self.get_object()
        from_step, from_failure = given.get("from_step"), given.get("from_failure", False)
        workflow.restart(run.id, from_step, from_failure=from_failure)
        where = (
            " from its failure" if from_failure else "" if from_step is None else f" from step {from_step!r}"
        )
        self._log(run, f"restart over HTTP{where}", given.get("reason", ""))
        return self._now(run, status=202)

    @action(detail=True, methods=["post"])
    def fork(self, request: Request, id: str) -> Response:
        """Start a new workflow with a copy of the journal below a step."""
        given = self._body(bodies.ForkBody)
        run = self.get_object()
        made = workflow.fork(run.id, given["from_step"])
        said = f"fork over HTTP from step {given['from_step']!r}"
        self._log(run, f"{said} to {made.id}", given.get("reason", ""))
        self._log(made, f"{said} of {run.id}", given.get("reason", ""))
        shown = shapes.entry(made, self._values(made))
        return Response(shown, status=201, headers={"Location": self._address(made)})

    @action(detail=True, methods=["post"])
    def events(self, request: Request, id: str) -> Response:
        """Send an event; the same key again delivers nothing."""
        given = self._body(bodies.EventBody)
        run = self.get_object()
        name, value, error = given["name"], given.get("value"), given.get("error")
        key = key_of(request, given)
        with of_fields({"event": "name"}, self._values(run).names):
            sent = workflow.send_event(run.id, name, value, error=error, key=key)
        self._log(run, f"event {name!r} over HTTP", given.get("reason", ""))
        return Response(
            {"name": sent.name, "key": sent.key, "sent_at": shapes.moment(sent.sent_at)}, status=202
        )

    @action(detail=True, methods=["post"])
    def cleanup(self, request: Request, id: str) -> Response:
        """Delete a finished workflow with all that is its own."""
        return self._delete(self._body(bodies.CleanupBody).get("reason", ""))

    def destroy(self, request: Request, id: str) -> Response:
        """The same as `cleanup/`."""
        filters.only(request.query_params)
        return self._delete("")

    def _delete(self, reason: str) -> Response:
        run = self.get_object()
        if not workflow.cleanup(run.id):
            raise WorkflowNotFound(run.id)
        log(self.request.user, run, "clean up over HTTP", reason, deletes=True)
        return Response(status=204)

    # ── what they share ─────────────────────────────────────────────────────────────────────────────────────

    def get_object(self) -> Workflow:
        """The workflow that the address names. Raises `WorkflowNotFound` for one that isn't this user's, too."""
        text = self.kwargs[self.lookup_field]
        try:
            id = UUID(text)
        except ValueError:
            raise WorkflowNotFound(text) from None
        run = self.get_queryset().filter(id=id).first()
        if run is None:
            raise WorkflowNotFound(id)
        self.check_object_permissions(self.request, run)
        return run

    def get_serializer(self, *args: Any, **options: Any) -> bodies.Body:
        """What a request to this view brings; for the browsable pages."""
        kind = (
            {"POST": "create", None: ""}.get(self.request.method)
            if self.action == "metadata"
            else self.action
        )
        return self.body_classes.get(kind or "", bodies.CleanupBody)(*args, **options)

    def _body(self, kind: type[B]) -> dict[str, Any]:
        filters.only(self.request.query_params)
        given = kind(data=self.request.data if self.request.data is not None else [])
        given.is_valid(raise_exception=True)
        values: dict[str, Any] = given.validated_data
        return values

    def _values(self, run: Workflow) -> Values:
        return Values(run, self.may_see_payloads())

    def _now(self, run: Workflow, status: int = 200) -> Response:
        found = self.get_object()
        shown = shapes.status(found, self._values(found))
        return Response(shown if self.may_view() else shapes.bare(shown), status=status)

    def _address(self, run: Workflow) -> str:
        match = self.request._request.resolver_match
        name = ":".join([*(match.namespaces if match is not None else ()), "workflow-detail"])
        address: str = reverse(name, args=[str(run.id)], request=self.request)
        return address

    def _log(self, run: Workflow, said: str, reason: str = "") -> None:
        log(self.request.user, run, said, reason)

    def _asked_wait(self, request: Request) -> float:
        text = request.query_params.get("wait", "0")
        seconds = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
        if not 0 <= seconds <= WAIT_LIMIT:
            told = f"{text[:50]!r} is no whole number of seconds from 0 to {WAIT_LIMIT}"
            raise Problem("invalid", "", [WrongField("wait", told)])
        return seconds
