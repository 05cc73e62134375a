"""`workflow list | status | steps | health`."""

from datetime import timedelta
from uuid import uuid4

import pytest

from django_workflow import workflow
from django_workflow.testing import Harness
from tests.commands.console import Terminal, manage
from tests.commands.stage import failed, finished, nested, order, waiting

MISSING = uuid4()


def test_a_list_is_newest_first_and_says_what_each_is_about(workflow_harness: Harness) -> None:
    runs = [waiting(workflow_harness), failed(workflow_harness), finished(workflow_harness)]
    workflow.cancel(first := waiting(workflow_harness), "no stock")
    answer = manage("list")
    head, *rows = [line.split("  ") for line in answer.out.splitlines()]
    assert head[0] == "ID"
    assert [row[0] for row in rows] == [str(run.pk) for run in (first, *reversed(runs))]
    texts = answer.out.splitlines()[1:]
    assert "canceled" in texts[0]
    assert texts[0].endswith("no stock")
    assert "completed" in texts[1]
    assert texts[2].endswith("ValueError: no pear")
    assert 'waiting for event "commands.approved"' in texts[3]
    assert answer.code == 0


def test_a_list_is_filtered(workflow_harness: Harness) -> None:
    ours = order.using(key="one", labels={"customer": 42, "vip": True}).start("apple")
    nested.using(key="one").start("pear")
    workflow_harness.drain()
    found = [
        manage("list", "--json", *filters).document["workflows"]
        for filters in (
            ("--definition", "commands.order", "--key", "one"),
            ("--label", "customer=42", "--label", "vip=true"),
            ("--label", "customer=43"),
            ("--key", "one"),
            ("--key", "ONE"),
            ("--state", "completed"),
            ("--definition", "commands.order", "--state", "in_progress"),
        )
    ]
    assert [each["id"] for each in found[0]] == [str(ours.pk)]
    assert [each["id"] for each in found[1]] == [str(ours.pk)]
    assert [len(each) for each in found[2:]] == [0, 2, 0, 0, 2]
    assert found[0][0]["labels"] == {"customer": 42, "vip": True}


def test_a_list_says_when_there_are_more(workflow_harness: Harness) -> None:
    for label in ("a", "b", "c"):
        order.start(label)
    assert manage("list", "--limit", 2).out.splitlines()[-1] == "There are more: --limit 20 shows them."
    document = manage("list", "--limit", 2, "--json").document
    assert (len(document["workflows"]), document["more"]) == (2, True)
    assert manage("list", "--limit", 3, "--json").document["more"] is False


def test_a_table_fits_the_terminal_and_never_cuts_an_id(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness, "long " * 100)
    failed(workflow_harness, "pear " * 100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "120")
        for args in (["list"], ["status", run.pk], ["steps", run.pk]):
            out = manage(*args, "--no-color", stream=Terminal()).out
            assert max(map(len, out.splitlines())) <= 120
            assert "…" in out
        assert str(run.pk) in manage("list").out


def test_colour_is_for_terminals_and_can_be_switched_off(workflow_harness: Harness) -> None:
    failed(workflow_harness)
    assert "\x1b[" not in manage("list").out
    assert "\x1b[" in manage("list", "--force-color").out
    assert "\x1b[" not in manage("list", "--no-color", stream=Terminal()).out
    assert "\x1b[" not in manage("list", "--json", "--force-color").out


