"""`workflow start | cancel | restart | fork | cleanup | event | pause | resume`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from django_workflow import workflow
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.commands.console import manage
from tests.commands.stage import approved, failed, faults, finished, waiting
from tests.shop.models import Entry


def started(*args: object) -> Workflow:
    """What `start` started."""
    answer = manage("start", *args)
    assert answer.code == 0, answer.err
    return workflow.get(answer.out.strip())


def test_start(db: None) -> None:
    run = started("commands.order", "apple", "3", "--key", "one", "--label", "vip=true", "--priority", "5")
    assert run.args == {"label": "apple", "count": 3}
    assert (run.key, run.labels, run.priority) == ("one", {"vip": True}, 5)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("1.5", 1.5),
        ("null", None),
        ("true", True),
        ("apple", "apple"),
        ("two words", "two words"),
        ("007", "007"),
        ("NaN", "NaN"),
        ('"5"', "5"),
        ('{"a": [1]}', {"a": [1]}),
        ("", ""),
    ],
)
def test_a_value_is_json_and_a_bare_word_a_text(text: str, value: Any, db: None) -> None:
    assert started("shop.echo", text).args == {"value": value}
    assert started("shop.echo", f"--arg=value={text}").args == {"value": value}


def test_arguments_from_a_file_and_from_an_object(tmp_path: Path, db: None) -> None:
    file = tmp_path / "arguments.json"
    file.write_text('{"label": "päar", "count": 2}')
    assert started("commands.order", "--args", f"@{file}").args == {"label": "päar", "count": 2}
    given = started("commands.order", "--args", '{"label": "x"}', "--arg", "count=7")
    assert given.args == {"label": "x", "count": 7}


def test_start_later(db: None) -> None:
    run = started("commands.order", "apple", "--run-at", "2031-01-31T09:00+01:00")
    assert run.due_at == datetime(2031, 1, 31, 8, tzinfo=UTC)
    run = started("commands.order", "apple", "--run-after", "1d12h")
    assert run.due_at is not None
    # PostgreSQL tells the time anew for each column.
    assert abs(run.due_at - run.created_at - timedelta(days=1, hours=12)) < timedelta(seconds=1)


def test_the_same_key_again(db: None) -> None:
    first = started("commands.order", "apple", "--key", "one")
    assert started("commands.order", "apple", "--key", "one") == first
    plain = manage("start", "commands.order", "pear", "--key", "one")
    answer = manage("start", "commands.order", "pear", "--key", "one", "--json")
    assert (plain.code, answer.code) == (4, 4)
    assert str(first.pk) in plain.err
    assert answer.document == {"error": "conflict", "detail": plain.err}
    assert Workflow.objects.count() == 1


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["commands.ordr", "x"], 3, "did you mean 'commands.order'"),
        (["os.system", "ls"], 3, "no workflow is defined as 'os.system'"),
        (["commands.order"], 5, "label: is missing"),
        (["commands.order", "x", "many", "3"], 5, "count: Input should be a valid integer"),
        (["commands.order", "x", "--arg", "colour=1"], 5, "colour: unexpected argument"),
        (["commands.order", "x", "--key", ""], 5, "is no key"),
        (["commands.order", "x", "--label", "a=[1]"], 5, "is no label"),
        (["commands.order", "x", "--priority", str(2**40)], 5, "no whole number of 32 bits"),
        (["shop.echo", "[" * 70 + "]" * 70], 5, "nested"),
        (["commands.order", "--arg", "label=1", "--arg", "label=2"], 2, "given twice"),
        (["commands.order", "--arg", "label=1", "--args", '{"label": 2}'], 2, "given twice"),
    ],
)
def test_a_start_that_is_refused_changes_nothing(args: list[str], code: int, said: str, db: None) -> None:
    answer = manage("start", *args)
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err
    assert Workflow.objects.count() == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["x", "--run-at", "2031-01-31T09:00"], "has no time zone"),
        (["x", "--run-at", "tomorrow"], "'tomorrow' is no moment"),
        (["x", "--run-after", "30"], "'30' is no duration"),
        (["--args", "[1]"], "holds no JSON object"),
        (["--args", "{"], "holds no JSON"),
        (["--args", "@/no/such/file"], "can't be read"),
        (["{broken"], "is no JSON"),
        (["[" * 100_000], "nested too deeply"),
        (["--arg", "label"], "write name=value"),
        (["x", "--wait", "soon"], "'soon' is no duration"),
        (["x", "--run-at", "2031-01-31T09:00Z", "--run-after", "1h"], "not allowed with"),
    ],
)
def test_a_command_line_that_cannot_be_read(args: list[str], said: str, db: None) -> None:
    answer = manage("start", "commands.order", *args)
    assert answer.code != 0  # 2 where a shell sees it: test_exit_codes.py
    assert said in answer.err
    assert Workflow.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_start_waits_and_says_how_it_ended(workflow_harness: Harness) -> None:
    late = manage("start", "commands.order", "apple", "--key", "a", "--wait", "0", "--json")
    assert (late.code, late.document["state"]) == (6, "in_progress")
    workflow.send_event(late.document["id"], approved, True)
    workflow_harness.drain()
    well = manage("start", "commands.order", "apple", "--key", "a", "--wait", "--json")
    assert (well.code, well.document["result"]) == (0, "delivered apple")


def test_cancel_several(workflow_harness: Harness) -> None:
    one, two, done = waiting(workflow_harness), waiting(workflow_harness), finished(workflow_harness)
    answer = manage("cancel", one.pk, two.pk, "--reason", "no stock", "--json")
    assert answer.code == 0
    assert [each["done"] for each in answer.document["results"]] == [True, True]
    assert workflow.get(two).reason == "no stock"
    again = manage("cancel", one.pk, done.pk)
    assert again.code == 1
    assert again.out.splitlines() == [
        f"{one.pk}  had finished: canceled",
        f"{done.pk}  had finished: completed",
    ]
    missing = uuid4()
    mixed = manage("cancel", missing, waiting(workflow_harness).pk, done.pk, "--json")
    assert mixed.code == 3
    assert [each["exit"] for each in mixed.document["results"]] == ["not_found", "done", "no"]
    assert mixed.err == "not done: 2 of 3"


def test_cancel_with_rollback(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    assert "canceling" in manage("cancel", run.pk, "--rollback").out
    assert "is canceling already" in manage("cancel", run.pk, "--rollback").out
    assert manage("status", run.pk, "--json").document["canceling"] is True
    workflow_harness.drain()
    assert workflow.get(run).state == "canceled"
    assert Entry.objects.filter(label="undone apple").count() == 1


def test_restart(workflow_harness: Harness) -> None:
    one, two, open_ = (
        failed(workflow_harness),
        failed(workflow_harness),
        waiting(workflow_harness),
    )
    refused = manage("restart", open_.pk)
    assert refused.code == 4
    assert "is in progress" in refused.out
    faults.clear()
    assert manage("restart", one.pk, two.pk, "--from-failure").code == 0
    workflow_harness.drain()
    assert {workflow.get(run).state for run in (one, two)} == {"completed"}
    assert manage("restart", one.pk, "--from-step", "9").code == 3
    assert manage("restart", one.pk, "--from-step", "nothing").code == 3
    assert manage("restart", one.pk, "--from-step", "deliver").code == 0
    workflow_harness.drain()
    assert workflow.get(one).state == "completed"
    assert manage("restart", one.pk, "--from-step", "1").code == 0
    assert list(workflow.steps(one)) == []


def test_fork(workflow_harness: Harness) -> None:
    run = finished(workflow_harness)
    answer = manage("fork", run.pk, "--from-step", "2")
    fork = workflow.get(answer.out.strip())
    assert fork != run
    assert [step.name for step in workflow.steps(fork)] == ["prepare"]
    document = manage("fork", run.pk, "--from-step", "deliver", "--json").document
    assert document["definition"] == "commands.order"
    assert document["id"] != str(run.pk)
    refused = manage("fork", run.pk, "--from-step", "9", "--json")
    assert (refused.code, refused.document["error"]) == (3, "not_found")


def test_cleanup(workflow_harness: Harness) -> None:
    done, open_ = finished(workflow_harness), waiting(workflow_harness)
    answer = manage("cleanup", done.pk, open_.pk, done.pk)
    assert answer.code == 4
    assert [line.partition("  ")[2].split(" ")[0] for line in answer.out.splitlines()] == [
        "deleted",
        "workflow",
        "there",
    ]
    assert manage("cleanup", done.pk, "--json").code == 3
    assert Workflow.objects.get() == open_


def test_event(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    refused = manage("event", run.pk, "commands.approved", "--value", "perhaps")
    assert refused.code == 5
    assert "valid boolean" in refused.err
    for _ in range(2):
        answer = manage("event", run.pk, "commands.approved", "--value", "true", "--key", "k", "--json")
        assert answer.code == 0
        assert answer.document["event"]["value"] is True
    workflow_harness.drain()
    assert workflow.get(run).state == "completed"
    assert run.events.count() == 1
    late = manage("event", run.pk, "commands.approved", "--value", "true")
    assert late.code == 4
    assert "has finished" in late.err
    assert manage("event", uuid4(), "commands.approved").code == 3


def test_event_with_an_error(workflow_harness: Harness) -> None:
    run = waiting(workflow_harness)
    answer = manage("event", run.pk, "commands.approved", "--error", "withdrawn", "--json")
    assert answer.document["event"]["error"]["message"] == "withdrawn"
    workflow_harness.drain()
    assert "withdrawn" in manage("status", run.pk).out


def test_pause_and_resume(workflow_harness: Harness) -> None:
    assert manage("pause", "backup").out == "paused: all clusters\n"
    run = waiting(workflow_harness)
    assert list(workflow.steps(run)) == []
    assert manage("pause", "reports wait", "--cluster", "reports", "--json").document == {
        "paused": True,
        "cluster": "reports",
        "reason": "reports wait",
    }
    assert manage("resume", "--cluster", "reports").out == "resumed: the cluster reports\n"
    assert manage("resume", "--json").document == {"resumed": True, "cluster": None}
    again = manage("resume", "--json")
    assert (again.code, again.document["resumed"]) == (1, False)
    workflow_harness.drain()
    assert workflow.steps(run).count() == 2
    assert manage("pause", " ").code == 5
