"""How workflows are started: now, many at once, by a schedule."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from django.db import transaction

from django_workflow.conf import settings
from django_workflow.engine import drain, starting
from django_workflow.exceptions import InvalidArguments, UsageError
from django_workflow.handler import registry
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.journal.database import alias
from django_workflow.manager.pool import Pool
from django_workflow.models import Workflow

if TYPE_CHECKING:
    from django_q.models import Schedule

P = ParamSpec("P")
R = TypeVar("R")


class Starting(Pool):
    """Verbs that start."""

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


def _resolve(definition: Any) -> WorkflowDefinition[Any, Any]:
    if isinstance(definition, WorkflowDefinition):
        return definition
    if isinstance(definition, str):
        return registry.newest(definition)
    raise InvalidArguments(
        "start()", [f"definition: {definition!r} is neither a definition nor the name of one"]
    )
