"""Definitions and step functions are checked where they are written; the registry knows each once."""

import functools
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from django_workflow.exceptions import (
    DuplicateDefinition,
    InvalidArguments,
    InvalidDefinition,
    UnknownDefinition,
)
from django_workflow.handler import registry
from django_workflow.handler.context import StepContext
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.handler.functions import action, mutation, query
from django_workflow.handler.options import StartOptions
from tests.handler.bodies import echo
from tests.handler.drive import BEGAN, define


async def handler(step: StepContext, value: int = 1) -> int:
    """What it is for."""
    return value


def sync(step: StepContext) -> None:
    """Not async."""


async def generator(step: StepContext) -> AsyncIterator[int]:
    yield 1


async def no_parameter() -> None:
    """No step context."""


async def keywords_only(*, step: StepContext) -> None:
    """No place for the step context."""


async def only_stars(*steps: StepContext) -> None:
    """No parameter that is one."""


class Instance:
    """Callable, and async."""

    async def __call__(self, step: StepContext) -> None:
        """As a handler would be."""

    async def method(self, step: StepContext) -> None:
        """Bound."""


@pytest.mark.parametrize(
    ("thing", "reason"),
    [
        (sync, "not a sync function"),
        (generator, "async generator"),
        (no_parameter, "step context as its first parameter"),
        (keywords_only, "step context as its first parameter"),
        (only_stars, "step context as its first parameter"),
        (Instance, "not a type"),
        (Instance(), "not a Instance"),
        (Instance().method, "not a method"),
        (functools.partial(handler), "not a partial"),
        (lambda step: None, "not a sync function"),
        (len, "not a builtin_function_or_method"),
        ("handler", "not a str"),
        (None, "not a NoneType"),
    ],
)
def test_what_can_not_be_a_handler_is_a_type_error_that_says_why(thing: Any, reason: str) -> None:
    with pytest.raises(TypeError, match=reason) as refused:
        define(thing)
    assert isinstance(refused.value, InvalidDefinition)


@pytest.mark.parametrize("name", ["", "x" * 201, "two\nlines", None, 5, b"bytes"])
def test_a_bad_name_is_refused_and_named(name: Any) -> None:
    manager: Any = None
    with pytest.raises(InvalidDefinition) as refused:
        WorkflowDefinition(handler, name=name, version=1, manager=manager)
    assert repr(name) in str(refused.value)


@pytest.mark.parametrize("version", [0, -1, 1.0, "1", True, None])
def test_a_bad_version_is_refused_and_named(version: Any) -> None:
    manager: Any = None
    with pytest.raises(InvalidDefinition) as refused:
        WorkflowDefinition(handler, name="x", version=version, manager=manager)
    assert repr(version) in str(refused.value)


def test_a_definition_looks_like_its_handler_and_is_not_called() -> None:
    definition = define(handler)
    assert definition.__name__ == "handler"  # type: ignore[attr-defined]
    assert definition.__doc__ == "What it is for."
    assert definition.handler is handler
    assert repr(definition) == "<WorkflowDefinition tests.handler v1>"
    with pytest.raises(TypeError, match="start it with"):
        definition(1)


def test_start_options_are_of_the_copy_and_the_later_one_wins() -> None:
    definition = define(handler)
    later = definition.using(run_after=timedelta(hours=1), priority=3)
    assert later.start_options == StartOptions(run_after=timedelta(hours=1), priority=3)
    assert later.using(run_at=BEGAN, priority=0).start_options == StartOptions(run_at=BEGAN, priority=0)
    assert definition.start_options == StartOptions()
    assert (later.handler, later.name, later.version) == (handler, definition.name, 1)
    with pytest.raises(InvalidArguments, match="run_at and run_after"):
        definition.using(run_at=BEGAN, run_after=1)


def test_the_marks_return_the_function_itself() -> None:
    def function(value: int) -> int:
        return value

    for mark in (query, mutation, action):
        assert mark(function) is function
    assert function(3) == 3


@pytest.mark.parametrize("thing", [len, Instance, Instance().method, functools.partial(echo), None])
def test_only_plain_functions_are_marked(thing: Any) -> None:
    for mark in (query, mutation, action):
        with pytest.raises(InvalidDefinition, match="marks plain functions"):
            mark(thing)


# ── registry ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_definitions", {})


def named(function: Any, name: str, version: int = 1) -> WorkflowDefinition[Any, Any]:
    manager: Any = None
    return WorkflowDefinition(function, name=name, version=version, manager=manager)


async def another(step: StepContext) -> None:
    """Of another source."""


@pytest.mark.usefixtures("empty_registry")
def test_the_registry_finds_by_name_and_version() -> None:
    first, second = named(handler, "b"), named(another, "b", 2)
    other = named(handler, "a")
    for definition in (second, first, other):
        registry.add(definition)
    assert registry.find("b", 1) is first
    assert registry.find("b", 3) is None
    assert registry.newest("b") is second
    assert registry.known() == (("a", 1), ("b", 1), ("b", 2))
    assert registry.definitions() == (other, first, second)


@pytest.mark.usefixtures("empty_registry")
def test_a_name_and_version_is_defined_once() -> None:
    registry.add(named(handler, "b"))
    with pytest.raises(DuplicateDefinition) as refused:
        registry.add(named(another, "b"))
    assert "'b'" in str(refused.value)
    assert f"{__file__}:" in str(refused.value)
    known = registry.find("b", 1)
    assert known is not None
    assert known.handler is handler


@pytest.mark.usefixtures("empty_registry")
def test_a_module_that_is_loaded_again_defines_the_same_handler_anew() -> None:
    registry.add(named(handler, "b"))
    newer = named(handler, "b")
    registry.add(newer)
    assert registry.find("b", 1) is newer


@pytest.mark.usefixtures("empty_registry")
def test_an_unknown_name_lists_those_that_are_near() -> None:
    registry.add(named(handler, "shop.checkout"))
    with pytest.raises(UnknownDefinition, match=r"shop\.checkout"):
        registry.newest("shop.chekout")
