"""The options of `definition.using()`: checked where they are given, kept in a copy. No database."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from django_workflow import StepContext, WorkflowManager, mutation, workflow
from django_workflow.exceptions import InvalidArguments, UsageError
from tests.shop.workflows import double, echo

HUGE = 10**5000  # Python refuses to write it down


@pytest.mark.parametrize("option", ["key", "labels", "priority", "run_after", "timeout", "run_at", "eager"])
def test_a_huge_integer_is_refused_by_name_too(option: str) -> None:
    with pytest.raises(InvalidArguments, match=rf"{option}: an integer of 16,610 bits"):
        given: dict[str, Any] = {option: HUGE}
        echo.using(**given)


@pytest.mark.parametrize("seconds", [1e308, 1000 * 365 * 86_400 + 1, timedelta(days=365_001), timedelta.max])
def test_a_timeout_past_the_calendar_is_refused(seconds: Any) -> None:
    with pytest.raises(InvalidArguments, match=r"timeout: .* is longer than 1,000 years"):
        echo.using(timeout=seconds)


def test_problems_of_all_options_are_listed() -> None:
    with pytest.raises(InvalidArguments) as refused:
        echo.using(key="", labels={"a": []}, priority=1.5, eager=1, run_at=datetime(2031, 1, 1), run_after=1)  # type: ignore[arg-type]
    said = " ".join(refused.value.problems)
    for name in ("key", "labels['a']", "priority", "eager", "run_at", "run_after"):
        assert f"{name}: " in said or f"{name} and" in said, name
    assert refused.value.what == "shop.echo.using()"


@pytest.mark.parametrize("priority", [2**31, -(2**31), 1.0, True, "1"])
def test_a_priority_is_a_whole_number_of_32_bits(priority: Any) -> None:
    with pytest.raises(InvalidArguments, match="priority"):
        echo.using(priority=priority)
    assert echo.using(priority=2**31 - 1).start_options.priority == 2**31 - 1


def test_a_copy_is_changed_and_the_original_is_not() -> None:
    copy = echo.using(key="a", priority=1)
    assert echo.start_options.key is None
    assert (copy.name, copy.handler, copy.manager) == (echo.name, echo.handler, echo.manager)
    assert copy.using(priority=2).start_options.key == "a"
    assert copy.using(priority=2).start_options.priority == 2
    assert copy.start_options.priority == 1


def test_of_run_at_and_run_after_the_later_call_wins() -> None:
    noon = datetime(2031, 1, 1, tzinfo=UTC)
    options = echo.using(run_at=noon).using(run_after=5).start_options
    assert (options.run_at, options.run_after) == (None, timedelta(seconds=5))
    options = echo.using(run_after=5).using(run_at=noon).start_options
    assert (options.run_at, options.run_after) == (noon, None)


@mutation
def told(workflow_id: Any, result: Any, context: Any) -> None:
    """An `on_complete`."""


def test_on_complete_is_an_importable_mutation() -> None:
    assert echo.using(on_complete=told).start_options.on_complete == f"{__name__}.told"
    with pytest.raises(InvalidArguments, match="lambda"):
        echo.using(on_complete=lambda *_: None)
    with pytest.raises(UsageError, match="action"):
        echo.using(on_complete=double)


@pytest.mark.parametrize("limit", [-1, 1.5, True, "4"])
def test_a_managers_limit_is_a_whole_number_from_0(limit: Any) -> None:
    with pytest.raises(UsageError, match=r"max_parallelism=.*whole number from 0"):
        WorkflowManager("options", max_parallelism=limit)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retry": 5}, "retry: 5"),
        ({"timeout": 0}, "timeout: 0"),
        ({"timeout": 1e308}, "1,000 years"),
        ({"on_complete": lambda *_: None}, "lambda"),
        ({"redact": [1]}, "redact"),
        ({"redact": [""]}, "redact"),
        ({"api": 1}, "api=1"),
    ],
)
def test_an_option_of_define_that_does_not_fit_is_refused(options: Any, said: str) -> None:
    with pytest.raises((UsageError, TypeError), match=said):

        @workflow.define(name="options.refused", **options)
        async def handler(step: StepContext) -> None: ...
