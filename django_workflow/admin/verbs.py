"""Everything that changes something: a confirmation page, a POST, an entry in the log of the admin."""

from __future__ import annotations

from django.urls import URLPattern


class VerbPages:
    """Cancel, restart, fork, send an event, clean up, run on_complete again, pause and resume."""

    def verb_urls(self) -> list[URLPattern]:
        """The confirmation pages."""
        return []
