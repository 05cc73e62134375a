"""Handlers that do what docs/determinism.md says is refused, one for each refusal."""

import asyncio
import itertools
import socket

from django.contrib.auth.models import User

from django_workflow import StepContext, action, workflow

numbers = itertools.count()


@action
def echo(value: int) -> int:
    return value


@workflow.define(name="refused.asks_anew")
async def asks_anew(step: StepContext) -> int:
    return await step.run_action(echo, next(numbers))


@workflow.define(name="refused.uses_a_thread")
async def uses_a_thread(step: StepContext) -> None:
    await asyncio.to_thread(print)  # workflow: deterministic


@workflow.define(name="refused.uses_the_orms_async_methods")
async def uses_the_orms_async_methods(step: StepContext) -> int:
    return await User.objects.acount()  # workflow: deterministic


@workflow.define(name="refused.waits_unordered")
async def waits_unordered(step: StepContext) -> None:
    tasks = [asyncio.create_task(step.run_action(echo, value)) for value in (1, 2)]
    await asyncio.wait(tasks)  # workflow: deterministic


@workflow.define(name="refused.completes_unordered")
async def completes_unordered(step: StepContext) -> None:
    steps = [step.run_action(echo, value) for value in (1, 2)]
    for each in asyncio.as_completed(steps):  # workflow: deterministic
        await each


@workflow.define(name="refused.waits_for_nothing")
async def waits_for_nothing(step: StepContext) -> None:
    await asyncio.Event().wait()


@workflow.define(name="refused.uses_the_orm")
async def uses_the_orm(step: StepContext) -> int:
    return User.objects.count()  # workflow: deterministic


@workflow.define(name="refused.connects")
async def connects(step: StepContext) -> None:
    # Port 9 discards; the refusal comes before anything is sent.
    socket.create_connection(("127.0.0.1", 9)).close()  # workflow: deterministic
