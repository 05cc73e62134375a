"""CPU time of processes and all that they have started, as Linux tells it; the standard library only."""

import os
from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(roots: Iterable[int]) -> float | None:
    """User and system seconds of these processes and their descendants that live; None where /proc is missing."""
    if not (_PROC / "self" / "stat").exists():
        return None
    stats = dict(_stats())
    members = set(roots)
    grown = True
    while grown:
        more = {pid for pid, (parent, _) in stats.items() if parent in members} - members
        members |= more
        grown = bool(more)
    return sum(ticks for pid, (_, ticks) in stats.items() if pid in members) / _TICKS


def _stats() -> Iterable[tuple[int, tuple[int, int]]]:
    """Of each process: pid, parent, and ticks of its own and of those of its children that it has waited for."""
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:  # it has ended
                continue
            # proc(5): what follows the name, which may hold blanks, begins with field 3.
            fields = text.rpartition(")")[2].split()
            yield int(entry.name), (int(fields[1]), sum(int(field) for field in fields[11:15]))
