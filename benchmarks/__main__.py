"""Measures how fast workflows are worked off: `python -m benchmarks [w1a|w1b|w2a|…]`; by default all, in small.

What each workload is, and how to read its table: README.md beside this file.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import chart, machine, report, saved
from benchmarks.databases import DATABASES, answering, answers
from benchmarks.peers import adapters
from benchmarks.peers.environments import NotInstalled
from benchmarks.saved import Run
from benchmarks.systems import ROOT, System, ours
from benchmarks.workloads import WORKLOADS, Options, Result, Workload

RESULTS = ROOT / "benchmarks" / "results"
# What `--full` measures: W1 and W2 with both kinds of steps in one table, so that peers do their work once.
FULL = ("w1", "w2", "w2c", "w3", "w4", "w5a", "w5b", "w6", "w7", "w8")
FILES = {"table": ".txt", "json": ".json", "svg": ".svg"}  # that each run writes
BROKERS = ("orm", "redis")
FULL_DATABASES = ("postgres", "sqlite")
# Elsewhere the server in which everybody is measured is enough.
FULL_ON_ALL = ("w1", "w2")
FULL_BY_BOTH_BROKERS = ("w3",)


def main(arguments: Sequence[str]) -> int:
    """Run what the command line asks for."""
    asked = parser().parse_args(arguments)
    if asked.saved:
        run = saved.read(asked.saved)
        chosen = [each for each in run.results if each.workload in (asked.workload or [each.workload])]
        run = replace(run, results=chosen)
        _show(asked, run)
        return 0
    stem = _new_stem()
    for kind in FILES:
        setattr(asked, kind, getattr(asked, kind) or stem.with_suffix(FILES[kind]))
    run = _measure(asked)
    print(report.ratios(run.results), report.notes(run.results), sep="\n")
    _show(asked, run)
    return 0


def _measure(asked: argparse.Namespace) -> Run:
    databases = asked.database or (
        [name for name in FULL_DATABASES if answers(name)] if asked.full else answering()
    )
    here = machine.describe()
    print(
        f"{here.cpus} CPUs, Python {here.python}, {here.system}; {asked.workers} workers, {asked.rounds} rounds"
    )
    print(f"databases: {', '.join(databases)}\n", flush=True)
    peers = peers_of(asked, databases)
    run = Run(here, asked.workers, asked.rounds, [])
    for name in _names(asked):
        run.results.append(_run(name, asked, databases, peers))
        saved.write(asked.json, run)  # a long run that is cut off has not been for nothing
    return run


def _show(asked: argparse.Namespace, run: Run) -> None:
    """Write the files that are asked for; without any, the tables to the terminal."""
    if asked.table:
        report.write_text(asked.table, run.machine, run.workers, run.rounds, report.tables(run.results))
    if asked.json:
        saved.write(asked.json, run)
        print(f"written to {asked.json}")
    if asked.page:
        report.write_page(asked.page, report.markdown(run.machine, run.workers, run.results))
    if asked.svg:
        chart.write(asked.svg, run.machine, run.results)
    if not any((asked.table, asked.json, asked.page, asked.svg)):
        print(report.tables(run.results))


def _names(asked: argparse.Namespace) -> Sequence[str]:
    if asked.workload:
        return list(asked.workload)
    return FULL if asked.full else [name for name, workload in WORKLOADS.items() if workload.usual]


def _run(name: str, asked: argparse.Namespace, databases: Sequence[str], peers: Sequence[System]) -> Result:
    workload = WORKLOADS[name]
    rounds = 1 if workload.one_round else asked.rounds
    if asked.full and name not in FULL_ON_ALL:
        databases = databases[:1]
        peers = [peer for peer in peers if peer.database in ("", *databases)]
    brokers = asked.broker or ["orm", *(["redis"] if answers("redis") else [])]
    if asked.full and name not in FULL_BY_BOTH_BROKERS:
        brokers = brokers[:1]
    systems = _ours(workload, databases, asked.workers, brokers)
    result = workload.run(
        name,
        [*systems, *(peers if workload.peers else ())],
        Options(asked.size or _size(workload, asked), rounds, lambda text: _progress(f"{name}: {text}")),
    )
    _progress("")
    print(report.table(result), end="\n\n", flush=True)
    return result


def _size(workload: Workload, asked: argparse.Namespace) -> int:
    if asked.full:
        return workload.sizes.full
    return workload.sizes.alone if asked.workload else workload.sizes.small


def _ours(workload: Workload, databases: Sequence[str], workers: int, brokers: Sequence[str]) -> list[System]:
    """Where a cluster is part of the workload, with each broker."""
    if not workload.queue:
        return [ours(database, workers) for database in databases]
    return [ours(database, workers, broker) for database in databases for broker in brokers]


def peers_of(asked: argparse.Namespace, databases: Sequence[str]) -> list[System]:
    """The peers that the command line asks for; what can't be had is said and left out."""
    names = list(asked.peer or ([*adapters.PEERS] if asked.full else []))
    if "all" in names:
        names = [*adapters.PEERS]
    found = []
    for name in names:
        try:
            systems = adapters.systems(name, databases, asked.workers)
        except NotInstalled as error:
            print(f"Left out: {error}\n", file=sys.stderr, flush=True)
            continue
        if not systems:
            able = " or ".join(adapters.PEERS[name].databases)
            print(f"Left out: {name} runs on {able} only.\n", file=sys.stderr, flush=True)
        found.extend(systems)
    return found


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    sizes = "; ".join(f"{name}: {workload.counts}" for name, workload in WORKLOADS.items())
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.add_argument(
        "workload",
        nargs="*",
        type=_workload,
        help=f"one or more of {', '.join(WORKLOADS)}; by default all, in small",
    )
    made.add_argument(
        "--full", action="store_true", help="everything that docs/performance.md shows, with all peers"
    )
    made.add_argument(
        "--peer",
        action="append",
        choices=[*adapters.PEERS, "all"],
        help="measure this system too, in the same run; may be repeated",
    )
    made.add_argument(
        "--database", action="append", choices=DATABASES, help="may be repeated; by default all that answer"
    )
    made.add_argument(
        "--broker", action="append", choices=BROKERS, help="may be repeated; by default all that answer"
    )
    made.add_argument("--workers", type=_count, default=2, help="worker processes (2)")
    made.add_argument("--size", type=_count, help=f"the number of: {sizes}")
    made.add_argument("--rounds", type=_count, default=3, help="how often each is measured (3)")
    made.add_argument(
        "--from",
        dest="saved",
        type=Path,
        metavar="FILE",
        help="measure nothing: show what an earlier run has written as JSON, all of it or the workloads named",
    )
    for kind, what in (("json", "all figures and samples"), ("table", "the tables"), ("svg", "a chart")):
        made.add_argument(
            f"--{kind}",
            type=Path,
            metavar="FILE",
            help=f"{what}; by default a new one in benchmarks/results/",
        )
    made.add_argument(
        "--page", type=Path, metavar="FILE", help="put the tables between the marks of this page, too"
    )
    return made


def _workload(text: str) -> str:
    if text not in WORKLOADS:
        raise argparse.ArgumentTypeError(f"{text!r} is no workload; there are {', '.join(WORKLOADS)}")
    return text


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _progress(text: str) -> None:
    """One line that is overwritten on a terminal; elsewhere a line each, so that nobody takes a long run for a hang."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(f"{datetime.now(UTC):%H:%M:%S} {text}", file=sys.stderr, flush=True)


def _new_stem() -> Path:
    RESULTS.mkdir(exist_ok=True)
    # What was measured on one machine says nothing about another: not for the repository.
    (RESULTS / ".gitignore").write_text("*\n")
    return RESULTS / f"{datetime.now(UTC):%Y-%m-%d-%H%M%S}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
