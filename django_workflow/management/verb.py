"""What a verb of `manage.py workflow` is, and how one is carried out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from django.core.management.base import CommandError

from django_workflow.exceptions import DjangoWorkflowError
from django_workflow.management.escaping import escaped
from django_workflow.management.exits import Ended, Exit, exit_of, told
from django_workflow.management.output import Output


class Verb:
    """One word behind `manage.py workflow`."""

    name: ClassVar[str]
    help: ClassVar[str]  # a sentence

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare its arguments."""

    def run(self, options: dict[str, Any], out: Output) -> None:
        """Do it. Raises `Ended`, or what the manager raises, for any exit code but 0."""
        raise NotImplementedError


@contextmanager
def refusals(out: Output) -> Iterator[None]:
    """What is refused in here ends as Django's `CommandError`, with its exit code and without a traceback."""
    try:
        yield
    except Ended as ended:
        raise CommandError(escaped(str(ended)), returncode=ended.code) from None
    except DjangoWorkflowError as error:
        code, said = exit_of(error), told(error, out.hidden)
        if out.json:
            out.document({"error": code.word, "detail": said})
        raise CommandError(said, returncode=code) from error
    except KeyboardInterrupt:
        raise CommandError("interrupted", returncode=Exit.INTERRUPTED) from None


def each_of(ids: Iterable[str], act: Callable[[str], tuple[Exit, str]], out: Output) -> None:
    """Do something to each of these workflows, whatever becomes of the others, and report it.

    Args:
        ids: of the workflows.
        act: does it; returns how it ended, and says what was done.
        out: for the report.

    Raises:
        Ended: it wasn't done to one of them; with the highest code.

    """
    results = []
    for each in ids:
        try:
            code, said = act(each)
        except DjangoWorkflowError as error:
            code, said = exit_of(error), told(error, out.hidden)
        results.append((each, code, said))
    if out.json:
        out.document(
            {
                "results": [
                    {"id": each, "done": code is Exit.DONE, "exit": code.word, "detail": said}
                    for each, code, said in results
                ]
            }
        )
    else:
        for each, code, said in results:
            out.line(f"{each}  {'; '.join(said.splitlines())}", "" if code is Exit.DONE else "problem")
    failed = [code for _, code, _ in results if code is not Exit.DONE]
    if failed:
        raise Ended(f"not done: {len(failed)} of {len(results)}", max(failed))
