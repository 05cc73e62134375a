"""What `workflow_check` and `workflow_replay` say of a workflow whose code has changed: for people, and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django_workflow.management.output import Cell, Output
from django_workflow.verdict import Breaks, Verdict


def show(out: Output, found: Breaks, where: str = "") -> None:
    """Write a break for people.

    Args:
        out: where to.
        found: the break.
        where: the file that it is in; "": in the database.

    """
    would = "would stop again" if found.paused else "breaks"
    at = "" if found.number is None else f" at step {found.number}"
    title = f"{found.definition} v{found.version} {found.workflow_id} {would}{at}"
    out.line(f"{where}: {title}" if where else title, "paused" if found.paused else "problem")
    facts: list[tuple[str, Cell | str]] = [("  reason", found.reason)]
    if found.recorded is not None or found.asked is not None:
        facts = [
            ("  recorded", found.recorded or "nothing"),
            ("  asked for", found.asked or "nothing"),
            *facts,
        ]
    out.facts(facts)


def as_json(found: Verdict) -> dict[str, Any]:
    """A verdict as plain values."""
    return {"verdict": found.type, **asdict(found), "workflow_id": str(found.workflow_id)}


def counted(number: int, noun: str) -> str:
    """`1 workflow`, `2 workflows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
