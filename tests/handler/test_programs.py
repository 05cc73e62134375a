"""Random handlers, answered in random orders: the journal that comes of it, and each of its beginnings, replays."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from django_workflow.handler.commands import Blocked, Outcome, Recorded
from django_workflow.handler.context import StepContext
from django_workflow.manager import workflow
from tests.handler.bodies import double, fail
from tests.handler.drive import Live, assert_replays, replayed, shown

DELIVERIES = 25  # a program may go on for longer; nothing is learned from that

numbers = st.integers(0, 5)
leaves = st.one_of(
    st.tuples(st.just("step"), numbers),
    st.tuples(st.just("sleep"), numbers),
    st.tuples(st.just("asyncio_sleep"), numbers),
    st.tuples(st.just("fail")),
    st.tuples(st.just("look")),
    st.tuples(st.just("event"), numbers),
    st.tuples(st.just("child"), numbers),
)


@workflow.define(name="handler.program_child")
async def child(step: StepContext, number: int) -> int:
    if not number:
        await step.run_action(fail)
    return await step.run_action(double, number)


def combined(programs: Any) -> Any:
    several = st.lists(programs, min_size=1, max_size=3)
    return st.one_of(
        st.tuples(st.just("sequence"), several),
        st.tuples(st.just("gather"), several, st.booleans()),
        st.tuples(st.just("group"), several),
        st.tuples(st.just("race"), several),
        st.tuples(st.just("catch"), programs, programs),
        st.tuples(st.just("finally"), programs, programs),
        st.tuples(st.just("timeout"), numbers, programs),
        st.tuples(st.just("cancel"), programs, programs),
        st.tuples(st.just("lock"), several),
        st.tuples(st.just("spawn"), programs),
        st.tuples(st.just("shield"), numbers, programs),
    )


programs = st.recursive(leaves, combined, max_leaves=12)


class Interpreter:
    """Does what a program says, and remembers what it saw."""

    def __init__(self, step: StepContext) -> None:
        self.step = step
        self.seen: list[Any] = []

    async def run(self, program: Any) -> Any:
        name, *parts = program
        return await getattr(self, f"do_{name}")(*parts)

    def all(self, listed: list[Any]) -> list[Any]:
        return [self.run(program) for program in listed]

    async def do_step(self, number: int) -> None:
        self.seen.append(await self.step.run_action(double, number))

    async def do_sleep(self, seconds: int) -> None:
        await self.step.sleep(seconds)

    async def do_asyncio_sleep(self, seconds: int) -> None:
        await asyncio.sleep(seconds)

    async def do_event(self, seconds: int) -> None:
        """With a timeout none comes, without one it does."""
        self.seen.append(await self.step.wait_for_event("go", timeout=seconds or None))

    async def do_child(self, number: int) -> None:
        self.seen.append(await self.step.run_workflow(child, number))

    async def do_fail(self) -> None:
        await self.step.run_action(fail)

    async def do_look(self) -> None:
        self.seen += [str(self.step.now()), self.step.random.random()]
        await asyncio.sleep(0)

    async def do_sequence(self, listed: list[Any]) -> None:
        for program in listed:
            await self.run(program)

    async def do_gather(self, listed: list[Any], return_exceptions: bool) -> None:
        await asyncio.gather(*self.all(listed), return_exceptions=return_exceptions)

    async def do_group(self, listed: list[Any]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for program in listed:
                    group.create_task(self.run(program))
        except ExceptionGroup as errors:
            self.seen.append(len(errors.exceptions))
            raise errors.exceptions[0] from None

    async def do_race(self, listed: list[Any]) -> None:
        won: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def runner(place: int, program: Any) -> None:
            try:
                await self.run(program)
            finally:
                if not won.done():
                    won.set_result(place)

        runners = [asyncio.create_task(runner(place, program)) for place, program in enumerate(listed)]
        try:
            self.seen.append(await won)
        finally:
            for task in runners:
                task.cancel()
        await asyncio.gather(*runners, return_exceptions=True)

    async def do_catch(self, program: Any, handler: Any) -> None:
        try:
            await self.run(program)
        except Exception as error:  # noqa: BLE001
            self.seen.append(str(error))
            await self.run(handler)

    async def do_finally(self, program: Any, last: Any) -> None:
        try:
            await self.run(program)
        finally:
            await self.run(last)

    async def do_timeout(self, seconds: int, program: Any) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.run(program)
        except TimeoutError:
            self.seen.append("timed out")

    async def do_cancel(self, program: Any, meanwhile: Any) -> None:
        task = asyncio.create_task(self.run(program))
        await self.run(meanwhile)
        self.seen.append(task.cancel())
        with contextlib.suppress(asyncio.CancelledError, ValueError):
            await task

    async def do_lock(self, listed: list[Any]) -> None:
        lock = asyncio.Lock()

        async def inside(program: Any) -> None:
            async with lock:
                await self.run(program)

        await asyncio.gather(*(inside(program) for program in listed))

    async def do_spawn(self, program: Any) -> None:
        asyncio.create_task(self.run(program))  # noqa: RUF006  left to itself, on purpose

    async def do_shield(self, seconds: int, program: Any) -> None:
        inner = asyncio.ensure_future(self.run(program))
        try:
            await asyncio.wait_for(asyncio.shield(inner), seconds)
        except TimeoutError:
            self.seen.append("went on")


def handler_of(program: Any) -> Any:
    async def handler(step: StepContext) -> list[Any]:
        interpreter = Interpreter(step)
        await interpreter.run(program)
        return list(interpreter.seen)  # what is dropped afterwards may go on to write into it

    return handler


Moment = tuple[list[Recorded], int, Outcome]


def moment(run: Live) -> Moment:
    return run.journal(), len(run.replay.commands), run.outcome


@settings(max_examples=150, deadline=None)
@given(program=programs, data=st.data())
def test_every_journal_and_every_beginning_of_it_replays(program: Any, data: st.DataObject) -> None:
    """P10 and behaviour 10, for handlers that nobody wrote."""
    handler = handler_of(program)
    order: list[int] = []
    with Live(handler) as run:
        moments = [moment(run)]
        while run.waiting and len(order) < DELIVERIES:
            order.append(data.draw(st.sampled_from(run.waiting)))
            run.settle(order[-1])
            moments.append(moment(run))
        assert_replays(run, handler)

    for journal, asked, outcome in moments:
        again = replayed(handler, journal)
        assert shown(again.outcome) == shown(outcome)
        assert again.replay.commands == run.replay.commands[:asked]

    at = data.draw(st.integers(0, len(order)), label="suspended after")
    with Live(handler, journal=moments[at][0], committed=True) as resumed:
        for number in order[at:]:
            assert isinstance(resumed.outcome, Blocked)
            resumed.settle(number)
    assert shown(resumed.outcome) == shown(run.outcome)
    assert resumed.replay.commands == run.replay.commands
    assert resumed.replay.delivered == run.replay.delivered
