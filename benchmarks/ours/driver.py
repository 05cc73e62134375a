"""Drives django_workflow: starts workflows as an application does, and lets workers or a cluster work them off."""

import random
from datetime import datetime
from threading import Event
from time import monotonic
from typing import Any

import django

from benchmarks.driver import Driver, Idle, Kind, Statements, Worked, serve

WARM_UP = 3
POLL_SECONDS = 0.001  # how exactly the end of a workflow is seen
GIVE_UP_SECONDS = 60.0


TRIES = 3  # to have all sleepers asleep before the first is due


class Ours(Driver):
    """django_workflow, for the runner."""

    def __init__(self) -> None:
        self._workers: Any = None
        self._warm: set[Kind] = set()  # kinds that the workers have run
        self._filled_until: datetime | None = None  # what is older stays; None: nothing does

    # ── batches ─────────────────────────────────────────────────────────────────────────────────────────────

    def batch(self, workflows: int, steps: int, kind: Kind) -> Worked:
        """See `Driver.batch`. The workers are plain processes: no queue between them and the engine."""
        if self._workers is None:
            from django.conf import settings

            from benchmarks import slow_server
            from benchmarks.ours.processes import Workers

            slow_server.start()
            self._workers = Workers(settings.Q_CLUSTER["workers"])
        if kind not in self._warm:
            self._warm.add(kind)
            self._work_off(2, 2, kind)  # caches are warm, plans are made
        return self._work_off(workflows, steps, kind)

    def _work_off(self, workflows: int, steps: int, kind: Kind) -> Worked:
        self._start(workflows, steps, kind)
        seconds, cpu_seconds = self._workers.work_until(
            lambda: not self._mine().in_progress().exists(), b"s" if kind == "naps" else b"g"
        )
        self._check_and_clear(workflows, steps * (2 if kind == "naps" else 1))
        return Worked(seconds, cpu_seconds)

    def _mine(self) -> Any:
        """The workflows of the batch."""
        from django_workflow.models import Workflow

        everything = Workflow.objects.all()
        return everything.filter(created_at__gt=self._filled_until) if self._filled_until else everything

    def statements(self, workflows: int, steps: int, kind: Kind) -> Statements:
        """See `Driver.statements`."""
        from benchmarks.ours.counting import counting
        from django_workflow.engine.drain import drain
        from django_workflow.journal import wakes

        with wakes.sent_by(None), counting() as count:
            self._start(workflows, steps, kind)
            drain("")
        self._check_and_clear(workflows, steps)
        return count.read()

    def _start(self, workflows: int, steps: int, kind: Kind) -> None:
        from benchmarks.app import workflows as app
        from django_workflow.journal import wakes

        definition = getattr(app, kind)
        with wakes.sent_by(None):
            for _ in range(workflows):
                definition.start(steps)

    def _check_and_clear(self, workflows: int, steps: int) -> None:
        """What failed is quick; a figure counts only if everything was done."""
        from django_workflow.models import Step

        mine = self._mine()
        completed = mine.completed().count()
        written = Step.objects.filter(workflow__in=mine, state="completed").count()
        if self._filled_until:
            Step.objects.filter(workflow__in=mine).delete()
            mine.delete()
        else:
            _clear()
        if (completed, written) != (workflows, workflows * steps):
            raise RuntimeError(
                f"of {workflows} workflows of {steps} steps {completed} completed, with {written} steps"
            )

    # ── latency ─────────────────────────────────────────────────────────────────────────────────────────────

    def latency(self, times: int) -> list[float]:
        """See `Driver.latency`. The workers are those of a real cluster, woken through django-q2's broker."""
        cluster = self._cluster()
        try:
            return [self._once() for _ in range(WARM_UP + times)][WARM_UP:]
        finally:
            cluster.stop()
            _clear()

    def _once(self) -> float:
        from benchmarks.app.workflows import actions
        from django_workflow.models import Workflow

        # Long enough to be idle again, and out of step with every poll.
        Event().wait(random.uniform(0.1, 0.3))
        began_at = monotonic()
        this = Workflow.objects.finished().filter(id=actions.start(1).id)
        while not this.exists():
            if monotonic() - began_at > GIVE_UP_SECONDS:
                raise TimeoutError(
                    f"a workflow of one step had not finished after {GIVE_UP_SECONDS:.0f} seconds"
                )
            Event().wait(POLL_SECONDS)
        return monotonic() - began_at

    # ── sleepers, full tables, nothing ──────────────────────────────────────────────────────────────────────────

    def sleepers(self, number: int, spread: float) -> list[float]:
        """See `Driver.sleepers`. On a real cluster, since its tickers watch the timers."""
        from benchmarks.ours.sleeping import TooSlow, lateness

        for patience in (2**tries for tries in range(TRIES)):
            cluster = self._cluster()
            try:
                return lateness(number, spread, patience)
            except TooSlow:
                continue
            finally:
                cluster.stop()
                _clear()
        raise RuntimeError(f"{number} sleepers did not fall asleep in time")

    def fill(self, finished: int, sleeping: int) -> None:
        """See `Driver.fill`."""
        import time

        from benchmarks.app.workflows import mutations, sleeper
        from benchmarks.ours.filling import fill
        from django_workflow.engine.drain import drain
        from django_workflow.journal import wakes

        with wakes.sent_by(None):
            templates = mutations.start(1), sleeper.start(time.time() + 3600)
            drain("")
        self._filled_until = max(template.created_at for template in templates)
        fill(*templates, finished, sleeping)

    def idle(self, seconds: float) -> Idle:
        """See `Driver.idle`."""
        from django.conf import settings

        from benchmarks.ours.watching import watch

        return watch(str(settings.Q_CLUSTER["name"]), settings.Q_CLUSTER["workers"], seconds)

    def _cluster(self) -> Any:
        from django.conf import settings

        from benchmarks.ours.processes import Cluster

        return Cluster(str(settings.Q_CLUSTER["name"]), settings.Q_CLUSTER["workers"])

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """See `Driver.close`."""
        from django.db import connections
        from django_q.brokers import get_broker

        if self._workers is not None:
            self._workers.stop()
        get_broker().delete_queue()
        connections.close_all()


def _clear() -> None:
    from django.core.management.color import no_style
    from django.db import connection

    from django_workflow.models import Step, Workflow

    tables = [model._meta.db_table for model in (Step, Workflow)]
    connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), tables, allow_cascade=True))


def main() -> None:
    """Set up on the empty database that the settings name, and answer calls."""
    django.setup()

    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    serve(Ours())


if __name__ == "__main__":
    main()
