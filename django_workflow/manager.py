"""The front door's hinge: every verb, once. Admin, HTTP and commands call what application code calls."""

from __future__ import annotations

import builtins
import math
import re
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload
from uuid import UUID

from asgiref.sync import sync_to_async
from django.apps import apps
from django.db import transaction
from django.urls import NoReverseMatch, reverse

from django_workflow import links
from django_workflow.conf import settings
from django_workflow.engine import drain, endings, golden, inspection, lives, starting
from django_workflow.engine.current import inside
from django_workflow.exceptions import (
    ErrorInfo,
    EventFailed,
    InvalidArguments,
    InvalidDefinition,
    UnknownDefinition,
    UsageError,
    WorkflowFinished,
    WorkflowInProgress,
    WorkflowNotFound,
    describe_error,
    dotted_path,
)
from django_workflow.handler import registry
from django_workflow.handler.definition import Handler, WorkflowDefinition
from django_workflow.handler.events import Event as EventType
from django_workflow.handler.events import event_of
from django_workflow.health import Health
from django_workflow.journal import clock, events, health, pauses, wakes, workflows
from django_workflow.journal.clock import monotonic
from django_workflow.journal.database import alias, connection
from django_workflow.keys import digest, key_problem
from django_workflow.models import Event, Step, StepQuerySet, Workflow, WorkflowQuerySet
from django_workflow.payloads import encode_error
from django_workflow.retry import Retry
from django_workflow.states import StepKind, StepState, WorkflowState
from django_workflow.status import Canceled, Completed, Failed, InProgress, RunningStep, Status
from django_workflow.verdict import Verdict

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django_q.models import Schedule

P = ParamSpec("P")
R = TypeVar("R")

Id = UUID | str | Workflow

# What no text column of all databases takes: NUL, and halves of surrogate pairs.
UNSTORABLE = re.compile("[\0\ud800-\udfff]")

# How often join() looks (seconds): often at first, seldom when it takes long.
JOIN_FIRST, JOIN_SLOWEST = 0.01, 0.25


@dataclass(frozen=True)
class EventLink:
    """What an address of `event_url()` is good for: sending this event to this workflow, by this key."""

    workflow: Workflow
    event: EventType[Any]
    expires_at: datetime
    key: str
    used: bool  # an event came by it already; another one delivers nothing


