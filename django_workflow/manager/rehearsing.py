"""Journals held against the code as it is now: before a deploy, and in tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django_workflow.engine import golden, inspection
from django_workflow.exceptions import InvalidArguments, UnknownDefinition, WorkflowNotFound
from django_workflow.handler import registry
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.journal.database import alias
from django_workflow.manager.identity import Id, identify
from django_workflow.models import Workflow
from django_workflow.verdict import Verdict


class Rehearsing:
    """Verbs that replay, and change nothing."""

    def check(self, workflow_id: Id) -> Verdict:
        """Replay a workflow against the code as it is now: `Fits | Breaks`. No step runs, nothing is written.

        Of one that has finished: whether it would end alike. Of a parked one: whether it would go on after a restart.
        Raises `WorkflowNotFound`.
        """
        pk = identify(workflow_id)
        found = inspection.check(pk)
        if found is None:
            raise WorkflowNotFound(pk)
        return found

    def check_all(
        self, definition: WorkflowDefinition[Any, Any] | str | None = None, limit: int | None = None
    ) -> Iterator[Verdict]:
        """`check()` of every workflow in progress, the oldest first, one after the other, in flat memory.

        Args:
            definition: of this definition only (all versions), or of that name.
            limit: at most so many; None: all.

        Raises:
            InvalidArguments: the limit is no whole number from 1, or `definition` is none.
            UnknownDefinition: neither the code nor any workflow knows that name.

        """
        if limit is not None and (type(limit) is not int or limit < 1):
            raise InvalidArguments("check_all()", [f"limit: {limit!r} is not a whole number from 1, or None"])
        name = None
        if definition is not None:
            known = Workflow.objects.using(alias()).of(definition)
            name = definition if isinstance(definition, str) else definition.name
            if all(each != name for each, _ in registry.known()) and not known.exists():
                raise UnknownDefinition(name, sorted({each for each, _ in registry.known()}))
        return inspection.check_all(name, limit)

    def export(self, workflow_id: Id, *, with_secrets: bool = False) -> str:
        """The workflow with its journal as a golden journal: JSON text that `replay()` takes, wherever its code is.

        Arguments, results and errors are in it in clear.

        Args:
            workflow_id: which one.
            with_secrets: also what stands under the names of `REDACT` and of the definition's `redact=`, and tracebacks.
                Otherwise each such text is masked wherever it stands, by a mask of its own.

        Raises:
            WorkflowNotFound: there is no such workflow.

        """
        pk = identify(workflow_id)
        found = inspection.export(pk, with_secrets=with_secrets)
        if found is None:
            raise WorkflowNotFound(pk)
        return found

    def replay(self, journal: str) -> Verdict:
        """Replay a golden journal against the code as it is now, without the database.

        Args:
            journal: the text that `export()` gave, this version's or an earlier one's.

        Raises:
            InvalidArguments: it is no golden journal, or one of a later version.

        """
        return golden.replay(journal)
