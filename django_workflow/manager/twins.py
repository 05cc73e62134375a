"""The same verbs for async code, one line each."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async

from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.handler.events import Event as EventType
from django_workflow.health import Health
from django_workflow.manager.ending import Ending
from django_workflow.manager.event_links import EventLink, EventLinks
from django_workflow.manager.going_on import GoingOn
from django_workflow.manager.identity import Id
from django_workflow.manager.operating import Operating
from django_workflow.manager.rehearsing import Rehearsing
from django_workflow.manager.starting import Starting
from django_workflow.models import Event, StepQuerySet, Workflow, WorkflowQuerySet
from django_workflow.status import Status
from django_workflow.verdict import Verdict

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django_q.models import Schedule

P = ParamSpec("P")
R = TypeVar("R")


class Twins(Starting, Ending, GoingOn, EventLinks, Rehearsing, Operating):
    """All verbs, each with its twin."""

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
