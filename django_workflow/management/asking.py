"""The verbs that only look: `list`, `status`, `steps`, `health`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django_workflow.exceptions import NotReadable
from django_workflow.keys import digest
from django_workflow.management import arguments
from django_workflow.management.documents import (
    PAYLOADS,
    events,
    health_document,
    pauses,
    shown,
    status_document,
    step_document,
    unsettled,
    values_of,
    workflow_document,
)
from django_workflow.management.exits import Ended, Exit
from django_workflow.management.output import Cell, Output
from django_workflow.management.verb import Verb
from django_workflow.manager import workflow
from django_workflow.models import Step, Workflow, WorkflowQuerySet
from django_workflow.states import WorkflowState
from django_workflow.windows.spans import ago, in_full, span
from django_workflow.windows.unsettled import first_waits
from django_workflow.windows.values import Values
from django_workflow.windows.waits import Doing, doing

LIMIT: Final = 50
STEP_TITLES: Final = ("#", "KIND", "NAME", "STATE", "TRIES", "STARTED", "TOOK", "ABOUT")


class List(Verb):
    """Workflows, newest first."""

    name = "list"
    help = "List workflows, the newest first."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """The filters."""
        parser.add_argument("--definition", metavar="NAME", help="of this definition only")
        parser.add_argument("--state", choices=[str(state) for state in WorkflowState])
        parser.add_argument(
            "--label",
            action="append",
            type=arguments.pair,
            metavar="NAME=VALUE",
            help="that bear this label; again: all of them",
        )
        parser.add_argument("--key", help="with exactly this key")
        parser.add_argument(
            "--limit", type=arguments.count, default=LIMIT, metavar="N", help=f"at most so many ({LIMIT})"
        )

    def run(self, options: dict[str, Any], out: Output) -> None:
        """List them."""
        labels = arguments.pairs(options["label"], "--label") or None
        found = workflow.list(options["definition"], options["state"], labels)
        if options["key"] is not None:
            found = _with_key(found, options["definition"], options["key"])
        limit = options["limit"]
        runs = list(found.defer(*PAYLOADS)[: limit + 1])
        more, runs = len(runs) > limit, runs[:limit]
        if out.json:
            out.document({"workflows": [workflow_document(run) for run in runs], "more": more})
            return
        out.table(("ID", "DEFINITION", "STATE", "CREATED", "TOOK", "ABOUT"), _rows(runs))
        if more:
            out.line(f"There are more: --limit {limit * 10} shows them.")


class Status(Verb):
    """One workflow."""

    name = "status"
    help = "Show a workflow. Exits with 1 when it has failed or was canceled."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Which one."""
        parser.add_argument("id", metavar="ID")
        arguments.add_wait(parser)

    def run(self, options: dict[str, Any], out: Output) -> None:
        """Show it, when it has finished if need be."""
        run = workflow.get(options["id"])
        if options["wait"] is None:
            show(run, out)
            ended_well(run)
        else:
            wait_for(run, options["wait"], out)


