"""A JSON document that is written while it comes to be: a list, and then what was counted. Memory stays flat."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from django_workflow.management.output import Output


class DocumentStream:
    """One JSON object whose first key is a list of any length.

    Args:
        out: where to.
        key: of the list.

    """

    def __init__(self, out: Output, key: str) -> None:
        self._out = out
        self._is_empty = True
        out.write(f'{{\n  "{key}": [', ending="")

    def add(self, item: dict[str, Any]) -> None:
        """Write one item of the list."""
        text = textwrap.indent(json.dumps(item, indent=2), "    ")
        self._out.write(f"{'' if self._is_empty else ','}\n{text}", ending="")
        self._is_empty = False

    def end(self, **facts: Any) -> None:
        """Write the other keys, and the end."""
        rest = "".join(f',\n  "{key}": {json.dumps(value)}' for key, value in facts.items())
        bracket = "]" if self._is_empty else "\n  ]"
        self._out.write(f"{bracket}{rest}\n}}")
