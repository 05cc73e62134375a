"""The verbs of `manage.py workflow`, in the order in which its help lists them."""

from __future__ import annotations

from typing import Final

from django_workflow.management.acting import Cancel, Cleanup, Fork, Pause, Restart, Resume, SendEvent, Start
from django_workflow.management.asking import Health, List, Status, Steps
from django_workflow.management.export import Export
from django_workflow.management.verb import Verb

VERBS: Final[tuple[Verb, ...]] = (
    Start(),
    List(),
    Status(),
    Steps(),
    Cancel(),
    Restart(),
    Fork(),
    Cleanup(),
    SendEvent(),
    Pause(),
    Resume(),
    Health(),
    Export(),
)
