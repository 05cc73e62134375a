"""Ordered twins of what asyncio does in no fixed order: first of many, one after the other, many at most so many.

Everything here follows from the order in which answers are delivered, and so comes out alike on replay.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Generic, TypeVar

from django_workflow.exceptions import UsageError

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741  an item


async def first_completed(aws: Iterable[Awaitable[T]]) -> tuple[int, T]:
    """Wait for the first of several; cancel the others and wait until they have settled.

    Returns:
        The position of the first one to be done, and its result.

    Raises:
        UsageError: there is nothing to wait for.
        BaseException: what the first one raised.

    """
    tasks = _tasks(aws)
    if not tasks:
        raise UsageError("first_completed() needs something to wait for; it got nothing")
    first: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    for position, task in enumerate(tasks):
        task.add_done_callback(partial(_arrive, first, position))
    try:
        winner = await first
    finally:
        await _cancel(tasks)
    return winner, tasks[winner].result()


def _arrive(first: asyncio.Future[int], position: int, _: asyncio.Future[Any]) -> None:
    if not first.done():
        first.set_result(position)


class Completions(Generic[T]):
    """`async for task in step.as_completed(…)`: tasks in the order in which they are done."""

    def __init__(self, aws: Iterable[Awaitable[T]]) -> None:
        tasks = _tasks(aws)
        self._left = len(tasks)
        self._done: deque[asyncio.Future[T]] = deque()
        self._waiter: asyncio.Future[None] | None = None
        for task in tasks:
            task.add_done_callback(self._take)

    def _take(self, task: asyncio.Future[T]) -> None:
        self._done.append(task)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __aiter__(self) -> Completions[T]:
        return self

    async def __anext__(self) -> asyncio.Future[T]:
        if not self._left:
            raise StopAsyncIteration
        if not self._done:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        self._left -= 1
        return self._done.popleft()


async def bounded_map(
    call: Callable[[I], Awaitable[T]], items: Iterable[I], limit: int, return_exceptions: bool
) -> list[Any]:
    """Call for each item, at most `limit` at once. Results (or exceptions) in the order of the items.

    Raises:
        UsageError: `limit` is no whole number from 1.
        BaseException: what the first call to fail raised, after the others were canceled.

    """
    if type(limit) is not int or limit < 1:
        raise UsageError(f"map(limit={limit!r}): give a whole number from 1")
    gate = asyncio.Semaphore(limit)

    async def one(item: I) -> T:
        async with gate:
            return await call(item)

    tasks = _tasks(one(item) for item in items)
    try:
        return await asyncio.gather(*tasks, return_exceptions=return_exceptions)
    finally:
        await _cancel(tasks)


def _tasks(aws: Iterable[Awaitable[T]]) -> list[asyncio.Future[T]]:
    return [asyncio.ensure_future(each) for each in aws]


async def _cancel(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel what is not done, and see it settle: its `finally` may take steps of its own."""
    unfinished = [task for task in tasks if not task.done()]
    for task in unfinished:
        task.cancel()
    await asyncio.gather(*unfinished, return_exceptions=True)
