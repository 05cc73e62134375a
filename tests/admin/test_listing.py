"""The plain listing: workflows and their journals can be read in the admin, and nothing can be changed there."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from django_workflow import StepContext, action, workflow
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.shop.workflows import steps_of_all_kinds


@action
def refuse(text: str) -> None:
    raise ValueError(text)


@workflow.define(name="listing.fails")
async def fails(step: StepContext, text: str) -> None:
    await step.run_action(refuse, text)


@pytest.fixture
def reader(client: Client, db: None) -> Client:
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_workflow"))
    client.force_login(user)
    return client


LIST = "admin:django_workflow_workflow_changelist"
DETAIL = "admin:django_workflow_workflow_change"


def test_the_list_and_a_journal_can_be_read(reader: Client, workflow_harness: Harness) -> None:
    run = steps_of_all_kinds.start("apple")
    workflow_harness.drain()

    page = reader.get(reverse(LIST)).content.decode()
    assert str(run.id) in page
    assert "shop.steps_of_all_kinds" in page
    page = reader.get(reverse(DETAIL, args=[run.id])).content.decode()
    for name in ("count_entries", "add_entry", "double", "sleep"):
        assert name in page


def test_a_failure_shows_its_reason_as_text(reader: Client, workflow_harness: Harness) -> None:
    run = fails.start("<script>alert(1)</script>")
    workflow_harness.drain()
    page = reader.get(reverse(DETAIL, args=[run.id])).content.decode()
    assert "builtins.ValueError: &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert(1)" not in page


def test_nothing_is_added_changed_or_deleted(admin_client: Client, workflow_harness: Harness) -> None:
    run = steps_of_all_kinds.start("apple")
    workflow_harness.drain()
    before = Workflow.objects.values().get()
    assert admin_client.get(reverse("admin:django_workflow_workflow_add")).status_code == 403
    assert admin_client.post(reverse(DETAIL, args=[run.id]), {"state": "canceled"}).status_code == 403
    assert (
        admin_client.post(reverse("admin:django_workflow_workflow_delete", args=[run.id])).status_code == 403
    )
    assert Workflow.objects.values().get() == before


def test_without_the_permission_there_is_no_page(client: Client, db: None) -> None:
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert client.get(reverse(LIST)).status_code == 403
