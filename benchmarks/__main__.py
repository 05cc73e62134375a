"""Measures how fast workflows are worked off: `python -m benchmarks [w1a|w1b|w2a|w2b|w3|w6 …]`; by default all, in small.

What each workload is, and how to read its table: README.md beside this file.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks import machine, report
from benchmarks.databases import DATABASES, answering, answers
from benchmarks.systems import ROOT, System, ours
from benchmarks.workloads import Options, Result, idle_latency, many_workflows, one_workflow, slow_calls

Workload = Callable[[Sequence[System], Options], Result]
WORKLOADS: dict[str, Workload] = {
    "w1a": partial(many_workflows, "w1a", "mutations"),
    "w1b": partial(many_workflows, "w1b", "actions"),
    "w2a": partial(one_workflow, "w2a", "mutations"),
    "w2b": partial(one_workflow, "w2b", "actions"),
    "w3": partial(idle_latency, "w3"),
    "w6": partial(slow_calls, "w6"),
}
# What `--size` is by default: when the workload is asked for by name, and when all are run.
SIZES = {
    "w1a": (200, 40),
    "w1b": (200, 40),
    "w2a": (3000, 300),
    "w2b": (3000, 300),
    "w3": (100, 12),
    "w6": (500, 100),
}
RESULTS = ROOT / "benchmarks" / "results"


def main(arguments: Sequence[str]) -> int:
    """Run what the command line asks for."""
    asked = _parser().parse_args(arguments)
    databases = asked.database or answering()
    here = machine.describe()
    print(
        f"{here.cpus} CPUs, Python {here.python}, {here.system}; {asked.workers} workers, {asked.rounds} rounds"
    )
    print(f"databases: {', '.join(databases)}\n", flush=True)
    results = []
    for name in asked.workload or WORKLOADS:
        whole, small = SIZES[name]
        options = Options(asked.size or (whole if asked.workload else small), asked.rounds, _progress)
        result = WORKLOADS[name](_systems(name, databases, asked.workers), options)
        _progress("")
        print(report.table(result), end="\n\n", flush=True)
        results.append(result)
    print(report.ratios(results))
    path = asked.json or _new_file()
    report.write_json(path, here, asked.workers, asked.rounds, results)
    print(f"written to {path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "workload",
        nargs="*",
        type=_workload,
        help=f"one or more of {', '.join(WORKLOADS)}; by default all, in small",
    )
    parser.add_argument(
        "--database", action="append", choices=DATABASES, help="may be repeated; by default all that answer"
    )
    parser.add_argument("--workers", type=_count, default=2, help="worker processes (2)")
    parser.add_argument(
        "--size", type=_count, help="W1: workflows; W2: steps of the longest; W3: times; W6: calls"
    )
    parser.add_argument("--rounds", type=_count, default=3, help="how often each is measured (3)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="by default a new one in benchmarks/results/"
    )
    return parser


def _workload(text: str) -> str:
    if text not in WORKLOADS:
        raise argparse.ArgumentTypeError(f"{text!r} is no workload; there are {', '.join(WORKLOADS)}")
    return text


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _systems(workload: str, databases: Sequence[str], workers: int) -> list[System]:
    """Whom a workload measures: where a cluster is part of it, with each broker."""
    if workload != "w3":
        return [ours(database, workers) for database in databases]
    brokers = ["orm", "redis"] if answers("redis") else ["orm"]
    return [ours(database, workers, broker) for database in databases for broker in brokers]


def _progress(text: str) -> None:
    if sys.stdout.isatty():
        print(f"\r\x1b[K{text}", end="", flush=True)


def _new_file() -> Path:
    RESULTS.mkdir(exist_ok=True)
    # What was measured on one machine says nothing about another: not for the repository.
    (RESULTS / ".gitignore").write_text("*\n")
    return RESULTS / f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}.json"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
