"""Addresses of the admin's pages, in the admin site that the reader is in.

Rules of this file: a page that this site doesn't have has no address (None), and nothing links to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.urls import NoReverseMatch, reverse


@dataclass(frozen=True)
class Addresses:
    """Where the pages are; `site` is the name of the admin site."""

    site: str

    def workflow(self, pk: UUID) -> str:
        """The page of a workflow."""
        return self._page("change", pk)

    def fragment(self, pk: UUID) -> str:
        """What the page of a workflow refreshes itself from."""
        return self._page("fragment", pk)

    def step(self, pk: UUID, number: int) -> str:
        """The page of a step."""
        return self._page("step", pk, number)

    def verb(self, verb: str, pk: UUID, from_step: int | None = None) -> str | None:
        """The page on which something is done to a workflow."""
        try:
            page = self._page(verb, pk)
        except NoReverseMatch:
            return None
        return page if from_step is None else f"{page}?from_step={from_step}"

    def _page(self, name: str, *args: Any) -> str:
        return reverse(f"admin:django_workflow_workflow_{name}", args=args, current_app=self.site)
