"""What pydantic finds wrong with a value, in the words of this project.

A fault is "storable" where the value does not fit its annotation, and not so where no annotation would help.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from django_workflow.payloads.refusals import misfit, path_step, short

AS_ANNOTATED = "make it what the annotation says, or change the annotation"


class Fault(NamedTuple):
    path: str
    reason: str
    remedy: str
    storable: bool


_NOT_STORABLE = ("not_storable", "finite_number", "string_unicode", "recursion_loop")


def faults_of(error: ValidationError, value: Any) -> list[Fault]:
    """Return what the error says of parts of `value`, the value that was validated; at least one."""
    return [_fault(details, value) for details in error.errors(include_url=False)]


def _fault(details: ErrorDetails, value: Any) -> Fault:
    path, given = _located(details["loc"], value), details["input"]
    context = details.get("ctx") or {}
    if details["type"] == "not_storable":
        return Fault(path + context["path"], context["reason"], context["remedy"], storable=False)
    if details["type"] == "finite_number":
        name = "NaN" if "nan" in str(given).lower() else "infinite"
        return Fault(
            path, f"is {name}, for which JSON has no number", "store None or a string in its place", False
        )
    special = misfit(given)
    if special is not None:
        return Fault(path, special[0], special[1], storable=True)
    shown = "" if details["type"] == "missing" else f" (got {short(given)})"
    return Fault(path, f"{details['msg']}{shown}", "", details["type"] not in _NOT_STORABLE)


def _located(steps: Sequence[int | str], value: Any) -> str:
    # Pydantic's location also names union members and validators; only what is found in the value is shown.
    path = ""
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
            value = value[step] if isinstance(value, (list, tuple)) and step < len(value) else None
        elif step == "[key]":
            path += " (the key)"
        elif isinstance(value, Mapping):
            path += path_step(step)
            value = value.get(step)
        elif value is not None and step in getattr(value, "__dict__", {}):
            path += path_step(step)
            value = getattr(value, step)
    return path
