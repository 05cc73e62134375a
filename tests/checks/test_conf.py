"""`django_workflow.conf`: defaults, what follows `override_settings`, and what is refused with which words."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from django_workflow import Retry, conf

CONTRACT = {
    "CLUSTER": None,
    "LEASE_SECONDS": 30,
    "DRAIN_SECONDS": 10,
    "TICK_SECONDS": 0.1,
    "CLAIM_LIMIT": 16,
    "TURN_COMMIT_MS": 100,
    "VALUE_LIMIT": 1_048_576,
    "JOURNAL_LIMIT": 8_388_608,
    "STEP_LIMIT": 10_000,
    "CHILD_DEPTH_LIMIT": 20,
    "PENDING_EVENT_LIMIT": 1000,
    "INTERRUPTED_LIMIT": 5,
    "ASYNC_LIMIT": 500,
    "ALWAYS_SUSPEND": False,
    "RETRY_ACTIONS": False,
    "ON_DETERMINISM_VIOLATION": "fail",
    "RETENTION": None,
    "CODEC": None,
    "REDACT": ("password", "secret", "token", "api_key", "authorization"),
}


@pytest.mark.parametrize("key", CONTRACT)
@override_settings(DJANGO_WORKFLOW={})
def test_defaults(key: str) -> None:
    assert getattr(conf.settings, key) == CONTRACT[key]


@override_settings(DJANGO_WORKFLOW=CONTRACT)
def test_the_defaults_written_out_are_accepted() -> None:
    assert conf.problems() == []
    assert conf.settings.LEASE_SECONDS == 30


def test_a_retry_is_taken_as_it_is_and_nothing_else_for_one() -> None:
    quick = Retry(max_attempts=2, initial=0.1)
    with override_settings(DJANGO_WORKFLOW={"RETRY": quick}):
        assert conf.problems() == []
        assert conf.settings.RETRY is quick
    for wrong in ({"max_attempts": 2}, 3, None, True):
        with override_settings(DJANGO_WORKFLOW={"RETRY": wrong}):
            (problem,) = conf.problems()
            assert problem.message.endswith("it must be a Retry.")


@pytest.mark.parametrize("debug", [True, False])
def test_determinism_is_checked_where_debug_is_on(debug: bool) -> None:
    with override_settings(DEBUG=debug, DJANGO_WORKFLOW={}):
        assert conf.settings.CHECK_DETERMINISM is debug
    with override_settings(DEBUG=debug, DJANGO_WORKFLOW={"CHECK_DETERMINISM": not debug}):
        assert conf.settings.CHECK_DETERMINISM is not debug


def test_changed_settings_are_seen_at_once_and_given_back() -> None:
    before = conf.settings.LEASE_SECONDS
    with override_settings(DJANGO_WORKFLOW={"LEASE_SECONDS": 7}):
        assert conf.settings.LEASE_SECONDS == 7
        with override_settings(DJANGO_WORKFLOW={"LEASE_SECONDS": 8}):
            assert conf.settings.LEASE_SECONDS == 8
        assert conf.settings.LEASE_SECONDS == 7
    assert before == conf.settings.LEASE_SECONDS


@override_settings(
    DJANGO_WORKFLOW={"REDACT": ["iban"], "RETENTION": timedelta(days=1), "CODEC": "shop.codec.Codec"}
)
def test_values_are_kept_in_the_key_s_own_type() -> None:
    assert conf.settings.REDACT == ("iban",)
    assert timedelta(days=1) == conf.settings.RETENTION
    assert conf.settings.CODEC == "shop.codec.Codec"


REFUSED: list[tuple[str, Any, str]] = [
    ("CLUSTER", "", "it must be the name of a cluster, or None."),
    ("CLUSTER", 1, "it must be the name of a cluster, or None."),
    ("LEASE_SECONDS", True, "it must be a number of seconds, at least 1."),
    ("LEASE_SECONDS", 0.5, "it must be a number of seconds, at least 1."),
    ("DRAIN_SECONDS", 0, "it must be a number of seconds above 0."),
    ("DRAIN_SECONDS", float("inf"), "it must be a number of seconds above 0."),
    ("TICK_SECONDS", "0.1", "it must be a number of seconds above 0."),
    ("CLAIM_LIMIT", 1.5, "it must be a whole number of at least 1."),
    ("CLAIM_LIMIT", True, "it must be a whole number of at least 1."),
    ("TURN_COMMIT_MS", -1, "it must be a number of milliseconds above 0."),
    ("VALUE_LIMIT", 0, "it must be a whole number of bytes, at least 1."),
    ("STEP_LIMIT", None, "it must be a whole number of at least 1."),
    ("ALWAYS_SUSPEND", 1, "it must be True or False."),
    ("ON_DETERMINISM_VIOLATION", "ignore", 'it must be "fail" or "pause".'),
    ("RETENTION", 30, "it must be a timedelta above zero, or None."),
    ("RETENTION", timedelta(0), "it must be a timedelta above zero, or None."),
    ("CODEC", "codec", "it must be the dotted path of a codec, or None."),
    ("REDACT", "password", "it must be a tuple or list of names, all of them text."),
    ("REDACT", [1], "it must be a tuple or list of names, all of them text."),
]


@pytest.mark.parametrize(("key", "value", "text"), REFUSED)
def test_a_value_that_does_not_fit_is_refused_with_key_value_and_remedy(
    key: str, value: Any, text: str
) -> None:
    with override_settings(DJANGO_WORKFLOW={key: value}), pytest.raises(ImproperlyConfigured) as caught:
        # Any key: a wrong value must not go unnoticed until its own key is read.
        _ = conf.settings.LEASE_SECONDS
    assert str(caught.value) == (
        f"DJANGO_WORKFLOW[{key!r}] is {value!r}; {text} "
        f"Correct it, or leave the key out for its default, {CONTRACT[key]!r}."
    )


def test_an_unknown_key_is_refused_with_the_one_that_was_meant() -> None:
    with (
        override_settings(DJANGO_WORKFLOW={"LEASE_SECOND": 5}),
        pytest.raises(ImproperlyConfigured) as caught,
    ):
        _ = conf.settings.CLAIM_LIMIT
    assert str(caught.value) == "DJANGO_WORKFLOW has no key 'LEASE_SECOND'. Did you mean 'LEASE_SECONDS'?"


def test_all_problems_are_named_together() -> None:
    wrong = {"LEASE_SECOND": 5, "CLAIM_LIMIT": 0}
    with override_settings(DJANGO_WORKFLOW=wrong), pytest.raises(ImproperlyConfigured) as caught:
        _ = conf.settings.CLAIM_LIMIT
    assert str(caught.value).splitlines() == [
        "DJANGO_WORKFLOW has no key 'LEASE_SECOND'. Did you mean 'LEASE_SECONDS'?",
        "DJANGO_WORKFLOW['CLAIM_LIMIT'] is 0; it must be a whole number of at least 1. "
        "Correct it, or leave the key out for its default, 16.",
    ]


@override_settings(DJANGO_WORKFLOW={})
def test_reading_a_key_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="LEASE_SECOND"):
        _ = conf.settings.LEASE_SECOND  # type: ignore[attr-defined]


@override_settings(DJANGO_WORKFLOW=["LEASE_SECONDS"])
def test_something_else_than_a_dict_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        _ = conf.settings.CLAIM_LIMIT
    assert str(caught.value) == "DJANGO_WORKFLOW is ['LEASE_SECONDS']. Make it a dict of settings."
