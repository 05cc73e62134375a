"""A worker without a queue: drains when it is told to begin, and says when it last did something.

One byte on the standard input is a command: `g`, go; `s`, go, and look more often when nothing is due; `r`, rest. It
answers `r` with the CPU seconds that it has used since. The end of its input is its own. The queue is left out so that a
batch measures the engine.
"""

import json
import os
import select
import sys
from time import monotonic

import django

# Between two looks of a worker that finds nothing, as a cluster's poll: a look takes SQLite's write lock.
IDLE_SECONDS = {b"g": 0.05, b"s": 0.001}


def main() -> None:
    """Obey until the input ends."""
    django.setup()

    from django.db import connection

    from django_workflow.engine.executor import executor
    from django_workflow.journal import wakes

    wakes.register(None)
    connection.ensure_connection()
    _say(ready=True)
    while idle_seconds := IDLE_SECONDS.get(os.read(0, 1)):
        began = _cpu_seconds()
        _work(idle_seconds)
        _say(cpu_seconds=_cpu_seconds() - began)
    executor.finish()


def _work(idle_seconds: float) -> None:
    from django_workflow.conf import settings
    from django_workflow.engine.drain import drain
    from django_workflow.engine.executor import executor

    asked_at = monotonic()

    def note_the_time() -> bool:
        # A drain asks between any two pieces of work, and not once more after it found nothing: the last
        # question comes when the last piece was done.
        nonlocal asked_at
        asked_at = monotonic()
        return False

    done = 1
    while not select.select([0], [], [], 0 if done else idle_seconds)[0]:
        done = drain("", seconds=settings.DRAIN_SECONDS, stop=note_the_time, executor=executor)
        if done:
            _say(done_at=asked_at)
    os.read(0, 1)


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system


def _say(**what: object) -> None:
    print(json.dumps(what), file=sys.stdout, flush=True)


if __name__ == "__main__":
    main()
