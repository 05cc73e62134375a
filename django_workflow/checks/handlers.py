"""The check of what the handlers' source does; how that is found out stands in `source.py`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.core.checks import CheckMessage, Warning

from django_workflow.checks.source import inspect_handler
from django_workflow.handler import registry


def check_handlers(**_: Any) -> list[CheckMessage]:
    """W010: a handler reads the clock, dice, network, files or database, which a replay can't repeat."""
    return [
        Warning(
            f"{_shown(finding.path)}:{finding.line}: {finding.what} (in the handler of {definition.name!r}).",
            hint=f"{finding.remedy} Where it is harmless, end the line with `# workflow: deterministic`.",
            id="django_workflow.W010",
        )
        for definition in registry.definitions()
        for finding in inspect_handler(definition.handler)
    ]


def _shown(path: str) -> str:
    """The path as seen from the current directory, if it is below it."""
    here = Path.cwd()
    return os.path.relpath(path, here) if Path(path).is_relative_to(here) else path
