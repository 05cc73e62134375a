"""A turn's place in a limited pool: taken before its first body, kept to its end (R23)."""

from __future__ import annotations

import logging

from django.db import Error

from django_workflow.journal import claims, slots, wakes
from django_workflow.journal.claims import Known, Turnable

logger = logging.getLogger("django_workflow.engine")


class Place:
    """A place, or the lack of one. A pool without a limit ("") has room for everybody."""

    def __init__(self, pool: str, known: Known, claim: Turnable) -> None:
        self.pool = pool
        self.lacking = False  # True once there was none
        self._known = known
        self._claim = claim
        self._held = False

    def take(self) -> bool:
        """True iff a body may begin. A turn that got no place doesn't ask again: its bodies wait as rows."""
        if self.pool and not self._held and not self.lacking:
            self._held = claims.take_slot(self.pool, self._known, self._claim.token)
            self.lacking = not self._held
        return not self.pool or self._held

    @property
    def is_held(self) -> bool:
        """True while this turn has a place in a limited pool."""
        return self._held

    def renew(self) -> None:
        """In each of the turn's commits: they renew the lease of the workflow, and this with it (R6)."""
        if self._held:
            slots.extend(self._claim.token)

    def write_back(self) -> None:
        """Give it back in the turn's last transaction; `left()` when that has committed."""
        if self._held:
            slots.give_back(self._claim.token)
            wakes.ask(self._claim.cluster)  # R10: a place is free

    def left(self) -> None:
        """It was given back."""
        self._held = False

    def leave(self) -> None:
        """Give it back after a turn that came to no end."""
        if not self._held:
            return
        self._held = False
        try:
            slots.give_back(self._claim.token)
        except Error:
            logger.warning("a place in the pool %r stays taken until its lease ends", self.pool)
        wakes.ask(self._claim.cluster)
