"""How deep the list reaches: 10,000 workflows from the newest. Past that a filter finds what the list doesn't.

Rules of this file: whatever the table holds, nothing here reads more than `REACH` entries of an index.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from django.core.paginator import Paginator

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from django_workflow.models import Workflow

    _Paginator = Paginator[Workflow]
else:
    _Paginator = Paginator

REACH = 10_000


class ShallowPaginator(_Paginator):
    """Counts to one past `REACH`, which stands for more, and gives out no page behind it."""

    @functools.cached_property
    def count(self) -> int:
        """How many there are, `REACH` + 1 at most."""
        rows: Any = self.object_list
        # In the order of the list: the index that gives the page gives the count.
        found: int = rows.values("pk")[: REACH + 1].count()
        return found

    @property
    def more(self) -> bool:
        """Whether there are more than were counted."""
        return self.count > REACH


def within_reach(rows: QuerySet[Workflow]) -> QuerySet[Workflow]:
    """Of these rows the newest `REACH`: for a condition that no index knows. One statement."""
    newest = rows.order_by("-created_at", "-id").values_list("created_at", flat=True)
    last = newest[REACH - 1 : REACH].first()
    return rows if last is None else rows.filter(created_at__gte=last)
