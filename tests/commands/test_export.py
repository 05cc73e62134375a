"""`manage.py workflow export`: golden journals that replay, and tell no secrets."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import override_settings

from django_workflow import StepContext, workflow
from django_workflow.exceptions import WorkflowNotFound
from django_workflow.models import Workflow
from django_workflow.testing import Harness
from django_workflow.verdict import Breaks, Fits
from tests.behaviours.bodies import act, decline
from tests.commands.console import Answer, manage
from tests.commands.rows import all_rows
from tests.shop.workflows import steps_of_all_kinds
from tests.simulation.shapes import SHAPES

SECRET = "a-secret-of-ours"


def export(*args: object) -> Answer:
    before = all_rows()
    answer = manage("export", *args)
    assert all_rows() == before
    return answer


@workflow.define(name="export.guarded", redact=["pin"])
async def guarded(step: StepContext, password: str, pin: int, note: str) -> Any:
    answer = await step.run_action(act, {"Authorization": f"Bearer {password}", "pin": pin, "note": note})
    try:
        await step.run_action(decline, f"{password} was refused")
    except Exception as error:  # noqa: BLE001  whatever it is
        await step.run_action(act, str(error))
    return [answer, password, note]


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_what_is_exported_replays_at_any_point(workflow_harness: Harness, tmp_path: Path, shape: str) -> None:
    run = SHAPES[shape].start(f"export {shape}")
    for at in range(4):
        file = tmp_path / f"{at}.json"
        assert export(run.id, "--output", file).code == 0
        assert isinstance(workflow.replay(file.read_text()), Fits)
        workflow_harness.advance(timedelta(seconds=61))
    for _ in range(3):
        workflow_harness.advance(timedelta(days=1))
    assert workflow.get(run).finished
    assert isinstance(workflow.replay(export(run.id).out), Fits)
    workflow_harness.assert_replays(tmp_path)
    workflow_harness.assert_replays(tmp_path / "0.json")


def test_one_goes_to_standard_output_exactly_and_in_short_lines(workflow_harness: Harness) -> None:
    run = steps_of_all_kinds.start("label")
    workflow_harness.drain()
    text = export(run.id).out
    document = json.loads(text)
    assert text == json.dumps(document, indent=2) + "\n"
    assert text == workflow.export(run) == workflow.export(str(run.id))
    assert list(document) == ["format", "workflow", "steps"]
    assert document["format"] == 1
    assert document["workflow"]["args"] == {"label": "label"}
    assert [step["number"] for step in document["steps"]] == [1, 2, 3, 4]
    assert list(document["steps"][2]) == [
        "number",
        "kind",
        "name",
        "function",
        "args",
        "state",
        "attempts",
        "result",
        "seq",
        "delivered_at",
    ]


def test_what_json_would_write_otherwise_is_kept_to_the_letter(workflow_harness: Harness) -> None:
    run = steps_of_all_kinds.start("label")
    workflow_harness.drain()
    odd = '{"a":1E5,"a":1.0e0}'
    Workflow.objects.get(id=run.id).journal.filter(number=3).update(result_text=odd)
    (step,) = json.loads(workflow.export(run))["steps"][2:3]
    assert step["result_text"] == odd
    assert "result" not in step
    assert isinstance(
        workflow.replay(workflow.export(run)), Breaks
    )  # no int, as the function's annotation says


def test_secrets_are_masked_wherever_they_stand_and_the_journal_replays(
    workflow_harness: Harness, tmp_path: Path
) -> None:
    run = guarded.start(SECRET, 4711, "a note")
    workflow_harness.drain()
    assert workflow.get(run).state == "completed"
    text = export(run.id).out
    assert SECRET not in text
    assert "4711" not in text
    assert "Traceback" not in text
    assert "a note" in text
    assert json.loads(text)["masked"] > 0
    assert isinstance(workflow.replay(text), Fits)

    answer = export(run.id, "--with-secrets", "--output", tmp_path / "clear.json")
    assert answer.code == 0
    clear = (tmp_path / "clear.json").read_text()
    assert SECRET in clear
    assert "4711" in clear
    assert "Traceback" in clear
    assert "masked" not in json.loads(clear)
    assert isinstance(workflow.replay(clear), Fits)


@override_settings(DJANGO_WORKFLOW={"REDACT": ("label",)})
def test_names_of_the_setting_are_masked(workflow_harness: Harness) -> None:
    run = steps_of_all_kinds.start(SECRET)
    workflow_harness.drain()
    text = workflow.export(run)
    assert SECRET not in text
    assert isinstance(workflow.replay(text), Fits)


def test_several_get_a_file_each(workflow_harness: Harness, tmp_path: Path) -> None:
    runs = [SHAPES[shape].start(f"several {shape}") for shape in ("sequence", "saga")]
    workflow_harness.drain()
    folder = tmp_path / "new" / "folder"
    answer = export(*[run.id for run in runs], "--output", folder)
    assert answer.code == 0
    assert sorted(each.name for each in folder.iterdir()) == sorted(
        f"{run.definition}.{run.id}.json" for run in runs
    )
    assert "in clear" in answer.out
    assert manage(folder, command="workflow_replay").code == 0

    answer = export(runs[0].id, "--output", tmp_path / "one", "--json")
    assert answer.document == {
        "written": [
            {
                "id": str(runs[0].id),
                "file": str(tmp_path / "one" / f"shapes.sequence.{runs[0].id}.json"),
                "steps": 7,
                "masked": 0,
            }
        ]
    }


def test_names_of_definitions_lead_to_no_other_folder(workflow_harness: Harness, tmp_path: Path) -> None:
    run = SHAPES["sequence"].start("path")
    Workflow.objects.filter(id=run.id).update(definition="../../up/and away")
    assert export(run.id, "--output", tmp_path).code == 0
    assert [each.name for each in tmp_path.iterdir()] == [f".._.._up_and_away.{run.id}.json"]


def test_what_is_there_is_never_written_over(workflow_harness: Harness, tmp_path: Path) -> None:
    run = SHAPES["sequence"].start("over")
    file = tmp_path / "journal.json"
    file.write_text("mine")
    answer = export(run.id, "--output", file)
    assert answer.code == 2
    assert "is there already, and is not written over" in answer.err
    assert file.read_text() == "mine"


def test_unknown_workflows_leave_nothing_half_done(workflow_harness: Harness, tmp_path: Path) -> None:
    run = SHAPES["sequence"].start("unknown")
    for unknown in ("01a218b3-604e-7000-95f0-7ab17ae15580", "no id"):
        assert export(run.id, unknown, "--output", tmp_path).code == 3
        with pytest.raises(WorkflowNotFound):
            workflow.export(unknown)
        with pytest.raises(WorkflowNotFound):
            workflow.check(unknown)
    assert list(tmp_path.iterdir()) == []
    assert export(run.id, run.id).code == 2  # several need a folder
    assert export(run.id, "--output", tmp_path / "file.json" / "x" / "\0").code == 2


def test_async_code_exports_too(workflow_harness: Harness) -> None:
    run = SHAPES["sequence"].start("async")
    assert async_to_sync(workflow.aexport)(run) == workflow.export(run)
