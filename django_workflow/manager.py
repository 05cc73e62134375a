"""The front door's hinge: every verb, once. Admin, HTTP and commands call what application code calls."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar, overload
from uuid import UUID

from asgiref.sync import sync_to_async
from django.apps import apps

from django_workflow.conf import settings
from django_workflow.engine.current import is_inside
from django_workflow.exceptions import (
    InvalidArguments,
    InvalidDefinition,
    UsageError,
    WorkflowInProgress,
    WorkflowNotFound,
)
from django_workflow.handler import registry
from django_workflow.handler.definition import Handler, WorkflowDefinition
from django_workflow.journal import clock, wakes, workflows
from django_workflow.journal.clock import monotonic
from django_workflow.journal.database import alias, connection
from django_workflow.models import Step, StepQuerySet, Workflow, WorkflowQuerySet
from django_workflow.retry import Retry
from django_workflow.states import StepKind, StepState, WorkflowState
from django_workflow.status import Canceled, Completed, Failed, InProgress, RunningStep, Status

P = ParamSpec("P")
R = TypeVar("R")

Id = UUID | str | Workflow

# What no text column of all databases takes: NUL, and halves of surrogate pairs.
UNSTORABLE = re.compile("[\0\ud800-\udfff]")

# How often join() looks (seconds): often at first, seldom when it takes long.
JOIN_FIRST, JOIN_SLOWEST = 0.01, 0.25


class WorkflowManager:
    """A pool of workflows: its definitions, and every verb.

    Args:
        name: of the pool, for people.
        cluster: the django-q2 cluster on which its workflows run; None: the setting `CLUSTER`, and without
            one django-q2's default.
        retry: what `retry=True` means in this pool; None: the setting `RETRY`.
        retry_actions: whether actions that say nothing of it are retried; None: the setting `RETRY_ACTIONS`.

    """

    def __init__(
        self,
        name: str,
        cluster: str | None = None,
        *,
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
        self.name = name
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
    ) -> Callable[[Handler[P, R]], WorkflowDefinition[P, R]]: ...
    def define(
        self,
        handler: Any = None,
        /,
        *,
        name: str | None = None,
        version: int = 1,
        retry: Retry | bool | None = None,
    ) -> Any:
        """Make a definition of a handler; with or without options.

        Args:
            handler: an `async def` whose first parameter is the step context.
            name: `"<app_label>.<function>"` by default; in no installed app it has to be given.
            version: a whole number from 1.
            retry: how its actions are attempted again that say nothing of it themselves; True: by the manager's
                default; None: as the manager says.

        Raises:
            InvalidDefinition: what was decorated can't be a handler (a `TypeError`, too).
            DuplicateDefinition: name and version are taken.

        """

        def decorate(function: Handler[P, R]) -> WorkflowDefinition[P, R]:
            given = name if name is not None else _default_name(function)
            definition = WorkflowDefinition(function, name=given, version=version, manager=self, retry=retry)
            registry.add(definition)
            return definition

        return decorate if handler is None else decorate(handler)

    # ── starting ────────────────────────────────────────────────────────────────────────────────────────────

    def start(
        self, definition: WorkflowDefinition[P, R] | str, /, *args: P.args, **kwargs: P.kwargs
    ) -> Workflow:
        """Start a workflow, in the caller's transaction: it exists if and only if that commits (P1).

        Args:
            definition: what to start, or its name.
            args: the handler's own arguments.
            kwargs: the same.

        Returns:
            The workflow; its `id` is the workflow id.

        Raises:
            InvalidArguments: arguments that don't fit, all of them listed.
            NotStorable, PayloadTooLarge: arguments that the journal can't keep.
            UnknownDefinition: no definition has that name.

        """
        known = _resolve(definition)
        text = known.signature.encode_arguments(
            args,
            kwargs,
            what=f"the arguments of {known.name}",
            limit=settings.VALUE_LIMIT,
            defaults=True,
        )
        options = _checked_start_options(known)
        cluster = known.manager.cluster
        run = workflows.insert(known.name, known.version, text, cluster=cluster, **options)
        wakes.ask(cluster)
        return run

    # ── asking ──────────────────────────────────────────────────────────────────────────────────────────────

    def status(self, workflow_id: Id) -> Status:
        """Where a workflow stands: `InProgress | Completed | Failed | Canceled`. Raises `WorkflowNotFound`."""
        run = self.get(workflow_id)
        match WorkflowState(run.state):
            case WorkflowState.COMPLETED:
                return Completed(run.result, run.custom)
            case WorkflowState.FAILED:
                error = run.error
                assert error is not None
                return Failed(error, run.custom)
            case WorkflowState.CANCELED:
                return Canceled(run.reason, run.custom)
            case WorkflowState.IN_PROGRESS:
                return InProgress(_running_steps(run.id), run.custom)

    def get(self, workflow_id: Id) -> Workflow:
        """The workflow as the database has it now. Raises `WorkflowNotFound`."""
        pk = identify(workflow_id)
        run = Workflow.objects.using(alias()).filter(id=pk).first()
        if run is None:
            raise WorkflowNotFound(pk)
        return run

    def list(
        self, definition: WorkflowDefinition[Any, Any] | str | None = None, state: str | None = None
    ) -> WorkflowQuerySet:
        """Workflows, newest first.

        Args:
            definition: of this definition only (all versions), or of that name.
            state: `in_progress`, `completed`, `failed` or `canceled`.

        Raises:
            InvalidArguments: there is no such state.

        """
        found = Workflow.objects.using(alias()).order_by("-created_at", "-id")
        if definition is not None:
            found = found.of(definition)
        if state is not None:
            if state not in tuple(WorkflowState):
                known = ", ".join(WorkflowState)
                raise InvalidArguments("list()", [f"state: {state!r} is none of {known}"])
            found = found.filter(state=state)
        return found

    def steps(self, workflow_id: Id) -> StepQuerySet:
        """The journal of a workflow, in its order. Raises `WorkflowNotFound`."""
        pk = identify(workflow_id)
        if not Workflow.objects.using(alias()).filter(id=pk).exists():
            raise WorkflowNotFound(pk)
        return Step.objects.using(alias()).filter(workflow_id=pk).order_by("number")

    def join(self, workflow_id: Id, timeout: float | timedelta | None = None) -> Status:
        """Block until a workflow has finished.

        Args:
            workflow_id: which one.
            timeout: real seconds, or a timedelta; None: for ever.

        Returns:
            Its status.

        Raises:
            TimeoutError: it has not finished in time.
            UsageError: inside a transaction, which would never see it finish.
            InvalidArguments: the timeout is no duration.
            WorkflowNotFound: there is no such workflow.

        """
        if connection().in_atomic_block:
            raise UsageError(
                "join() inside a transaction would wait for what the transaction can't see; call it after the commit"
            )
        seconds = _checked_timeout(timeout)
        ends_at = None if seconds is None else monotonic() + seconds
        pause = JOIN_FIRST
        while True:
            status = self.status(workflow_id)
            if not isinstance(status, InProgress):
                return status
            left = pause if ends_at is None else min(pause, ends_at - monotonic())
            if left <= 0:
                raise TimeoutError(f"workflow {identify(workflow_id)} has not finished within {seconds} s")
            threading.Event().wait(left)
            pause = min(pause * 1.5, JOIN_SLOWEST)

    # ── ending ──────────────────────────────────────────────────────────────────────────────────────────────

    def cancel(self, workflow_id: Id, reason: str = "") -> bool:
        """End a workflow now: no new step starts, nothing late is written (P8).

        Returns:
            True if this call canceled it, False if it had finished.

        Raises:
            WorkflowNotFound: there is no such workflow.
            InvalidArguments: the reason is no text.

        """
        if not isinstance(reason, str):
            raise InvalidArguments("cancel()", [f"reason: {reason!r} is no text"])
        pk = identify(workflow_id)
        _refuse_itself(pk, "cancel")
        if workflows.cancel(pk, UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", reason)):
            return True
        if not Workflow.objects.using(alias()).filter(id=pk).exists():
            raise WorkflowNotFound(pk)
        return False

    def cleanup(self, workflow_id: Id) -> bool:
        """Delete a finished workflow with everything that is its own.

        Returns:
            True if this call deleted it, False if it was gone already.

        Raises:
            WorkflowInProgress: it has not finished.

        """
        pk = identify(workflow_id)
        _refuse_itself(pk, "clean up")
        if workflows.delete([pk]):
            return True
        if Workflow.objects.using(alias()).filter(id=pk).exists():
            raise WorkflowInProgress(pk, "clean up")
        return False

    # ── for async code ──────────────────────────────────────────────────────────────────────────────────────

    async def astart(
        self, definition: WorkflowDefinition[P, R] | str, /, *args: P.args, **kwargs: P.kwargs
    ) -> Workflow:
        """`start()` for async code."""
        return await sync_to_async(self.start)(definition, *args, **kwargs)

    async def astatus(self, workflow_id: Id) -> Status:
        """`status()` for async code."""
        return await sync_to_async(self.status)(workflow_id)

    async def ajoin(self, workflow_id: Id, timeout: float | timedelta | None = None) -> Status:
        """`join()` for async code."""
        return await sync_to_async(self.join)(workflow_id, timeout)

    async def acancel(self, workflow_id: Id, reason: str = "") -> bool:
        """`cancel()` for async code."""
        return await sync_to_async(self.cancel)(workflow_id, reason)

    async def acleanup(self, workflow_id: Id) -> bool:
        """`cleanup()` for async code."""
        return await sync_to_async(self.cleanup)(workflow_id)

    async def asteps(self, workflow_id: Id) -> StepQuerySet:
        """`steps()` for async code."""
        return await sync_to_async(self.steps)(workflow_id)

    async def aget(self, workflow_id: Id) -> Workflow:
        """`get()` for async code."""
        return await sync_to_async(self.get)(workflow_id)


workflow = WorkflowManager("default")


def identify(workflow_id: Id) -> UUID:
    """The id in an argument that names a workflow. Raises `WorkflowNotFound` for what can't be one."""
    if isinstance(workflow_id, Workflow):
        return workflow_id.id
    if isinstance(workflow_id, UUID):
        return workflow_id
    try:
        return UUID(workflow_id)
    except (ValueError, AttributeError, TypeError):
        raise WorkflowNotFound(workflow_id) from None


