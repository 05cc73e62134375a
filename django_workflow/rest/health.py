"""Whether work gets done, for load balancers and monitors: a status for everybody, details for who may see workflows."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import DataError
from django.db import Error as DatabaseError
from rest_framework.exceptions import APIException
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import BaseThrottle

from django_workflow.manager import workflow
from django_workflow.rest import filters
from django_workflow.rest.base import WorkflowAPIView
from django_workflow.rest.renderers import AsciiJSONRenderer

if TYPE_CHECKING:
    from django_workflow.health import Health

logger = logging.getLogger(__name__)


class HealthView(WorkflowAPIView):
    """200 while due work gets done, else 503."""

    action = "health"
    permission_classes = [AllowAny]

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[Any, str]:
        """JSON whatever a monitor accepts: a page around it would need the database."""
        renderer = AsciiJSONRenderer()
        return renderer, renderer.media_type

    def perform_authentication(self, request: Request) -> None:
        """Nobody has to be anybody; and a database that is down must not keep the answer back."""

    def get_throttles(self) -> list[BaseThrottle]:
        """None: monitors ask often."""
        return []

    def get(self, request: Request) -> Response:
        """The health."""
        filters.only(request.query_params)
        try:
            health = workflow.health()
            shown = {"status": _word(health), **(_details(health) if self._is_trusted() else {})}
        except DatabaseError:
            logger.exception("health can't be told: the database doesn't answer")
            return self._answer({"status": "unavailable"}, 503)
        return self._answer(shown, 200 if health.ok else 503)

    def _answer(self, shown: dict[str, Any], status: int) -> Response:
        return Response(shown, status=status, headers={"Cache-Control": "no-store"})

    def _is_trusted(self) -> bool:
        try:
            return self.may_view()
        except (
            APIException,
            DataError,
        ):  # credentials that are wrong, have run out, or hold a NUL: nobody, then
            return False


def _word(health: Health) -> str:
    return "ok" if health.ok else "unavailable"


def _details(health: Health) -> dict[str, Any]:
    return {
        "problems": list(health.problems),
        "oldest_due_seconds": _seconds(health.oldest_due),
        "ticker_seen_seconds": _seconds(health.ticker_seen),
        "clusters": [
            {"name": each.name, "workers": each.workers, "busy": each.busy} for each in health.clusters
        ],
        "unknown": [{"definition": name, "version": version} for name, version in health.unknown],
        "pauses": [{"cluster": each.cluster, "reason": each.reason} for each in health.pauses],
    }


def _seconds(span: timedelta | None) -> float | None:
    return span.total_seconds() if span is not None else None
