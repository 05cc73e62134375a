"""How a workflow is started: the options of `definition.using()`, checked where they are given. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django_workflow.conf import settings
from django_workflow.exceptions import InvalidArguments, shown
from django_workflow.handler.functions import checked_timeout, function_path
from django_workflow.keys import key_problem, label_problems
from django_workflow.payloads import encode
from django_workflow.states import StepKind

PRIORITY_LIMIT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class StartOptions:
    """See `WorkflowDefinition.using`. None, or "" or False, stands for what was not given."""

    key: str | None = None
    run_at: datetime | None = None
    run_after: timedelta | None = None
    labels: Mapping[str, Any] | None = None
    priority: int | None = None
    eager: bool | None = None
    on_complete: str | None = None  # dotted path
    context: str | None = None  # JSON text
    timeout: float | None = None  # seconds

    def changed(self, call: str, given: Mapping[str, Any]) -> StartOptions:
        """A copy with the options that are not None put in. Raises `InvalidArguments`, with all problems, of `call`."""
        given = {name: value for name, value in given.items() if value is not None}
        problems: list[str] = []
        if {"run_at", "run_after"} <= given.keys():
            problems.append("run_at and run_after: give one of them, not both")
        checked = {name: _checked(call, name, value, problems) for name, value in given.items()}
        if problems:
            raise InvalidArguments(call, problems)
        if {"run_at", "run_after"} & checked.keys():
            checked = {"run_at": None, "run_after": None, **checked}
        return replace(self, **checked)

    def over(self, defaults: StartOptions) -> StartOptions:
        """These options, and where they say nothing those of `defaults`."""
        mine = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(defaults, **{name: value for name, value in mine.items() if value is not None})


def _checked(call: str, name: str, value: Any, problems: list[str]) -> Any:
    """The value of one option in the form in which it is kept; what is wrong with it goes to `problems`."""
    match name:
        case "key":
            problem = key_problem(value)
        case "labels":
            problems += label_problems(value)
            return dict(value) if isinstance(value, Mapping) else None
        case "run_at":
            problem = _moment_problem(value)
        case "run_after":
            try:
                return _duration(value)
            except (TypeError, ValueError):
                problem = f"run_after: {shown(value)} is no duration; give seconds or a timedelta"
            except OverflowError:
                problem = f"run_after: {shown(value)} from now is past the year 9999"
        case "priority":
            is_priority = type(value) is int and abs(value) <= PRIORITY_LIMIT
            problem = None if is_priority else f"priority: {shown(value)} is no whole number of 32 bits"
        case "eager":
            problem = None if isinstance(value, bool) else f"eager: {shown(value)} is neither True nor False"
        case "on_complete":
            return function_path(value, StepKind.MUTATION, what=f"{call}: on_complete")
        case "context":
            return encode(value, what=f"the context of {call}", limit=settings.VALUE_LIMIT)
        case _:
            return checked_timeout(call, value)
    if problem is not None:
        problems.append(problem)
    return value


def _moment_problem(moment: Any) -> str | None:
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        return f"run_at: {shown(moment)} is no aware datetime; give one with a time zone"
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return f"run_at: {shown(moment)} is outside of the years 1 to 9999 in UTC"
    return None


def _duration(value: Any) -> timedelta:
    if isinstance(value, bool):
        raise TypeError
    return value if isinstance(value, timedelta) else timedelta(seconds=float(value))
