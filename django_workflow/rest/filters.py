"""The query of the list: a fixed set of names, each with one meaning; another name is a wrong field.

Rules of this file: what reaches the database is a name, a state, a digest or a time, each of which has an index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from django.utils.dateparse import parse_datetime

from django_workflow.exceptions import InvalidArguments
from django_workflow.keys import digest
from django_workflow.manager import workflow
from django_workflow.models import WorkflowQuerySet
from django_workflow.rest.pagination import CURSOR, SIZE
from django_workflow.rest.problems import Problem, WrongField, wrong_fields
from django_workflow.states import WorkflowState

Query = Mapping[str, Any]

LABEL: Final = "label."  # and the label's name
FORMAT: Final = "format"  # the framework's own


def narrowed(rows: WorkflowQuerySet, query: Query) -> WorkflowQuerySet:
    """Of these workflows those that the query asks for. Raises `Problem` with each wrong name and value."""
    errors: list[WrongField] = []
    labels: dict[str, str] = {}
    for name, value in query.items():
        if name in (CURSOR, SIZE, FORMAT):
            continue
        if name.startswith(LABEL):
            labels[name.removeprefix(LABEL)] = value
        elif name in FILTERS:
            try:
                rows = FILTERS[name](rows, value, query)
            except ValueError as error:
                errors.append(WrongField(name[:100], str(error)))
        else:
            known = ", ".join([*FILTERS, f"{LABEL}<name>", CURSOR, SIZE])
            errors.append(WrongField(name[:100], f"is no filter; there are {known}"))
    if labels:
        try:
            rows = rows.labeled(labels)
        except InvalidArguments as error:
            errors += wrong_fields(error.problems)
    if errors:
        raise Problem("invalid", "", errors)
    return rows


def _state(rows: WorkflowQuerySet, value: str, query: Query) -> WorkflowQuerySet:
    if value not in tuple(WorkflowState):
        raise ValueError(f"{value[:100]!r} is none of {', '.join(WorkflowState)}")
    return rows.filter(state=value)


def _definition(rows: WorkflowQuerySet, value: str, query: Query) -> WorkflowQuerySet:
    return rows.filter(definition=value) if value.isprintable() else rows.none()


def _key(rows: WorkflowQuerySet, value: str, query: Query) -> WorkflowQuerySet:
    if not value.isprintable():
        return rows.none()
    # A key is unique for each definition: there is one digest for each, and the column is unique.
    named = query.get("definition")
    names = {definition.name for definition in workflow.definitions()} if named is None else {named}
    return rows.filter(key_digest__in=[digest(name, value) for name in names])


def _created_after(rows: WorkflowQuerySet, value: str, query: Query) -> WorkflowQuerySet:
    return rows.filter(created_at__gt=_moment(value))


def _created_before(rows: WorkflowQuerySet, value: str, query: Query) -> WorkflowQuerySet:
    return rows.filter(created_at__lt=_moment(value))


def _moment(text: str) -> datetime:
    try:
        moment = parse_datetime(text)
        if moment is not None and moment.utcoffset() is not None:
            moment.astimezone(tz=None)  # raises past the ends of the calendar
            return moment
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"{text[:100]!r} is no time with an offset, like 2026-11-26T12:00:00Z")


FILTERS: Final[Mapping[str, Callable[[WorkflowQuerySet, str, Query], WorkflowQuerySet]]] = {
    "state": _state,
    "definition": _definition,
    "key": _key,
    "created_after": _created_after,
    "created_before": _created_before,
}


def only(query: Iterable[str], *names: str) -> None:
    """Raise `Problem` where a query has other names than these."""
    errors = [
        WrongField(name[:100], f"is not known here; there are {', '.join(names) or 'none'}")
        for name in query
        if name not in (*names, FORMAT)
    ]
    if errors:
        raise Problem("invalid", "", errors)
