"""The promises as checks on the rows of finished workflows.

Rules of this file: a check takes what is in the database and names the promise that it finds broken; it knows the
tables, never the engine, and holds for any workflow of any test. P4 to P6, P8 and P11 are about what happens on the
way; of them the rows show what is named here, and the sweeps look at the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django_workflow.models import Event, Step, Workflow
from django_workflow.testing import Harness

SETTLED = ("completed", "failed", "canceled")
BODIES = ("query", "mutation", "action")


def check(runs: Iterable[Workflow], harness: Harness, label: Callable[[Step], str] | None = None) -> None:
    """Check all that has to hold for finished workflows.

    Args:
        runs: the workflows.
        harness: replays them.
        label: of a mutation's step, the label of the one `Entry` that it writes.

    Raises:
        AssertionError: a promise is broken; all that are, are listed.

    """
    broken: list[str] = []
    for given in runs:
        run = Workflow.objects.get(id=given.id)
        steps = list(Step.objects.filter(workflow=run).order_by("number"))
        checks = [
            one_ending(run),
            settled(steps),
            order(steps),
            attempts(steps),
            timers(steps),
            events(run, steps),
        ]
        if label is not None:
            checks.append(mutations_exactly_once(steps, label))
        broken += [f"{run.definition}: {problem}" for problems in checks for problem in problems]
        broken += [f"{run.definition}: {problem}" for problem in fixed_point(run, harness)]
    assert not broken, "\n".join(broken)


def one_ending(run: Workflow) -> Iterator[str]:
    """P7: it has ended, once, and nobody has or will get a claim on it (P9)."""
    if run.state not in SETTLED:
        yield f"P7: it is {run.state}"
    if run.completed_at is None:
        yield "P7: it has no time of its end"
    if (run.due_at, run.lease_owner) != (None, None):
        yield f"P9: it is due at {run.due_at}, held by {run.lease_owner}"
    texts = (run.result_text is not None, run.error_text is not None)
    if texts != {"completed": (True, False), "failed": (False, True)}.get(run.state, (False, False)):
        yield f"P7: it has {run.state} with result and error {texts}"


def settled(steps: list[Step]) -> Iterator[str]:
    """P3: nothing of it can change any more."""
    for step in steps:
        if step.state not in SETTLED or step.completed_at is None:
            yield f"P3: {step} is {step.state}, completed at {step.completed_at}"
        if (step.due_at, step.lease_owner) != (None, None):
            yield f"P3: {step} is due at {step.due_at}, held by {step.lease_owner}"


def order(steps: list[Step]) -> Iterator[str]:
    """P10: positions have no gaps, answers were delivered one after the other, and time never went back."""
    numbers = [step.number for step in steps]
    if numbers != list(range(1, len(steps) + 1)):
        yield f"P10: the steps' numbers are {numbers}"
    delivered = sorted((step for step in steps if step.seq is not None), key=lambda step: step.seq or 0)
    if [step.seq for step in delivered] != list(range(1, len(delivered) + 1)):
        yield f"P10: the answers' positions are {[step.seq for step in delivered]}"
    moments = [step.delivered_at for step in delivered]
    if None in moments or moments != sorted(moments):  # type: ignore[type-var]
        yield f"P10: answers were delivered at {moments}"
    for step in steps:
        if step.seq is not None and step.state == "canceled":
            yield f"P10: {step} was canceled and delivered"


def attempts(steps: list[Step]) -> Iterator[str]:
    """P4: every attempt was counted, and the history tells of those that ended."""
    for step in steps:
        if step.kind not in BODIES:
            continue
        listed = [entry["attempt"] for entry in step.history]
        if listed != sorted(listed) or (listed and listed[-1] > step.attempts):
            yield f"P4: {step} counted {step.attempts} attempts, and tells of {listed}"
        outcome = step.history[-1]["outcome"] if listed else None
        if step.state in ("completed", "failed") and (outcome, listed[-1:]) != (step.state, [step.attempts]):
            yield f"P4: {step} has {step.state} at attempt {step.attempts}, its history ends with {step.history[-1:]}"


def timers(steps: list[Step]) -> Iterator[str]:
    """P6: no sleep was over before its time."""
    for step in steps:
        if step.kind == "sleep" and step.delivered_at is not None:
            assert step.completed_at is not None
            if step.delivered_at < step.completed_at:
                yield f"P6: {step} was over at {step.completed_at} and delivered at {step.delivered_at}"


def events(run: Workflow, steps: list[Step]) -> Iterator[str]:
    """P5: every wait that got an event has taken one of its own, and the first sent were taken first."""
    taken = list(Event.objects.filter(workflow=run).exclude(consumed_by=None).order_by("id"))
    by_step = Counter(event.consumed_by_id for event in taken)
    for step in steps:
        if step.kind == "event" and step.state == "completed" and by_step[step.id] != 1:
            yield f"P5: {step} has taken {by_step[step.id]} events"
    for event in Event.objects.filter(workflow=run):
        if (event.consumed_at is None) != (event.consumed_by_id is None) and run.seed == "":
            yield f"P5: {event} was consumed at {event.consumed_at} by {event.consumed_by_id}"


def mutations_exactly_once(steps: list[Step], label: Callable[[Step], str]) -> Iterator[str]:
    """P2: a completed mutation has its row once; one that failed or was canceled has none."""
    from tests.shop.models import Entry

    mutations = {label(step): step for step in steps if step.kind == "mutation"}
    rows = Counter(Entry.objects.filter(label__in=mutations).values_list("label", flat=True))
    for name, step in mutations.items():
        if rows[name] != (step.state == "completed"):
            yield f"P2: {step} has {step.state} and left {rows[name]} rows {name}"


def fixed_point(run: Workflow, harness: Harness) -> Iterator[str]:
    """P10: a replay asks for the same again, and changes nothing."""
    before = _rows(run)
    try:
        harness.assert_replays(run)
    except AssertionError as error:
        yield f"P10: {error}"
    if _rows(run) != before:
        yield "P10: its replay changed rows"


def _rows(run: Workflow) -> list[Any]:
    return [
        *Workflow.objects.filter(id=run.id).values(),
        *Step.objects.filter(workflow=run).order_by("number").values(),
    ]
