"""The page of one workflow."""

from __future__ import annotations

from django.urls import URLPattern


class DetailPage:
    """One workflow: its head, its timeline, what it was given and what came of it."""

    def detail_urls(self) -> list[URLPattern]:
        """Fragments of the page, for its live refresh."""
        return []
