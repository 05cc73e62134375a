"""Every key of the settings and every option has a test in which it changes what happens.

The table names the test; an option without an entry, an entry without an option, or a test that isn't there fails.
"""

import dataclasses
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from django_workflow import Retry, StepContext, WorkflowManager, action, mutation, query
from django_workflow.conf import Settings
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.handler.functions import StepMark

OPTIONS = "tests.behaviours.test_options"
LIMITS = "tests.behaviours.test_limits"

TESTS = {
    "settings.CLUSTER": f"{OPTIONS}.test_cluster_is_where_managers_run_that_name_none",
    "settings.LEASE_SECONDS": "tests.engine.test_heartbeat.test_r6_a_shorter_lease_does_not_wait_for_a_beat_of_longer_ones",
    "settings.DRAIN_SECONDS": f"{OPTIONS}.test_drain_seconds_ends_a_wake_up_and_asks_for_another",
    "settings.TICK_SECONDS": f"{OPTIONS}.test_tick_seconds_is_the_shortest_time_between_two_looks",
    "settings.CLAIM_LIMIT": f"{OPTIONS}.test_claim_limit_is_how_many_are_claimed_at_once",
    "settings.TURN_COMMIT_MS": f"{OPTIONS}.test_turn_commit_ms_bounds_a_turns_transaction",
    "settings.VALUE_LIMIT": f"{LIMITS}.test_value_limit_of_a_steps_result",
    "settings.JOURNAL_LIMIT": f"{LIMITS}.test_journal_limit",
    "settings.STEP_LIMIT": f"{LIMITS}.test_step_limit",
    "settings.CHILD_DEPTH_LIMIT": f"{LIMITS}.test_child_depth_limit",
    "settings.PENDING_EVENT_LIMIT": f"{LIMITS}.test_pending_event_limit",
    "settings.INTERRUPTED_LIMIT": "tests.engine.test_rules_poison.test_r15_the_limit_is_the_settings",
    "settings.ASYNC_LIMIT": "tests.executor.test_running.test_the_limit_holds_async_steps_back_and_no_others",
    "settings.ALWAYS_SUSPEND": f"{OPTIONS}.test_always_suspend_ends_each_turn_after_one_answer",
    "settings.CHECK_DETERMINISM": "tests.contracts.test_docs.test_determinism_is_checked_at_the_first_run",
    "settings.ON_DETERMINISM_VIOLATION": "tests.behaviours.test_versions.test_12_a_violation_parks_the_workflow_with_its_reason_shown",
    "settings.RETRY": f"{OPTIONS}.test_the_setting_retry_is_what_true_means_where_the_manager_is_silent",
    "settings.RETRY_ACTIONS": f"{OPTIONS}.test_the_setting_retry_actions_counts_where_the_manager_is_silent",
    "settings.RETENTION": "tests.retention.test_retention.test_42_only_what_finished_longer_ago_goes_whatever_its_end",
    "settings.CODEC": "tests.behaviours.test_codec.test_values_are_sealed_at_rest_and_read_back_everywhere",
    "settings.REDACT": f"{OPTIONS}.test_redact_is_the_projects_to_say",
    "manager.name": "tests.engine.test_rules_slots.test_39_pools_are_told_apart_by_name",
    "manager.cluster": "tests.behaviours.test_pause.test_one_cluster_is_held_and_the_others_are_not",
    "manager.max_parallelism": "tests.engine.test_rules_slots.test_r23_39_never_more_bodies_than_places",
    "manager.retry": f"{OPTIONS}.test_a_managers_retry_is_what_true_means",
    "manager.retry_actions": f"{OPTIONS}.test_a_managers_retry_actions_retries_those_that_say_nothing",
    "define.name": f"{OPTIONS}.test_version_and_name_are_what_define_says",
    "define.version": "tests.behaviours.test_versions.test_14_a_workflow_keeps_its_version_while_the_code_has_it",
    "define.retry": f"{OPTIONS}.test_a_definitions_retry_goes_before_the_managers",
    "define.timeout": "tests.behaviours.test_timeouts.test_it_is_exact_on_the_durable_clock",
    "define.on_complete": "tests.behaviours.test_on_complete.test_35_it_is_told_how_the_workflow_ended",
    "define.redact": f"{OPTIONS}.test_redact_masks_the_text_of_a_violation",
    "define.api": "tests.rest.test_starting.test_only_what_is_for_the_outside_has_a_name_here",
    "start.key": "tests.behaviours.test_keys.test_37_the_same_arguments_give_the_same_workflow",
    "start.run_at": "tests.behaviours.test_keys.test_38_run_at_and_run_after_on_start_step_and_child",
    "start.run_after": "tests.behaviours.test_keys.test_38_run_at_and_run_after_on_start_step_and_child",
    "start.labels": "tests.behaviours.test_labels.test_38_one_label_finds_those_that_bear_it",
    "start.priority": "tests.behaviours.test_starting.test_the_more_urgent_is_taken_first_then_the_older",
    "start.eager": "tests.behaviours.test_eager.test_the_first_turn_is_taken_by_the_starting_process",
    "start.on_complete": "tests.behaviours.test_on_complete.test_35_given_at_the_start_it_takes_the_place_of_the_definitions",
    "start.context": "tests.behaviours.test_on_complete.test_35_it_is_told_how_the_workflow_ended",
    "start.timeout": "tests.behaviours.test_timeouts.test_given_at_the_start_it_takes_the_place_of_the_definitions",
    "step.name": f"{OPTIONS}.test_a_steps_name_is_shown_in_its_journal",
    "step.run_at": "tests.behaviours.test_keys.test_38_run_at_and_run_after_on_start_step_and_child",
    "step.run_after": "tests.behaviours.test_keys.test_38_run_at_and_run_after_on_start_step_and_child",
    "step.inline": f"{OPTIONS}.test_inline_false_is_a_row_of_its_own_and_none_is_not",
    "step.unstable_args": "tests.behaviours.test_changed_code.test_12_unstable_arguments_are_not_compared",
    "step.retry": "tests.retries.test_retries.test_15_delays_are_exact_without_jitter",
    "step.timeout": "tests.retries.test_retries.test_17_a_timeout_is_an_outcome",
    "step.at_most_once": "tests.retries.test_retries.test_18_at_most_once",
    "step.rollback": "tests.behaviours.test_rollbacks.test_34_rollbacks_run_in_reverse_start_order_and_only_for_steps_that_asked",
    "step.cluster": "tests.engine.test_rules_slots.test_a_step_for_another_cluster_runs_there_only",
    "query.retry": f"{OPTIONS}.test_a_marks_retry_holds_and_the_handler_overrides_it",
    "query.timeout": f"{OPTIONS}.test_17_a_marks_timeout_holds",
    "mutation.retry": f"{OPTIONS}.test_a_marks_retry_holds_and_the_handler_overrides_it",
    "mutation.timeout": f"{OPTIONS}.test_17_a_marks_timeout_holds",
    "action.retry": f"{OPTIONS}.test_a_marks_retry_holds_and_the_handler_overrides_it",
    "action.timeout": f"{OPTIONS}.test_17_a_marks_timeout_holds",
    "action.at_most_once": "tests.retries.test_retries.test_18_at_most_once",
    "retry.max_attempts": f"{OPTIONS}.test_15_each_field_of_a_retry_counts",
    "retry.initial": f"{OPTIONS}.test_15_each_field_of_a_retry_counts",
    "retry.base": f"{OPTIONS}.test_15_each_field_of_a_retry_counts",
    "retry.max_delay": f"{OPTIONS}.test_15_each_field_of_a_retry_counts",
    "retry.jitter": f"{OPTIONS}.test_15_jitter_spreads_the_delays_within_its_bounds",
    "retry.on": f"{OPTIONS}.test_15_each_field_of_a_retry_counts",
    "retry.unless": f"{OPTIONS}.test_15_each_field_of_a_retry_counts",
}


