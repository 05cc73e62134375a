"""The annotations of a function, resolved one by one: one that cannot be does no harm until it is needed."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

from django_workflow.exceptions import InvalidDefinition
from django_workflow.payloads.refusals import name_of


class Hints:
    """The annotations of the function that `function` wraps, is a part of, or calls."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        self._name = name
        target: Any = inspect.unwrap(function)
        while isinstance(target, functools.partial):
            target = inspect.unwrap(target.func)
        if not hasattr(target, "__globals__"):
            target = getattr(target, "__func__", None) or getattr(type(target), "__call__", target)  # noqa: B004
        self._globals = getattr(target, "__globals__", {})
        self._raw: dict[str, Any] = dict(getattr(target, "__annotations__", {}))

    def of(self, parameter: str) -> Any:
        """Return the annotation of a parameter, or of "return"; `Any` without one. Raises `InvalidDefinition`."""
        raw = self._raw.get(parameter, Any)
        if raw is Any:
            return Any
        holder = types.SimpleNamespace(__annotations__={parameter: raw})
        try:
            return typing.get_type_hints(holder, globalns=self._globals, include_extras=True)[parameter]
        except Exception as error:
            # An annotation is code, and may raise anything
            where = "return value" if parameter == "return" else f"parameter {parameter!r}"
            raise InvalidDefinition(
                f"the {where} of {self._name}",
                f"is annotated as {raw if isinstance(raw, str) else name_of(raw)}, which cannot be resolved ({error})",
                "import the name where the function is defined, not under TYPE_CHECKING",
            ) from error