def test_status_of_one_that_waits(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    workflow.send_event(run, "commands.later", {"a": 1}, key="k")
    text = manage("status", run.pk)
    assert text.code == 0
    assert f"workflow    {run.pk}" in text.out
    assert 'in progress: waiting for event "commands.approved"' in text.out
    assert '{"done": 1, "of": 2}' in text.out
    assert "not taken: commands.later" in text.out
    document = manage("status", run.pk, "--json").document
    assert document["arguments"] == {"label": "apple", "count": 1}
    assert document["state"] == "in_progress"
    assert [(step["number"], step["kind"]) for step in document["running"]] == [(2, "event")]
    [event] = document["events"]
    assert (event["name"], event["value"], event["key"]) == ("commands.later", {"a": 1}, "k")
    assert event["consumed_at"] is None


def test_status_exits_with_1_when_the_answer_is_no(workflow_harness: Harness) -> None:
    done, broken, ended = (
        finished(workflow_harness),
        failed(workflow_harness),
        waiting(workflow_harness),
    )
    workflow.cancel(ended, "no stock")
    good = manage("status", done.pk, "--json")
    assert (good.code, good.document["result"], good.err) == (0, "delivered apple", "")
    bad = manage("status", broken.pk, "--json")
    assert (bad.code, bad.err) == (1, f"workflow {broken.pk} has failed")
    error = bad.document["error"]
    assert (error["type"], error["message"], error["step"]) == ("builtins.ValueError", "no pear", 3)
    assert error["traceback"].startswith("Traceback")
    assert "Traceback" not in manage("status", broken.pk).out
    assert "Traceback" in manage("status", broken.pk, "-v", 2).out
    gone = manage("status", ended.pk)
    assert (gone.code, gone.err) == (1, f"workflow {ended.pk} was canceled")
    assert "no stock" in gone.out


def test_status_shows_a_pause(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    workflow.pause("backup")
    assert manage("status", run.pk, "--json").document["paused"] == "backup"
    assert "paused: backup" in manage("status", run.pk).out


@pytest.mark.django_db(transaction=True)
def test_status_waits(workflow_harness: Harness) -> None:
    done, broken, open_ = (
        finished(workflow_harness),
        failed(workflow_harness),
        waiting(workflow_harness),
    )
    assert manage("status", done.pk, "--wait").code == 0
    assert manage("status", broken.pk, "--wait", "10").code == 1
    late = manage("status", open_.pk, "--wait", "0s", "--json")
    assert late.code == 6
    assert late.document["state"] == "in_progress"
    assert "goes on" in late.err


def test_steps(workflow_harness: Harness) -> None:
    run = nested.start("pear")
    workflow_harness.drain()
    [child] = workflow.list("commands.order")
    [own] = manage("steps", run.pk, "--json").document["steps"]
    assert (own["kind"], own["child"], own["state"]) == ("workflow", str(child.pk), "pending")
    steps = manage("steps", child.pk, "--json").document["steps"]
    assert [step["number"] for step in steps] == [1, 2]
    assert steps[0]["arguments"] == {"label": "pear"}
    assert steps[0]["result"] == "prepared pear"
    assert steps[0]["history"][0]["outcome"] == "completed"
    lines = manage("steps", child.pk).out.splitlines()
    assert lines[0].split() == ["#", "KIND", "NAME", "STATE", "TRIES", "STARTED", "TOOK", "ABOUT"]
    assert lines[1].split()[:5] == ["1", "action", "prepare", "completed", "1"]
    assert lines[1].endswith('"prepared pear"')
    assert f"workflow {child.pk}" in manage("steps", run.pk).out


def test_health(workflow_harness: Harness) -> None:
    workflow.pause("backup")
    order.start("apple")
    workflow_harness.advance(timedelta(minutes=5))
    answer = manage("health", "--json")
    assert answer.code == 1
    assert answer.document["ok"] is False
    assert answer.document["problems"][0].startswith("no ticker leads")
    assert answer.document["pauses"] == [{"cluster": None, "reason": "backup"}]
    assert answer.document["oldest_due"] >= 300
    text = manage("health")
    assert text.code == 1
    assert "no ticker leads" in text.out
    assert "paused all" in text.out


@pytest.mark.parametrize("id", [str(MISSING), "nonsense", "", "\x1b[31m"])
@pytest.mark.parametrize("verb", ["status", "steps"])
def test_what_is_not_there(verb: str, id: str, db: None) -> None:
    plain, answer = manage(verb, id), manage(verb, id, "--json")
    for each in (plain, answer):
        assert each.code == 3
        assert "there is no workflow" in each.err
        assert "\x1b" not in each.all
    assert answer.document == {"error": "not_found", "detail": answer.err}
