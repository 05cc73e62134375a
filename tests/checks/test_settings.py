"""E001 to E003, and the whole of the checks on a project that is set up right."""

import pytest
from django.conf import settings
from django.core.checks import Error, run_checks
from django.test import override_settings

from django_workflow.checks import register_all
from django_workflow.checks.settings import check_installed_apps, check_settings


@override_settings(DJANGO_WORKFLOW={"LEASE_SECONDS": 30})
def test_settings_that_fit_give_nothing() -> None:
    assert check_settings() == []


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("LEASE_SECOND", "Did you mean 'LEASE_SECONDS'?"),
        ("tick_seconds", "Did you mean 'TICK_SECONDS'?"),
        (
            "WORKERS_OF_MINE",
            "Remove it. The keys are CLUSTER, LEASE_SECONDS, DRAIN_SECONDS, TICK_SECONDS, CLAIM_LIMIT, "
            "TURN_COMMIT_MS, VALUE_LIMIT, JOURNAL_LIMIT, STEP_LIMIT, CHILD_DEPTH_LIMIT, PENDING_EVENT_LIMIT, "
            "INTERRUPTED_LIMIT, ASYNC_LIMIT, ALWAYS_SUSPEND, CHECK_DETERMINISM, ON_DETERMINISM_VIOLATION, RETRY, "
            "RETRY_ACTIONS, RETENTION, CODEC, REDACT.",
        ),
    ],
)
def test_e001_unknown_key(key: str, hint: str) -> None:
    with override_settings(DJANGO_WORKFLOW={key: 1}):
        assert check_settings() == [
            Error(f"DJANGO_WORKFLOW has no key {key!r}.", hint=hint, id="django_workflow.E001")
        ]


@override_settings(DJANGO_WORKFLOW={"CLAIM_LIMIT": "16", "ALWAYS_SUSPEND": 0})
def test_e002_ill_typed_values_are_all_listed() -> None:
    assert check_settings() == [
        Error(
            "DJANGO_WORKFLOW['CLAIM_LIMIT'] is '16'; it must be a whole number of at least 1.",
            hint="Correct it, or leave the key out for its default, 16.",
            id="django_workflow.E002",
        ),
        Error(
            "DJANGO_WORKFLOW['ALWAYS_SUSPEND'] is 0; it must be True or False.",
            hint="Correct it, or leave the key out for its default, False.",
            id="django_workflow.E002",
        ),
    ]


def test_e003_django_q_is_not_installed() -> None:
    assert check_installed_apps() == []
    without = [app for app in settings.INSTALLED_APPS if app != "django_q"]
    with override_settings(INSTALLED_APPS=without):
        assert check_installed_apps() == [
            Error(
                "'django_q' is not in INSTALLED_APPS, so that no cluster can run a workflow.",
                hint='Add it: INSTALLED_APPS = [..., "django_q", "django_workflow"], then run `manage.py migrate`.',
                id="django_workflow.E003",
            )
        ]


@pytest.mark.django_db
def test_this_project_s_own_settings_give_no_message_of_ours() -> None:
    register_all()
    messages = run_checks(tags=["django_workflow"], databases=["default"])
    # W010 speaks of handlers, and tests define some that are wrong on purpose.
    assert [each for each in messages if each.id != "django_workflow.W010"] == []


@pytest.mark.django_db  # Django's own checks may ask the database for its version
def test_registering_twice_runs_each_check_once() -> None:
    register_all()
    register_all()
    with override_settings(DJANGO_WORKFLOW={"X": 1}):
        found = [each.id for each in run_checks(tags=["django_workflow"])]
    assert found.count("django_workflow.E001") == 1
