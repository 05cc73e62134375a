"""A run as JSON, samples included, and back again: to draw it or to make a page of it without measuring anew."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import Load, Machine
from benchmarks.systems import System
from benchmarks.workloads import Result, Row


@dataclass(frozen=True)
class Run:
    """All that was measured in one go."""

    machine: Machine
    workers: int
    rounds: int
    results: list[Result]


def write(path: Path, run: Run) -> None:
    """Keep it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": asdict(run.machine),
        "workers": run.workers,
        "rounds": run.rounds,
        "workloads": [_from_result(result) for result in run.results],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def read(path: Path) -> Run:
    """What `write()` has kept."""
    content = json.loads(path.read_text())
    return Run(
        Machine(**content["machine"]),
        content["workers"],
        content["rounds"],
        [_to_result(each) for each in content["workloads"]],
    )


def _from_result(result: Result) -> dict[str, Any]:
    return {
        "workload": result.workload,
        "title": result.title,
        "size": result.size,
        "main_figure": result.main,
        "more_is_better": result.more_is_better,
        "load": asdict(result.load),
        "systems": [_from_row(row) for row in result.rows],
    }


def _from_row(row: Row) -> dict[str, Any]:
    return {
        "system": row.system.name,
        "database": row.system.database,
        "queue": row.system.queue,
        "is_peer": row.system.is_peer,
        "tells_kinds_apart": row.system.tells_kinds_apart,
        "notes": list(row.system.notes),
        "variant": row.variant,
        "not_measured": row.note,
        "figures": row.figures,
        "samples_s": row.samples,
    }


def _to_result(said: dict[str, Any]) -> Result:
    return Result(
        said["workload"],
        said["title"],
        said["main_figure"],
        said["more_is_better"],
        [_to_row(each) for each in said["systems"]],
        Load(**said["load"]),
        said["size"],
    )


def _to_row(said: dict[str, Any]) -> Row:
    system = System(
        said["system"],
        said["database"],
        said["queue"],
        [],
        {},
        said["tells_kinds_apart"],
        said["is_peer"],
        said["notes"],
    )
    return Row(system, said["figures"], said["samples_s"], said["variant"], said["not_measured"])
