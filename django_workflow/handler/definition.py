"""What an author writes down: definitions and step functions, checked where they are written.

A definition is the decorated handler with its name, version and options. A step function stays the plain
function that it is; a mark on it says what it may be used as.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from django_workflow.exceptions import InvalidArguments, InvalidDefinition, StepKindMismatch
from django_workflow.payloads import CallSignature, signature_of
from django_workflow.retry import Retry
from django_workflow.states import StepKind

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from django_workflow.handler.context import StepContext
    from django_workflow.manager import WorkflowManager
    from django_workflow.models import Workflow

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

Handler = Callable[Concatenate["StepContext", P], Coroutine[Any, Any, R]]

NAME_LIMIT = 200
MARK = "__workflow_step__"
ABSENT: Any = object()  # tells @query() from @query(None)


class WorkflowDefinition(Generic[P, R]):
    """A handler with its name and version. Made by `WorkflowManager.define`."""

    def __init__(
        self,
        handler: Handler[P, R],
        *,
        name: str,
        version: int,
        manager: WorkflowManager,
        retry: Retry | bool | None = None,
    ) -> None:
        self._handler: Any = _checked_handler(handler)
        self.name = _checked_name(name)
        self.version = _checked_version(version)
        self.manager = manager
        self._retry = checked_retry(f"define({name})", retry)
        self.start_options: dict[str, Any] = {}
        functools.update_wrapper(self, handler)

    @property
    def handler(self) -> FunctionType:
        """The `async def` itself."""
        return cast("FunctionType", self._handler)  # declared as a function, it would be typed as a method

    @property
    def action_retry(self) -> Retry | None:
        """How its actions are attempted again that say nothing of it themselves."""
        if self._retry is None:
            return self.manager.action_retry
        if isinstance(self._retry, bool):
            return self.manager.retry if self._retry else None
        return self._retry

    @functools.cached_property
    def signature(self) -> CallSignature:
        """How the handler is called after its step context."""
        return signature_of(self.handler, skip=1)

    def using(
        self,
        *,
        run_at: datetime | None = None,
        run_after: timedelta | float | None = None,
        priority: int | None = None,
    ) -> WorkflowDefinition[P, R]:
        """A copy whose workflows are started with these options; chains, later wins.

        Args:
            run_at: aware time before which the first turn isn't taken.
            run_after: the same, from now (seconds, or a timedelta).
            priority: higher is more urgent; 0 by default.

        """
        given = {"run_at": run_at, "run_after": run_after, "priority": priority}
        changed = {option: value for option, value in given.items() if value is not None}
        if len({"run_at", "run_after"} & changed.keys()) == 2:
            raise InvalidArguments(
                f"{self.name}.using()", ["run_at and run_after: give one of them, not both"]
            )
        copy: WorkflowDefinition[P, R] = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        kept = self.start_options
        if {"run_at", "run_after"} & changed.keys():
            kept = {option: value for option, value in kept.items() if option not in ("run_at", "run_after")}
        copy.start_options = {**kept, **changed}
        return copy

    def start(self, *args: P.args, **kwargs: P.kwargs) -> Workflow:
        """Start a workflow. See `WorkflowManager.start`."""
        return self.manager.start(self, *args, **kwargs)

    async def astart(self, *args: P.args, **kwargs: P.kwargs) -> Workflow:
        """`start()` for async code."""
        return await self.manager.astart(self, *args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise InvalidDefinition(
            f"{self.name} is a workflow definition and can't be called; start it with {self.name.split('.')[-1]}.start(…)"
        )

    def __repr__(self) -> str:
        return f"<WorkflowDefinition {self.name} v{self.version}>"


def _checked_handler(handler: Any) -> FunctionType:
    label = getattr(handler, "__qualname__", repr(handler))
    if not inspect.iscoroutinefunction(handler) or not isinstance(handler, FunctionType):
        raise InvalidDefinition(
            f"the handler {label} must be a plain `async def` function, not {_what(handler)}"
        )
    parameters = list(inspect.signature(handler).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if not parameters or parameters[0].kind not in positional:
        raise InvalidDefinition(
            f"the handler {label} must take the step context as its first parameter: async def {label}(step, …)"
        )
    return handler


def _what(thing: Any) -> str:
    if inspect.isasyncgenfunction(thing):
        return "an async generator (it contains `yield`)"
    if inspect.isfunction(thing):
        return "a sync function"
    return f"a {type(thing).__name__}"


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not name or len(name) > NAME_LIMIT or not name.isprintable():
        raise InvalidDefinition(
            f"{name!r} is no name for a definition: give 1 to {NAME_LIMIT} printable characters, like 'shop.checkout'"
        )
    return name


def _checked_version(version: Any) -> int:
    if type(version) is not int or version < 1:
        raise InvalidDefinition(f"{version!r} is no version: give a whole number from 1")
    return version


# ── step functions ──────────────────────────────────────────────────────────────────────────────────────────


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
            raise InvalidDefinition(f"@{kind} marks plain functions, and {marked!r} is {_what(marked)}")
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
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise InvalidArguments(
            call, [f"timeout: {timeout!r} is no duration above 0; give seconds or a timedelta"]
        )
    return float(seconds)


def function_path(function: Any, kind: StepKind) -> str:
    """The dotted path under which any worker finds `function`.

    Raises:
        InvalidArguments: it isn't a plain importable function.
        StepKindMismatch: it is marked as something else than `kind`.

    """
    path = _importable_path(_plain(function))
    mark = mark_of(function)
    if mark is not None and mark.kind != kind:
        raise StepKindMismatch(path, str(mark.kind), str(kind))
    return path


def _plain(function: Any) -> FunctionType:
    if isinstance(function, WorkflowDefinition):
        raise InvalidArguments("the step", [f"{function.name} is a workflow definition, not a step function"])
    if not isinstance(function, FunctionType):
        raise InvalidArguments(
            "the step", [f"{function!r} is {_what(function)}; give a plain function of a module"]
        )
    return function


@functools.lru_cache(maxsize=4096)
def _importable_path(function: FunctionType) -> str:
    path = f"{function.__module__}.{function.__qualname__}"
    if "<lambda>" in path or "<locals>" in path:
        kind = "a lambda" if "<lambda>" in path else "defined inside another function"
        raise InvalidArguments(
            "the step",
            [f"{path} is {kind}, so a worker couldn't import it; move it to the top level of a module"],
        )
    if _imported(path) is not function:
        raise InvalidArguments(
            "the step",
            [f"{path} imports as something else than the function given; does a decorator wrap it?"],
        )
    return path


def _imported(path: str) -> Any:
    try:
        return import_function(path)
    except ImportError:
        return None


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
