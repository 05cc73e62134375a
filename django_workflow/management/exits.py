"""Exit codes: what each means, which error ends with which, and what is said of an error.

Rules of this file: it only tells; nothing is written or ended here. A client's mistake has a code, a bug of ours and
a database that isn't there have none: these go up as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum
from typing import Final

from django.core.management.base import CommandError

from django_workflow.conf import settings
from django_workflow.exceptions import (
    DjangoWorkflowError,
    InvalidArguments,
    KeyConflict,
    NotFound,
    NotReadable,
    StateError,
    UnknownDefinition,
)
from django_workflow.management.escaping import escaped


class Exit(IntEnum):
    """How a command ended. Of several workflows the highest counts."""

    DONE = 0
    NO = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    REFUSED = 5
    LATE = 6
    INTERRUPTED = 130

    @property
    def word(self) -> str:
        """As JSON has it."""
        return self.name.lower()


MEANING: Final = {
    Exit.DONE: "done",
    Exit.NO: "the answer is no: it failed or was canceled, it is not healthy, nothing was left to do",
    Exit.USAGE: "the command line can't be read",
    Exit.NOT_FOUND: "there is no such workflow, step or definition",
    Exit.CONFLICT: "its state doesn't allow it, or the key belongs to other arguments",
    Exit.REFUSED: "arguments or values that don't fit",
    Exit.LATE: "it has not finished within the seconds of --wait",
    Exit.INTERRUPTED: "interrupted by Ctrl-C",
}

EPILOG: Final = "exit codes:\n" + "\n".join(f"  {code.value:<4} {said}" for code, said in MEANING.items())

# What a problem says of the value that doesn't fit.
_SAID = re.compile(r" \(got .*\)$|(?<=^unexpected positional argument) .*(?= \(takes)", re.DOTALL)


class Ended(Exception):
    """Everything has been written; what is left is a sentence for people, and a code."""

    def __init__(self, said: str, code: Exit) -> None:
        super().__init__(said)
        self.code = code


def usage(problem: str) -> CommandError:
    """For what the parser of the command line can't see."""
    return CommandError(escaped(problem), returncode=Exit.USAGE)


def exit_of(error: DjangoWorkflowError) -> Exit:
    """The code for what the manager refused."""
    match error:
        case NotFound() | UnknownDefinition():
            return Exit.NOT_FOUND
        case StateError() | KeyConflict():
            return Exit.CONFLICT
    return Exit.REFUSED


def told(error: DjangoWorkflowError, redact: Iterable[str] = ()) -> str:
    """What is said of it, each problem on a line of its own.

    Args:
        error: what the manager refused.
        redact: names besides those of the setting whose values aren't said.

    """
    if not isinstance(error, InvalidArguments | NotReadable):
        return escaped(str(error))
    head = str(error).split("\n  ", 1)[0]
    hidden = {name.casefold() for name in (*settings.REDACT, *redact)}
    return "\n  ".join(escaped(each) for each in (head, *(_masked(each, hidden) for each in error.problems)))


def _masked(problem: str, hidden: set[str]) -> str:
    """A problem; without the value, when a hidden name stands anywhere in it."""
    names = {name.casefold() for name in re.findall(r"\w+", problem)}
    return _SAID.sub("", problem) if names & hidden else problem
