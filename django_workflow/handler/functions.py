"""Step functions: plain importable functions, with a mark that says what they may be used as.

A step function stays the function that it is. What is asked for by a dotted path must be found there by any worker,
so what has none (a lambda, something nested, something wrapped) is refused where it is used.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from django_workflow.exceptions import InvalidArguments, InvalidDefinition, StepKindMismatch, shown
from django_workflow.retry import Retry
from django_workflow.states import StepKind

if TYPE_CHECKING:
    from datetime import timedelta

F = TypeVar("F", bound=Callable[..., Any])

MARK = "__workflow_step__"
LONGEST = 1000 * 365 * 86_400  # seconds: what comes after a timeout still has to be a date
ABSENT: Any = object()  # tells @query() from @query(None)


@dataclass(frozen=True, slots=True)
class StepMark:
    """What a step function may be used as, and how its steps run unless the handler says otherwise."""

    kind: StepKind
    retry: Retry | bool | None = None
    timeout: float | None = None
    at_most_once: bool | None = None


def mark_of(function: Any) -> StepMark | None:
    """The mark on a step function, or None."""
    mark = getattr(function, MARK, None)
    return mark if isinstance(mark, StepMark) else None


@overload
def query(function: F, /) -> F: ...
@overload
def query(
    *, retry: Retry | bool | None = None, timeout: timedelta | float | None = None
) -> Callable[[F], F]: ...
def query(function: Any = ABSENT, /, **options: Any) -> Any:
    """Mark a step function as a query: it reads the database. Returns the function itself.

    Args:
        function: a plain function of a module.
        options: `retry` and `timeout`, as in `StepContext.using`, for its steps.

    """
    return _marking(function, StepKind.QUERY, options)


@overload
def mutation(function: F, /) -> F: ...
@overload
def mutation(
    *, retry: Retry | bool | None = None, timeout: timedelta | float | None = None
) -> Callable[[F], F]: ...
def mutation(function: Any = ABSENT, /, **options: Any) -> Any:
    """Mark a step function as a mutation: it reads and writes the database. Returns the function itself.

    Args:
        function: a plain function of a module.
        options: `retry` and `timeout`, as in `StepContext.using`, for its steps.

    """
    return _marking(function, StepKind.MUTATION, options)


@overload
def action(function: F, /) -> F: ...
@overload
def action(
    *,
    retry: Retry | bool | None = None,
    timeout: timedelta | float | None = None,
    at_most_once: bool | None = None,
) -> Callable[[F], F]: ...
def action(function: Any = ABSENT, /, **options: Any) -> Any:
    """Mark a step function as an action: it may do anything. Returns the function itself.

    Args:
        function: a plain function of a module.
        options: `retry`, `timeout` and `at_most_once`, as in `StepContext.using`, for its steps.

    """
    return _marking(function, StepKind.ACTION, options)


def _marking(function: Any, kind: StepKind, options: dict[str, Any]) -> Any:
    known = {"retry", "timeout"} | ({"at_most_once"} if kind == StepKind.ACTION else set())
    if unknown := sorted(options.keys() - known):
        raise TypeError(f"@{kind}() takes {', '.join(sorted(known))}, not {', '.join(unknown)}")
    mark = StepMark(
        kind,
        checked_retry(f"@{kind}()", options.get("retry")),
        checked_timeout(f"@{kind}()", options.get("timeout")),
        options.get("at_most_once"),
    )

    def attach(marked: Any) -> Any:
        if not isinstance(marked, FunctionType):
            raise InvalidDefinition(f"@{kind} marks plain functions, and {marked!r} is {description(marked)}")
        setattr(marked, MARK, mark)
        return marked

    return attach if function is ABSENT else attach(function)


def checked_retry(call: str, retry: Any) -> Retry | bool | None:
    """`retry` as an option. Raises `InvalidArguments`."""
    if retry is None or isinstance(retry, Retry | bool):
        return retry
    raise InvalidArguments(call, [f"retry: {retry!r} is no Retry, True or False"])


def checked_timeout(call: str, timeout: Any) -> float | None:
    """`timeout` as an option, in seconds. Raises `InvalidArguments`."""
    if timeout is None:
        return None
    seconds = timeout.total_seconds() if hasattr(timeout, "total_seconds") else timeout
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and 0 < seconds <= LONGEST:
        return float(seconds)
    if isinstance(seconds, int | float) and seconds > LONGEST:
        raise InvalidArguments(call, [f"timeout: {shown(timeout)} is longer than 1,000 years; leave it out"])
    raise InvalidArguments(
        call, [f"timeout: {shown(timeout)} is no duration above 0; give seconds or a timedelta"]
    )


def function_path(function: Any, kind: StepKind | None, *, what: str = "the step") -> str:
    """The dotted path under which any worker finds `function`.

    Args:
        function: a step function.
        kind: what it is to be used as; None: as whatever it is marked.
        what: names it in errors.

    Raises:
        InvalidArguments: it isn't a plain importable function.
        StepKindMismatch: it is marked as something else than `kind`.

    """
    path = _importable_path(_plain(function, what), what)
    mark = mark_of(function)
    if mark is not None and kind is not None and mark.kind != kind:
        raise StepKindMismatch(path, str(mark.kind), str(kind))
    return path


def _plain(function: Any, what: str) -> FunctionType:
    if hasattr(function, "start_options"):
        raise InvalidArguments(
            what,
            [f"{function.name} is a workflow definition, not a step function; run it with run_workflow()"],
        )
    if not isinstance(function, FunctionType):
        raise InvalidArguments(
            what, [f"{function!r} is {description(function)}; give a plain function of a module"]
        )
    return function


def description(thing: Any) -> str:
    """What something is that should be a function, in an error text."""
    if inspect.isasyncgenfunction(thing):
        return "an async generator (it contains `yield`)"
    if inspect.isfunction(thing):
        return "a sync function"
    return f"a {type(thing).__name__}"


@functools.lru_cache(maxsize=4096)
def _importable_path(function: FunctionType, what: str) -> str:
    path = f"{function.__module__}.{function.__qualname__}"
    if "<lambda>" in path or "<locals>" in path:
        kind = "a lambda" if "<lambda>" in path else "defined inside another function"
        raise InvalidArguments(
            what,
            [f"{path} is {kind}, so a worker couldn't import it; move it to the top level of a module"],
        )
    if _imported(path) is not function:
        raise InvalidArguments(
            what,
            [f"{path} imports as something else than the function given; does a decorator wrap it?"],
        )
    return path


def _imported(path: str) -> Any:
    try:
        return import_function(path)
    except ImportError:
        return None


def is_async(path: str) -> bool:
    """Whether the function at a dotted path is an `async def`. False where it can't be imported."""
    try:
        return _is_async(path)
    except Exception:  # noqa: BLE001  importing runs a module's code; who calls the function meets the same error
        return False


@functools.lru_cache(maxsize=4096)
def _is_async(path: str) -> bool:
    return inspect.iscoroutinefunction(import_function(path))


def import_function(path: str) -> Callable[..., Any]:
    """The function at a dotted path (`module.function` or `module.Class.function`). Raises `ImportError`."""
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:cut])
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            # Only "this prefix is no module" sends us on; a module that fails to import something else says so.
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise
            continue
        try:
            for part in parts[cut:]:
                found = getattr(found, part)
        except AttributeError:
            raise ImportError(f"{module_name} has no {'.'.join(parts[cut:])}") from None
        if not callable(found):
            raise ImportError(f"{path} is no function")
        return found  # type: ignore[no-any-return]
    raise ImportError(f"no module named {parts[0]!r}")
