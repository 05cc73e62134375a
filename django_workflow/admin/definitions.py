"""What is defined, and the form that starts it."""

from __future__ import annotations

from django.urls import URLPattern


class DefinitionPages:
    """The page of all definitions, and the form of one."""

    def definition_urls(self) -> list[URLPattern]:
        """The pages."""
        return []
