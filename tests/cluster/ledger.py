"""The load's starts and events, and the ledger at the end: what every workflow has left, against what it had to.

Rules of this file: it believes rows that bodies wrote, and the shapes of `app/load.py`; of the engine it asks no more
than which workflows there are and how they ended.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from threading import Event
from time import monotonic
from typing import TypeVar
from uuid import UUID

from django.db import Error, connection
from django.db.models import Q, QuerySet

from django_workflow.models import Step, Workflow
from tests.cluster.app.load import SHAPES, Shape, ended
from tests.shop.models import Entry

R = TypeVar("R")


class Load:
    """Starts workflows of every shape, in an order that a seed chooses, and sends the events that they wait for.

    It is a caller that repeats what failed, under the same key: the database may be away.
    """

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self.shapes: dict[str, Shape] = {}  # by tag
        self.canceled: dict[str, int] = {}  # by tag: the marks that there were when its cancel had committed
        self._unsent: list[tuple[UUID, int]] = []
        self._uncanceled: list[str] = []
        self.repeated = 0  # calls that the database has failed

    def start(self, count: int, seconds: float = 0.0) -> None:
        """Start so many, evenly over so many seconds."""
        names, weights = list(SHAPES), [shape.weight for shape in SHAPES.values()]
        begins_at = monotonic()
        for number in range(count):
            Event().wait(max(0.0, begins_at + seconds * number / count - monotonic()))
            self.start_one(*self._random.choices(names, weights))
            if self._random.random() < 0.5:
                self.send_some()
            if self._random.random() < 0.2:
                self.cancel_one()

    def start_one(self, name: str) -> None:
        """Start one of this shape."""
        tag = f"{len(self.shapes)}-{name}"
        self.shapes[tag] = SHAPES[name]
        run = self._insist(partial(_start, tag, SHAPES[name]))
        if name == "waits":
            self._unsent += [(run.id, 0), (run.id, 1)]
        if name == "canceled":
            self._uncanceled.append(tag)

    def send_some(self) -> None:
        """Send the events of one workflow, before it waits for them or after."""
        if self._unsent:
            run, _ = self._random.choice(self._unsent)
            mine = [each for each in self._unsent if each[0] == run]
            for each in mine:
                self._send(*each)
                self._unsent.remove(each)

    def cancel_one(self) -> None:
        """Cancel one of those that are there for that, wherever it is."""
        if self._uncanceled:
            tag = self._uncanceled.pop(self._random.randrange(len(self._uncanceled)))
            self._insist(lambda: Workflow.objects.get(key=tag).cancel("by the load"))
            self.canceled[tag] = self._insist(_marks_of(tag).count)

    def finish(self) -> None:
        """Send all events that are still to be sent, and cancel what is still to be canceled."""
        while self._unsent:
            self.send_some()
        while self._uncanceled:
            self.cancel_one()

    def _send(self, run: UUID, value: int) -> None:
        from django_workflow import workflow

        self._insist(lambda: workflow.send_event(run, "go", value, key=f"{value}"))

    def _insist(self, call: Callable[[], R]) -> R:
        return insist(call, self._repeat)

    def _repeat(self) -> None:
        self.repeated += 1


def insist(call: Callable[[], R], repeat: Callable[[], object] = lambda: None) -> R:
    """Call, again and again while the database fails it; `repeat` is told each time."""
    while True:
        try:
            return call()
        except Error:
            repeat()
            connection.close()
            Event().wait(0.1)


def _marks_of(tag: str) -> QuerySet[Entry]:
    """The marks of mutations of a workflow and its children."""
    marks = Entry.objects.filter(Q(label__startswith=f"{tag}/") | Q(label__startswith=f"{tag}."))
    return marks.exclude(label__contains="@").exclude(label=f"{tag}/end")


def _start(tag: str, shape: Shape) -> Workflow:
    run: Workflow = shape.definition.using(key=tag, on_complete=ended, context=tag).start(tag)
    return run


@dataclass
class Ledger:
    """What was found, and what is wrong with it."""

    started: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    expected: int = 0  # mutations, endings included
    found: int = 0
    actions: Counter[int] = field(default_factory=Counter)  # how many took so many attempts
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """All that is wrong."""
        return [
            *(f"lost: {each}" for each in self.lost),
            *(f"doubled: {each}" for each in self.doubled),
            *(f"wrong: {each}" for each in self.wrong),
        ]


def unfinished() -> int:
    """How many workflows have not ended."""
    return Workflow.objects.in_progress().count()


def settle(load: Load) -> Ledger:
    """Hold what the workflows of a load have left against what they had to leave."""
    ledger = Ledger(started=len(load.shapes))
    entries = Entry.objects.filter(label__contains="/")
    marks = Counter(entries.exclude(label__contains="@").values_list("label", flat=True))
    begun = Counter(entries.filter(label__contains="@").values_list("label", flat=True))
    runs = {run.key: run for run in Workflow.objects.exclude(key=None)}
    for tag, shape in load.shapes.items():
        if (run := runs.pop(tag, None)) is None:
            ledger.lost.append(f"the workflow {tag}")
            continue
        ledger.endings[run.state] += 1
        ledger.wrong += _ending(tag, shape, run)
        owed = {f"{tag}{mark}" for mark in shape.marks(run.result) | {"/end"}}
        ledger.expected += len(owed) + load.canceled.get(tag, 0)
        ledger.lost += sorted(owed - marks.keys())
        if tag in load.canceled and (late := _marks_of(tag).count() - load.canceled[tag]):
            ledger.wrong.append(f"{late} marks of {tag} after its cancel")
    ledger.wrong += [f"the workflow {key}, which nobody started" for key in runs]
    ledger.doubled += [f"{mark}, {times} times" for mark, times in marks.items() if times > 1]
    ledger.found = marks.total()
    if not ledger.lost and not ledger.doubled and ledger.expected != ledger.found:
        ledger.wrong.append(f"{ledger.found} marks of mutations instead of {ledger.expected}")
    ledger.doubled += [f"the attempt {mark}, {times} times" for mark, times in begun.items() if times > 1]
    _count_attempts(ledger, begun)
    return ledger


def _ending(tag: str, shape: Shape, run: Workflow) -> Iterator[str]:
    if run.state != shape.ends:
        yield f"{tag} has {run.state}, not {shape.ends}: {run.error}"
    elif not shape.result(run.result):
        yield f"{tag} has the result {run.result!r}"


def _count_attempts(ledger: Ledger, begun: Mapping[str, int]) -> None:
    """Every attempt of which there is a mark was counted, and no settled action began again."""
    bodies: dict[str, list[int]] = {}
    for mark in begun:
        name, _, attempt = mark.rpartition("@")
        bodies.setdefault(name, []).append(int(attempt))
    for step in Step.objects.filter(kind="action", workflow__definition__startswith="load.").select_related(
        "workflow"
    ):
        mark = step.args["mark"]
        seen = bodies.pop(mark, [])
        ledger.actions[step.attempts] += 1
        if step.state == "completed" and step.attempts not in seen:
            ledger.lost.append(f"the attempt {step.attempts} of {mark}, which is said to have completed")
        if max(seen, default=0) > step.attempts:
            ledger.doubled.append(f"{mark} began {sorted(seen)}, and {step.attempts} attempts were counted")
        if step.workflow.definition == "load.once" and len(seen) > 1:
            ledger.doubled.append(f"{mark}, at most once, began {sorted(seen)}")
