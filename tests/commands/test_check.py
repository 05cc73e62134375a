"""`manage.py workflow_check`: code that changed is found, code that fits is left in peace, and nothing is written."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from django_workflow import InProgress, StepContext, workflow
from django_workflow.engine import inspection
from django_workflow.exceptions import InvalidArguments
from django_workflow.handler import registry
from django_workflow.models import Workflow
from django_workflow.testing import Harness, SimulatedCrash
from django_workflow.verdict import Breaks, Fits
from tests.behaviours.bodies import act, change, look, unmarked
from tests.behaviours.code import deploy, deployed, nothing
from tests.behaviours.test_changed_code import CHANGES, original
from tests.commands.console import Terminal, manage, manage_for_real
from tests.commands.rows import all_rows
from tests.engine.committed import committed
from tests.simulation.shapes import SHAPES

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def clean_slate() -> Iterator[None]:
    deploy(nothing)
    yield
    deploy(nothing)


def check(*args: str) -> tuple[int, str]:
    """The exit code of the command, and what it wrote; rows are as before."""
    before = all_rows()
    answer = manage(*args, command="workflow_check")
    assert all_rows() == before
    return answer.code, answer.out


def check_json(*args: str) -> tuple[int, dict[str, Any]]:
    code, text = check("--json", *args)
    document: dict[str, Any] = json.loads(text)
    return code, document


# ── code that has changed ───────────────────────────────────────────────────────────────────────────────────


def test_each_change_is_named_by_position_record_and_what_was_asked(workflow_harness: Harness) -> None:
    @deploy
    async def before_the_change(step: StepContext, which: int) -> str:
        return await original(step)

    runs = [deployed.start(which) for which in range(len(CHANGES))]
    workflow_harness.drain()
    workflow_harness.advance(HOUR)
    assert check() == (0, f"{len(CHANGES)} workflows in progress: all fit.\n")

    @deploy
    async def after_the_change(step: StepContext, which: int) -> str:
        return str(await CHANGES[which][0](step))

    code, document = check_json()
    assert code == 1
    found = {each["workflow_id"]: each for each in document["workflows"]}
    for run, (_, number, recorded, asked) in zip(runs, CHANGES, strict=True):
        each = found[str(run.id)]
        assert (each["verdict"], each["number"], each["paused"]) == ("breaks", number, False)
        assert recorded in each["recorded"]
        if asked == "ended without asking":
            assert each["asked"] is None
            assert asked in each["reason"]
        else:
            assert asked in each["asked"]
    assert (document["checked"], document["breaking"]) == (len(CHANGES), len(CHANGES))
    assert all(isinstance(workflow.status(run), InProgress) for run in runs)


def test_people_read_position_record_and_what_was_asked(workflow_harness: Harness) -> None:
    deploy(original)
    run = deployed.start()
    workflow_harness.drain()

    @deploy
    async def swapped(step: StepContext) -> None:
        await step.run_action(act, 2)

    code, text = check()
    lines = [line.strip() for line in text.splitlines()]
    assert code == 1
    assert lines[0] == f"behaviours.deployed v1 {run.id} breaks at step 1"
    assert lines[1] == 'recorded   query look {"value":1}'
    assert lines[2] == 'asked for  action act {"value":2}'
    assert lines[-1] == "1 workflow in progress: 1 would break."


def test_what_the_handler_raised_is_told(workflow_harness: Harness) -> None:
    deploy(original)
    deployed.start()
    workflow_harness.drain()

    @deploy
    async def mistaken(step: StepContext) -> None:
        await step.run_query(look, 1)
        raise KeyError("typo")

    _, document = check_json()
    (found,) = document["workflows"]
    assert found["number"] == 2
    assert "The handler raised KeyError: 'typo'" in found["reason"]


def test_arguments_that_no_longer_fit_break_before_the_first_turn_too(
    workflow_harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))

    async def old(step: StepContext, token: str) -> None:
        await step.sleep(60)

    async def new(step: StepContext, token: int, size: int) -> None:
        await step.sleep(60)

    definition = workflow.define(name="check.arguments")(old)
    begun = definition.start("a secret")
    workflow_harness.drain()
    fresh = definition.start("a secret")
    assert check()[0] == 0
    del registry._definitions["check.arguments", 1]
    workflow.define(name="check.arguments")(new)
    code, document = check_json()
    assert code == 1
    assert [each["workflow_id"] for each in document["workflows"]] == [str(begun.id), str(fresh.id)]
    for each in document["workflows"]:
        assert each["number"] is None
        assert each["recorded"] == 'arguments {"token":"********"}'
        assert "size: int" in each["asked"]
        assert "size: is not among the stored arguments" in each["reason"]
    assert "a secret" not in json.dumps(document)


def test_a_version_or_a_definition_that_is_gone_breaks(
    workflow_harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_definitions", dict(registry._definitions))

    async def handler(step: StepContext) -> None:
        await step.sleep(60)

    first = workflow.define(name="check.versions", version=1)(handler)
    run = first.start()
    workflow_harness.drain()

    async def another(step: StepContext) -> None:
        await step.run_action(act, 1)

    workflow.define(name="check.versions", version=2)(another)
    assert check("--definition", "check.versions") == (0, "1 workflow in progress: all fit.\n")

    del registry._definitions["check.versions", 1]
    code, document = check_json()
    (found,) = document["workflows"]
    assert (code, found["workflow_id"], found["number"]) == (1, str(run.id), None)
    assert (found["recorded"], found["asked"]) == ("check.versions version 1", "the code has version 2 only")

    del registry._definitions["check.versions", 2]
    _, document = check_json("--definition", "check.versions")
    assert document["workflows"][0]["asked"] == "the code has no definition of this name"


# ── code that fits ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_change_behind_a_patch_fits(workflow_harness: Harness) -> None:
    deploy(original)
    run = deployed.start()
    workflow_harness.drain()

    @deploy
    async def patched(step: StepContext) -> str:
        if step.patched("look first"):
            await step.run_query(look, "new")
        return await original(step)

    assert check()[0] == 0
    new = deployed.start()
    workflow_harness.drain()
    assert check()[0] == 0
    workflow_harness.advance(HOUR)
    workflow_harness.advance(DAY)
    assert [workflow_harness.result(each) for each in (run, new)] == ["ended", "ended"]


def test_a_change_behind_where_it_has_come_fits(workflow_harness: Harness) -> None:
    deploy(original)
    deployed.start()
    workflow_harness.drain()

    @deploy
    async def longer(step: StepContext) -> None:
        await step.run_query(look, 1)
        await step.run_action(act, 2)
        await asyncio.gather(step.sleep(HOUR), step.run_action(act, "beside"))
        await step.run_mutation(change, "another")

    assert check()[0] == 0


def test_one_that_has_never_had_a_turn_fits_whatever_its_handler_does(workflow_harness: Harness) -> None:
    deployed.using(run_after=HOUR).start()
    deploy(original)
    workflow_harness.drain()
    assert check() == (0, "1 workflow in progress: all fit.\n")


@pytest.mark.parametrize("suspended", [False, True], ids=["live", "suspended"])
@committed
@pytest.mark.slow
@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_unchanged_code_fits_wherever_a_crash_has_left_it(
    transactional_db: None, shape: str, suspended: bool
) -> None:
    with override_settings(DJANGO_WORKFLOW={"ALWAYS_SUSPEND": suspended, "TURN_COMMIT_MS": 1e9}):
        for n in itertools.count(1, 5):  # not all of them: the sweep in tests/simulation dies at each
            with Harness() as harness:
                run = SHAPES[shape].start(f"check {shape} {suspended} {n}")
                harness.crash_at(n)
                died = False
                for _ in range(25):
                    try:
                        harness.advance(timedelta(seconds=61))
                    except SimulatedCrash:
                        died = True
                    found = [each for each in workflow.check_all() if isinstance(each, Breaks)]
                    assert not found, found
                    if workflow.get(run).finished:
                        break
            if not died:
                break


def test_losers_that_were_canceled_fit(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.first_completed(step.sleep(10_000), step.run_action(act, 1))
        await step.wait_for_event("go")

    run = deployed.start()
    workflow_harness.drain()
    assert workflow.steps(run).filter(state="canceled").exists()
    assert check()[0] == 0


def test_rollbacks_under_way_need_their_functions_and_no_handler(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.using(rollback=unmarked).run_action(act, 1)
        await step.sleep(DAY)

    run = deployed.start()
    workflow_harness.drain()
    workflow.cancel(run, rollback=True)
    deploy(nothing)
    assert check()[0] == 0
    Workflow.objects.get(id=run.id).journal.filter(number=1).update(rollback="tests.behaviours.bodies.gone")
    code, document = check_json()
    (found,) = document["workflows"]
    assert (code, found["number"], found["recorded"]) == (1, 1, "rollback tests.behaviours.bodies.gone")


@override_settings(DJANGO_WORKFLOW={"ON_DETERMINISM_VIOLATION": "pause"})
def test_a_parked_workflow_is_told_by_what_a_restart_would_do(workflow_harness: Harness) -> None:
    deploy(original)
    run = deployed.start()
    workflow_harness.drain()
    deploy(CHANGES[0][0])
    workflow_harness.advance(HOUR)
    assert workflow.get(run).paused is not None
    code, document = check_json()
    assert code == 0  # no deploy makes it worse
    assert [(each["verdict"], each["paused"]) for each in document["workflows"]] == [("breaks", True)]
    assert (document["breaking"], document["paused"], document["paused_breaking"]) == (0, 1, 1)
    assert "1 would stop again" in check()[1]

    deploy(original)
    assert workflow.check(run) == Fits(run.id, "behaviours.deployed", 1, paused=True)
    assert "1 would go on, 0 would stop again." in check()[1]
    workflow.restart(run)
    workflow_harness.drain()
    assert workflow.get(run).paused is None


# ── which ones, and how ─────────────────────────────────────────────────────────────────────────────────────


def start_many(harness: Harness, count: int) -> list[Workflow]:
    deploy(original)
    runs = workflow.start_many(deployed, [()] * count)
    harness.drain()
    return runs


def test_pages_and_batches_leave_none_out_and_look_at_none_twice(
    workflow_harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "PAGE", 7)
    monkeypatch.setattr(inspection, "BATCH", 3)
    runs = start_many(workflow_harness, 25)
    deployed.start()
    runs[3].cancel()
    found = [each.workflow_id for each in workflow.check_all()]
    assert found == sorted(run.id for run in workflow.list(state="in_progress"))


def test_two_statements_for_a_hundred_workflows(workflow_harness: Harness) -> None:
    start_many(workflow_harness, 201)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert len(list(workflow.check_all())) == 201
    assert len(queries) == 2 + 3 * 2  # pages of ids, the last one empty; journals and rows of three batches


def test_filters(workflow_harness: Harness) -> None:
    runs = start_many(workflow_harness, 3)
    SHAPES["sleeps"].start("other")
    assert "4 workflows" in check()[1]
    assert "3 workflows" in check("--definition", "behaviours.deployed")[1]
    assert [each.workflow_id for each in workflow.check_all(deployed, limit=2)] == [
        run.id for run in runs[:2]
    ]
    assert "2 workflows" in check("--limit", "2")[1]
    assert check_json("--definition", "shapes.parallel") == (
        0,
        {"workflows": [], "checked": 0, "breaking": 0, "paused": 0, "paused_breaking": 0},
    )


def test_a_definition_that_nobody_knows_is_a_typing_error(db: None) -> None:
    answer = manage("--definition", "behaviours.deplyed", command="workflow_check")
    assert (answer.code, answer.out) == (2, "")
    assert "behaviours.deployed" in answer.err  # did you mean


@pytest.mark.parametrize("limit", ["0", "-1", "many"])
def test_a_limit_that_is_none_is_refused(db: None, limit: str) -> None:
    assert "give a whole number from 1" in manage(f"--limit={limit}", command="workflow_check").err
    with pytest.raises(InvalidArguments):
        workflow.check_all(limit=0)


@pytest.mark.parametrize(("args", "code"), [([], 0), (["--limit", "0"], 2), (["--definition", "no.such"], 2)])
@committed
def test_exit_codes_of_a_real_process(transactional_db: None, args: list[str], code: int) -> None:
    assert manage_for_real("workflow_check", *args).code == code


def test_a_bar_is_drawn_on_a_terminal_alone(workflow_harness: Harness) -> None:
    start_many(workflow_harness, 3)
    assert "\r" not in check()[1]
    terminal = Terminal()
    manage(command="workflow_check", stream=terminal)
    assert "3 of 3" in terminal.getvalue()
    terminal = Terminal()
    manage("--json", command="workflow_check", stream=terminal)
    assert json.loads(terminal.getvalue())["checked"] == 3


def test_one_that_ends_while_others_are_looked_at_is_no_break(workflow_harness: Harness) -> None:
    runs = start_many(workflow_harness, 3)
    deploy(nothing)
    verdicts = workflow.check_all()
    assert isinstance(next(verdicts), Breaks)
    runs[1].cancel()
    assert [each.workflow_id for each in verdicts] == [runs[2].id]


def test_async_code_asks_the_same(workflow_harness: Harness) -> None:
    runs = start_many(workflow_harness, 3)

    async def ask() -> list[Any]:
        return [await workflow.acheck(runs[0]), *[each async for each in workflow.acheck_all(deployed)]]

    assert async_to_sync(ask)() == [workflow.check(runs[0]), *workflow.check_all(deployed)]


def test_a_finished_workflow_is_held_against_its_ending(workflow_harness: Harness) -> None:
    deploy(original)
    run = deployed.start()
    for _ in range(3):
        workflow_harness.advance(DAY)
    assert isinstance(workflow.check(run), Fits)

    @deploy
    async def ends_otherwise(step: StepContext) -> str:
        await original(step)
        return "another end"

    found = workflow.check(run)
    assert isinstance(found, Breaks)
    assert (found.recorded, found.asked) == ('completed: "ended"', 'completed: "another end"')
