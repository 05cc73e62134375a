"""What the tests' own `flush` leaves behind is what Django's leaves."""

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.core.management.commands.flush import Command as DjangoFlush

from tests.shop.models import Entry, Line

pytestmark = pytest.mark.django_db(transaction=True)


def flush(command: str | DjangoFlush) -> None:
    call_command(command, interactive=False, verbosity=0, reset_sequences=False)


def rows() -> dict[str, int]:
    return {
        model._meta.label: model._base_manager.count() for model in apps.get_models(include_auto_created=True)
    }


def write() -> None:
    Line.objects.create(entry=Entry.objects.create(label="referred to"))
    user = User.objects.create_user("somebody")
    user.groups.add(Group.objects.create(name="some"))
    user.user_permissions.add(*Permission.objects.all())


def test_everything_is_gone_but_what_migrate_made() -> None:
    flush(DjangoFlush())
    migrated = rows()
    flush("flush")

    write()
    assert rows() != migrated
    flush("flush")

    assert rows() == migrated
    assert migrated["auth.Permission"] > 0


def test_permissions_and_content_types_that_a_test_changed_are_made_anew() -> None:
    flush("flush")
    migrated = set(Permission.objects.values_list("codename", "name", "content_type__model"))

    Permission.objects.filter(codename="view_workflow").update(name="renamed")
    Permission.objects.filter(codename="add_user").delete()
    ContentType.objects.create(app_label="shop", model="left")
    flush("flush")

    assert set(Permission.objects.values_list("codename", "name", "content_type__model")) == migrated
    assert not ContentType.objects.filter(model="left").exists()
