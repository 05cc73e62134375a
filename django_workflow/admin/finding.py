"""What the search box finds: an id, the part of one that a list shows, an exact key, or names of definitions.

Rules of this file: names are matched in Python, against the registry; what reaches the database is a primary key, a
range of them, a digest or a name. It never looks through a text column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import UUID

from django_workflow.admin.reach import REACH
from django_workflow.keys import digest
from django_workflow.manager import workflow

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from django_workflow.models import Workflow

    Rows = QuerySet[Workflow]

HEAD, TAIL = 8, 4  # digits of an id that a list shows
LEAST = 6  # digits before a text is taken for the beginning of an id
FOUND = 100  # by a part of an id
_PART = re.compile(rf"([0-9a-f]{{{LEAST},32}})(?:(?:…|\.\.\.)([0-9a-f]{{1,32}}))?")


def short(id: UUID) -> str:
    """An id as a list shows it."""
    return f"{id.hex[:HEAD]}…{id.hex[-TAIL:]}"


def find(rows: Rows, term: str) -> Rows:
    """Those of these rows that the term means."""
    term = term.strip()
    if not term:
        return rows
    ids = _with_id(term) or [*_with_key(term), *_with_part(term)]
    if ids:
        return rows.filter(pk__in=ids)
    names = {name for name in _names() if term.casefold() in name.casefold()}
    return rows.filter(definition__in=names or {term})  # a name that the code has no more


def _names() -> set[str]:
    return {definition.name for definition in workflow.definitions()}


def _with_id(term: str) -> list[UUID]:
    try:
        return [UUID(term)]
    except ValueError:
        return []


def _with_key(term: str) -> Iterable[UUID]:
    # A key is unique for each definition, so there is one digest for each; the column is unique.
    digests = [digest(name, term) for name in _names()]
    return workflow.list().filter(key_digest__in=digests).order_by().values_list("pk", flat=True)


def _with_part(term: str) -> list[UUID]:
    part = _PART.fullmatch(term.casefold().replace("-", ""))
    if part is None:
        return []
    head, tail = part[1], part[2] or ""
    between = (UUID(head.ljust(32, "0")), UUID(head.ljust(32, "f")))
    found = workflow.list().filter(pk__range=between).order_by("pk").values_list("pk", flat=True)
    return [each for each in found[: REACH if tail else FOUND] if each.hex.endswith(tail)][:FOUND]
