"""Behaviour 45: a secret under a redacted name is shown by no command, and hostile text is shown as text."""

from typing import Any

import pytest

from django_workflow import Event, StepContext, action, workflow
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from tests.commands.console import Answer, Terminal, manage
from tests.commands.stage import note

CANARY = "canary-5b0c"
HOSTILE = "\x1b[31mred\x1b]0;title\x07\r\nforged: line\u202e\u2028<b>\x00\x9b2J"

Event("commands.typed", dict[str, int])


def secrets() -> dict[str, Any]:
    """A value with a secret at each depth; made here, since a traceback shows the lines of a handler."""
    return {"token": CANARY, "nested": [{"Api_Key": CANARY, "deeper": {"card_number": [CANARY]}}], "plain": 1}


def fails_to_complete(workflow_id: Any, result: Any, context: Any) -> None:
    raise ValueError("no")


@action
def pay(order: dict[str, Any], password: str) -> dict[str, Any]:
    return secrets()


@action
def refuse(card: dict[str, Any]) -> None:
    raise ValueError("refused")


@workflow.define(name="commands.canary", redact=["card_number"], on_complete=fails_to_complete)
async def waits(step: StepContext, order: dict[str, Any], password: str) -> dict[str, Any]:
    step.set_status({"done": 1, "of": 2, "secret": order})
    paid = await step.run_action(pay, order, password)
    told = await step.wait_for_event("commands.go")
    if told.get("fail"):
        await step.run_action(refuse, order)
    return {"paid": paid, "authorization": paid}


@action
def shout(text: str) -> str:
    raise ValueError(text)


@workflow.define(name="commands.hostile")
async def hostile(step: StepContext, text: str) -> Any:
    step.set_status(text)
    try:
        await step.using(name="<b>name</b>").run_action(shout, text)
    except ValueError:
        return await step.wait_for_event("commands.go")


@pytest.fixture
def runs(workflow_harness: Harness) -> list[Workflow]:
    """One that waits, one that has completed, one that has failed."""
    started = [
        waits.using(labels={"api_key": CANARY}, context=secrets()).start(secrets(), password=CANARY)
        for _ in range(3)
    ]
    workflow_harness.drain()
    for run, fail in ((started[1], False), (started[2], True)):
        workflow.send_event(run, "commands.go", {"secret": CANARY, "fail": fail})
    workflow.send_event(started[0], "commands.later", secrets())
    workflow_harness.drain()
    assert [workflow.get(run).state for run in started] == ["in_progress", "completed", "failed"]
    return started


def all_that_is_said_of(run: Workflow) -> list[Answer]:
    """What every verb that looks says, in every form."""
    answers = []
    for args in (["list"], ["status", run.pk, "-v", 2], ["steps", run.pk], ["health"]):
        answers += [manage(*args), manage(*args, "--json"), manage(*args, stream=Terminal())]
    return answers


def test_45_a_secret_is_in_no_answer(runs: list[Workflow], workflow_harness: Harness) -> None:
    for run in runs:
        answers = all_that_is_said_of(run)
        assert all("********" in answers[at].out for at in (3, 4, 7))  # status, and steps as JSON
        for answer in answers:
            assert CANARY not in answer.all
    waiting, done, broken = runs
    start = ("start", "commands.canary", f'{{"token": "{CANARY}"}}', CANARY, "--label", f"secret={CANARY}")
    event = (
        "event",
        waiting.pk,
        "commands.later",
        "--value",
        f'{{"token": "{CANARY}", "card_number": "{CANARY}"}}',
    )
    for args in (
        start,
        event,
        ("fork", done.pk, "--from-step", 2),
        ("restart", broken.pk, "--from-step", 2),
        ("cancel", waiting.pk),
        ("cleanup", waiting.pk),
    ):
        for more in ((), ("--json",)):
            answer = manage(*args, *more)
            assert CANARY not in answer.all, args
    assert CANARY not in manage("--older-than", "0s", command="workflow_prune").all


def test_45_a_secret_is_in_no_refusal(workflow_harness: Harness) -> None:
    run = note.start({})
    for args in (
        ("start", "commands.note", "{}", "--arg", f"password={CANARY}"),
        ("start", "commands.note", "{}", "--arg", f"pin={CANARY}"),
        ("start", "commands.note", f'{{"token": "{CANARY}"}}'),
        ("start", "commands.note", f'[{{"secret": "{CANARY}"}}]'),
        ("start", "commands.note", "{}", "1", f'{{"secret": "{CANARY}"}}'),
        ("event", run.pk, "commands.typed", "--value", f'{{"token": "{CANARY}"}}'),
        ("event", run.pk, "commands.typed", "--value", f'{{"pin": "{CANARY}"}}'),
    ):
        for more in ((), ("--json",)):
            answer = manage(*args, *more)
            assert answer.code == 5, args
            assert CANARY not in answer.all, args


def test_45_a_secret_is_in_no_message_on_malformed_json(db: None) -> None:
    broken = f'{{"token": "{CANARY}"'
    for args in ([broken], ["--arg", f"order={broken}"], ["--args", broken]):
        answer = manage("start", "commands.note", *args)
        assert "no JSON" in answer.err
        assert CANARY not in answer.all


def test_a_refusal_says_what_was_wrong_where_it_may(db: None) -> None:
    assert "(got 'many')" in manage("start", "commands.order", "x", "many").err


def test_45_hostile_text_is_shown_as_text(workflow_harness: Harness) -> None:
    run = hostile.start(HOSTILE)
    workflow_harness.drain()
    workflow.send_event(run, "commands.other", HOSTILE)
    other = hostile.using(labels={"name": "[b]"}).start(HOSTILE)
    workflow.cancel(other, HOSTILE)
    workflow.pause(HOSTILE)
    answers = [*all_that_is_said_of(run), *all_that_is_said_of(other)]
    answers.append(manage("pause", HOSTILE))
    answers.append(manage("status", HOSTILE))
    answers.append(manage("cancel", HOSTILE, run.pk))
    answers.append(manage("start", HOSTILE, "--key", HOSTILE))
    answers.append(manage("event", run.pk, HOSTILE, "--value", HOSTILE, "--error", HOSTILE))
    for answer in answers:
        uncoloured = answer.all
        for colour in (
            "\x1b[0m",
            *(f"\x1b[{code}m" for code in ("31;1", "32;1", "33;1", "36;1", "1", "33", "35;1")),
        ):
            uncoloured = uncoloured.replace(colour, "")
        assert not [each for each in uncoloured.replace("\n", "") if not each.isprintable()]
        assert not any(line.startswith("forged") for line in uncoloured.splitlines())
    assert any("\\x1b[31mred" in answer.out for answer in answers)
