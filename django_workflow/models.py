"""The tables: columns, constraints, indexes, and QuerySets with named selections.

Rules of this file: it says what a row is, never when it may change; rows are written by `journal/` alone.
Values are ASCII JSON in text columns, so that every database gives back what it was given. Correctness
rests on nullable unique columns and compare-and-set, never on conditional constraints, which MariaDB skips.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Q

from django_workflow.exceptions import ErrorInfo, InvalidArguments
from django_workflow.handler import registry
from django_workflow.payloads import decode_error, decode_plain
from django_workflow.states import StepKind, StepState, WorkflowState

if TYPE_CHECKING:
    from datetime import timedelta

    from django_workflow.handler.definition import WorkflowDefinition
    from django_workflow.manager import WorkflowManager
    from django_workflow.status import Status


def _choices(states: type[WorkflowState] | type[StepState] | type[StepKind]) -> list[tuple[str, str]]:
    return [(state.value, state.value.replace("_", " ")) for state in states]


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


class Workflow(models.Model):
    """One execution of a definition."""

    id = models.UUIDField(primary_key=True, editable=False)  # UUIDv7: sorts by time of creation
    definition = models.CharField(max_length=200)
    version = models.PositiveIntegerField(default=1)
    args_text = models.TextField(db_column="args", default="{}")
    state = models.CharField(
        max_length=20, choices=_choices(WorkflowState), default=WorkflowState.IN_PROGRESS.value
    )
    result_text = models.TextField(null=True, db_column="result")  # noqa: DJ001  null: it has none
    error_text = models.TextField(null=True, db_column="error")  # noqa: DJ001  null: it has none
    reason = models.TextField(default="", blank=True)
    custom_text = models.TextField(null=True, db_column="custom")  # noqa: DJ001  null: the handler never called set_status()
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
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)  # null until the first turn has committed
    completed_at = models.DateTimeField(null=True)

    objects = WorkflowQuerySet.as_manager()

    class Meta:
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["due_at"], condition=Q(due_at__isnull=False), name="workflow_due"),
            models.Index(
                fields=["lease_owner"], condition=Q(lease_owner__isnull=False), name="workflow_leased"
            ),
            models.Index(fields=["-created_at", "-id"], name="workflow_newest"),
            models.Index(fields=["definition", "state", "-created_at"], name="workflow_definition"),
            models.Index(fields=["state", "-created_at"], name="workflow_state"),
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

    def status(self) -> Status:
        """`WorkflowManager.status()` of this workflow."""
        return _manager().status(self)

    def cancel(self, reason: str = "") -> bool:
        """`WorkflowManager.cancel()` of this workflow."""
        return _manager().cancel(self, reason)

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

    async def acancel(self, reason: str = "") -> bool:
        """`cancel()` for async code."""
        return await _manager().acancel(self, reason)

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
    args_text = models.TextField(db_column="args", default="{}")
    result_text = models.TextField(null=True, db_column="result")  # noqa: DJ001  null: it has none
    error_text = models.TextField(null=True, db_column="error")  # noqa: DJ001  null: it has none
    state = models.CharField(max_length=20, choices=_choices(StepState), default=StepState.PENDING.value)
    # Bodies started, counted by a commit before each start; never decreases.
    attempts = models.PositiveIntegerField(default=0)
    # JSON list of the attempts that ended: {"attempt", "started_at", "ended_at", "outcome", "error"}.
    history_text = models.TextField(db_column="history", default="[]")
    # How it is attempted again, for whoever attempts it; null: not at all.
    retry_text = models.TextField(null=True, db_column="retry")  # noqa: DJ001  null: no retries
    timeout = models.FloatField(null=True)  # seconds of one attempt
    at_most_once = models.BooleanField(default=False)
    # What the body said of itself by heartbeat(), for the next attempt.
    details_text = models.TextField(null=True, db_column="details")  # noqa: DJ001  null: nothing
    cluster = models.CharField(max_length=100, default="", blank=True)
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


class Process(models.Model):
    """A process that takes leases: who holds a token, and whether it still lives."""

    id = models.UUIDField(primary_key=True, editable=False)  # the first part of each of its tokens
    host = models.CharField(max_length=255)
    boot_id = models.CharField(max_length=64)
    pid_namespace = models.CharField(max_length=64)
    pid = models.PositiveIntegerField()
    start_time = models.CharField(max_length=32)  # of the process, in the kernel's ticks: pids are used again
    cluster = models.CharField(max_length=100, default="", blank=True)
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
