"""An admin of a project's own that hides workflows by `get_queryset` hides them on every page and from every verb."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.test import Client
from django.urls import path, reverse

from django_workflow import workflow
from django_workflow.admin import WorkflowAdmin
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.admin.stage import client_of, everything, faults, order

OURS, THEIRS = {"tenant": "ours"}, {"tenant": "theirs"}


class TenantAdmin(WorkflowAdmin):
    """Ours only; their children, which bear no labels, are nobody's."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Workflow]:
        rows: Any = super().get_queryset(request)
        found: QuerySet[Workflow] = rows.labeled(OURS)
        return found


site = admin.AdminSite(name="tenants")
site.register(Workflow, TenantAdmin)
urlpatterns = [path("admin/", admin.site.urls), path("tenants/", site.urls)]

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


@pytest.fixture(autouse=True)
def a_clean_slate() -> Iterator[None]:
    faults.clear()
    yield
    faults.clear()


@pytest.fixture
def boss(db: None) -> Client:
    return client_of(User.objects.create_superuser("boss"))


@pytest.fixture
def runs(workflow_harness: Harness) -> tuple[Workflow, Workflow]:
    """One of ours and one of theirs; both have failed, and have a child."""
    faults.add("apple")
    found = order.using(labels=OURS).start("apple"), order.using(labels=THEIRS).start("apple")
    for run in found:
        workflow_harness.drain()
        run.send_event("verbs.approved", True)
    workflow_harness.drain()
    assert {workflow.status(run).type for run in found} == {"failed"}
    return found


def page(name: str, *args: Any) -> str:
    return reverse(f"tenants:django_workflow_workflow_{name}", args=args, current_app="tenants")


def text(client: Client, address: str, **query: str) -> str:
    response = client.get(address, query)
    assert response.status_code == 200
    return response.content.decode()


def test_what_is_hidden_has_no_page(boss: Client, runs: tuple[Workflow, Workflow]) -> None:
    ours, theirs = runs
    for name, args in (("change", ()), ("history", ()), ("fragment", ()), ("step", (1,))):
        assert boss.get(page(name, ours.pk, *args)).status_code == 200
        answer = boss.get(page(name, theirs.pk, *args))
        assert answer.status_code == (302 if name in ("change", "history") else 404)
        assert "verbs.order" not in answer.content.decode()


def test_a_page_once_seen_is_not_told_apart_by_its_tag(boss: Client, runs: tuple[Workflow, Workflow]) -> None:
    _, theirs = runs
    seen = boss.get(reverse("admin:django_workflow_workflow_fragment", args=[theirs.pk]))
    assert seen.status_code == 200
    again = boss.get(page("fragment", theirs.pk), headers={"if-none-match": seen.headers["ETag"]})
    assert again.status_code == 404


@pytest.mark.parametrize("verb", ["cancel", "restart", "fork", "event", "cleanup", "complete"])
def test_nothing_is_done_to_what_is_hidden(boss: Client, runs: tuple[Workflow, Workflow], verb: str) -> None:
    ours, theirs = runs
    data = {"reason": "why", "from_step": "1", "name": "verbs.approved", "value": "true"}
    assert boss.get(page(verb, ours.pk), data).status_code == 200
    before = everything()
    for answer in (boss.get(page(verb, theirs.pk), data), boss.post(page(verb, theirs.pk), data)):
        assert (answer.status_code, answer.headers["Location"]) == (302, reverse("tenants:index"))
    assert everything() == before


def test_the_list_search_and_counts_know_ours_only(boss: Client, runs: tuple[Workflow, Workflow]) -> None:
    ours, theirs = runs
    for query in (
        {},
        {"q": str(theirs.pk)},
        {"q": theirs.pk.hex[:8]},
        {"q": "verbs.order"},
        {"state": "failed"},
    ):
        shown = text(boss, page("changelist"), **query)
        assert page("change", theirs.pk) not in shown
        assert (page("change", ours.pk) in shown) == (query != {"q": str(theirs.pk)})
        assert '<a href="?attention=failed">1 ' in shown
    definitions = text(boss, page("definitions"))
    assert "1 failed" in definitions
    assert "2 failed" not in definitions


def test_actions_on_many_leave_what_is_hidden_alone(boss: Client, runs: tuple[Workflow, Workflow]) -> None:
    ours, theirs = runs
    data = {"action": "cleanup_selected", "index": "0", "confirmed": "yes", "reason": "", "after": ""}
    for across in ("0", "1"):
        chosen = [str(theirs.pk)] if across == "0" else [str(ours.pk)]
        boss.post(page("changelist"), {**data, "select_across": across, ACTION_CHECKBOX_NAME: chosen})
    assert set(Workflow.objects.filter(parent=None)) == {theirs}


def test_links_lead_to_nothing_that_is_hidden(boss: Client, runs: tuple[Workflow, Workflow]) -> None:
    ours, _ = runs
    child = Workflow.objects.get(parent=ours)
    shown = text(boss, page("change", ours.pk)) + text(boss, page("step", ours.pk, 2))
    assert page("change", child.pk) not in shown
    assert "1 child" not in shown
    Workflow.objects.filter(pk=child.pk).update(labels_text="{}")
    child.label_rows.create(digest=ours.label_rows.get().digest)
    shown = text(boss, page("change", ours.pk))
    assert page("change", child.pk) in shown
    assert "1 child" in shown
    assert page("change", ours.pk) in text(boss, page("change", child.pk))
    assert page("change", ours.pk) in text(boss, page("changelist"))
    ours.label_rows.all().delete()
    assert str(ours.pk) not in text(boss, page("change", child.pk))
    assert str(ours.pk) not in text(boss, page("changelist"))
