"""Checks of `DJANGO_WORKFLOW` and of `INSTALLED_APPS`. What a key may be stands in `conf.py`, not here."""

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error
from django.core.exceptions import ImproperlyConfigured

from django_workflow import conf
from django_workflow.fields import codec_at


def check_settings(**_: Any) -> list[CheckMessage]:
    """E001: an unknown key of `DJANGO_WORKFLOW`; E002: a value that doesn't fit its key; E013: a codec that is none."""
    found: list[CheckMessage] = [
        Error(
            problem.message,
            hint=problem.remedy,
            id="django_workflow.E001" if problem.unknown_key else "django_workflow.E002",
        )
        for problem in conf.problems()
    ]
    return found or list(_check_codec())


def _check_codec() -> Iterator[CheckMessage]:
    path = conf.settings.CODEC
    if path is None:
        return
    try:
        codec_at(path)
    except ImproperlyConfigured as error:
        yield Error(
            str(error),
            hint="Give the path of an object, or of a class made without arguments, that has encode(text) and "
            "decode(text); while it can't be used nothing is started and nothing runs.",
            id="django_workflow.E013",
        )


def check_installed_apps(**_: Any) -> list[CheckMessage]:
    """E003: django-q2, whose cluster does the work, is not installed as an app."""
    if apps.is_installed("django_q"):
        return []
    return [
        Error(
            "'django_q' is not in INSTALLED_APPS, so that no cluster can run a workflow.",
            hint='Add it: INSTALLED_APPS = [..., "django_q", "django_workflow"], then run `manage.py migrate`.',
            id="django_workflow.E003",
        )
    ]
