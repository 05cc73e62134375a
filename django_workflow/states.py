"""The state machines of a workflow and of a step.

Rules of this file: a transition is a row of a table and nowhere else; code asks `move()`, and a pair that
is not in the table is a bug of ours. What an edge means in SQL stands in `journal/`, one function per edge.
"""

from enum import StrEnum

from django_workflow.exceptions import InternalError


class WorkflowState(StrEnum):
    """Where a workflow stands. Only `in_progress` changes by itself; a restart, which is explicit, begins a new generation."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


class StepState(StrEnum):
    """Where a step stands. `completed`, `failed` and `canceled` are settled: they never change again."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


class StepKind(StrEnum):
    """What a step is."""

    QUERY = "query"
    MUTATION = "mutation"
    ACTION = "action"
    SLEEP = "sleep"
    EVENT = "event"
    WORKFLOW = "workflow"
    MARKER = "marker"
    ROLLBACK = "rollback"


WORKFLOW_TRANSITIONS: dict[tuple[WorkflowState, str], WorkflowState] = {
    (WorkflowState.IN_PROGRESS, "complete"): WorkflowState.COMPLETED,
    (WorkflowState.IN_PROGRESS, "fail"): WorkflowState.FAILED,
    (WorkflowState.IN_PROGRESS, "cancel"): WorkflowState.CANCELED,
    (WorkflowState.IN_PROGRESS, "restart"): WorkflowState.IN_PROGRESS,  # of one that is parked
    (WorkflowState.COMPLETED, "restart"): WorkflowState.IN_PROGRESS,
    (WorkflowState.FAILED, "restart"): WorkflowState.IN_PROGRESS,
    (WorkflowState.CANCELED, "restart"): WorkflowState.IN_PROGRESS,
}

STEP_TRANSITIONS: dict[tuple[StepState, str], StepState] = {
    (StepState.PENDING, "start"): StepState.RUNNING,
    (StepState.PENDING, "complete"): StepState.COMPLETED,  # sleeps, and inline queries and mutations
    (StepState.PENDING, "fail"): StepState.FAILED,
    (StepState.PENDING, "cancel"): StepState.CANCELED,
    (StepState.RUNNING, "start"): StepState.RUNNING,  # the attempt after an interrupted one
    # The database gave the attempt up, or it failed and there is another one to come.
    (StepState.RUNNING, "set_back"): StepState.PENDING,
    (StepState.RUNNING, "complete"): StepState.COMPLETED,
    (StepState.RUNNING, "fail"): StepState.FAILED,
    (StepState.RUNNING, "cancel"): StepState.CANCELED,
}

# Kinds with a body that a worker runs; the others settle by themselves (time, events, children).
BODY_KINDS = frozenset({StepKind.QUERY, StepKind.MUTATION, StepKind.ACTION, StepKind.ROLLBACK})
UNSETTLED = frozenset({StepState.PENDING, StepState.RUNNING})


def move_workflow(state: WorkflowState, edge: str) -> WorkflowState:
    """The state that `edge` leads to from `state`. Raises `InternalError` for a pair that is not in the table."""
    try:
        return WORKFLOW_TRANSITIONS[state, edge]
    except KeyError:
        raise InternalError(f"a workflow that is {state} can't {edge}") from None


def move_step(state: StepState, edge: str) -> StepState:
    """The state that `edge` leads to from `state`. Raises `InternalError` for a pair that is not in the table."""
    try:
        return STEP_TRANSITIONS[state, edge]
    except KeyError:
        raise InternalError(f"a step that is {state} can't {edge}") from None
