"""The whole of it: the load, the faults, the quiet after them, the ledger."""

from __future__ import annotations

import re
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from threading import Event
from time import monotonic

from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.chaos.faults import LEASE_SECONDS, Stage, in_a_thread, weighted
from tests.chaos.service import Service
from tests.chaos.takeovers import Takeovers, takeover_in_quiet
from tests.cluster.ledger import Ledger, Load, insist, settle, unfinished
from tests.cluster.own_servers import OwnPostgres, OwnRedis
from tests.cluster.qcluster import clock_off_by, eventually
from tests.simulation import invariants

SHOWN = 20  # problems that are printed


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Play:
    """One run of chaos."""

    def __init__(
        self, options: Namespace, folder: Path, postgres: OwnPostgres | None, redis: OwnRedis | None
    ) -> None:
        self._options = options
        self._random = Random(options.seed)
        self._load = Load(options.seed)
        self._folder = folder
        # The second one's host has a clock that is an hour ahead.
        clocks = [{}, clock_off_by(3600.0)][: options.clusters]
        self._services = [
            Service(
                folder / f"cluster-{number}.log",
                self._random,
                broker=options.broker,
                variables=clock,
                LEASE_SECONDS=LEASE_SECONDS,
            )
            for number, clock in enumerate(clocks)
        ]
        self._stage = Stage(self._random, self._services, postgres, redis, Takeovers())
        self._faults: Counter[str] = Counter()
        self._quiet: list[float] = []
        self._began_at = monotonic()

    def run(self) -> bool:
        """Play it; True iff everything ended, nothing was lost and nothing happened twice."""
        options = self._options
        say(
            f"chaos: {options.database}, {options.broker}, {options.clusters} cluster(s), {options.workflows}"
            f" workflows, {options.seconds:.0f} s, seed {options.seed}"
        )
        try:
            for service in self._services:
                service.start()
            eventually(self._all_at_work, "the workers of all clusters", 60)
            self._quiet = [takeover_in_quiet(f"quiet-{number}") for number in range(options.rounds)]
            self._rage()
            self._calm_down()
        finally:
            self._stage.takeovers.stop()
            self._stage.wake_up(all_of_them=True)
            for service in self._services:
                service.end()
        return self._report()

    def _all_at_work(self) -> bool:
        return all(len(service.cluster.logged("ready for work")) >= 2 for service in self._services)

    def _rage(self) -> None:
        options = self._options
        self._began_at = monotonic()
        loading = in_a_thread(lambda: self._load.start(options.workflows, options.seconds))
        in_a_thread(self._stage.takeovers.watch)
        faults = weighted(self._stage)
        if options.faults:
            faults = {fault: weight for fault, weight in faults.items() if fault.__name__ in options.faults}
        while monotonic() < self._began_at + options.seconds:
            self._tend_for(self._random.uniform(0.2, 1.8) * options.every)
            self._stage.takeovers.disturb()
            (fault,) = self._random.choices(list(faults), list(faults.values()))
            # The database may be just coming back, for us as for all.
            done = insist(partial(fault, self._stage))
            if done is not None:
                self._faults[fault.__name__] += 1
                say(f"{monotonic() - self._began_at:7.1f} s  {fault.__name__} {done}")
        loading.join()

    def _tend_for(self, seconds: float) -> None:
        until = monotonic() + seconds
        while True:
            for service in self._services:
                service.tend()
            self._stage.wake_up()
            if monotonic() >= until:
                return
            Event().wait(0.05)

    def _calm_down(self) -> None:
        self._stage.wake_up(all_of_them=True)
        self._load.finish()
        gives_up_at = monotonic() + self._options.patience
        say(f"{monotonic() - self._began_at:7.1f} s  no more faults, {insist(unfinished)} to end")
        while insist(unfinished) and monotonic() < gives_up_at:
            self._tend_for(0.2)
        say(f"{monotonic() - self._began_at:7.1f} s  {insist(unfinished)} have not ended")

    # ── the report ───────────────────────────────────────────────────────────────────────────────────────────────

    def _report(self) -> bool:
        ledger = settle(self._load)
        unstarted = self._options.workflows - ledger.started
        stopped = [f"{unstarted} workflows were not started: see the error above"] if unstarted else []
        problems = [*stopped, *ledger.problems, *_stuck(), *_broken_promises()]
        say("")
        for line in self._lines(ledger):
            say(line)
        for problem in problems[:SHOWN]:
            say(f"  {problem}")
        say("Nothing lost, nothing twice." if not problems else f"{len(problems)} PROBLEMS")
        return not problems

    def _lines(self, ledger: Ledger) -> Sequence[str]:
        takeovers = self._stage.takeovers
        return [
            f"started              {ledger.started}, calls repeated {self._load.repeated}",
            f"ended                {_counts(ledger.endings)}",
            f"mutations            {ledger.expected} expected, {ledger.found} found,"
            f" {len(ledger.lost)} lost, {len(ledger.doubled)} doubled",
            f"actions by attempts  {_counts(dict(sorted(ledger.actions.items())))}",
            f"faults               {self._faults.total()}: {_counts(dict(self._faults.most_common()))}",
            f"clusters             started {sum(each.starts for each in self._services)} times,"
            f" {sum(each.enforced for each in self._services)} stops enforced by SIGKILL",
            *([f"takeover in quiet    {_spread(self._quiet)}"] if self._quiet else []),
            *(f"takeover, {killed:10} {_spread(seconds)}" for killed, seconds in takeovers.seconds.items()),
            *([f"  meanwhile disturbed  {_spread(takeovers.disturbed)}"] if takeovers.disturbed else []),
            *self._logged(),
        ]

    def _logged(self) -> Sequence[str]:
        """What the clusters complained of, most frequent first."""
        told: Counter[str] = Counter()
        for service in self._services:
            for line in service.cluster.log.read_text(errors="replace").splitlines():
                if found := re.search(r" (WARNING|ERROR|CRITICAL) (.{0,70})", line):
                    told[re.sub(r"Process-\w+|\d+", "…", f"{found[1]} {found[2]}")] += 1
        return [f"log                  {count:4} × {text}" for text, count in told.most_common(12)]


def _counts(counted: dict[str, int] | dict[int, int] | Counter[str]) -> str:
    return ", ".join(f"{key}: {count}" for key, count in counted.items())


def _spread(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    return (
        f"{len(ordered)}, median {ordered[len(ordered) // 2]:.2f} s,"
        f" 90 % {ordered[int(len(ordered) * 0.9)]:.2f} s, longest {ordered[-1]:.2f} s"
    )


def _stuck() -> list[str]:
    return [
        f"not ended: {run.key or run.id} {run.definition}, due {run.due_at}, held by {run.lease_owner},"
        f" interruptions {run.interruptions}, setbacks {run.setbacks}"
        for run in Workflow.objects.in_progress()
    ]


def _broken_promises() -> list[str]:
    """What the rows say: P2 to P10, replays included."""
    ended = [run for run in Workflow.objects.all() if run.finished]
    try:
        invariants.check(ended, Harness(), lambda step: str(step.args.get("mark", step.args.get("label"))))
    except AssertionError as error:
        return str(error).splitlines()
    return []
