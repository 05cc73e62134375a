"""What goes out: ASCII JSON, which can hold whatever the journal holds, and the browsable pages around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework.renderers import BaseRenderer, BrowsableAPIRenderer, JSONRenderer
from rest_framework.settings import api_settings


class AsciiJSONRenderer(JSONRenderer):
    """JSON in which halves of surrogate pairs, which UTF-8 can't hold, stay the escapes that they were."""

    ensure_ascii = True


class BrowsableRenderer(BrowsableAPIRenderer):
    """Pages for people, which show the same JSON; what they send is JSON, too, as programs send it."""

    def get_default_renderer(self, view: Any) -> BaseRenderer:
        """What the page shows inside."""
        return AsciiJSONRenderer()

    def render_form_for_serializer(self, serializer: Any) -> str:
        """No form of fields: most of them are JSON objects."""
        return ""


def renderers() -> list[BaseRenderer]:
    """JSON; and pages where the project has them for its other views."""
    projects: Sequence[Any] = api_settings.DEFAULT_RENDERER_CLASSES
    pages = any(issubclass(each, BrowsableAPIRenderer) for each in projects)
    return [AsciiJSONRenderer(), BrowsableRenderer()] if pages else [AsciiJSONRenderer()]
