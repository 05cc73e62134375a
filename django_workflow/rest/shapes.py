"""What is shown of a workflow, its steps and its status: plain JSON, masked, without what this user may not see.

Rules of this file: values are shown as the journal has them, not as their annotations would read them, so that a
workflow whose code has changed or is gone can still be looked at. Without the permission `view_payload` a value is
null, and `hidden` names it.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django_workflow.manager import workflow
from django_workflow.states import WorkflowState
from django_workflow.windows import stored
from django_workflow.windows.values import ShownError, Values

if TYPE_CHECKING:
    from django_workflow.models import Step, Workflow
    from django_workflow.status import RunningStep

# The payload columns, which lists don't read.
PAYLOADS = ("args_text", "result_text", "error_text", "custom_text", "context_text", "on_complete_error_text")


def entry(run: Workflow, values: Values) -> dict[str, Any]:
    """A workflow in a list: no payloads."""
    return {
        "id": str(run.id),
        "definition": run.definition,
        "version": run.version,
        "state": run.state,
        "key": run.key,
        "labels": values.masked(stored.labels(run.labels_text)),
        "priority": run.priority,
        "cluster": run.cluster,
        "parent": str(run.parent_id) if run.parent_id is not None else None,
        "paused": run.paused,
        "canceling": run.state == WorkflowState.IN_PROGRESS and run.ending is not None,
        "created_at": moment(run.created_at),
        "started_at": moment(run.started_at),
        "completed_at": moment(run.completed_at),
    }


def whole(run: Workflow, values: Values) -> dict[str, Any]:
    """All of a workflow."""
    shown = {
        **entry(run, values),
        "due_at": moment(run.due_at),
        "deadline_at": moment(run.deadline_at),
        "custom": _custom(run, values),
        "reason": run.reason if run.state == WorkflowState.CANCELED else None,
        "error": error(values.error(stored.error(run.error_text))),
        "on_complete_error": error(values.error(stored.error(run.on_complete_error_text))),
    }
    payloads = {"args": run.args_text, "result": run.result_text, "context": run.context_text}
    return _with_payloads(shown, payloads, values, "traceback")


def status(run: Workflow, values: Values) -> dict[str, Any]:
    """Where it stands. `run` is the row as it was just read."""
    shown: dict[str, Any] = {
        "id": str(run.id),
        "type": run.state,
        "custom": _custom(run, values),
        "paused": None,
        "canceling": False,
    }
    match WorkflowState(run.state):
        case WorkflowState.IN_PROGRESS:
            progress = workflow.progress(run)
            running = [running_step(step) for step in progress.running]
            return {
                **shown,
                "running": running,
                "paused": progress.paused,
                "canceling": progress.canceling,
                "hidden": [],
            }
        case WorkflowState.COMPLETED:
            return _with_payloads(shown, {"result": run.result_text}, values)
        case WorkflowState.FAILED:
            return {
                **shown,
                "error": error(values.error(stored.error(run.error_text))),
                "hidden": _hidden(["traceback"], values),
            }
        case WorkflowState.CANCELED:
            return {**shown, "reason": run.reason, "hidden": []}


def bare(status: dict[str, Any]) -> dict[str, Any]:
    """A status for who may not look at workflows and has only done something to this one."""
    told = ("id", "type", "canceling")
    empty: dict[str, Any] = {"running": [], "reason": ""}
    hidden = [name for name in status if name not in (*told, "hidden")]
    return {**status, **{name: empty.get(name) for name in hidden}, "hidden": sorted(hidden)}


def running_step(step: RunningStep) -> dict[str, Any]:
    """A step that has not settled."""
    return {
        "number": step.number,
        "name": step.name,
        "kind": step.kind.value,
        "state": step.state.value,
        "attempts": step.attempts,
        "started_at": moment(step.started_at),
        "due_at": moment(step.due_at),
    }


def step(row: Step, values: Values) -> dict[str, Any]:
    """A step of the journal."""
    shown = {
        "number": row.number,
        "name": row.name,
        "kind": row.kind,
        "function": row.function,
        "state": row.state,
        "attempts": row.attempts,
        "created_at": moment(row.created_at),
        "started_at": moment(row.started_at),
        "completed_at": moment(row.completed_at),
        "due_at": moment(row.due_at),
        "error": error(values.error(stored.error(row.error_text))),
    }
    return _with_payloads(shown, {"args": row.args_text, "result": row.result_text}, values, "traceback")


def error(shown: ShownError | None) -> dict[str, Any] | None:
    """An error; its traceback is null for who may not see it."""
    if shown is None:
        return None
    return {
        "type": shown.type,
        "message": shown.message,
        "traceback": shown.traceback or None,
        "step": shown.step,
    }


def moment(at: datetime | None) -> str | None:
    """A time, in ISO 8601."""
    return at.isoformat().replace("+00:00", "Z") if at is not None else None


def _custom(run: Workflow, values: Values) -> Any:
    return values.masked(stored.value(run.custom_text)) if run.custom_text is not None else None


def _with_payloads(
    shown: dict[str, Any], texts: dict[str, str | None], values: Values, *others: str
) -> dict[str, Any]:
    payloads = {name: _payload(text, values) for name, text in texts.items()}
    return {**shown, **payloads, "hidden": _hidden([*texts, *others], values)}


def _payload(text: str | None, values: Values) -> Any:
    if text is None or not values.visible:
        return None
    return values.masked(stored.value(text))


def _hidden(names: list[str], values: Values) -> list[str]:
    return [] if values.visible else names
