"""Rows as JSON documents: the shapes that `--json` promises (docs/command-line.md).

Rules of this file: it only reads. Every value goes through `Values`, which masks; times are ISO 8601 in UTC, spans
are seconds. A key that has nothing to say is there all the same, as null.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django_workflow.exceptions import ErrorInfo
from django_workflow.handler import registry
from django_workflow.health import Health, PauseHealth
from django_workflow.manager import workflow
from django_workflow.models import Event, Pause, Step, Workflow
from django_workflow.windows import stored
from django_workflow.windows.values import ShownError, Values
from django_workflow.windows.waits import reason_to_hold

EVENTS: Final = 50  # the newest so many
UNREADABLE: Final = "This value can't be shown."

# What only one workflow's own document holds.
PAYLOADS: Final = ("args_text", "result_text", "custom_text", "context_text", "on_complete_error_text")


def values_of(run: Workflow) -> Values:
    """How its values are shown: whoever has a shell sees them, but for what is redacted."""
    return Values(run, True)


def redacted(run: Workflow) -> tuple[str, ...]:
    """The names that its definition hides, besides those of the setting."""
    definition = registry.find(run.definition, run.version)
    return () if definition is None else definition.redact


def workflow_document(run: Workflow) -> dict[str, Any]:
    """A workflow as a list has it, without its payloads."""
    values = values_of(run)
    error = values.error(run.error)
    return {
        "id": str(run.pk),
        "definition": run.definition,
        "version": run.version,
        "state": run.state,
        "key": run.key,
        "labels": values.masked(stored.labels(run.labels_text)),
        "priority": run.priority,
        "cluster": run.cluster,
        "parent": _text(run.parent_id),
        "created_at": moment(run.created_at),
        "started_at": moment(run.started_at),
        "completed_at": moment(run.completed_at),
        "due_at": moment(run.due_at),
        "reason": run.reason,
        "paused": run.paused,
        "canceling": run.ending is not None,
        "error": None if error is None else _error(error, traceback=False),
    }


def status_document(run: Workflow) -> dict[str, Any]:
    """All of a workflow but its journal. Five statements at most."""
    values = values_of(run)
    return {
        **workflow_document(run),
        "paused": paused(run),
        "arguments": shown(run.args_text, values),
        "result": shown(run.result_text, values),
        "error": error_document(run.error, values),
        "custom": shown(run.custom_text, values),
        "context": shown(run.context_text, values),
        "on_complete_error": error_document(run.on_complete_error, values),
        "running": [
            {
                "number": step.number,
                "name": step.name,
                "kind": step.kind,
                "state": step.state,
                "attempts": step.attempts,
                "started_at": moment(step.started_at),
                "due_at": moment(step.due_at),
            }
            for step in unsettled(run)
        ],
        "events": [event_document(event, values) for event in events(run)],
    }


def step_document(step: Step, values: Values, child: Any) -> dict[str, Any]:
    """An entry of a journal; `child`: the id of the workflow that it runs, or None."""
    return {
        "number": step.number,
        "kind": step.kind,
        "name": step.name,
        "function": step.function,
        "state": step.state,
        "attempts": step.attempts,
        "arguments": shown(step.args_text, values),
        "result": shown(step.result_text, values),
        "error": error_document(step.error, values),
        "details": shown(step.details_text, values),
        "history": [_attempt(entry, values) for entry in step.history],
        "child": _text(child),
        "created_at": moment(step.created_at),
        "started_at": moment(step.started_at),
        "completed_at": moment(step.completed_at),
        "due_at": moment(step.due_at),
    }


def event_document(event: Event, values: Values) -> dict[str, Any]:
    """An event; `consumed_at` is null while no step has taken it."""
    return {
        "name": event.name,
        "key": event.key,
        "value": shown(event.value_text, values),
        "error": error_document(event.error, values),
        "sent_at": moment(event.sent_at),
        "consumed_at": moment(event.consumed_at),
    }


def health_document(health: Health) -> dict[str, Any]:
    """How things stand."""
    return {
        "ok": health.ok,
        "problems": list(health.problems),
        "oldest_due": seconds(health.oldest_due),
        "ticker_seen": seconds(health.ticker_seen),
        "clusters": [
            {"name": each.name, "workers": each.workers, "busy": each.busy} for each in health.clusters
        ],
        "unknown": [{"definition": definition, "version": version} for definition, version in health.unknown],
        "pauses": [{"cluster": each.cluster, "reason": each.reason} for each in health.pauses],
    }


def error_document(error: ErrorInfo | None, values: Values) -> dict[str, Any] | None:
    """An error with its traceback."""
    told = values.error(error)
    return None if told is None else _error(told, traceback=True)


def shown(text: str | None, values: Values) -> Any:
    """A stored value, masked; None where there is none. What Python refuses to read is said to be so."""
    if text is None:
        return None
    try:
        value = values.masked(json.loads(text))
        json.dumps(value)
    except (ValueError, RecursionError):  # digits or depth, in rows that others wrote
        return UNREADABLE
    return value


def unsettled(run: Workflow) -> Iterator[Step]:
    """Its steps that have not settled, without their payloads."""
    rows = workflow.steps(run).unsettled()
    return rows.defer("args_text", "result_text", "details_text", "history_text", "error_text").iterator()


def events(run: Workflow) -> list[Event]:
    """Its newest events."""
    return list(Event.objects.using(run._state.db).filter(workflow_id=run.pk).order_by("-id")[:EVENTS])


def paused(run: Workflow) -> str | None:
    """Why it is held, itself or by a pause; None when it isn't."""
    if run.finished or run.paused is not None:
        return run.paused
    return reason_to_hold(run.cluster, pauses())


def pauses() -> list[PauseHealth]:
    """The pauses that hold."""
    rows = Pause.objects.using(workflow.list().db).order_by("name")
    return [PauseHealth(row.cluster, row.reason) for row in rows]


def moment(at: datetime | None) -> str | None:
    """A moment as JSON has it."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def seconds(of: timedelta | None) -> float | None:
    """A span as JSON has it."""
    return None if of is None else of.total_seconds()


def _attempt(entry: dict[str, Any], values: Values) -> dict[str, Any]:
    stored = entry.get("error") or None
    info = stored and ErrorInfo(
        stored["type"], stored.get("message", ""), stored.get("traceback", ""), stored.get("step")
    )
    return {
        "attempt": entry["attempt"],
        "outcome": entry["outcome"],
        "started_at": entry.get("started_at"),
        "ended_at": entry.get("ended_at"),
        "error": error_document(info, values),
    }


def _error(error: ShownError, *, traceback: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"type": error.type, "message": error.message, "step": error.step}
    return {**told, "traceback": error.traceback} if traceback else told


def _text(id: Any) -> str | None:
    return None if id is None else str(id)
