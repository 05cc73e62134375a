"""How workflows begin: one of their own, many, or a child, always in the transaction of who asks (P1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import IntegrityError

from django_workflow.engine import announce
from django_workflow.exceptions import InvalidArguments, KeyConflict
from django_workflow.handler import registry
from django_workflow.handler.commands import Command
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.handler.options import StartOptions
from django_workflow.journal import clock, wakes, workflows
from django_workflow.journal.claims import Turnable
from django_workflow.journal.database import RETRIES, alias, atomic, connection, retrying
from django_workflow.keys import digest
from django_workflow.models import Workflow

# From here on a delay might lead out of the calendar: the database is asked what time it is.
FAR = timedelta(days=365_000)


def start(definition: WorkflowDefinition[Any, Any], args: str, options: StartOptions) -> Workflow:
    """Start a workflow; with a key, get the one that was started with it. Raises `KeyConflict`."""
    options = _complete(definition, options)
    run = _new(definition, args, options)
    if options.key is not None:
        return _start_with_key(definition, options.key, run)
    workflows.as_stored(workflows.insert(run))
    _tell([run])
    run.is_new = True
    return run


def start_many(
    definition: WorkflowDefinition[Any, Any], args: Sequence[str], options: StartOptions
) -> list[Workflow]:
    """Start workflows in few statements, with one wake-up."""
    options = _complete(definition, options)
    runs = [_new(definition, each, options) for each in args]
    if runs:
        _insert_many(runs)
    stored = [workflows.as_stored(run) for run in runs]
    for run in stored:
        run.is_new = True
    return stored


@retrying
def _insert_many(runs: Sequence[Workflow]) -> None:
    try:
        with atomic():
            workflows.insert_many(runs)
            _tell(runs)
    except IntegrityError:
        # A repetition, after a connection was lost: the first one had committed (R18).
        if connection().in_atomic_block or not Workflow.objects.using(alias()).filter(id=runs[0].id).exists():
            raise


def _new(definition: WorkflowDefinition[Any, Any], args: str, options: StartOptions) -> Workflow:
    return workflows.new(
        definition.name, definition.version, args, cluster=definition.manager.cluster, options=options
    )


@retrying
def _start_with_key(definition: WorkflowDefinition[Any, Any], key: str, run: Workflow) -> Workflow:
    for attempt in range(1, RETRIES + 1):
        known = workflows.with_key(definition.name, key)
        if known is not None:
            if known.args_digest != digest(run.args_text):
                raise KeyConflict(definition.name, key, known.id)
            found = Workflow.objects.using(alias()).filter(id=known.id).first()
            if found is not None:
                return found
            continue  # cleaned up meanwhile
        try:
            with atomic():  # a savepoint, inside of a transaction: somebody may have been faster
                workflows.insert(run)
        except IntegrityError:
            if attempt == RETRIES:
                raise
        else:
            workflows.as_stored(run)
            _tell([run])
            run.is_new = True
            return run
    raise KeyConflict(definition.name, key, "that comes and goes")


def _tell(runs: Sequence[Workflow]) -> None:
    for run in runs:
        announce.started(run.id, run.definition)
    for cluster in {run.cluster for run in runs}:
        wakes.ask(cluster)


def child(claim: Turnable, command: Command, step_id: int) -> Workflow:
    """The workflow that a step of kind `workflow` starts, not yet a row."""
    assert command.child is not None
    definition = registry.find(command.function, command.child.version) or registry.newest(command.function)
    given = StartOptions(run_at=command.due_at, timeout=command.timeout).over(command.child.options)
    if given.run_at is not None:
        given = replace(given, run_after=None)
    options = _complete(definition, given.over(StartOptions(priority=claim.priority)))
    return workflows.new(
        definition.name,
        definition.version,
        command.args,
        cluster=command.cluster or definition.manager.cluster,
        options=options,
        parent_id=claim.id,
        parent_step_id=step_id,
        depth=claim.depth + 1,
    )


def _complete(definition: WorkflowDefinition[Any, Any], options: StartOptions) -> StartOptions:
    """The options, and what the definition says where they say nothing. Raises `InvalidArguments`."""
    after = options.run_after
    if (
        after is not None
        and after > FAR
        and after > datetime.max.replace(tzinfo=UTC) - clock.read(connection())
    ):
        raise InvalidArguments(
            f"{definition.name}.using()", [f"run_after: {after!r} from now is past the year 9999"]
        )
    return options.over(StartOptions(timeout=definition.timeout, on_complete=definition.on_complete or None))