def _refuse_itself(workflow_id: UUID, verb: str) -> None:
    # R19: the turn would meet its own fence, roll this very call back, and begin again for ever. An action's body
    # is outside of the turn's transaction, and to its own workflow what any other caller is.
    if is_inside(workflow_id):
        raise UsageError(
            f"a query or mutation of workflow {workflow_id} can't {verb} its own workflow; return or raise, and let the "
            "handler end it, or do it in an action"
        )


def _default_name(function: Any) -> str:
    name = getattr(function, "__name__", repr(function))
    module = getattr(function, "__module__", "")
    app = apps.get_containing_app_config(module)
    if app is None:
        raise InvalidDefinition(
            f"the handler {module}.{name}", "is in no installed app", 'name it: @workflow.define(name="…")'
        )
    return f"{app.label}.{name}"


def _resolve(definition: Any) -> WorkflowDefinition[Any, Any]:
    if isinstance(definition, WorkflowDefinition):
        return definition
    if isinstance(definition, str):
        return registry.newest(definition)
    raise InvalidArguments(
        "start()", [f"definition: {definition!r} is neither a definition nor the name of one"]
    )


def _checked_start_options(definition: WorkflowDefinition[Any, Any]) -> dict[str, Any]:
    given = definition.start_options
    problems = []
    run_at, run_after, priority = given.get("run_at"), given.get("run_after"), given.get("priority", 0)
    if run_at is not None and (not isinstance(run_at, datetime) or run_at.utcoffset() is None):
        problems.append(f"run_at: {run_at!r} is no aware datetime; give one with a time zone")
    elif run_at is not None and not _in_calendar(run_at):
        problems.append(f"run_at: {run_at!r} is outside of the years 1 to 9999 in UTC")
    if run_after is not None:
        try:
            run_after = _delay(run_after)
        except (TypeError, ValueError):
            problems.append(f"run_after: {run_after!r} is no duration; give seconds or a timedelta")
        except OverflowError:
            problems.append(f"run_after: {run_after!r} from now is past the year 9999")
    if type(priority) is not int or abs(priority) > 2**31 - 1:
        problems.append(f"priority: {priority!r} is no whole number of 32 bits")
    if problems:
        raise InvalidArguments(f"{definition.name}.using()", problems)
    return {"run_at": run_at, "run_after": run_after, "priority": priority}


