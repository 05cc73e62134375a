"""`workflow_prune`."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.test import override_settings

from django_workflow import workflow
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.commands.console import Answer, Terminal, manage
from tests.commands.stage import finished, waiting
from tests.shop.workflows import echo


def prune(*args: object, **options: Any) -> Answer:
    """Call it."""
    return manage(*args, command="workflow_prune", **options)


def grown(harness: Harness) -> list[Workflow]:
    """Six that finished 31 days ago, one of them of another definition; one that finished now, and one that waits."""
    for value in range(5):
        echo.start(value)
    finished(harness)
    harness.drain()
    harness.advance(timedelta(days=31))
    return [finished(harness), waiting(harness)]


def test_what_finished_long_ago_goes_in_batches(workflow_harness: Harness) -> None:
    kept = grown(workflow_harness)
    answer = prune("--older-than", "30d", "--batch", 2)
    assert (answer.code, answer.out, answer.err) == (0, "deleted: 6\n", "")
    assert set(Workflow.objects.all()) == set(kept)
    again = prune("--older-than", "P30D", "--json").document
    assert again == {
        "older_than": 2_592_000.0,
        "definition": None,
        "dry_run": False,
        "matched": 0,
        "deleted": 0,
        "left": 0,
    }


def test_a_dry_run_counts_and_deletes_nothing(workflow_harness: Harness) -> None:
    grown(workflow_harness)
    assert prune("--older-than", "30d", "--dry-run").out == "would be deleted: 6\n"
    document = prune("--older-than", "30d", "--dry-run", "--json").document
    assert (document["matched"], document["deleted"], document["left"]) == (6, 0, 6)
    assert Workflow.objects.count() == 8


def test_only_of_one_definition(workflow_harness: Harness) -> None:
    grown(workflow_harness)
    document = prune("--older-than", "30d", "--definition", "shop.echo", "--batch", 2, "--json").document
    assert (document["definition"], document["deleted"], document["left"]) == ("shop.echo", 5, 0)
    assert workflow.list("commands.order").count() == 3


def test_a_progress_bar_is_for_terminals(workflow_harness: Harness) -> None:
    grown(workflow_harness)
    shown = prune("--older-than", "30d", "--batch", 3, "--dry-run", stream=Terminal()).out
    assert "\r" not in shown
    shown = prune("--older-than", "30d", "--batch", 3, stream=Terminal()).out
    assert "\r[" + "." * 30 + "] 0 of 6" in shown
    assert "\r[" + "#" * 15 + "." * 15 + "] 3 of 6" in shown
    assert shown.endswith("] 6 of 6\ndeleted: 6\n")


def test_no_progress_bar_among_json(workflow_harness: Harness) -> None:
    grown(workflow_harness)
    answer = prune("--older-than", "30d", "--json", stream=Terminal())
    assert answer.document["deleted"] == 6
    assert "\r" not in answer.out


def test_without_a_duration_the_retention_counts(workflow_harness: Harness) -> None:
    grown(workflow_harness)
    refused = prune()
    assert refused.code == 2
    assert "give --older-than" in refused.err
    with override_settings(DJANGO_WORKFLOW={"RETENTION": timedelta(days=30)}):
        assert prune("--json").document["deleted"] == 6


def test_from_code_with_a_text_or_a_timedelta(workflow_harness: Harness) -> None:
    grown(workflow_harness)
    stream = Terminal()
    call_command("workflow_prune", older_than=timedelta(days=40), stdout=stream)
    call_command("workflow_prune", older_than="30d", json=True, stdout=stream)
    assert workflow.list().count() == 2


def test_nothing_is_older_than_the_calendar(workflow_harness: Harness) -> None:
    grown(workflow_harness)
    assert prune("--older-than", "999999999d").out == "deleted: 0\n"
    assert prune("--older-than", "0s", "--definition", f"no.{uuid4()}").out == "deleted: 0\n"


@pytest.mark.parametrize(
    "text", ["30", "", "1mo", "-1d", "30 days", "1h1d", "9" * 15 + "w", "P1Y", "\u0661d"]
)
def test_a_bad_duration_names_the_value_and_the_remedy(text: str, db: None) -> None:
    answer = prune(f"--older-than={text}")
    assert answer.code != 0
    assert repr(text) in answer.err
    assert "write 90s, 15m, 12h, 30d, 2w, 1d12h" in answer.err
