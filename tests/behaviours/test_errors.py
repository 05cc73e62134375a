"""Behaviours 3 and 4: what a step raises reaches the handler, the status and every replay alike."""

import subprocess
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from pydantic import BaseModel

from django_workflow import Completed, Failed, StepContext, workflow
from django_workflow.exceptions import NonRetryable, StepFailed
from django_workflow.testing import Harness
from tests.behaviours.bodies import (
    CardDeclined,
    act,
    as_failure,
    calls,
    decline,
    look_and_decline,
    rows,
    write,
    write_and_decline,
)
from tests.behaviours.code import deploy, deployed
from tests.shop.models import Ledger

pytestmark = pytest.mark.usefixtures("any_mode")
DAY = timedelta(days=1)
DECLINED = "tests.behaviours.bodies.CardDeclined"
DECLINERS = [
    ("run_query", look_and_decline),
    ("run_mutation", write_and_decline),
    ("run_action", decline),
]


def failed(run: Any) -> Failed:
    status = workflow.status(run)
    assert isinstance(status, Failed), status
    return status


@pytest.mark.parametrize(("runner", "function"), DECLINERS)
def test_3_a_caught_failure_raises_again_without_running_the_body(
    workflow_harness: Harness, runner: str, function: Any
) -> None:
    seen: list[Any] = []

    @deploy
    async def handler(step: StepContext) -> str:
        caught = ""
        try:
            await getattr(step, runner)(function, "no funds")
        except CardDeclined as error:
            failure = as_failure(error)
            seen.append((type(error), str(error), failure.error, failure.step_name, failure.number))
            caught = failure.error.message
        await step.sleep(DAY)
        await step.sleep(DAY)
        return caught

    run = deployed.start()
    workflow_harness.drain()
    workflow_harness.advance(DAY)
    workflow_harness.advance(DAY)
    assert workflow_harness.result(run) == "no funds"
    assert len(calls) == 1
    assert len(seen) >= 3
    assert all(each == seen[0] for each in seen)
    assert rows("no funds") == 0  # the failed mutation's write went with it


@pytest.mark.parametrize(("runner", "function"), DECLINERS)
def test_4_a_failed_step_tells_what_where_and_how_often(
    workflow_harness: Harness, runner: str, function: Any
) -> None:
    @deploy
    async def handler(step: StepContext) -> list[Any]:
        await step.run_action(act)
        try:
            await getattr(step, runner)(function, "no funds")
        except StepFailed as error:
            return [
                error.__cause__ is not None,
                error.step_name,
                error.number,
                error.attempts,
                error.error.type,
                error.error.message,
                function.__name__ in error.error.traceback and "no funds" in error.error.traceback,
                "no funds" in str(error) and function.__name__ in str(error),
            ]
        return []

    run = deployed.start()
    workflow_harness.drain()
    assert workflow_harness.result(run) == [True, function.__name__, 2, 1, DECLINED, "no funds", True, True]


@pytest.mark.parametrize(("runner", "function"), DECLINERS)
def test_4_an_uncaught_failure_keeps_type_message_traceback_and_step(
    workflow_harness: Harness, runner: str, function: Any
) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.run_action(act)
        await getattr(step, runner)(function, "no funds")

    run = deployed.start()
    workflow_harness.drain()
    error = failed(run).error
    assert (error.type, error.message, error.step) == (DECLINED, "no funds", 2)
    assert "raise CardDeclined" in error.traceback
    assert workflow.get(run).error == error
    step = workflow_harness.journal(run)[1]
    assert step.state == "failed"
    assert step.error is not None
    assert step.error.step == 2
    assert (step.error.type, step.error.message, step.error.traceback) == (
        error.type,
        error.message,
        error.traceback,
    )
    assert step.result is None


