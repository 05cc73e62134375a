"""The setting `CODEC`: values are sealed at rest in every payload column, and read back everywhere."""

import asyncio
import contextlib
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import override_settings

from django_workflow import Completed, InProgress, Retry, StepContext, action, current_step, workflow
from django_workflow.checks.settings import check_settings
from django_workflow.engine.drain import drain
from django_workflow.exceptions import StepFailed
from django_workflow.fields import MARK, PayloadField, codec_at, seal, unseal
from django_workflow.models import Event, Step, Workflow
from django_workflow.testing import Harness
from tests.behaviours.bodies import act, calls, decline, write
from tests.behaviours.code import deploy, deployed
from tests.engine.committed import committed
from tests.shop.workflows import echo

pytestmark = pytest.mark.django_db
SECRET = "the-secret-itself"


class Reversing:
    """A codec as a class, whose instances do it; another key seals otherwise."""

    def encode(self, text: str) -> str:
        return text.encode().hex()[::-1]

    def decode(self, text: str) -> str:
        return bytes.fromhex(text[::-1]).decode()


class Salted:
    """One that seals the same text differently each time, as a real one does."""

    count = 0

    def encode(self, text: str) -> str:
        Salted.count += 1
        return f"{Salted.count}:{text.encode().hex()}"

    def decode(self, text: str) -> str:
        return bytes.fromhex(text.partition(":")[2]).decode()


an_instance = Reversing()
CLASS, INSTANCE, SALTED = (f"{__name__}.{name}" for name in ("Reversing", "an_instance", "Salted"))
NO_METHODS = object()


class NoDecode:
    def encode(self, text: str) -> str:
        return text


class Broken:
    def __init__(self) -> None:
        raise RuntimeError("the key is missing")


@action
def report(value: str) -> str:
    step = current_step()
    seen = step.details
    step.heartbeat({"seen": value})
    if step.attempt == 1:
        raise ConnectionError(value)
    calls.append(seen)
    return value


def undo(error: Any, result: Any, value: str) -> None:
    calls.append(("undone", value, result))


def told(workflow_id: Any, result: Any, context: Any) -> None:
    calls.append(("told", context))
    raise ValueError(context)


@deploy
async def everything(step: StepContext, secret: str) -> Any:
    """A value in every payload column there is."""
    step.set_status({"secret": secret})
    retry = Retry(max_attempts=2, initial=0, jitter=False)
    await step.using(retry=retry, rollback=undo).run_action(report, secret)
    await step.run_mutation(write, secret)
    await step.run_workflow(echo, secret)
    await asyncio.gather(step.run_action(act, secret), step.run_action(act, secret))
    with contextlib.suppress(StepFailed):  # its error is on record
        await step.run_action(decline, secret)
    await step.sleep(60)
    return [await step.wait_for_event("value"), await step.wait_for_event("error")]


def raw_text() -> str:
    """Every payload column as the database has it."""
    found: list[str] = []
    with connection.cursor() as cursor:
        for model in (Workflow, Step, Event):
            columns = [field.column for field in model._meta.fields if isinstance(field, PayloadField)]
            names = ", ".join(connection.ops.quote_name(str(column)) for column in columns)
            cursor.execute(f"SELECT {names} FROM {connection.ops.quote_name(model._meta.db_table)}")  # noqa: S608
            found += [str(value) for row in cursor.fetchall() for value in row if value is not None]
    return "\n".join(found)


def payload_fields() -> set[str]:
    return {
        f"{model.__name__}.{field.name}"
        for model in (Workflow, Step, Event)
        for field in model._meta.fields
        if isinstance(field, PayloadField)
    }


def test_every_column_that_holds_a_value_is_a_payload() -> None:
    assert payload_fields() == {
        *(
            f"Workflow.{name}_text"
            for name in ("args", "result", "error", "custom", "context", "on_complete_error")
        ),
        *(f"Step.{name}_text" for name in ("args", "result", "error", "history", "details")),
        *(f"Event.{name}_text" for name in ("value", "error")),
    }


@pytest.mark.parametrize("path", [CLASS, INSTANCE, SALTED])
@pytest.mark.parametrize("mode", [{}, {"ALWAYS_SUSPEND": True}, {"CHECK_DETERMINISM": True}], ids=str)
def test_values_are_sealed_at_rest_and_read_back_everywhere(
    workflow_harness: Harness, path: str, mode: dict[str, Any]
) -> None:
    deploy(everything)
    with override_settings(DJANGO_WORKFLOW={**mode, "CODEC": path}):
        run = deployed.using(on_complete=told, context=SECRET).start(SECRET)
        workflow_harness.drain()
        run.send_event("value", SECRET)
        run.send_event("error", error=SECRET)
        status = workflow.status(run)
        assert isinstance(status, InProgress)
        assert status.custom == {"secret": SECRET}
        workflow_harness.advance(timedelta(minutes=1))
        fork = run.fork(9)
        workflow_harness.advance(timedelta(minutes=1))

        assert raw_text().count("\n") > 40
        assert SECRET not in raw_text()
        assert all(line.startswith(MARK) for line in raw_text().splitlines())

        stored = workflow.get(run)
        assert stored.error is not None
        assert SECRET in stored.error.message  # the event's error, raised where it was waited for
        assert (stored.args, stored.context) == ({"*args": [SECRET]}, SECRET)
        assert stored.on_complete_error is not None
        assert stored.on_complete_error.message == SECRET
        steps = workflow_harness.journal(run)
        assert steps[0].history[0]["error"]["message"] == SECRET
        assert ({"seen": SECRET} in calls, ("undone", SECRET, SECRET) in calls) == (True, True)
        assert [each.value for each in Event.objects.filter(workflow=run, name="value")] == [SECRET]
        assert workflow.get(fork).args == {"*args": [SECRET]}
        workflow_harness.assert_replays(run)
        retried = run.retry_on_complete()
        assert (retried, calls.count(("told", SECRET)) >= 2) == (False, True)


