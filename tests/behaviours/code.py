"""A definition whose handler a test writes, and can replace while workflows of it are in progress.

`deployed` is one definition; what it does is the handler that was deployed last. So a test has its handler in front
of it, and a change of code under running workflows is one more `deploy()`.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from django_workflow import StepContext, workflow

Handler = Callable[..., Awaitable[Any]]


async def nothing(step: StepContext) -> None:
    """What is deployed when a test has deployed nothing."""


_current: list[Handler] = [nothing]


def deploy(handler: Handler) -> Handler:
    """Let `deployed` do what `handler` does from now on. A decorator, too."""
    _current[0] = handler
    return handler


@workflow.define(name="behaviours.deployed")
async def deployed(step: StepContext, *args: Any) -> Any:
    return await _current[0](step, *args)
