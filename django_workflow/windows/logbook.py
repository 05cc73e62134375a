"""The log of the admin: who did what to which workflow, and why. Values and texts of errors never come here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db import models

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

LIMIT = 2_000  # characters of one entry


def log(
    user: models.Model | AnonymousUser, what: models.Model, said: str, reason: str, *, deletes: bool = False
) -> None:
    """Write down who did what, and why; nothing in a project without Django's admin, which has the table."""
    if not apps.is_installed("django.contrib.admin"):
        return
    from django.contrib.admin.models import CHANGE, DELETION, LogEntry

    pk: Any = user.pk
    assert pk is not None  # whoever may do anything has logged in
    LogEntry.objects.log_actions(
        pk,
        [what],
        DELETION if deletes else CHANGE,
        change_message=(f"{said}: {reason}" if reason else said)[:LIMIT],
        single_object=True,
    )
