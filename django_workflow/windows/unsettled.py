"""What workflows of a list wait for, of all of them at once."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from django.db.models import Count, F, Window
from django.db.models.functions import RowNumber

from django_workflow.models import Step
from django_workflow.windows.waits import Wait


def first_waits(ids: Iterable[UUID]) -> dict[UUID, Wait]:
    """For each of these workflows its first unsettled step, if there is one. One statement at most."""
    wanted = list(ids)
    if not wanted:
        return {}
    steps = Step.objects.filter(workflow_id__in=wanted).unsettled()
    firsts = steps.annotate(
        position=Window(RowNumber(), partition_by="workflow_id", order_by=F("number").asc()),
        unsettled=Window(Count("*"), partition_by="workflow_id"),
    ).filter(position=1)
    columns = ("workflow_id", "name", "kind", "state", "attempts", "created_at", "due_at", "unsettled")
    return {row[0]: Wait(*row[1:]) for row in firsts.order_by().values_list(*columns)}
