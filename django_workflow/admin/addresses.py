"""Addresses of the admin's pages, in the admin site that the reader is in.

Rules of this file: no other one makes an address of ours. A page that this site doesn't have has none (None), and
nothing links to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.urls import NoReverseMatch, reverse
from django.utils.http import urlencode

if TYPE_CHECKING:
    from django_workflow.handler.definition import WorkflowDefinition


@dataclass(frozen=True)
class Addresses:
    """Where the pages are; `site` is the name of the admin site."""

    site: str

    def list(self) -> str:
        """The list."""
        return self._page("changelist")

    def workflow(self, pk: UUID) -> str:
        """The page of a workflow."""
        return self._page("change", pk)

    def fragment(self, pk: UUID) -> str:
        """What the page of a workflow refreshes itself from."""
        return self._page("fragment", pk)

    def step(self, pk: UUID, number: int) -> str:
        """The page of a step."""
        return self._page("step", pk, number)

    def start(self, definition: WorkflowDefinition[Any, Any]) -> str:
        """The form of a definition. Its name, which may hold any printable character, is in the query."""
        asked = urlencode([("name", definition.name), ("version", str(definition.version))])
        return f"{self._page('start')}?{asked}"

    def verb(self, verb: str, pk: UUID, from_step: int | None = None) -> str | None:
        """The page on which something is done to a workflow; of a restart and a fork also from a step on."""
        page = self._page_if_any(verb, pk)
        return page if page is None or from_step is None else f"{page}?{urlencode({'from_step': from_step})}"

    def for_all(self, verb: str) -> str | None:
        """The page on which something is done to all workflows."""
        return self._page_if_any(verb)

    def _page_if_any(self, name: str, *args: Any) -> str | None:
        try:
            return self._page(name, *args)
        except NoReverseMatch:
            return None

    def _page(self, name: str, *args: Any) -> str:
        return reverse(f"admin:django_workflow_workflow_{name}", args=args, current_app=self.site)
