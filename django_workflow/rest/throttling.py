"""Limits on starts and events: nothing unless the project sets a rate for `workflow-start` or `workflow-event`."""

from __future__ import annotations

from typing import Any

from rest_framework.settings import api_settings
from rest_framework.throttling import SimpleRateThrottle


class _Throttle(SimpleRateThrottle):
    def get_rate(self) -> str | None:
        """The project's rate; None, no limit, where it sets none."""
        rates: Any = api_settings.DEFAULT_THROTTLE_RATES
        rate: str | None = rates.get(self.scope or "")
        return rate

    def get_cache_key(self, request: Any, view: Any) -> str | None:
        """For each user, and for each address of those who haven't logged in."""
        user = request.user
        ident = user.pk if user is not None and user.is_authenticated else self.get_ident(request)
        return self.cache_format % {"scope": self.scope, "ident": ident}


class StartThrottle(_Throttle):
    """Of starts, restarts and forks."""

    scope = "workflow-start"


class EventThrottle(_Throttle):
    """Of events."""

    scope = "workflow-event"
