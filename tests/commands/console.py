"""`manage.py` as a test calls it: in this process, or for real in one of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.management import CommandError, call_command
from django.db import connection

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Answer:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on its standard output."""
        return json.loads(self.out)

    @property
    def all(self) -> str:
        """Everything that it wrote."""
        return self.out + self.err


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def manage(*args: object, stream: io.StringIO | None = None, command: str = "workflow") -> Answer:
    """Call a command in this process; as on a command line, an error is a code and a text."""
    out, err = stream or io.StringIO(), io.StringIO()
    code = 0
    try:
        call_command(command, *map(str, args), stdout=out, stderr=err)
    except CommandError as error:
        code = error.returncode
        err.write(str(error))
    return Answer(code, out.getvalue(), err.getvalue())


def manage_for_real(*args: object, stdin: str = "", **variables: str) -> Answer:
    """Run `manage.py` in a process of its own, on the test's database."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "DATABASE_NAME": str(connection.settings_dict["NAME"]),
        **variables,
    }
    done = subprocess.run(
        [sys.executable, "manage.py", *map(str, args)],
        cwd=ROOT,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    return Answer(done.returncode, done.stdout, done.stderr)
