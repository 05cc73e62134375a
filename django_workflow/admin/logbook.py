"""The log of the admin: who did what to which workflow, and why. Values and texts of errors never come here."""

from __future__ import annotations

from django.contrib.admin.models import CHANGE, DELETION, LogEntry
from django.db import models
from django.http import HttpRequest


def log(request: HttpRequest, what: models.Model, said: str, reason: str, *, deletes: bool = False) -> None:
    """Write down who did what, and why."""
    assert request.user.pk is not None  # whoever may do anything has logged in
    LogEntry.objects.log_actions(
        request.user.pk,
        [what],
        DELETION if deletes else CHANGE,
        change_message=f"{said}: {reason}" if reason else said,
        single_object=True,
    )
