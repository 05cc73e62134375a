"""A workflow's further lives: restart, fork, and going on as new (R28, R30).

Rules of this file: whatever drops steps settles first what hangs on them: children are canceled, events are given
back, copied, or stay taken, as each case demands. The workflow's row is locked before all of that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.db.models import F, Q

from django_workflow.engine import announce, endings
from django_workflow.exceptions import InvalidArguments, StepNotFound, WorkflowInProgress
from django_workflow.handler import registry
from django_workflow.handler.commands import Recorded
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.journal import clock, events, steps, wakes, workflows
from django_workflow.journal.clock import Now
from django_workflow.journal.database import alias, atomic, retrying
from django_workflow.models import Step, StepQuerySet, Workflow
from django_workflow.states import StepKind, StepState, WorkflowState, move_workflow

Position = int | str | Callable[..., Any] | WorkflowDefinition[Any, Any]

# What one life leaves to the next; everything else begins anew.
_COPIED = (
    "definition",
    "args_text",
    "labels_text",
    "priority",
    "cluster",
    "timeout",
    "on_complete",
    "context_text",
    "custom_text",
    "started_at",
)


@retrying
def restart(workflow_id: UUID, from_step: Position | None, from_failure: bool) -> Workflow | None:
    """Run the handler again on what is kept of the journal. None: there is no such workflow.

    Raises:
        WorkflowInProgress: it has not finished, nor is it parked.
        StepNotFound: the journal has no such step.

    """
    with atomic():
        run = _locked(workflow_id)
        if run is None:
            return None
        if run.state == WorkflowState.IN_PROGRESS and run.paused is None:
            raise WorkflowInProgress(workflow_id, "restart")
        journal = steps.load([workflow_id]).get(workflow_id, [])
        first = _failed(run, journal) if from_failure else _position(run, journal, from_step)
        dropped = [step for step in journal if _is_dropped(step, first)]
        _drop(workflow_id, dropped)
        running = any(step.lease_owner and not _is_dropped(step, first) for step in journal)
        _begin_again(run, keeps_running=running)
        wakes.ask(run.cluster)
    return Workflow.objects.using(alias()).get(id=workflow_id)


def _locked(workflow_id: UUID) -> Workflow | None:
    return Workflow.objects.using(alias()).select_for_update().filter(id=workflow_id).first()


def _is_dropped(step: Recorded, first: int | None) -> bool:
    # What a cancel or an ending has settled begins anew. A step that the handler itself gave up is asked for and given
    # up again in the same place, since what made it do so is kept.
    return (
        step.kind == StepKind.ROLLBACK
        or step.state == StepState.CANCELED
        or (first is not None and step.number >= first)
    )


def dropped(workflow_id: UUID, from_step: Position | None, from_failure: bool) -> StepQuerySet | None:
    """The steps that a restart would drop if it came now. None: there is no such workflow. Raises `StepNotFound`."""
    run = Workflow.objects.using(alias()).filter(id=workflow_id).only("id").first()
    if run is None:
        return None
    rows = Step.objects.using(alias()).filter(workflow_id=workflow_id)
    journal = list(rows.only("number", "name", "function", "kind", "state"))
    first = _failed(run, journal) if from_failure else _position(run, journal, from_step)
    condition = Q(kind=StepKind.ROLLBACK) | Q(state=StepState.CANCELED)  # as _is_dropped()
    if first is not None:
        condition |= Q(number__gte=first)
    return rows.filter(condition)


def _begin_again(run: Workflow, *, keeps_running: bool) -> None:
    changes: dict[str, Any] = {
        "state": move_workflow(WorkflowState(run.state), "restart"),
        # R28: a step of a parked workflow that is running just now keeps its result, which a new generation would refuse.
        "generation": F("generation") + (0 if keeps_running else 1),
        "version": _version(run),
        "result_text": None,
        "error_text": None,
        "on_complete_error_text": None,
        "reason": "",
        "paused": None,
        "ending": None,
        "completed_at": None,
        "deadline_at": None,
        "fingerprint": "",
        "advanced_at": None,
        "lease_owner": None,
        "due_at": Now(),
        "interruptions": 0,
        "setbacks": 0,
        "wakes": F("wakes") + 1,
    }
    Workflow.objects.using(alias()).filter(id=run.id).update(**changes)


def _version(run: Workflow) -> int:
    """The version that it goes on with: its own, or the newest when the code no longer has that."""
    if registry.find(run.definition, run.version) is not None:
        return run.version
    versions = [version for name, version in registry.known() if name == run.definition]
    return max(versions, default=run.version)


def _drop(workflow_id: UUID, dropped: Sequence[Recorded]) -> None:
    """Drop steps with their children; what they had taken is there again."""
    _drop_children(_ids(dropped, StepKind.WORKFLOW), workflow_id)
    events.give_back(workflow_id, _ids(dropped, StepKind.EVENT))
    steps.drop(_ids(dropped))


def _ids(rows: Sequence[Recorded], kind: StepKind | None = None) -> list[int]:
    return [row.id for row in rows if row.id is not None and kind in (None, row.kind)]


def _drop_children(step_ids: Sequence[int], workflow_id: UUID) -> None:
    endings.cancel_children(step_ids, f"its parent, workflow {workflow_id}, was restarted")
    children = workflows.children_of(step_ids, in_progress=False)
    if children:
        workflows.erase([*children, *workflows.descendants(children)])


def _position(run: Workflow, journal: Sequence[Recorded | Step], step: Position | None) -> int | None:
    """The number of the step that an argument names: by number, or the last of a name or function."""
    if step is None:
        return None
    found: list[int]
    if isinstance(step, bool):
        raise InvalidArguments("from_step", [f"{step!r} is neither a number, nor a name, nor a function"])
    if isinstance(step, int):
        found = [each.number for each in journal if each.number == step]
    elif isinstance(step, str):
        found = [each.number for each in journal if each.name == step]
    elif isinstance(step, WorkflowDefinition):
        found = [each.number for each in journal if each.function == step.name]
    elif callable(step):
        path = f"{getattr(step, '__module__', '')}.{getattr(step, '__qualname__', '')}"
        found = [each.number for each in journal if each.function == path]
    else:
        raise InvalidArguments("from_step", [f"{step!r} is neither a number, nor a name, nor a function"])
    found = [number for number in found if not _is_rollback(journal, number)]
    if not found:
        raise StepNotFound(run.id, step)
    return max(found)


def _is_rollback(journal: Sequence[Recorded | Step], number: int) -> bool:
    return any(step.number == number and step.kind == StepKind.ROLLBACK for step in journal)


def _failed(run: Workflow, journal: Sequence[Recorded | Step]) -> int:
    failed = [
        step.number for step in journal if step.state == StepState.FAILED and step.kind != StepKind.ROLLBACK
    ]
    if not failed:
        raise StepNotFound(run.id, "the last failed step")
    return max(failed)


@retrying
def fork(workflow_id: UUID, from_step: Position) -> Workflow | None:
    """A new workflow with the settled steps below `from_step`. None: there is no such workflow.

    Raises `StepNotFound`. The original is not touched.
    """
    with atomic():
        run = _locked(workflow_id)
        if run is None:
            return None
        journal = steps.load([workflow_id]).get(workflow_id, [])
        first = _position(run, journal, from_step)
        ended = (StepState.COMPLETED, StepState.FAILED)
        kept = [step for step in journal if not _is_dropped(step, first) and step.state in ended]
        kept_ids = set(_ids(kept))
        copy = workflows.as_stored(_copy(run))
        steps.insert(copy.id, [step._replace(id=None, lease_owner=None, due_at=None) for step in kept])
        waits = _ids(journal, StepKind.EVENT)
        events.copy(run.id, copy.id, [each for each in waits if each not in kept_ids])
        announce.started(copy.id, copy.definition)
        wakes.ask(copy.cluster)
        return copy


def _copy(run: Workflow) -> Workflow:
    columns = {column: getattr(run, column) for column in _COPIED}
    copy = Workflow(
        id=clock.new_id(),
        seed=run.seed
        or str(run.id),  # its dice fall as the original's, or the kept journal would not be repeated
        version=_version(run),
        due_at=Now(),
        created_at=Now(),
        **columns,
    )
    workflows.insert(copy)
    return copy


def drop_journal(workflow_id: UUID) -> None:
    """For a workflow that goes on as new: no steps are left, children are canceled and stay on record."""
    rows = Step.objects.using(alias()).filter(workflow_id=workflow_id)
    with_children = list(rows.filter(kind=StepKind.WORKFLOW).values_list("id", flat=True))
    endings.cancel_children(with_children, f"its parent, workflow {workflow_id}, went on as new")
    Workflow.objects.using(alias()).filter(parent_id=workflow_id).update(parent_step=None)
    events.detach(workflow_id)
    steps.drop(list(rows.values_list("id", flat=True)))