def _parameters(
    where: str, function: Callable[..., Any], *, without: tuple[str, ...] = ("self",)
) -> set[str]:
    return {f"{where}.{name}" for name in inspect.signature(function).parameters if name not in without}


def _mark_options(where: str, mark: Any) -> set[str]:
    """The options of a mark: those that it takes, of all that marks have."""
    taken = set()
    for field in dataclasses.fields(StepMark):
        if field.name == "kind":
            continue
        try:
            mark(**{field.name: None})
        except TypeError:
            continue
        taken.add(f"{where}.{field.name}")
    return taken


def options() -> set[str]:
    """All there are, as the code has them."""
    return {
        *(f"settings.{field.name}" for field in dataclasses.fields(Settings)),
        *_parameters("manager", WorkflowManager.__init__),
        *_parameters("define", WorkflowManager.define, without=("self", "handler")),
        *_parameters("start", WorkflowDefinition.using),
        *_parameters("step", StepContext.using),
        *_mark_options("query", query),
        *_mark_options("mutation", mutation),
        *_mark_options("action", action),
        *(f"retry.{field.name}" for field in dataclasses.fields(Retry)),
    }


def test_every_option_has_a_test_and_every_entry_an_option() -> None:
    assert TESTS.keys() == options()


@pytest.mark.parametrize("option", TESTS)
def test_the_test_is_there(option: str) -> None:
    module, _, name = TESTS[option].rpartition(".")
    test = getattr(importlib.import_module(module), name, None)
    assert inspect.isfunction(test), f"{option}: {TESTS[option]} is no test"
    assert name.startswith("test_")
