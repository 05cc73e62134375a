"""Many sleepers on a real cluster, and how late each came."""

import time
from threading import Event
from time import monotonic

from benchmarks.driver import due_times

STARTS_A_SECOND = 250  # that surely fall asleep
LEAD_SECONDS = 3.0  # besides
LATE_SECONDS = 180.0  # after the last is due, before a run is given up
CHUNK = 1000
POLL_SECONDS = 0.05


class TooSlow(Exception):
    """Some were not asleep yet when the first was due."""


def lateness(number: int, spread: float, patience: float) -> list[float]:
    """For each of so many sleepers the seconds by which its step came late.

    Args:
        number: how many.
        spread: seconds over which their ends are spread.
        patience: by which the time for falling asleep is multiplied.

    """
    from benchmarks.app.workflows import sleeper
    from django_workflow import workflow
    from django_workflow.models import Workflow

    due = due_times(time.time(), number, spread, patience * (LEAD_SECONDS + number / STARTS_A_SECOND))
    for begin in range(0, number, CHUNK):
        workflow.start_many(sleeper, [(at,) for at in due[begin : begin + CHUNK]])
    awake = Workflow.objects.filter(started_at=None) | Workflow.objects.exclude(lease_owner=None)
    while awake.exists():
        if time.time() > due[0]:
            raise TooSlow
        Event().wait(POLL_SECONDS)
    if time.time() > due[0]:
        raise TooSlow
    gives_up_at = monotonic() + due[-1] - time.time() + LATE_SECONDS
    while Workflow.objects.in_progress().exists():
        if monotonic() > gives_up_at:
            left = Workflow.objects.in_progress().count()
            raise TimeoutError(
                f"{left} of {number} sleepers still slept {LATE_SECONDS:.0f} s after the last was due"
            )
        Event().wait(POLL_SECONDS)
    done = Workflow.objects.completed()
    late = [run.result - run.args["due_at"] for run in done]
    if len(late) != number or min(late) < 0:
        raise RuntimeError(
            f"of {number} sleepers {len(late)} completed, the first {min(late)} s after its time"
        )
    return late