class Steps(Verb):
    """A journal."""

    name = "steps"
    help = "Show the journal of a workflow."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Of which workflow."""
        parser.add_argument("id", metavar="ID")

    def run(self, options: dict[str, Any], out: Output) -> None:
        """Show it."""
        run = workflow.get(options["id"])
        values = values_of(run)
        steps = list(workflow.steps(run))
        rows = workflow.list().filter(parent_step__isnull=False, parent_id=run.pk)
        children: dict[int | None, UUID] = dict(rows.values_list("parent_step_id", "pk"))
        if out.json:
            documents = [step_document(step, values, children.get(step.pk)) for step in steps]
            out.document({"id": str(run.pk), "steps": documents})
            return
        now = workflow.now()
        out.table(STEP_TITLES, [_step(step, values, children.get(step.pk), now) for step in steps], "#,TRIES")


class Health(Verb):
    """Whether work gets done."""

    name = "health"
    help = "Say whether work gets done. Exits with 1 when it doesn't."

    def run(self, options: dict[str, Any], out: Output) -> None:
        """Ask, and answer."""
        health = workflow.health()
        if out.json:
            out.document(health_document(health))
        else:
            facts: list[tuple[str, Cell | str]] = [
                ("health", Cell("ok", "ok") if health.ok else Cell("not ok", "problem")),
                *(("problem", Cell(problem, "problem")) for problem in health.problems),
                ("oldest due", "nothing is due" if health.oldest_due is None else span(health.oldest_due)),
                ("ticker", "none" if health.ticker_seen is None else f"{span(health.ticker_seen)} ago"),
            ]
            facts += [
                (f"cluster {each.name}", f"workers: {each.workers}, of them busy: {each.busy}")
                for each in health.clusters
            ]
            for pause in health.pauses:
                which = "all" if pause.cluster is None else pause.cluster or "default"
                facts.append((f"paused {which}", Cell(pause.reason, "paused")))
            out.facts(facts)
        if not health.ok:
            raise Ended("work does not get done", Exit.NO)


# ── for verbs that show a workflow at their end ──────────────────────────────────────────────────────────────────


def show(run: Workflow, out: Output) -> None:
    """All of a workflow but its journal."""
    if out.json:
        out.document(status_document(run))
        return
    values, now = values_of(run), workflow.now()
    out.facts(_facts(run, values, now))
    if out.verbosity > 1 and (error := values.error(run.error)) is not None and error.traceback:
        out.lines(error.traceback)
    steps = [] if run.finished else list(unsettled(run))
    if len(steps) > 1:
        out.table(STEP_TITLES, [_step(step, values, None, now) for step in steps], "#,TRIES")


def wait_for(run: Workflow, wait: Any, out: Output) -> None:
    """Show a workflow when it has finished, or when the time is over. Raises `Ended` unless it has completed."""
    late = False
    try:
        workflow.join(run, None if wait is True else wait)
    except TimeoutError:
        late = True
    except NotReadable:
        pass  # it has completed, and its result no longer fits the annotation; it is shown as it is stored
    except KeyboardInterrupt:
        raise Ended(f"interrupted; workflow {run.pk} goes on", Exit.INTERRUPTED) from None
    run = workflow.get(run)
    show(run, out)
    if late:
        raise Ended(f"workflow {run.pk} has not finished in time; it goes on", Exit.LATE)
    ended_well(run)


def ended_well(run: Workflow) -> None:
    """Raise `Ended` for a workflow that has failed or was canceled."""
    match WorkflowState(run.state):
        case WorkflowState.FAILED:
            raise Ended(f"workflow {run.pk} has failed", Exit.NO)
        case WorkflowState.CANCELED:
            raise Ended(f"workflow {run.pk} was canceled", Exit.NO)


# ── rows and facts ───────────────────────────────────────────────────────────────────────────────────────────────


def _with_key(found: WorkflowQuerySet, definition: str | None, key: str) -> WorkflowQuerySet:
    # By digests, which are exact and have an index: one for each definition.
    known = {each.name for each in workflow.definitions()} if definition is None else {definition}
    return found.filter(key_digest__in=[digest(name, key) for name in known])


def _rows(runs: list[Workflow]) -> Iterator[tuple[Cell | str, ...]]:
    now, held = workflow.now(), pauses()
    waits = first_waits(run.pk for run in runs if not run.finished)
    for run in runs:
        said = doing(run, waits.get(run.pk), held, now)
        yield (
            str(run.pk),
            run.definition,
            _state(run, said),
            ago(run.created_at, now),
            _took(run, now),
            _about(run, said),
        )


def _state(run: Workflow, said: Doing) -> Cell:
    """The state as a word."""
    word = said.mark if said.mark in ("paused", "canceling") else run.state.replace("_", " ")
    return Cell(word, said.mark)


def _about(run: Workflow, said: Doing) -> str:
    return said.detail if run.finished or said.mark in ("paused", "canceling") else said.word


def _took(run: Workflow, now: datetime) -> str:
    return "" if run.started_at is None else span((run.completed_at or now) - run.started_at)


def _step(step: Step, values: Values, child: UUID | None, now: datetime) -> tuple[Cell | str, ...]:
    started = "" if step.started_at is None else ago(step.started_at, now)
    took: timedelta | None = None
    if step.completed_at is not None:
        took = step.completed_at - (step.started_at or step.created_at)
    about = ""
    if (error := values.error(step.error)) is not None:
        about = error.short
    elif child is not None:
        about = f"workflow {child}"
    elif took is None and step.due_at is not None and step.state == "pending":
        about = f"due {ago(step.due_at, now)}"
    elif step.result_text is not None:
        about = _json(step.result_text, values)
    tried = str(step.attempts) if step.attempts else ""
    return (
        str(step.number),
        step.kind,
        step.name,
        Cell(step.state, step.state),
        tried,
        started,
        "" if took is None else span(took),
        about,
    )


def _facts(run: Workflow, values: Values, now: datetime) -> Iterator[tuple[str, Cell | str]]:
    wait = None if run.finished else first_waits([run.pk]).get(run.pk)
    said = doing(run, wait, pauses(), now)
    state, about = _state(run, said), _about(run, said)
    yield "workflow", str(run.pk)
    yield "definition", f"{run.definition} v{run.version}"
    yield "state", state if run.finished or not about else Cell(f"{state.text}: {about}", said.mark)
    named: list[tuple[str, str | None]] = [
        ("error", None if run.error is None else str(values.error(run.error))),
        ("on_complete", None if run.on_complete_error is None else str(values.error(run.on_complete_error))),
        ("reason", run.reason or None),
        ("result", _json(run.result_text, values)),
        ("custom", _json(run.custom_text, values)),
        ("arguments", _json(run.args_text, values)),
        ("key", run.key),
        ("labels", ", ".join(values.labels(run.labels)) or None),
        ("priority", str(run.priority) if run.priority else None),
        ("cluster", run.cluster or None),
        ("parent", None if run.parent_id is None else str(run.parent_id)),
    ]
    for name, text in named:
        if text:
            yield name, Cell(text, "problem") if name in ("error", "on_complete") else text
    yield "created", _moment(run.created_at, now)
    if run.started_at is not None:
        yield "took" if run.finished else "runs for", _took(run, now)
    if run.completed_at is not None:
        yield "ended", _moment(run.completed_at, now)
    elif run.due_at is not None and run.lease_owner is None:
        yield "due", _moment(run.due_at, now)
    waiting = [event.name for event in reversed(events(run)) if event.consumed_at is None]
    if waiting:
        yield "events", "not taken: " + ", ".join(waiting)


def _moment(moment: datetime, now: datetime) -> str:
    return f"{ago(moment, now)} ({in_full(moment)})"


def _json(text: str | None, values: Values) -> str:
    """A stored value in one line."""
    return "" if text is None else json.dumps(shown(text, values), ensure_ascii=False)