def _in_calendar(moment: datetime) -> bool:
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return False
    return True


def _delay(run_after: Any) -> timedelta:
    if not isinstance(run_after, timedelta):
        if isinstance(run_after, bool):
            raise TypeError
        run_after = timedelta(seconds=float(run_after))
    # Asked of the database only for what could be beyond the calendar.
    far = run_after > timedelta(days=365_000)
    if far and run_after > datetime.max.replace(tzinfo=UTC) - clock.read(connection()):
        raise OverflowError
    delay: timedelta = max(run_after, clock.ZERO)
    return delay


def _checked_timeout(timeout: Any) -> float | None:
    if timeout is None:
        return None
    if isinstance(timeout, timedelta):
        return timeout.total_seconds()
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or math.isnan(timeout):
        raise InvalidArguments(
            "join()", [f"timeout: {timeout!r} is no duration; give seconds, a timedelta, or None"]
        )
    return float(timeout)


def _running_steps(workflow_id: UUID) -> tuple[RunningStep, ...]:
    rows = (
        Step.objects.using(alias())
        .filter(workflow_id=workflow_id)
        .unsettled()
        .order_by("number")
        .values_list("number", "name", "kind", "state", "attempts", "started_at", "due_at")
    )
    return tuple(
        RunningStep(number, name, StepKind(kind), StepState(state), attempts, started_at, due_at)
        for number, name, kind, state, attempts, started_at, due_at in rows
    )
