"""A pool and its definitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from django.apps import apps

from django_workflow.conf import settings
from django_workflow.exceptions import InvalidDefinition, UsageError
from django_workflow.handler import registry
from django_workflow.handler.definition import Handler, WorkflowDefinition
from django_workflow.retry import Retry

if TYPE_CHECKING:
    from django_workflow.manager import WorkflowManager

P = ParamSpec("P")
R = TypeVar("R")


class Pool:
    """What all workflows of a manager have in common, and `define()`."""

    def __init__(
        self,
        name: str,
        cluster: str | None = None,
        max_parallelism: int | None = None,
        retry: Retry | None = None,
        retry_actions: bool | None = None,
    ) -> None:
        for what, value in (("name", name), ("cluster", cluster)):
            if value is None and what == "cluster":
                continue
            if not isinstance(value, str) or not 1 <= len(value) <= 100 or not value.isprintable():
                raise UsageError(f"WorkflowManager({what}={value!r}): give 1 to 100 printable characters")
        if retry is not None and not isinstance(retry, Retry):
            raise UsageError(f"WorkflowManager(retry={retry!r}): give a Retry")
        if max_parallelism is not None and (type(max_parallelism) is not int or max_parallelism < 0):
            raise UsageError(
                f"WorkflowManager(max_parallelism={max_parallelism!r}): give a whole number from 0, or None"
            )
        self.name = name
        self.max_parallelism = max_parallelism
        self._cluster = cluster
        self._retry = retry
        self._retry_actions = retry_actions

    @property
    def cluster(self) -> str:
        """The cluster's name; "" is django-q2's default."""
        return self._cluster or settings.CLUSTER or ""

    @property
    def retry(self) -> Retry:
        """What `retry=True` means."""
        return self._retry or settings.RETRY

    @property
    def action_retry(self) -> Retry | None:
        """How actions are attempted again that say nothing of it."""
        wanted = settings.RETRY_ACTIONS if self._retry_actions is None else self._retry_actions
        return self.retry if wanted else None

    def __repr__(self) -> str:
        return f"<WorkflowManager {self.name}>"

    # ── defining ────────────────────────────────────────────────────────────────────────────────────────────

    @overload
    def define(self, handler: Handler[P, R], /) -> WorkflowDefinition[P, R]: ...
    @overload
    def define(
        self,
        handler: None = None,
        /,
        *,
        name: str | None = None,
        version: int = 1,
        retry: Retry | bool | None = None,
        timeout: timedelta | float | None = None,
        on_complete: Callable[..., Any] | None = None,
        redact: Iterable[str] = (),
        api: bool = False,
    ) -> Callable[[Handler[P, R]], WorkflowDefinition[P, R]]: ...
    def define(
        self,
        handler: Any = None,
        /,
        *,
        name: str | None = None,
        version: int = 1,
        retry: Retry | bool | None = None,
        timeout: timedelta | float | None = None,
        on_complete: Callable[..., Any] | None = None,
        redact: Iterable[str] = (),
        api: bool = False,
    ) -> Any:
        """Make a definition of a handler; with or without options.

        Args:
            handler: an `async def` whose first parameter is the step context.
            name: `"<app_label>.<function>"` by default; in no installed app it has to be given.
            version: a whole number from 1.
            retry: how its actions are attempted again that say nothing of it themselves; True: by the manager's
                default; None: as the manager says.
            timeout: durable time (seconds, or a timedelta) of a workflow from its first turn.
            on_complete: a mutation `(workflow_id, result, context)` that runs once, in the transaction of the ending.
            redact: names, besides those of the setting `REDACT`, whose values are never shown.
            api: whether it may be started over HTTP.

        Raises:
            InvalidDefinition: what was decorated can't be a handler (a `TypeError`, too).
            InvalidArguments: an option has a value that it can't take.
            DuplicateDefinition: name and version are taken.

        """

        def decorate(function: Handler[P, R]) -> WorkflowDefinition[P, R]:
            given = name if name is not None else _default_name(function)
            definition = WorkflowDefinition(
                function,
                name=given,
                version=version,
                manager=cast("WorkflowManager", self),
                retry=retry,
                timeout=timeout,
                on_complete=on_complete,
                redact=redact,
                api=api,
            )
            registry.add(definition)
            return definition

        return decorate if handler is None else decorate(handler)


def _default_name(function: Any) -> str:
    name = getattr(function, "__name__", repr(function))
    module = getattr(function, "__module__", "")
    app = apps.get_containing_app_config(module)
    if app is None:
        raise InvalidDefinition(
            f"the handler {module}.{name}", "is in no installed app", 'name it: @workflow.define(name="…")'
        )
    return f"{app.label}.{name}"
