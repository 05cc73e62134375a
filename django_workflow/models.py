"""The tables: columns, constraints, indexes, and QuerySets with named selections.

Rules of this file: it says what a row is, never when it may change; rows are written by `journal/` alone.
Values are ASCII JSON in text columns, so that every database gives back what it was given. Correctness
rests on nullable unique columns and compare-and-set, never on conditional constraints, which MariaDB skips.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Case, Q, Value, When
from django.utils.translation import gettext_lazy

from django_workflow.exceptions import ErrorInfo, InvalidArguments
from django_workflow.fields import PayloadField
from django_workflow.handler import registry
from django_workflow.keys import label_digests
from django_workflow.payloads import decode_error, decode_plain
from django_workflow.states import StepKind, StepState, WorkflowState

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.utils.functional import Promise

    from django_workflow.handler.definition import WorkflowDefinition
    from django_workflow.handler.events import Event as EventType
    from django_workflow.manager import WorkflowManager
    from django_workflow.status import Status


def _choices(states: type[WorkflowState] | type[StepState] | type[StepKind]) -> list[tuple[str, Promise]]:
    # The admin marks each of these words for translation.
    return [(state.value, gettext_lazy(state.value.replace("_", " "))) for state in states]


class Attention(models.TextChoices):
    """Why somebody has to look at a workflow."""

    PAUSED = "paused", gettext_lazy("paused")
    ON_COMPLETE = "on_complete", gettext_lazy("on_complete failed")


class WorkflowQuerySet(models.QuerySet["Workflow"]):
    """Named selections of workflows."""

    def in_progress(self) -> WorkflowQuerySet:
        """Those that have not ended."""
        return self.filter(state=WorkflowState.IN_PROGRESS)

    def completed(self) -> WorkflowQuerySet:
        """Those whose handler returned."""
        return self.filter(state=WorkflowState.COMPLETED)

    def failed(self) -> WorkflowQuerySet:
        """Those whose handler raised."""
        return self.filter(state=WorkflowState.FAILED)

    def canceled(self) -> WorkflowQuerySet:
        """Those that somebody canceled."""
        return self.filter(state=WorkflowState.CANCELED)

    def finished(self) -> WorkflowQuerySet:
        """Those that have ended, however."""
        return self.exclude(state=WorkflowState.IN_PROGRESS)

    def of(self, definition: WorkflowDefinition[Any, Any] | str) -> WorkflowQuerySet:
        """Those of one definition (or of the definition with that name), all versions."""
        name = definition if isinstance(definition, str) else getattr(definition, "name", None)
        if not isinstance(name, str):
            raise InvalidArguments(
                "of()", [f"definition: {definition!r} is neither a definition nor the name of one"]
            )
        return self.filter(definition=name)

    def labeled(self, labels: Mapping[str, Any]) -> WorkflowQuerySet:
        """Those that bear all of these labels; a value is compared by its text, `42` with `"42"`."""
        found = self
        for digest in label_digests("labeled()", labels).values():
            found = found.filter(id__in=Label.objects.filter(digest=digest).values("workflow_id"))
        return found


class Workflow(models.Model):
    """One execution of a definition."""

    id = models.UUIDField(primary_key=True, editable=False)  # UUIDv7: sorts by time of creation
    definition = models.CharField(max_length=200)
    version = models.PositiveIntegerField(default=1)
    # Of the code that last advanced it; "" before its first turn, and when a restart lets any code go on (R27).
    fingerprint = models.CharField(max_length=64, default="", blank=True)
    advanced_at = models.DateTimeField(
        null=True
    )  # when a worker with another fingerprint than before took it on
    args_text = PayloadField(db_column="args", default="{}")
    state = models.CharField(
        max_length=20, choices=_choices(WorkflowState), default=WorkflowState.IN_PROGRESS.value
    )
    result_text = PayloadField(null=True, db_column="result")  # null: it has none
    error_text = PayloadField(null=True, db_column="error")  # null: it has none
    reason = models.TextField(default="", blank=True)
    custom_text = PayloadField(null=True, db_column="custom")  # null: the handler never called set_status()
    key = models.CharField(max_length=200, null=True, blank=True)  # noqa: DJ001  null: it has none
    # Of definition and key: exact on databases whose texts are equal regardless of case. Unique where there is a key.
    key_digest = models.CharField(max_length=64, null=True, unique=True)  # noqa: DJ001  null: it has no key
    # Of the arguments that it was first started with; "" without a key.
    args_digest = models.CharField(max_length=64, default="", blank=True)
    labels_text = models.TextField(db_column="labels", default="{}")
    priority = models.IntegerField(default=0)
    cluster = models.CharField(max_length=100, default="", blank=True)  # "": django-q2's default cluster
    # Counts the handler's lives: everything that a claim of an older one still wants to write is refused.
    generation = models.PositiveIntegerField(default=0)
    # Free: when it next needs a turn; null iff only outside input can wake it. Leased: when the lease ends.
    # Null for every finished workflow.
    due_at = models.DateTimeField(null=True)
    # The token of the claim that may write; null iff free. A token is never used twice.
    lease_owner = models.CharField(max_length=64, null=True)  # noqa: DJ001  null: free
    # Counts outside inputs; never decreases. A turn goes to sleep only if it is what it was at the claim.
    wakes = models.PositiveIntegerField(default=0)
    # Crashes in turns since a step last settled.
    interruptions = models.PositiveIntegerField(default=0)
    # Turns in a row that were given up for an error of the database; sets the backoff, never ends a workflow.
    setbacks = models.PositiveIntegerField(default=0)
    # Why it is parked: it goes on by a restart only; null iff it is not.
    paused = models.TextField(null=True)  # noqa: DJ001  null: it is not parked
    # The state that it will end in when its rollbacks have ended; null iff its handler still counts (R29).
    ending = models.CharField(max_length=20, null=True, choices=_choices(WorkflowState))  # noqa: DJ001  see above
    timeout = models.FloatField(null=True)  # seconds from its first turn
    deadline_at = models.DateTimeField(null=True)  # null before the first turn, or without a timeout
    on_complete = models.CharField(max_length=300, default="", blank=True)  # dotted path
    context_text = PayloadField(null=True, db_column="context")
    on_complete_error_text = PayloadField(null=True, db_column="on_complete_error")  # null: it did not fail
    # What its dice are seeded by; "": its id. A fork has its original's, a continued workflow a new one.
    seed = models.CharField(max_length=100, default="", blank=True)
    # The workflow that runs it as a child; null for a root.
    parent = models.ForeignKey("self", on_delete=models.CASCADE, null=True, related_name="children")
    # The step that waits for it; null for a root, and when that step was dropped.
    parent_step = models.OneToOneField("Step", on_delete=models.SET_NULL, null=True, related_name="child")
    depth = models.PositiveIntegerField(default=0)  # 0 for a root, else its parent's and 1
    # Why somebody has to look at it; null iff nobody has. The database keeps it, so that it never differs from the row.
    attention = models.GeneratedField(
        expression=Case(
            When(paused__isnull=False, then=Value(Attention.PAUSED.value)),
            When(on_complete_error_text__isnull=False, then=Value(Attention.ON_COMPLETE.value)),
        ),
        output_field=models.CharField(max_length=20, null=True),
        db_persist=True,  # PostgreSQL before 18 knows no other
    )
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)  # null until the first turn has committed
    completed_at = models.DateTimeField(null=True)

    # True iff the very `start()` that returned this object made the workflow: with a key it may be an older one. No column.
    is_new = False

    objects = WorkflowQuerySet.as_manager()

    class Meta:
        default_permissions = ("view",)
        permissions = [
            ("start_workflow", "Can start workflows"),
            ("cancel_workflow", "Can cancel workflows, pause and resume"),
            ("restart_workflow", "Can restart workflows and run on_complete again"),
            ("fork_workflow", "Can fork workflows"),
            ("send_event", "Can send events to workflows"),
            ("cleanup_workflow", "Can clean up finished workflows"),
            ("view_payload", "Can view arguments, results, values and tracebacks"),
        ]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="workflow_due"),
            models.Index(
                fields=["lease_owner"], condition=Q(lease_owner__isnull=False), name="workflow_leased"
            ),
            models.Index(fields=["-created_at", "-id"], name="workflow_newest"),
            # Each in the whole order of the list, so that a page is read and nothing is sorted.
            models.Index(fields=["definition", "-created_at", "-id"], name="workflow_of"),
            models.Index(fields=["definition", "state", "-created_at", "-id"], name="workflow_definition"),
            models.Index(fields=["state", "-created_at", "-id"], name="workflow_state"),
            models.Index(
                fields=["completed_at"], condition=Q(completed_at__isnull=False), name="workflow_completed"
            ),
            # What somebody has to look at: few rows, whatever the table holds. Where an index has no condition
            # (MariaDB), all others stand together at its one end.
            models.Index(
                fields=["attention", "-created_at", "-id"],
                condition=Q(attention__isnull=False),
                name="workflow_attention",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.definition} {self.id}"

    @property
    def finished(self) -> bool:
        """True iff it has ended."""
        return self.state != WorkflowState.IN_PROGRESS

    @property
    def args(self) -> dict[str, Any]:
        """The arguments by parameter name, as plain JSON values; needs no code."""
        values: dict[str, Any] = decode_plain(self.args_text)
        return values

    @property
    def result(self) -> Any:
        """What the handler returned, by its annotation while the definition is known; None while there is none."""
        if self.result_text is None:
            return None
        definition = registry.find(self.definition, self.version)
        if definition is None:
            return decode_plain(self.result_text)
        return definition.signature.decode_result(self.result_text, what=f"the result of {self}")

    @property
    def error(self) -> ErrorInfo | None:
        """What the handler raised; None unless it failed."""
        return decode_error(self.error_text) if self.error_text is not None else None

    @property
    def custom(self) -> Any:
        """The custom status that the handler set last, or None."""
        return decode_plain(self.custom_text) if self.custom_text is not None else None

    @property
    def labels(self) -> dict[str, Any]:
        """The labels that it was started with."""
        values: dict[str, Any] = decode_plain(self.labels_text)
        return values

    @property
    def context(self) -> Any:
        """What `on_complete` is told, as plain JSON values; None without one."""
        return decode_plain(self.context_text) if self.context_text is not None else None

    @property
    def on_complete_error(self) -> ErrorInfo | None:
        """What `on_complete` raised last; None when it ended well, or has not run."""
        return decode_error(self.on_complete_error_text) if self.on_complete_error_text is not None else None

    def status(self) -> Status:
        """`WorkflowManager.status()` of this workflow."""
        return _manager().status(self)

    def cancel(self, reason: str = "", rollback: bool = False) -> bool:
        """`WorkflowManager.cancel()` of this workflow."""
        return _manager().cancel(self, reason, rollback)

    def restart(self, from_step: int | str | Any | None = None, *, from_failure: bool = False) -> Workflow:
        """`WorkflowManager.restart()` of this workflow."""
        return _manager().restart(self, from_step, from_failure=from_failure)

    def fork(self, from_step: int | str | Any) -> Workflow:
        """`WorkflowManager.fork()` of this workflow."""
        return _manager().fork(self, from_step)

    def send_event(
        self,
        event: str | EventType[Any],
        value: Any = None,
        *,
        error: str | BaseException | None = None,
        key: str | None = None,
    ) -> Event:
        """`WorkflowManager.send_event()` to this workflow."""
        return _manager().send_event(self, event, value, error=error, key=key)

    def event_url(
        self,
        event: str | EventType[Any],
        *,
        expires: timedelta = timedelta(days=7),
        request: HttpRequest | None = None,
    ) -> str:
        """`WorkflowManager.event_url()` of this workflow."""
        return _manager().event_url(self, event, expires=expires, request=request)

    def retry_on_complete(self) -> bool:
        """`WorkflowManager.retry_on_complete()` of this workflow."""
        return _manager().retry_on_complete(self)

    def cleanup(self) -> bool:
        """`WorkflowManager.cleanup()` of this workflow."""
        return _manager().cleanup(self)

    def steps(self) -> StepQuerySet:
        """`WorkflowManager.steps()` of this workflow."""
        return _manager().steps(self)

    def join(self, timeout: float | timedelta | None = None) -> Status:
        """`WorkflowManager.join()` of this workflow."""
        return _manager().join(self, timeout)

    async def astatus(self) -> Status:
        """`status()` for async code."""
        return await _manager().astatus(self)

    async def acancel(self, reason: str = "", rollback: bool = False) -> bool:
        """`cancel()` for async code."""
        return await _manager().acancel(self, reason, rollback)

    async def arestart(
        self, from_step: int | str | Any | None = None, *, from_failure: bool = False
    ) -> Workflow:
        """`restart()` for async code."""
        return await _manager().arestart(self, from_step, from_failure=from_failure)

    async def afork(self, from_step: int | str | Any) -> Workflow:
        """`fork()` for async code."""
        return await _manager().afork(self, from_step)

    async def asend_event(
        self,
        event: str | EventType[Any],
        value: Any = None,
        *,
        error: str | BaseException | None = None,
        key: str | None = None,
    ) -> Event:
        """`send_event()` for async code."""
        return await _manager().asend_event(self, event, value, error=error, key=key)

    async def aevent_url(
        self,
        event: str | EventType[Any],
        *,
        expires: timedelta = timedelta(days=7),
        request: HttpRequest | None = None,
    ) -> str:
        """`event_url()` for async code."""
        return await _manager().aevent_url(self, event, expires=expires, request=request)

    async def aretry_on_complete(self) -> bool:
        """`retry_on_complete()` for async code."""
        return await _manager().aretry_on_complete(self)

    async def acleanup(self) -> bool:
        """`cleanup()` for async code."""
        return await _manager().acleanup(self)

    async def asteps(self) -> StepQuerySet:
        """`steps()` for async code."""
        return await _manager().asteps(self)

    async def ajoin(self, timeout: float | timedelta | None = None) -> Status:
        """`join()` for async code."""
        return await _manager().ajoin(self, timeout)


def _manager() -> WorkflowManager:
    # The one import that points upwards: it makes `run.cancel()` the very call `workflow.cancel(run)` is.
    from django_workflow.manager import workflow

    return workflow


class StepQuerySet(models.QuerySet["Step"]):
    """Named selections of steps."""

    def unsettled(self) -> StepQuerySet:
        """Those that are pending or running."""
        return self.filter(state__in=[StepState.PENDING, StepState.RUNNING])

    def settled(self) -> StepQuerySet:
        """Those that never change again."""
        return self.exclude(state__in=[StepState.PENDING, StepState.RUNNING])


class Step(models.Model):
    """One entry of a journal."""

    workflow = models.ForeignKey(Workflow, on_delete=models.CASCADE, related_name="journal")
    number = models.PositiveIntegerField()  # the position at which the handler asked, from 1
    kind = models.CharField(max_length=20, choices=_choices(StepKind))
    name = models.CharField(max_length=200)
    function = models.CharField(
        max_length=300, default="", blank=True
    )  # dotted path; "" for what has no body
    args_text = PayloadField(db_column="args", default="{}")
    result_text = PayloadField(null=True, db_column="result")  # null: it has none
    error_text = PayloadField(null=True, db_column="error")  # null: it has none
    state = models.CharField(max_length=20, choices=_choices(StepState), default=StepState.PENDING.value)
    # Bodies started, counted by a commit before each start; never decreases.
    attempts = models.PositiveIntegerField(default=0)
    # JSON list of the attempts that ended: {"attempt", "started_at", "ended_at", "outcome", "error"}.
    history_text = PayloadField(db_column="history", default="[]")
    # How it is attempted again, for whoever attempts it; null: not at all.
    retry_text = models.TextField(null=True, db_column="retry")  # noqa: DJ001  null: no retries
    timeout = models.FloatField(null=True)  # seconds of one attempt
    at_most_once = models.BooleanField(default=False)
    # What the body said of itself by heartbeat(), for the next attempt.
    details_text = PayloadField(null=True, db_column="details")  # null: nothing
    cluster = models.CharField(max_length=100, default="", blank=True)
    pool = models.CharField(max_length=100, default="", blank=True)  # that limits how many run; "": none does
    rollback = models.CharField(
        max_length=300, default="", blank=True
    )  # dotted path of what undoes it; "": nothing
    generation = models.PositiveIntegerField(default=0)  # its workflow's when the handler asked for it
    # When it is due, or when its lease ends; null iff it runs inside a turn or has settled.
    due_at = models.DateTimeField(null=True)
    # The token of the claim that runs it as a step of its own; null for a step that runs inside a turn.
    lease_owner = models.CharField(max_length=64, null=True)  # noqa: DJ001  null: free, or inline
    seq = models.PositiveIntegerField(null=True)  # the position at which its answer was delivered, from 1
    delivered_at = models.DateTimeField(null=True)  # never goes back along seq
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)  # the start of the last attempt
    completed_at = models.DateTimeField(null=True)  # when its answer became ready

    objects = StepQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ["workflow", "number"]
        constraints = [
            models.UniqueConstraint(fields=["workflow", "number"], name="workflow_step_number"),
        ]
        indexes = [
            models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="workflow_step_due"),
            models.Index(
                fields=["lease_owner"], condition=Q(lease_owner__isnull=False), name="workflow_step_leased"
            ),
        ]

    def __str__(self) -> str:
        return f"step {self.number} ({self.name})"

    @property
    def args(self) -> dict[str, Any]:
        """The arguments by parameter name, as plain JSON values; needs no code."""
        values: dict[str, Any] = decode_plain(self.args_text)
        return values

    @property
    def result(self) -> Any:
        """What the body returned, as plain JSON values; None while there is none."""
        return decode_plain(self.result_text) if self.result_text is not None else None

    @property
    def error(self) -> ErrorInfo | None:
        """What the last attempt raised; None unless the step failed."""
        return decode_error(self.error_text) if self.error_text is not None else None

    @property
    def history(self) -> list[dict[str, Any]]:
        """The attempts that ended, first to last."""
        attempts: list[dict[str, Any]] = decode_plain(self.history_text)
        return attempts


class EventQuerySet(models.QuerySet["Event"]):
    """Named selections of events."""

    def unconsumed(self) -> EventQuerySet:
        """Those that no step has taken yet."""
        return self.filter(consumed_at=None)


class Event(models.Model):
    """Something from outside, delivered to a workflow by name. Ids are in the order of the commits (R20)."""

    workflow = models.ForeignKey(Workflow, on_delete=models.CASCADE, related_name="events")
    name = models.CharField(max_length=200)
    value_text = PayloadField(null=True, db_column="value")  # null iff it carries an error
    error_text = PayloadField(null=True, db_column="error")  # null iff it carries a value
    key = models.CharField(max_length=200, null=True, blank=True)  # noqa: DJ001  null: it has none
    key_digest = models.CharField(max_length=64, null=True)  # noqa: DJ001  null: it has no key
    sent_at = models.DateTimeField()
    # When a step took it, and which; a step that was dropped since is null.
    consumed_at = models.DateTimeField(null=True)
    consumed_by = models.ForeignKey(Step, on_delete=models.SET_NULL, null=True, related_name="events")

    objects = EventQuerySet.as_manager()

    class Meta:
        default_permissions = ()
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["workflow", "key_digest"], name="workflow_event_key"),
        ]
        indexes = [models.Index(fields=["workflow", "consumed_at"], name="workflow_event_waiting")]

    def __str__(self) -> str:
        return f"event {self.name}"

    @property
    def value(self) -> Any:
        """What was sent, as plain JSON values; None when it carries an error."""
        return decode_plain(self.value_text) if self.value_text is not None else None

    @property
    def error(self) -> ErrorInfo | None:
        """The error that it carries in place of a value, or None."""
        return decode_error(self.error_text) if self.error_text is not None else None


class Label(models.Model):
    """One label of a workflow, for searching; what it says stands in `Workflow.labels`."""

    workflow = models.ForeignKey(Workflow, on_delete=models.CASCADE, related_name="label_rows")
    digest = models.CharField(max_length=64)  # of name and value

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["digest", "workflow"], name="workflow_label")]

    def __str__(self) -> str:
        return self.digest


class Slot(models.Model):
    """One of the places in a limited pool: who holds it may run a body (R23)."""

    pool = models.CharField(max_length=100)
    n = models.PositiveIntegerField()  # from 1; the pool's limit says how many of them count
    lease_owner = models.CharField(max_length=64, null=True)  # noqa: DJ001  null: free
    due_at = models.DateTimeField(null=True)  # when the lease ends; null iff free

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["pool", "n"], name="workflow_slot")]
        indexes = [models.Index(fields=["lease_owner"], name="workflow_slot_leased")]

    def __str__(self) -> str:
        return f"{self.pool} {self.n}"


class Pause(models.Model):
    """Holds all turns and steps, of one cluster or of all."""

    name = models.CharField(primary_key=True, max_length=120)  # "all", or "cluster:" and the cluster's name
    cluster = models.CharField(max_length=100, null=True)  # noqa: DJ001  null: all clusters
    reason = models.TextField()
    since = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class Tick(models.Model):
    """How far a schedule has come: the last of its ticks that has been dealt with."""

    schedule = models.CharField(primary_key=True, max_length=100)  # the name of django-q2's row
    last_at = models.DateTimeField()
    # How it ticked then; where that has changed, it begins anew. "": it is being made.
    timing = models.CharField(max_length=120, default="", blank=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.schedule


class Process(models.Model):
    """A process that takes leases: who holds a token, and whether it still lives."""

    id = models.UUIDField(primary_key=True, editable=False)  # the first part of each of its tokens
    host = models.CharField(max_length=255)
    boot_id = models.CharField(max_length=64)
    pid_namespace = models.CharField(max_length=64)
    pid = models.PositiveIntegerField()
    start_time = models.CharField(max_length=32)  # of the process, in the kernel's ticks: pids are used again
    cluster = models.CharField(max_length=100, default="", blank=True)
    definitions_text = models.TextField(db_column="definitions", default="[]")  # JSON: [[name, version], …]
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class Lease(models.Model):
    """A named right that one process at a time has: the ticker's leadership."""

    name = models.CharField(primary_key=True, max_length=100)
    owner = models.UUIDField(null=True)  # a Process; null: free
    expires_at = models.DateTimeField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
