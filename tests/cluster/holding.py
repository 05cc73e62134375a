"""The workflow `holds` from outside: who is in its action, the gate at which that waits, and what has to be left."""

from django_workflow import Completed, workflow
from django_workflow.models import Workflow
from tests.cluster.qcluster import DEADLINE, eventually
from tests.shop.models import Entry


def holders(label: str) -> list[int]:
    """The processes that have begun the action, in their order."""
    return list(Entry.objects.filter(label=f"{label}:held").order_by("id").values_list("value", flat=True))


def held_by(label: str, times: int = 1) -> int:
    """Wait until the action has begun so many times, and say by whom it was last."""
    eventually(lambda: len(holders(label)) >= times, f"attempt {times} of the action of {label}")
    return holders(label)[times - 1]


def open_the_gate(label: str) -> None:
    """Let the action end."""
    Entry.objects.create(label=f"{label}:open")


def assert_ended_once(run: Workflow, label: str, attempts: int) -> None:
    """It has completed, each mutation left its mark once, and so many attempts were counted and made."""
    assert workflow.join(run, DEADLINE) == Completed(label)
    assert Entry.objects.filter(label=f"{label}:before").count() == 1
    assert Entry.objects.filter(label=f"{label}:after").count() == 1
    assert len(holders(label)) == attempts
    assert workflow.steps(run).get(kind="action").attempts == attempts
