"""Definitions: the decorated handler with its name, version and options, checked where it is written."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Coroutine
from types import FunctionType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from django_workflow.exceptions import InvalidDefinition
from django_workflow.handler.functions import checked_retry, checked_timeout, description, function_path
from django_workflow.handler.options import StartOptions
from django_workflow.payloads import CallSignature, signature_of
from django_workflow.retry import Retry
from django_workflow.states import StepKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime, timedelta

    from django_workflow.handler.context import StepContext
    from django_workflow.manager import WorkflowManager
    from django_workflow.models import Workflow

P = ParamSpec("P")
R = TypeVar("R")
# Covariant: a definition whose workflows give a `str` may stand where one is wanted that gives `str | None`.
R_co = TypeVar("R_co", covariant=True)

Handler = Callable[Concatenate["StepContext", P], Coroutine[Any, Any, R]]

NAME_LIMIT = 200


class WorkflowDefinition(Generic[P, R_co]):
    """A handler with its name and version. Made by `WorkflowManager.define`."""

    def __init__(
        self,
        handler: Handler[P, R_co],
        *,
        name: str,
        version: int,
        manager: WorkflowManager,
        retry: Retry | bool | None = None,
        timeout: timedelta | float | None = None,
        on_complete: Callable[..., Any] | None = None,
        redact: Iterable[str] = (),
        api: bool = False,
    ) -> None:
        self._handler: Any = _checked_handler(handler)
        self.name = _checked_name(name)
        self.version = _checked_version(version)
        self.manager = manager
        self._retry = checked_retry(f"define({name})", retry)
        self.timeout = checked_timeout(f"define({name})", timeout)
        self.on_complete = (
            function_path(on_complete, StepKind.MUTATION, what=f"define({name}): on_complete")
            if on_complete is not None
            else ""
        )
        self.redact = _checked_names(redact)
        self.api = _checked_flag("api", api)
        self.start_options = StartOptions()
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

    @functools.cached_property
    def fingerprint(self) -> str:
        """A digest of the handler's source (of its byte code where there is no source): tells deploys apart (R27)."""
        try:
            code = inspect.getsource(self.handler).encode()
        except (OSError, TypeError):
            code = self.handler.__code__.co_code + repr(self.handler.__code__.co_names).encode()
        return hashlib.sha256(code).hexdigest()

    def using(
        self,
        *,
        key: str | None = None,
        run_at: datetime | None = None,
        run_after: timedelta | float | None = None,
        labels: Mapping[str, Any] | None = None,
        priority: int | None = None,
        eager: bool | None = None,
        on_complete: Callable[..., Any] | None = None,
        context: Any = None,
        timeout: timedelta | float | None = None,
    ) -> WorkflowDefinition[P, R_co]:
        """A copy whose workflows are started with these options; chains, later wins.

        Args:
            key: unique per definition: a second start with it returns the workflow of the first, or raises
                `KeyConflict` when the arguments differ.
            run_at: aware time before which the first turn isn't taken.
            run_after: the same, from now (seconds, or a timedelta).
            labels: names and values (text, numbers, True, False, None) to find the workflow by.
            priority: higher is more urgent; 0 by default.
            eager: True: the first turn is taken by the starting process itself, right after its commit.
            on_complete: a mutation `(workflow_id, result, context)` that runs once, in the transaction of the ending.
            context: any JSON, for `on_complete`.
            timeout: durable time (seconds, or a timedelta) from its first turn; then it fails as `WorkflowTimedOut`.

        Raises:
            InvalidArguments: an option has a value that it can't take; all of them are listed.

        """
        given = {
            "key": key,
            "run_at": run_at,
            "run_after": run_after,
            "labels": labels,
            "priority": priority,
            "eager": eager,
            "on_complete": on_complete,
            "context": context,
            "timeout": timeout,
        }
        copy: WorkflowDefinition[P, R_co] = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.start_options = self.start_options.changed(f"{self.name}.using()", given)
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
            f"the handler {label} must be a plain `async def` function, not {description(handler)}"
        )
    parameters = list(inspect.signature(handler).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if not parameters or parameters[0].kind not in positional:
        raise InvalidDefinition(
            f"the handler {label} must take the step context as its first parameter: async def {label}(step, …)"
        )
    return handler


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


def _checked_names(redact: Any) -> tuple[str, ...]:
    names = (redact,) if isinstance(redact, str) else tuple(redact)
    if not all(isinstance(name, str) and name for name in names):
        raise InvalidDefinition(f"redact={redact!r} is no list of names")
    return names


def _checked_flag(option: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidDefinition(f"{option}={value!r} is neither True nor False")
    return value