class WorkflowManager:
    """A pool of workflows: its definitions, and every verb.

    Args:
        name: of the pool, for people.
        cluster: the django-q2 cluster on which its workflows run; None: the setting `CLUSTER`, and without
            one django-q2's default.
        max_parallelism: how many bodies of its steps run at once, over all hosts; 0 holds it; None: as many as
            there are workers.
        retry: what `retry=True` means in this pool; None: the setting `RETRY`.
        retry_actions: whether actions that say nothing of it are retried; None: the setting `RETRY_ACTIONS`.

    """

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
                manager=self,
                retry=retry,
                timeout=timeout,
                on_complete=on_complete,
                redact=redact,
                api=api,
            )
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
            KeyConflict: the key (`using(key=…)`) is that of a workflow with other arguments.
            NotStorable, PayloadTooLarge: arguments that the journal can't keep.
            UnknownDefinition: no definition has that name.

        """
        known = _resolve(definition)
        run = starting.start(known, _encode(known, args, kwargs), known.start_options)
        _begin_if_eager(known, [run])
        return run

    def start_many(
        self,
        definition: WorkflowDefinition[..., Any] | str,
        args: Iterable[Sequence[Any] | Mapping[str, Any]],
    ) -> builtins.list[Workflow]:
        """Start many workflows of one definition, in few statements and with one wake-up.

        Args:
            definition: what to start, or its name.
            args: for each workflow the handler's own arguments: a tuple or list of them, or a dict by their names.

        Returns:
            The workflows, in the order of their arguments.

        Raises:
            InvalidArguments: arguments that don't fit, those of all workflows listed; nothing is started then.
            UsageError: the definition has a key (`using(key=…)`), which is for one workflow.
            NotStorable, PayloadTooLarge, UnknownDefinition: as `start()`.

        """
        known = _resolve(definition)
        if known.start_options.key is not None:
            raise UsageError(
                f"start_many() with the key {known.start_options.key!r}: a key is for one workflow; start each with its own"
            )
        runs = starting.start_many(known, _encode_each(known, args), known.start_options)
        _begin_if_eager(known, runs)
        return runs

    def schedule(
        self,
        definition: WorkflowDefinition[..., Any] | str,
        *,
        name: str,
        cron: str | None = None,
        every: timedelta | float | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Schedule:
        """Start a workflow at each tick of a schedule, keyed by the tick; the same name again changes the schedule.

        Args:
            definition: what to start, or its name.
            name: of the schedule, unique.
            cron: five fields, in the project's time zone.
            every: seconds or a timedelta, in whole minutes, counted from now; instead of `cron`.
            args: the handler's own arguments.
            kwargs: the same, by name.

        Returns:
            The django-q2 `Schedule`, which its admin can edit and delete.

        Raises:
            InvalidArguments: a bad cron, `every` below one minute, both or neither, arguments that don't fit.
            UsageError: a schedule that is not one of ours has this name.
            UnknownDefinition: no definition has that name.

        """
        from django_workflow.cluster import schedules

        known = _resolve(definition)
        text = _encode(known, tuple(args), dict(kwargs or {}))
        return schedules.put(known, name, cron, every, text)

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
                return self.progress(run)

    def progress(self, run: Workflow) -> InProgress:
        """What a workflow that has not ended, as this row has it, is at: its unsettled steps, and what holds it."""
        paused = run.paused if run.paused is not None else pauses.reason(run.cluster)
        return InProgress(_running_steps(run.id), run.custom, paused, run.ending is not None)

    def get(self, workflow_id: Id) -> Workflow:
        """The workflow as the database has it now. Raises `WorkflowNotFound`."""
        pk = identify(workflow_id)
        run = Workflow.objects.using(alias()).filter(id=pk).first()
        if run is None:
            raise WorkflowNotFound(pk)
        return run

    def list(
        self,
        definition: WorkflowDefinition[Any, Any] | str | None = None,
        state: str | None = None,
        labels: Mapping[str, Any] | None = None,
    ) -> WorkflowQuerySet:
        """Workflows, newest first.

        Args:
            definition: of this definition only (all versions), or of that name.
            state: `in_progress`, `completed`, `failed` or `canceled`.
            labels: that bear all of these labels.

        Raises:
            InvalidArguments: there is no such state, or that are no labels.

        """
        found = Workflow.objects.using(alias()).order_by("-created_at", "-id")
        if definition is not None:
            found = found.of(definition)
        if state is not None:
            if state not in tuple(WorkflowState):
                known = ", ".join(WorkflowState)
                raise InvalidArguments("list()", [f"state: {state!r} is none of {known}"])
            found = found.filter(state=state)
        if labels is not None:
            found = found.labeled(labels)
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

    def cancel(self, workflow_id: Id, reason: str = "", rollback: bool = False) -> bool:
        """End a workflow now: no new step starts, nothing late is written (P8). Its children are canceled, too.

        Args:
            workflow_id: which one.
            reason: for people.
            rollback: undo first what its steps have done that have a rollback (`step.using(rollback=…)`). It stays in
                progress, canceling, until they have ended.

        Returns:
            True if this call canceled it, False if it had finished (or was canceling already).

        Raises:
            WorkflowNotFound: there is no such workflow.
            InvalidArguments: the reason is no text.

        """
        problems: builtins.list[str] = []
        if not isinstance(reason, str):
            problems.append(f"reason: {reason!r} is no text")
        if not isinstance(rollback, bool):
            problems.append(f"rollback: {rollback!r} is neither True nor False")
        if problems:
            raise InvalidArguments("cancel()", problems)
        pk = identify(workflow_id)
        _refuse_itself(pk, "cancel")
        if endings.cancel(pk, _storable(reason), rollback=rollback):
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
        try:
            if workflows.delete(pk):
                return True
        except workflows.StillRunning as running:
            raise WorkflowInProgress(running.workflow_id, f"clean up {pk}, whose child it is, and") from None
        if Workflow.objects.using(alias()).filter(id=pk).exists():
            raise WorkflowInProgress(pk, "clean up")
        return False

    def retry_on_complete(self, workflow_id: Id) -> bool:
        """Run `on_complete` again that has raised. The ending stays as it is.

        Returns:
            True if it ended well now; False if it raised again (the new error is stored), or had not failed.

        Raises:
            WorkflowInProgress: it has not finished.
            WorkflowNotFound: there is no such workflow.

        """
        run = self.get(workflow_id)
        if not run.finished:
            raise WorkflowInProgress(run.id, "run on_complete of")
        return endings.complete_again(run.id)

    def prune(self, older_than: timedelta, limit: int = 10_000) -> int:
        """Delete workflows that finished longer ago than that, with all that is their own.

        Children go with their parents. Each goes in a transaction of its own; what somebody else holds is left alone.

        Args:
            older_than: since they finished.
            limit: at most so many, the oldest first.

        Returns:
            How many were deleted, children not counted.

        """
        if not isinstance(older_than, timedelta) or older_than < timedelta(0):
            raise InvalidArguments("prune()", [f"older_than: {older_than!r} is no timedelta of zero or more"])
        return workflows.prune(older_than, limit)

    # ── going on ────────────────────────────────────────────────────────────────────────────────────────────

    def send_event(
        self,
        workflow_id: Id,
        event: str | EventType[Any],
        value: Any = None,
        *,
        error: str | BaseException | None = None,
        key: str | None = None,
    ) -> Event:
        """Send an event to a workflow, in the caller's transaction. It is kept until a step waits for it (P5).

        Args:
            workflow_id: to which one.
            event: an `Event`, or the name of one; then the value is checked against the `Event` of that name, if
                there is one.
            value: by the event's type.
            error: a text or an exception, in place of a value: it is raised where the event is waited for.
            key: the same key again delivers nothing and returns the first event.

        Returns:
            The event.

        Raises:
            InvalidArguments: a value of another type, or value and error together.
            NotStorable, PayloadTooLarge: the journal can't keep the value.
            LimitReached: `PENDING_EVENT_LIMIT` events wait already.
            WorkflowFinished, WorkflowNotFound: nobody will ever take it.

        """
        pk = identify(workflow_id)
        kind = event_of(event, "send_event()")
        value_text, error_text = _encode_event(kind, value, error, key)
        sent = events.send(pk, kind.name, value_text, error_text, key)
        if sent is None:
            raise WorkflowFinished(pk, self.get(pk).state)
        return sent

    def event_url(
        self,
        workflow_id: Id,
        event: str | EventType[Any],
        *,
        expires: timedelta = timedelta(days=7),
        request: HttpRequest | None = None,
    ) -> str:
        """Make an address that sends this event, once: for a link in a mail, or as somebody else's webhook.

        Whoever has the address may send. Each call makes another one, which delivers once, too.

        Args:
            workflow_id: to which workflow.
            event: an `Event`, or the name of one.
            expires: from now, by the durable clock.
            request: whose scheme and host the address begins with; None: it is a path.

        Returns:
            The address: a page with a button for a browser that asks for it; a POST sends.

        Raises:
            InvalidArguments: what is given as event, expires or request is none.
            UsageError: `django_workflow.rest.urls` is not included in the project's URLs.
            WorkflowFinished, WorkflowNotFound: nobody will ever take it.

        """
        kind = event_of(event, "event_url()")
        run_id = identify(workflow_id)
        now = clock.read(connection())
        expires_at = _checked_expiry(now, expires, request)
        run = self.get(run_id)
        if run.finished:
            raise WorkflowFinished(run.id, run.state)
        token = links.make(run.id, kind.name, expires_at, secrets.token_bytes(links.NONCE_BYTES))
        path = _address(token)
        return path if request is None else request.build_absolute_uri(path)

    def event_link(self, token: str) -> EventLink | None:
        """What the token at the end of an `event_url()` is good for; it changes nothing.

        Returns:
            None when it was tampered with, has expired, or its workflow is gone: which of these, is not told.

        """
        link = links.read(token, clock.read(connection()))
        if link is None:
            return None
        # Anybody may ask, again and again: no payload is read for it.
        rows = Workflow.objects.using(alias()).only("definition", "version", "state")
        run = rows.filter(id=link.workflow_id).first()
        if run is None:
            return None
        sent = Event.objects.using(alias()).filter(workflow_id=run.id, key_digest=digest(link.key))
        kind = event_of(link.event, "event_link()")
        return EventLink(run, kind, link.expires_at, link.key, sent.exists())

    def restart(
        self,
        workflow_id: Id,
        from_step: int | str | Callable[..., Any] | WorkflowDefinition[Any, Any] | None = None,
        *,
        from_failure: bool = False,
    ) -> Workflow:
        """Run the handler of a finished or paused workflow again, on what is kept of its journal.

        Args:
            workflow_id: which one.
            from_step: drop the journal from this step on: a number, or the last step of a name or function. None: keep
                all of it; a failure on record is then raised again, so this is for handlers whose code was fixed.
            from_failure: drop it from the last failed step on.

        Returns:
            The workflow as it is now.

        Raises:
            WorkflowInProgress: it has not finished, nor is it paused.
            StepNotFound: it has no such step.
            WorkflowNotFound: there is no such workflow.

        """
        if from_step is not None and from_failure:
            raise InvalidArguments("restart()", ["from_step and from_failure: give one of them, not both"])
        pk = identify(workflow_id)
        _refuse_itself(pk, "restart")
        run = lives.restart(pk, from_step, from_failure)
        if run is None:
            raise WorkflowNotFound(pk)
        return run

    def fork(
        self, workflow_id: Id, from_step: int | str | Callable[..., Any] | WorkflowDefinition[Any, Any]
    ) -> Workflow:
        """Start a new workflow with the settled steps of another one below `from_step`; that one is not touched.

        It takes over labels, context and options, not the key.

        Raises:
            StepNotFound: there is no such step.
            WorkflowNotFound: there is no such workflow.

        """
        pk = identify(workflow_id)
        run = lives.fork(pk, from_step)
        if run is None:
            raise WorkflowNotFound(pk)
        return run

    def dropped(
        self,
        workflow_id: Id,
        from_step: int | str | Callable[..., Any] | WorkflowDefinition[Any, Any] | None = None,
        *,
        from_failure: bool = False,
    ) -> StepQuerySet:
        """The steps that a restart with these arguments would drop, in their order; a fork leaves out the same ones.

        Raises:
            StepNotFound: it has no such step.
            WorkflowNotFound: there is no such workflow.

        """
        pk = identify(workflow_id)
        found = lives.dropped(pk, from_step, from_failure)
        if found is None:
            raise WorkflowNotFound(pk)
        return found.order_by("number")

    # ── code that changes ───────────────────────────────────────────────────────────────────────────────────

    def check(self, workflow_id: Id) -> Verdict:
        """Replay a workflow against the code as it is now: `Fits | Breaks`. No step runs, nothing is written.

        Of one that has finished: whether it would end alike. Of a parked one: whether it would go on after a restart.
        Raises `WorkflowNotFound`.
        """
        pk = identify(workflow_id)
        found = inspection.check(pk)
        if found is None:
            raise WorkflowNotFound(pk)
        return found

    def check_all(
        self, definition: WorkflowDefinition[Any, Any] | str | None = None, limit: int | None = None
    ) -> Iterator[Verdict]:
        """`check()` of every workflow in progress, the oldest first, one after the other, in flat memory.

        Args:
            definition: of this definition only (all versions), or of that name.
            limit: at most so many; None: all.

        Raises:
            InvalidArguments: the limit is no whole number from 1, or `definition` is none.
            UnknownDefinition: neither the code nor any workflow knows that name.

        """
        if limit is not None and (type(limit) is not int or limit < 1):
            raise InvalidArguments("check_all()", [f"limit: {limit!r} is not a whole number from 1, or None"])
        name = None
        if definition is not None:
            known = Workflow.objects.using(alias()).of(definition)
            name = definition if isinstance(definition, str) else definition.name
            if all(each != name for each, _ in registry.known()) and not known.exists():
                raise UnknownDefinition(name, sorted({each for each, _ in registry.known()}))
        return inspection.check_all(name, limit)

    def export(self, workflow_id: Id, *, with_secrets: bool = False) -> str:
        """The workflow with its journal as a golden journal: JSON text that `replay()` takes, wherever its code is.

        Arguments, results and errors are in it in clear.

        Args:
            workflow_id: which one.
            with_secrets: also what stands under the names of `REDACT` and of the definition's `redact=`, and tracebacks.
                Otherwise each such text is masked wherever it stands, by a mask of its own.

        Raises:
            WorkflowNotFound: there is no such workflow.

        """
        pk = identify(workflow_id)
        found = inspection.export(pk, with_secrets=with_secrets)
        if found is None:
            raise WorkflowNotFound(pk)
        return found

    def replay(self, journal: str) -> Verdict:
        """Replay a golden journal against the code as it is now, without the database.

        Args:
            journal: the text that `export()` gave, this version's or an earlier one's.

        Raises:
            InvalidArguments: it is no golden journal, or one of a later version.

        """
        return golden.replay(journal)

    def clusters(self) -> tuple[str, ...]:
        """The names, as django-q2 has them, of the clusters of all managers with definitions; the default one first."""
        from django_workflow.cluster.wakeups import default_queue

        default = default_queue()
        return (default, *sorted(_clusters() - {"", default}))

    def health(self) -> Health:
        """Whether work gets done: the oldest due work, the ticker, live workers, pauses. A handful of statements."""
        return health.look()

    def now(self) -> datetime:
        """The time of the clock by which all rows are stamped (aware). One statement."""
        return clock.read(connection())

    def definitions(self) -> tuple[WorkflowDefinition[Any, Any], ...]:
        """All definitions that this process knows, by name and version."""
        return registry.definitions()

    def pause(self, reason: str, cluster: str | None = None) -> None:
        """Hold all turns and steps, of one cluster or (None) of all, until `resume()`; starts and events are still taken.

        What runs just then runs to its end. Again: changes the reason.
        """
        if not isinstance(reason, str) or not reason.strip():
            raise InvalidArguments("pause()", [f"reason: {reason!r} is no text that says why"])
        pauses.pause(_storable(reason), _clusters_in_rows("pause()", cluster))

    def resume(self, cluster: str | None = None) -> bool:
        """End a `pause()` of the same cluster, or of all. True iff there was one."""
        names = _clusters_in_rows("resume()", cluster)
        held = pauses.resume(names)
        for each in _clusters() if cluster is None else names:
            wakes.ask(each or "")
        return held

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

    async def acancel(self, workflow_id: Id, reason: str = "", rollback: bool = False) -> bool:
        """`cancel()` for async code."""
        return await sync_to_async(self.cancel)(workflow_id, reason, rollback)

    async def astart_many(
        self,
        definition: WorkflowDefinition[..., Any] | str,
        args: Iterable[Sequence[Any] | Mapping[str, Any]],
    ) -> builtins.list[Workflow]:
        """`start_many()` for async code."""
        return await sync_to_async(self.start_many)(definition, args)

    async def asend_event(
        self,
        workflow_id: Id,
        event: str | EventType[Any],
        value: Any = None,
        *,
        error: str | BaseException | None = None,
        key: str | None = None,
    ) -> Event:
        """`send_event()` for async code."""
        return await sync_to_async(self.send_event)(workflow_id, event, value, error=error, key=key)

    async def aevent_url(
        self,
        workflow_id: Id,
        event: str | EventType[Any],
        *,
        expires: timedelta = timedelta(days=7),
        request: HttpRequest | None = None,
    ) -> str:
        """`event_url()` for async code."""
        return await sync_to_async(self.event_url)(workflow_id, event, expires=expires, request=request)

    async def aevent_link(self, token: str) -> EventLink | None:
        """`event_link()` for async code."""
        return await sync_to_async(self.event_link)(token)

    async def arestart(
        self,
        workflow_id: Id,
        from_step: int | str | Callable[..., Any] | WorkflowDefinition[Any, Any] | None = None,
        *,
        from_failure: bool = False,
    ) -> Workflow:
        """`restart()` for async code."""
        return await sync_to_async(self.restart)(workflow_id, from_step, from_failure=from_failure)

    async def adropped(
        self,
        workflow_id: Id,
        from_step: int | str | Callable[..., Any] | WorkflowDefinition[Any, Any] | None = None,
        *,
        from_failure: bool = False,
    ) -> StepQuerySet:
        """`dropped()` for async code."""
        return await sync_to_async(self.dropped)(workflow_id, from_step, from_failure=from_failure)

    async def afork(
        self, workflow_id: Id, from_step: int | str | Callable[..., Any] | WorkflowDefinition[Any, Any]
    ) -> Workflow:
        """`fork()` for async code."""
        return await sync_to_async(self.fork)(workflow_id, from_step)

    async def acheck(self, workflow_id: Id) -> Verdict:
        """`check()` for async code."""
        return await sync_to_async(self.check)(workflow_id)

    async def acheck_all(
        self, definition: WorkflowDefinition[Any, Any] | str | None = None, limit: int | None = None
    ) -> AsyncIterator[Verdict]:
        """`check_all()` for async code: `async for`."""
        verdicts = await sync_to_async(self.check_all)(definition, limit)
        while (found := await sync_to_async(partial(next, verdicts, None))()) is not None:
            yield found

    async def aexport(self, workflow_id: Id, *, with_secrets: bool = False) -> str:
        """`export()` for async code."""
        return await sync_to_async(self.export)(workflow_id, with_secrets=with_secrets)

    async def areplay(self, journal: str) -> Verdict:
        """`replay()` for async code."""
        return await sync_to_async(self.replay)(journal)

    async def apause(self, reason: str, cluster: str | None = None) -> None:
        """`pause()` for async code."""
        await sync_to_async(self.pause)(reason, cluster)

    async def aresume(self, cluster: str | None = None) -> bool:
        """`resume()` for async code."""
        return await sync_to_async(self.resume)(cluster)

    async def aretry_on_complete(self, workflow_id: Id) -> bool:
        """`retry_on_complete()` for async code."""
        return await sync_to_async(self.retry_on_complete)(workflow_id)

    async def ahealth(self) -> Health:
        """`health()` for async code."""
        return await sync_to_async(self.health)()

    async def anow(self) -> datetime:
        """`now()` for async code."""
        return await sync_to_async(self.now)()

    async def aprune(self, older_than: timedelta, limit: int = 10_000) -> int:
        """`prune()` for async code."""
        return await sync_to_async(self.prune)(older_than, limit)

    async def aschedule(
        self,
        definition: WorkflowDefinition[..., Any] | str,
        *,
        name: str,
        cron: str | None = None,
        every: timedelta | float | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Schedule:
        """`schedule()` for async code."""
        return await sync_to_async(self.schedule)(
            definition, name=name, cron=cron, every=every, args=args, kwargs=kwargs
        )

    async def alist(
        self,
        definition: WorkflowDefinition[Any, Any] | str | None = None,
        state: str | None = None,
        labels: Mapping[str, Any] | None = None,
    ) -> WorkflowQuerySet:
        """`list()` for async code; the QuerySet has async methods of its own."""
        return self.list(definition, state, labels)

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
    for what, here in inside():
        ancestor: UUID | None = here
        while ancestor is not None and ancestor != workflow_id:
            parents = Workflow.objects.using(alias()).filter(id=ancestor)
            ancestor = parents.values_list("parent_id", flat=True).first()
        if ancestor is None:
            continue
        whose = (
            "its own workflow"
            if here == workflow_id
            else f"workflow {workflow_id}, which it is a descendant of"
        )
        remedy = (
            "do it after the commit, by transaction.on_commit()"
            if what == "on_complete"
            else "return or raise, and let the handler end it, or do it in an action"
        )
        raise UsageError(f"{what} of workflow {here} can't {verb} {whose}; {remedy}")


def _storable(text: str) -> str:
    return UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def _encode(definition: WorkflowDefinition[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    return definition.signature.encode_arguments(
        args,
        kwargs,
        what=f"the arguments of {definition.name}",
        limit=settings.VALUE_LIMIT,
        defaults=True,
    )


def _begin_if_eager(definition: WorkflowDefinition[Any, Any], runs: Iterable[Workflow]) -> None:
    if definition.start_options.eager:
        for run in runs:
            transaction.on_commit(partial(drain.take_one, run.id), using=alias(), robust=True)


def _encode_each(definition: WorkflowDefinition[Any, Any], each: Iterable[Any]) -> list[str]:
    texts: list[str] = []
    problems: list[str] = []
    for position, args in enumerate(each):
        if isinstance(args, Mapping):
            given: tuple[Any, Any] = ((), args)
        elif isinstance(args, tuple | list):
            given = (args, {})
        else:
            problems.append(
                f"[{position}]: {args!r} is no tuple or list of arguments, nor a dict by their names"
            )
            continue
        try:
            texts.append(_encode(definition, *given))
        except InvalidArguments as error:
            problems += [f"[{position}] {problem}" for problem in error.problems]
    if problems:
        raise InvalidArguments(f"the arguments of {definition.name}", problems)
    return texts


def _encode_event(
    event: EventType[Any], value: Any, error: str | BaseException | None, key: str | None
) -> tuple[str | None, str | None]:
    """The texts of value and error; one of them is None."""
    problems = []
    if error is not None and value is not None:
        problems.append("value and error: give one of them, not both")
    if error is not None and not isinstance(error, str | BaseException):
        problems.append(f"error: {error!r} is neither a text nor an exception")
    if key is not None and (problem := key_problem(key)) is not None:
        problems.append(problem)
    if problems:
        raise InvalidArguments("send_event()", problems)
    if error is None:
        return event.encode(value, limit=settings.VALUE_LIMIT), None
    if isinstance(error, str):
        return None, encode_error(ErrorInfo(dotted_path(EventFailed), error, "", None))
    told = describe_error(error)
    return None, encode_error(ErrorInfo(told.type, told.message, told.traceback, None))


def _checked_expiry(now: datetime, expires: Any, request: Any) -> datetime:
    """When a link expires that is made now."""
    problems = []
    expires_at = now
    if not isinstance(expires, timedelta) or expires <= timedelta(0):
        problems.append(f"expires: {expires!r} is no positive timedelta; give timedelta(days=7), or the like")
    else:
        try:
            expires_at = now + expires
        except OverflowError:
            problems.append(
                f"expires: {expires!r} ends after the last year that there is; give a shorter one"
            )
    if request is not None and not callable(getattr(request, "build_absolute_uri", None)):
        problems.append(
            f"request: {request!r} is no request; give the one that is answered, or None for a path"
        )
    if problems:
        raise InvalidArguments("event_url()", problems)
    return expires_at


def _address(token: str) -> str:
    try:
        return reverse("django_workflow:event-link", kwargs={"token": token})
    except NoReverseMatch:
        raise UsageError(
            "event_url() has no address to give: the project's URLs don't include those of django_workflow; add"
            ' path("api/", include("django_workflow.rest.urls")) to its urlpatterns'
        ) from None


def _clusters_in_rows(call: str, cluster: str | None) -> builtins.list[str | None]:
    """What rows may call a cluster: "" is django-q2's default one, and so is the name that Q_CLUSTER gives it."""
    if cluster is None:
        return [None]
    if not isinstance(cluster, str) or len(cluster) > 100:
        raise InvalidArguments(call, [f"cluster: {cluster!r} is no name of a cluster"])
    from django_workflow.cluster.wakeups import default_queue

    default = default_queue()
    return ["", default] if cluster in ("", default) else [cluster]


def _clusters() -> set[str]:
    return {"", *(definition.manager.cluster for definition in registry.definitions())}


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
