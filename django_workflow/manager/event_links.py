"""Addresses that send an event."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.urls import NoReverseMatch, reverse

from django_workflow import links
from django_workflow.exceptions import InvalidArguments, UsageError, WorkflowFinished
from django_workflow.handler.events import Event as EventType
from django_workflow.handler.events import event_of
from django_workflow.journal import clock
from django_workflow.journal.database import alias, connection
from django_workflow.keys import digest
from django_workflow.manager.asking import Asking
from django_workflow.manager.identity import Id, identify
from django_workflow.models import Event, Workflow

if TYPE_CHECKING:
    from django.http import HttpRequest


@dataclass(frozen=True)
class EventLink:
    """What an address of `event_url()` is good for: sending this event to this workflow, by this key."""

    workflow: Workflow
    event: EventType[Any]
    expires_at: datetime
    key: str
    used: bool  # an event came by it already; another one delivers nothing


class EventLinks(Asking):
    """Verbs of links."""

    def event_url(
        self,
        workflow_id: Id,
        event: str | EventType[Any],
        *,
        expires: timedelta = timedelta(days=7),
        request: HttpRequest | None = None,
    ) -> str:
        """Make an address that sends this event, once: for a link in a mail, or as somebody else's webhook.

        Whoever has the address may send. Each call makes another one, which delivers once, too.

        Args:
            workflow_id: to which workflow.
            event: an `Event`, or the name of one.
            expires: from now, by the durable clock.
            request: whose scheme and host the address begins with; None: it is a path.

        Returns:
            The address: a page with a button for a browser that asks for it; a POST sends.

        Raises:
            InvalidArguments: what is given as event, expires or request is none.
            UsageError: `django_workflow.rest.urls` is not included in the project's URLs.
            WorkflowFinished, WorkflowNotFound: nobody will ever take it.

        """
        kind = event_of(event, "event_url()")
        run_id = identify(workflow_id)
        now = clock.read(connection())
        expires_at = _checked_expiry(now, expires, request)
        run = self.get(run_id)
        if run.finished:
            raise WorkflowFinished(run.id, run.state)
        token = links.make(run.id, kind.name, expires_at, secrets.token_bytes(links.NONCE_BYTES))
        path = _address(token)
        return path if request is None else request.build_absolute_uri(path)

    def event_link(self, token: str) -> EventLink | None:
        """What the token at the end of an `event_url()` is good for; it changes nothing.

        Returns:
            None when it was tampered with, has expired, or its workflow is gone: which of these, is not told.

        """
        link = links.read(token, clock.read(connection()))
        if link is None:
            return None
        # Anybody may ask, again and again: no payload is read for it.
        rows = Workflow.objects.using(alias()).only("definition", "version", "state")
        run = rows.filter(id=link.workflow_id).first()
        if run is None:
            return None
        sent = Event.objects.using(alias()).filter(workflow_id=run.id, key_digest=digest(link.key))
        kind = event_of(link.event, "event_link()")
        return EventLink(run, kind, link.expires_at, link.key, sent.exists())


def _checked_expiry(now: datetime, expires: Any, request: Any) -> datetime:
    """When a link expires that is made now."""
    problems = []
    expires_at = now
    if not isinstance(expires, timedelta) or expires <= timedelta(0):
        problems.append(f"expires: {expires!r} is no positive timedelta; give timedelta(days=7), or the like")
    else:
        try:
            expires_at = now + expires
        except OverflowError:
            problems.append(
                f"expires: {expires!r} ends after the last year that there is; give a shorter one"
            )
    if request is not None and not callable(getattr(request, "build_absolute_uri", None)):
        problems.append(
            f"request: {request!r} is no request; give the one that is answered, or None for a path"
        )
    if problems:
        raise InvalidArguments("event_url()", problems)
    return expires_at


def _address(token: str) -> str:
    try:
        return reverse("django_workflow:event-link", kwargs={"token": token})
    except NoReverseMatch:
        raise UsageError(
            "event_url() has no address to give: the project's URLs don't include those of django_workflow; add"
            ' path("api/", include("django_workflow.rest.urls")) to its urlpatterns'
        ) from None
