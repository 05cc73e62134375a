"""Step functions that say when their bodies ran.

`calls` is the log of this process; rows of `Entry` are the log of the database.
"""

from typing import Any

from django_workflow import action, mutation, query
from django_workflow.exceptions import StepFailed
from tests.shop.models import Entry

calls: list[Any] = []


class CardDeclined(Exception):
    """An error of an application, importable by any worker."""


@query
def count(label: str) -> int:
    calls.append(("count", label))
    return Entry.objects.filter(label=label).count()


@mutation
def write(label: str, value: int = 0) -> int:
    calls.append(("write", label))
    Entry.objects.create(label=label, value=value)
    return Entry.objects.filter(label=label).count()


@action
def act(value: Any = None) -> Any:
    calls.append(("act", value))
    return value


@action
def double(value: int) -> int:
    calls.append(("double", value))
    return 2 * value


@query
def look(value: Any = None) -> Any:
    calls.append(("look", value))
    return value


@mutation
def change(value: Any = None) -> Any:
    calls.append(("change", value))
    return value


@action
def decline(message: str) -> None:
    calls.append(("decline", message))
    raise CardDeclined(message)


@mutation
def write_and_decline(label: str) -> None:
    calls.append(("write_and_decline", label))
    Entry.objects.create(label=label)
    raise CardDeclined(label)


@query
def look_and_decline(message: str) -> None:
    calls.append(("look_and_decline", message))
    raise CardDeclined(message)


def unmarked(value: Any = None) -> Any:
    """Marked as nothing, so it can be used as anything."""
    calls.append(("unmarked", value))
    return value


def as_failure(error: BaseException) -> StepFailed:
    """What a step raised, seen as what it always is besides its own class."""
    assert isinstance(error, StepFailed)
    return error


def rows(label: str) -> int:
    """How many entries there are now; for tests, not for handlers."""
    return Entry.objects.filter(label=label).count()
