"""Users who may look, and their addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections
from django.test import Client, override_settings

from django_workflow.models import Workflow

LogIn = Callable[..., Client]


@pytest.fixture(autouse=True)
def addresses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The API of these tests, on connections that nobody keeps: each thread of a server has its own."""
    monkeypatch.setitem(connections["default"].settings_dict, "CONN_MAX_AGE", 0)
    with override_settings(ROOT_URLCONF="tests.stream.urls"):
        yield


@pytest.fixture
def log_in(db: None) -> LogIn:
    """`log_in("view_workflow")`: somebody who may do that and no more."""

    def log_in(*codenames: str) -> Client:
        user = User.objects.create_user("-".join(("user", *codenames)))
        found = Permission.objects.filter(content_type__app_label="django_workflow", codename__in=codenames)
        assert len(found) == len(codenames)
        user.user_permissions.set(found)
        client = Client()
        client.force_login(user)
        return client

    return log_in


def address(run: Workflow, under: str = "api") -> str:
    return f"/{under}/workflows/{run.id}/stream/"
