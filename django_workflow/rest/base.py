"""What all our views have in common, whatever the project's own views do by default.

Rules of this file: authentication is the project's; parsers, permissions and errors are ours. No view runs in a
transaction of the request: a verb of the manager commits for itself, and a wait would see nothing new inside of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from django.db import DataError, transaction
from django.http import HttpRequest
from django.utils.decorators import method_decorator
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from django_workflow.rest import problems, renderers
from django_workflow.rest.parsers import StrictJSONParser
from django_workflow.rest.permissions import WorkflowPermission
from django_workflow.windows.permissions import may, may_see_payloads


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class WorkflowAPIView(APIView):
    """The base of our views."""

    parser_classes: Sequence[Any] = (StrictJSONParser,)
    permission_classes: Sequence[Any] = (WorkflowPermission,)
    versioning_class = None
    # The throttles of an action, besides the project's own.
    own_throttles: ClassVar[Mapping[str, type[BaseThrottle]]] = {}
    # What an action answers with, in place of JSON.
    own_renderers: ClassVar[Mapping[str, type[BaseRenderer]]] = {}

    request: Request

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        """A query is UTF-8, whatever a client calls its body."""
        if request.encoding is not None:
            request.encoding = "utf-8"
        return super().initialize_request(request, *args, **kwargs)

    def get_renderers(self) -> list[Any]:
        """JSON, and the browsable pages where the project has them; or what the action has of its own."""
        own = self.own_renderers.get(getattr(self, "action", None) or "")
        return [own()] if own is not None else renderers.renderers()

    def get_exception_handler(self) -> Callable[..., Response | None]:
        """Problem details, in place of the project's handler."""
        return problems.answer

    def perform_authentication(self, request: Request) -> None:
        """Find out who asks, as the project does; a name that its database can't even look for (NUL) is nobody's."""
        try:
            super().perform_authentication(request)
        except DataError as error:
            raise AuthenticationFailed from error

    def get_throttles(self) -> list[BaseThrottle]:
        """The project's, and ours of this action."""
        own = self.own_throttles.get(getattr(self, "action", None) or "")
        classes: list[Any] = [*api_settings.DEFAULT_THROTTLE_CLASSES, *([own] if own is not None else [])]
        return [each() for each in classes]

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Say of a problem that it is one, and of everything that it is this user's alone."""
        answered = super().finalize_response(request, response, *args, **kwargs)
        if isinstance(answered, problems.Answer) and answered.accepted_renderer.format == "json":
            answered.content_type = problems.MEDIA_TYPE
        if "Cache-Control" not in answered.headers:
            answered.headers["Cache-Control"] = "private, no-cache"
        return answered

    def may_view(self) -> bool:
        """Whether the user may see workflows, besides doing what he does."""
        return may(self.request.user, "view_workflow")

    def may_see_payloads(self) -> bool:
        """Whether arguments, results, values and tracebacks are shown."""
        return may_see_payloads(self.request.user)
