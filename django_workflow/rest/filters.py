"""The query of the list: a fixed set of names, each with one meaning; another name is a wrong field.

Rules of this file: what reaches the database is a name, a state, a digest or a time, each of which has an index.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from django.db import connections
from django.db.models import CharField, Exists, FilteredRelation, Func, OuterRef, Q
from django.db.models.lookups import Exact
from django.http import QueryDict

from django_workflow.exceptions import InvalidArguments
from django_workflow.keys import digest, label_digests, label_problems
from django_workflow.manager import workflow
from django_workflow.models import Label, WorkflowQuerySet
from django_workflow.rest.moments import EXAMPLE, First, Last, moment_of
from django_workflow.rest.pagination import BORNE, CURSOR, SIZE, NewestFirst, NewestOfLabel
from django_workflow.rest.problems import Problem, WrongField, wrong_fields
from django_workflow.states import WorkflowState

Query = QueryDict

LABEL: Final = "label."  # and the label's name
FORMAT: Final = "format"  # the framework's own
COUNTED: Final = 1000


def narrowed(rows: WorkflowQuerySet, query: Query) -> WorkflowQuerySet:
    """Of these workflows those that the query asks for. Raises `Problem` with each wrong name and value."""
    errors = _repeated(query)
    labels: dict[str, str] = {}
    for name in query:
        value = str(query[name])
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
            rows = _labeled(rows, labels)
        except InvalidArguments as error:
            errors += _wrong_labels(labels) or wrong_fields(error.problems)
    if errors:
        raise Problem("invalid", "", errors)
    return rows


def pages(query: Query) -> NewestFirst:
    """The pages of what `narrowed()` has found."""
    return NewestOfLabel() if any(name.startswith(LABEL) for name in query) else NewestFirst()


def _labeled(rows: WorkflowQuerySet, labels: Mapping[str, str]) -> WorkflowQuerySet:
    """Those that bear all of these labels, joined with the row of the rarest one, whose order a page goes by.

    With a condition instead of a join, MariaDB and SQLite would fetch and sort all that bear a label, for each page.
    """
    digests = label_digests("labeled()", labels)
    rarest = (
        min(digests, key=lambda name: _bearers(digests[name])) if len(digests) > 1 else next(iter(digests))
    )
    bears = FilteredRelation("label_rows", condition=Q(label_rows__digest=digests.pop(rarest)))
    rows = rows.annotate(**{BORNE: bears}).filter(**{f"{BORNE}__isnull": False})
    for each in digests.values():
        rows = rows.filter(Exists(Label.objects.filter(digest=each, workflow_id=OuterRef("pk"))))
    return rows


def _bearers(digest: str) -> int:
    """How many bear a label; past `COUNTED` it is all the same."""
    # In the order of the index, or PostgreSQL reads the table from its beginning.
    return Label.objects.filter(digest=digest).order_by("workflow_id")[:COUNTED].count()


def _repeated(query: Query) -> list[WrongField]:
    """Names that are given more than once, of which only one could count."""
    return [
        WrongField(name[:100], "is given more than once") for name in query if len(query.getlist(name)) > 1
    ]


def _wrong_labels(labels: Mapping[str, str]) -> list[WrongField]:
    return [
        WrongField(f"{LABEL}{name}"[:100], wrong.detail)
        for name, value in labels.items()
        for wrong in wrong_fields(label_problems({name: value}))
    ]


def _state(rows: WorkflowQuerySet, value: str, query: Query) -> WorkflowQuerySet:
    if value not in tuple(WorkflowState):
        raise ValueError(f"{value[:100]!r} is none of {', '.join(WorkflowState)}")
    return rows.filter(state=value)


def _definition(rows: WorkflowQuerySet, value: str, query: Query) -> WorkflowQuerySet:
    if not value.isprintable():
        return rows.none()
    rows = rows.filter(definition=value)
    if (
        connections[rows.db].vendor == "mysql"
    ):  # where texts are equal that differ in case or in blanks at their end
        written = Func("definition", function="HEX", output_field=CharField())
        rows = rows.filter(Exact(written, value.encode().hex().upper()))
    return rows


def _key(rows: WorkflowQuerySet, value: str, query: Query) -> WorkflowQuerySet:
    if not value.isprintable():
        return rows.none()
    # A key is unique for each definition: there is one digest for each, and the column is unique.
    named = query.get("definition")
    names = {definition.name for definition in workflow.definitions()} if named is None else {named}
    return rows.filter(key_digest__in=[digest(name, value) for name in names])


def _created_after(rows: WorkflowQuerySet, value: str, query: Query) -> WorkflowQuerySet:
    return rows.filter(created_at__gt=Last(_moment(value)))


def _created_before(rows: WorkflowQuerySet, value: str, query: Query) -> WorkflowQuerySet:
    return rows.filter(created_at__lt=First(_moment(value)))


def _moment(text: str) -> datetime:
    moment = moment_of(text)
    if moment is None:
        raise ValueError(f"{text[:100]!r} is no time with an offset, like {EXAMPLE}")
    return moment


FILTERS: Final[Mapping[str, Callable[[WorkflowQuerySet, str, Query], WorkflowQuerySet]]] = {
    "state": _state,
    "definition": _definition,
    "key": _key,
    "created_after": _created_after,
    "created_before": _created_before,
}


def only(query: Query, *names: str) -> None:
    """Raise `Problem` where a query has other names than these, or one of them twice."""
    errors = [
        *_repeated(query),
        *(
            WrongField(name[:100], f"is not known here; there are {', '.join(names) or 'none'}")
            for name in query
            if name not in (*names, FORMAT)
        ),
    ]
    if errors:
        raise Problem("invalid", "", errors)
