"""W010: what a handler's source does that no replay can repeat."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_workflow.checks import source
from django_workflow.checks.handlers import check_handlers
from django_workflow.handler import registry
from tests.checks import samples

WRONG = [value for name, value in vars(samples).items() if name.startswith("wrong_")]
RIGHT = [value for name, value in vars(samples).items() if name.startswith("right")]


def expected(handler: Callable[..., Any]) -> list[tuple[int, str]]:
    lines, first = inspect.getsourcelines(handler)
    comments = ((first + i, re.search(r"  # (?!type:)(.+)$", line)) for i, line in enumerate(lines))
    return [(number, found[1]) for number, found in comments if found]


def line_of(text: str) -> int:
    return next(
        i for i, line in enumerate(Path(samples.__file__).read_text().splitlines(), 1) if text in line
    )


@pytest.mark.parametrize("handler", WRONG, ids=lambda handler: handler.__name__)
def test_every_hazard_is_found_on_its_line_and_nothing_else(handler: Callable[..., Any]) -> None:
    found = source.inspect_handler(handler)
    marked = expected(handler)
    if handler is samples.wrong_inside:  # what a helper of the same module does happens in the handler, too
        marked.append((line_of("return time.time()"), "time.time() reads the clock"))
    assert len(marked) > 1
    assert [each.line for each in found] == [line for line, _ in marked]
    for each, (_, beginning) in zip(found, marked, strict=True):
        assert each.what.startswith(beginning)
        assert each.path == samples.__file__


@pytest.mark.parametrize("handler", RIGHT, ids=lambda handler: handler.__name__)
def test_what_a_replay_repeats_is_not_found(handler: Callable[..., Any]) -> None:
    assert source.inspect_handler(handler) == []


@pytest.mark.parametrize(
    ("handler", "text", "remedy"),
    [
        (
            samples.wrong_clock,
            "dt.now()",
            "Use step.now(): the time at which the last answer came, the same on every replay.",
        ),
        (
            samples.wrong_clock,
            "time.sleep(1)",
            "Use `await step.sleep(seconds)`: it is durable and holds no worker.",
        ),
        (samples.wrong_dice, "random.random()", "Use step.random, whose dice fall alike on every replay."),
        (
            samples.wrong_dice,
            "uuid.uuid4()",
            "Use step.uuid4(), which is the same on every replay and different between workflows.",
        ),
        (
            samples.wrong_world,
            "request.urlopen(",
            "Move it into a function of its own and call that with `await step.run_action(function, …)`.",
        ),
        (
            samples.wrong_database,
            "ContentType.objects.get(",
            "Move it into a function of its own and call that with `await step.run_query(function, …)`, or with "
            "`run_mutation` if it writes.",
        ),
        (
            samples.wrong_order,
            "await wait(tasks)",
            "Use `index, result = await step.first_completed(*awaitables)`, or asyncio.gather for all of them.",
        ),
        (
            samples.wrong_order,
            "in as_completed(tasks)",
            "Use `async for task in step.as_completed(*awaitables):`.",
        ),
        (samples.wrong_order, "in set(names):  #", "Put it in order first: `for item in sorted(items):`."),
        (
            samples.wrong_files,
            'os.getenv("HOME")',
            "Hand the value over as an argument of the workflow, or read it in a function of its own with "
            "`await step.run_query(function, …)`.",
        ),
        (samples.wrong_calls, "charge(1)", "Call it with `await step.run_action(charge, …)`."),
        (samples.wrong_calls, "total(order_id=1)", "Call it with `await step.run_query(total, …)`."),
        (samples.wrong_calls, "reserve(1)", "Call it with `await step.run_mutation(reserve, …)`."),
    ],
)
def test_the_remedy_fits(handler: Callable[..., Any], text: str, remedy: str) -> None:
    (found,) = (each for each in source.inspect_handler(handler) if each.line == line_of(text))
    assert found.remedy == remedy


def test_a_handler_without_source_gives_nothing() -> None:
    scope: dict[str, Any] = {}
    exec("import time\nasync def handler(step):\n    time.time()\n", scope)  # noqa: S102 (code that no file holds)
    assert source.inspect_handler(scope["handler"]) == []


def test_a_name_that_a_closure_holds_is_looked_through() -> None:
    import time as clock

    async def handler(step: Any) -> float:
        return clock.time()

    (found,) = source.inspect_handler(handler)
    assert found.what == "clock.time() reads the clock, which shows another time on every replay"


def test_a_name_that_a_closure_does_not_hold_yet_is_unknown() -> None:
    async def handler(step: Any) -> float:
        return clock.time()

    assert source.inspect_handler(handler) == []
    import time as clock


def test_an_app_of_the_project_may_be_called_like_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples.wrong_packages, "__module__", "aiohttp.workflows")
    assert [each.what.partition("(")[0] for each in source.inspect_handler(samples.wrong_packages)] == [
        "httpx.AsyncClient"
    ]


class Definition:
    """As much of a definition as the check looks at."""

    def __init__(self, name: str, handler: Callable[..., Any]) -> None:
        self.name = name
        self.version = 1
        self.handler = handler


def test_w010_names_the_line_and_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Definition("shop.checkout", samples.helper)
    monkeypatch.setattr(registry, "_definitions", {("shop.checkout", 1): broken})
    monkeypatch.chdir(Path(samples.__file__).parents[2])
    (found,) = check_handlers()
    assert found.msg == (
        f"tests/checks/samples.py:{line_of('return time.time()')}: time.time() reads the clock, which shows another "
        "time on every replay (in the handler of 'shop.checkout')."
    )
    assert found.hint == (
        "Use step.now(): the time at which the last answer came, the same on every replay. "
        "Where it is harmless, end the line with `# workflow: deterministic`."
    )
    assert found.id == "django_workflow.W010"
    assert found.is_serious() is False


def test_w010_shows_the_whole_path_of_a_file_elsewhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = Definition("shop.checkout", samples.helper)
    monkeypatch.setattr(registry, "_definitions", {("shop.checkout", 1): broken})
    monkeypatch.chdir(tmp_path)
    (found,) = check_handlers()
    assert found.msg.startswith(f"{samples.__file__}:")


def test_handlers_without_hazards_give_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        registry, "_definitions", {("shop.right", 1): Definition("shop.right", samples.right)}
    )
    assert check_handlers() == []