@override_settings(DJANGO_WORKFLOW={"CODEC": CLASS})
def test_a_claim_reads_what_is_sealed(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, value: Any) -> Any:
        step.set_status(value)
        return await step.using(inline=False, run_after=60).run_action(act, value)

    run = deployed.start({"a": [SECRET]})
    drain(None)
    workflow_harness.advance(timedelta(minutes=2))
    assert workflow_harness.result(run) == {"a": [SECRET]}
    assert workflow.status(run) == Completed({"a": [SECRET]}, {"a": [SECRET]})


@override_settings(DJANGO_WORKFLOW={"CODEC": SALTED})
def test_37_keys_work_with_values_that_are_never_sealed_alike(workflow_harness: Harness) -> None:
    keyed = echo.using(key="k", labels={"a": 1})
    assert keyed.start(SECRET).id == keyed.start(SECRET).id
    assert workflow.start_many(echo, [(SECRET,)])[0].args == {"value": SECRET}
    assert SECRET not in raw_text()


def test_rows_from_before_the_codec_are_read_and_go_on(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, value: str) -> Any:
        first = await step.run_action(act, value)
        await step.sleep(60)
        return [first, await step.run_action(act, value)]

    done, running = echo.start("plain"), deployed.start("plain")
    workflow_harness.drain()
    with override_settings(DJANGO_WORKFLOW={"CODEC": CLASS}):
        assert workflow.status(done) == Completed("plain")
        workflow_harness.advance(timedelta(minutes=1))
        assert workflow_harness.result(running) == ["plain", "plain"]
        workflow_harness.assert_replays(running)


def test_without_a_codec_values_are_the_json_text() -> None:
    echo.start("plain")
    assert '{"value":"plain"}' in raw_text()


def test_a_missing_codec_is_named(workflow_harness: Harness) -> None:
    with override_settings(DJANGO_WORKFLOW={"CODEC": CLASS}):
        run = echo.start("sealed")
    with pytest.raises(ImproperlyConfigured, match=r"CODEC.*DJANGO_WORKFLOW names none"):
        workflow.get(run)
    with override_settings(DJANGO_WORKFLOW={"CODEC": CLASS}):
        workflow_harness.drain()
        assert workflow_harness.result(run) == "sealed"


BAD = {
    f"{__name__}.Nothing": "can't be used",
    "no.such.module": "can't be used",
    f"{__name__}.Broken": "the key is missing",
    f"{__name__}.NO_METHODS": r"no method encode\(text\)",
    f"{__name__}.NoDecode": r"no method decode\(text\)",
}


@committed
@pytest.mark.parametrize("path", BAD)
def test_a_path_that_leads_to_no_codec_is_refused_before_anything_is_written(path: str) -> None:
    with override_settings(DJANGO_WORKFLOW={"CODEC": path}):
        with pytest.raises(ImproperlyConfigured, match=BAD[path]) as refused:
            echo.start(1)
        assert path in str(refused.value)
    assert not Workflow.objects.exists()


@pytest.mark.parametrize("path", BAD)
def test_e013_such_a_path_is_a_system_check_error(path: str) -> None:
    with override_settings(DJANGO_WORKFLOW={"CODEC": path}):
        (message,) = check_settings()
    assert message.id == "django_workflow.E013"
    assert f"DJANGO_WORKFLOW['CODEC'] is {path!r}" in message.msg
    assert message.hint is not None
    assert "encode(text)" in message.hint


@pytest.mark.parametrize("path", [CLASS, INSTANCE])
def test_a_codec_that_works_gives_no_message(path: str) -> None:
    with override_settings(DJANGO_WORKFLOW={"CODEC": path}):
        assert check_settings() == []


def test_no_json_text_begins_with_the_mark() -> None:
    values: list[Any] = ["", "~", None, True, 1, -1.5, [], {}, "~x"]
    for value in values:
        assert not json.dumps(value).startswith(MARK)
        assert unseal(json.dumps(value)) == json.dumps(value)


@override_settings(DJANGO_WORKFLOW={"CODEC": CLASS})
def test_sealing_is_undone_by_unsealing() -> None:
    assert codec_at(CLASS) is codec_at(CLASS)
    for text in ("{}", "", "~", "~~", "\u00e9"):
        assert unseal(seal(text)) == text
    assert unseal(None) is None