def test_4_an_error_of_the_handler_itself_keeps_type_message_and_traceback(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        await step.run_mutation(write, "kept")
        raise CardDeclined("by the handler")

    run = deployed.start()
    workflow_harness.drain()
    error = failed(run).error
    assert (error.type, error.message, error.step) == (DECLINED, "by the handler", None)
    assert 'raise CardDeclined("by the handler")' in error.traceback
    assert rows("kept") == 1


def test_4_an_error_raised_anew_from_a_failure_keeps_both(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> None:
        try:
            await step.run_action(decline, "no funds")
        except CardDeclined as error:
            raise ValueError("no order") from error

    run = deployed.start()
    workflow_harness.drain()
    error = failed(run).error
    assert (error.type, error.message) == ("builtins.ValueError", "no order")
    assert "no funds" in error.traceback


class NoMessage(Exception):
    pass


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")

    __repr__ = __str__


class KeywordOnly(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class LyingText(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


class Order(BaseModel):
    amount: int


def raise_odd(which: str) -> None:
    match which:
        case "no message":
            raise NoMessage
        case "unprintable":
            raise Unprintable
        case "keyword only":
            raise KeywordOnly(code=7)
        case "lying":
            raise LyingText
        case "not importable":

            class Local(Exception):
                pass

            raise Local("from inside")
        case "django":
            raise ValidationError({"name": ["too long"]})
        case "pydantic":
            Order.model_validate({"amount": "x"})
        case "process":
            raise subprocess.CalledProcessError(3, ["ls", "-l"], output=b"\xff")
        case "group":
            raise ExceptionGroup("two", [ValueError("a"), CardDeclined("b")])
        case "unicode":
            b"\xff".decode()
        case "surrogate":
            raise CardDeclined("nul \0 and \ud800 and 😀")
        case "cyclic":
            error = CardDeclined("round")
            error.__cause__ = error
            raise error
        case "long":
            raise CardDeclined("x" * 2_000_000)
        case "key":
            raise KeyError("missing")
        case "stop":
            raise StopIteration("early")
        case "async stop":
            raise StopAsyncIteration("early")
        case "exit":
            raise SystemExit(3)
        case "own base":
            raise GeneratorExit
        case "non retryable":
            raise NonRetryable("never again")
        case "recursion":
            raise_odd("recursion")
        case "syntax":
            compile("a b", "f.py", "exec")
        case "attribute":
            raise AttributeError("none", name="n", obj=object())
        case "import":
            raise ModuleNotFoundError("no", name="nowhere")
        case "timeout":
            raise TimeoutError("slow")
        case "our own":
            workflow.status("nonsense")


ODD: dict[str, tuple[str, type[Exception], str | None]] = {
    "no message": ("NoMessage", NoMessage, ""),
    "unprintable": ("Unprintable", Unprintable, None),
    "keyword only": ("KeywordOnly", KeywordOnly, "code 7"),
    "lying": ("LyingText", LyingText, None),
    "not importable": ("raise_odd.<locals>.Local", StepFailed, "from inside"),
    "django": ("ValidationError", ValidationError, "{'name': ['too long']}"),
    "pydantic": ("ValidationError", StepFailed, None),
    "process": ("CalledProcessError", subprocess.CalledProcessError, None),
    "group": ("ExceptionGroup", ExceptionGroup, "two (2 sub-exceptions)"),
    "unicode": ("UnicodeDecodeError", UnicodeDecodeError, None),
    "surrogate": ("CardDeclined", CardDeclined, "nul \0 and \ud800 and 😀"),
    "cyclic": ("CardDeclined", CardDeclined, "round"),
    "long": ("CardDeclined", CardDeclined, None),
    "key": ("KeyError", KeyError, "'missing'"),
    "stop": ("StopIteration", StepFailed, "early"),
    "async stop": ("StopAsyncIteration", StepFailed, "early"),
    "exit": ("SystemExit", StepFailed, "3"),
    "own base": ("GeneratorExit", StepFailed, ""),
    "non retryable": ("NonRetryable", NonRetryable, "never again"),
    "recursion": ("RecursionError", RecursionError, None),
    "syntax": ("SyntaxError", SyntaxError, None),
    "attribute": ("AttributeError", AttributeError, "none"),
    "import": ("ModuleNotFoundError", ImportError, "no"),
    "timeout": ("TimeoutError", TimeoutError, "slow"),
    "our own": ("WorkflowNotFound", LookupError, None),
}


def assert_tells(which: str, told_type: str, told_message: str) -> None:
    name, _, message = ODD[which]
    assert told_type.endswith(name), which
    assert message in (None, told_message), which
    assert len(told_message) <= 100_000, which


@pytest.mark.parametrize("runner", ["run_query", "run_mutation", "run_action"])
def test_4_odd_exceptions_never_mask_the_original(workflow_harness: Harness, runner: str) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        told = {}
        for which in sorted(ODD):
            try:
                await getattr(step, runner)(raise_odd, which)
            except ODD[which][1] as error:
                failure = as_failure(error)
                shown = [bool(text) for text in (str(error), repr(error), failure.error.traceback)]
                told[which] = [failure.error.type, failure.error.message, shown]
        await step.sleep(DAY)
        return told

    run = deployed.start()
    workflow_harness.drain()
    workflow_harness.advance(DAY)
    told = workflow_harness.result(run)
    assert sorted(told) == sorted(ODD)
    for which, (told_type, told_message, shown) in told.items():
        assert_tells(which, told_type, told_message)
        assert shown == [True, True, True], which
    workflow_harness.assert_replays(run)


def test_4_odd_exceptions_that_go_uncaught_end_the_workflow_as_failed(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, which: str) -> None:
        await step.run_action(raise_odd, which)

    runs = {which: deployed.start(which) for which in ODD}
    workflow_harness.drain()
    for which, run in runs.items():
        error = failed(run).error
        assert_tells(which, error.type, error.message)
        assert error.step == 1, which


def test_4_odd_exceptions_of_the_handler_itself_end_it_as_failed(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext, which: str) -> None:
        await step.run_action(act)
        raise_odd(which)

    # A handler may not look a workflow up, and a coroutine can't raise StopIteration.
    runs = {which: deployed.start(which) for which in ODD if which not in ("our own", "stop")}
    workflow_harness.drain()
    for which, run in runs.items():
        error = failed(run).error
        assert_tells(which, error.type, error.message)
        assert error.step is None, which
    assert len(calls) == len(runs)


def break_a_constraint(key: str) -> None:
    Ledger.objects.create(key=key)
    Ledger.objects.create(key=key)


def test_4_an_error_of_the_database_fails_its_step_and_the_next_one_goes_on(
    workflow_harness: Harness,
) -> None:
    @deploy
    async def handler(step: StepContext) -> Any:
        await step.run_mutation(write, "before")
        try:
            await step.run_mutation(break_a_constraint, "one")
        except IntegrityError as error:
            await step.run_mutation(write, "after")
            return as_failure(error).number
        return None

    run = deployed.start()
    workflow_harness.drain()
    assert workflow_harness.result(run) == 2
    assert (rows("before"), rows("after"), Ledger.objects.count()) == (1, 1, 0)


def test_4_the_except_clause_of_a_base_class_takes_it_too(workflow_harness: Harness) -> None:
    @deploy
    async def handler(step: StepContext) -> list[str]:
        seen = []
        try:
            await step.run_action(raise_odd, "key")
        except LookupError:
            seen.append("LookupError")
        try:
            await step.run_action(raise_odd, "unicode")
        except ValueError:
            seen.append("ValueError")
        try:
            await step.run_action(raise_odd, "exit")
        except Exception:  # noqa: BLE001  what is shown: a body's SystemExit does not end the handler
            seen.append("Exception")
        return seen

    assert workflow_harness.run(deployed) == Completed(["LookupError", "ValueError", "Exception"])
