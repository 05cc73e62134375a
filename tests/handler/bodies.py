"""Step functions for handlers in tests: pure, so that `drive` may call them wherever a worker would."""

from typing import Any

from django_workflow.handler.functions import action, mutation, query


def echo(value: Any = None) -> Any:
    return value


def other(value: Any = None) -> Any:
    return value


def double(value: int) -> int:
    return 2 * value


def fail(message: str = "no") -> None:
    raise ValueError(message)


@query
def read(value: Any = None) -> Any:
    return value


@mutation
def write(value: Any = None) -> Any:
    return value


@action
def act(value: Any = None) -> Any:
    return value


class Holder:
    """Something with functions of its own."""

    def method(self) -> None:
        """Bound to an object when it is read from one."""

    @staticmethod
    def static(value: int) -> int:
        return value
