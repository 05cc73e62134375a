"""Every row of every table, to see that a command has changed none."""

from typing import Any

from django.apps import apps


def all_rows() -> dict[str, list[Any]]:
    """By the name of the model, in the order of their keys."""
    return {
        model._meta.label: list(model._default_manager.order_by("pk").values())
        for model in apps.get_models()
        if model._meta.managed
    }
