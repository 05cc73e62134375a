"""What a handler can touch: its step context, and nothing else.

Every way out of a handler is a method here or asyncio on the handler's loop. All `run_*` and `sleep*` are
coroutines: nothing happens before they are awaited or made a task.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar, overload

from django_workflow.exceptions import (
    ChildFailed,
    EventFailed,
    InvalidArguments,
    LimitReached,
    RemoteTraceback,
    StepCanceled,
    StepFailed,
    StepInterrupted,
    StepTimedOut,
    UsageError,
    dotted_path,
    step_failed,
)
from django_workflow.handler.commands import Answer, Child, Command
from django_workflow.handler.concurrency import Completions, bounded_map, first_completed
from django_workflow.handler.definition import WorkflowDefinition
from django_workflow.handler.events import Event, event_of
from django_workflow.handler.functions import (
    StepMark,
    checked_retry,
    checked_timeout,
    function_path,
    mark_of,
)
from django_workflow.payloads import decode_error, encode, signature_of
from django_workflow.retry import Retry
from django_workflow.states import StepKind, StepState

if TYPE_CHECKING:
    from random import Random
    from uuid import UUID

    from django_workflow.handler.replay import Replay

P = ParamSpec("P")
T = TypeVar("T")
I = TypeVar("I")  # noqa: E741  an item
R = TypeVar("R")

STEP_NAME_LIMIT = 200
CLUSTER_NAME_LIMIT = 100


@dataclass(frozen=True, slots=True)
class StepOptions:
    """How the next steps are to run. See `StepContext.using`."""

    name: str | None = None
    run_at: datetime | None = None
    run_after: timedelta | None = None
    inline: bool | None = None
    unstable_args: bool = False
    retry: Retry | bool | None = None
    timeout: float | None = None
    at_most_once: bool | None = None
    rollback: str = ""
    cluster: str | None = None


class StepContext:
    """What a handler gets as its first argument."""

    __slots__ = ("_options", "_replay")

    def __init__(self, replay: Replay, options: StepOptions | None = None) -> None:
        self._replay = replay
        self._options = options or StepOptions()

    # ── steps ───────────────────────────────────────────────────────────────────────────────────────────────

    @overload
    async def run_query(self, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def run_query(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def run_query(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a step function that reads the database.

        Returns its result as the journal stores it. Raises `StepFailed` (also an instance of the class that
        the function raised), with `QueryWrote` inside when it tried to write.
        """
        return await self._run(StepKind.QUERY, fn, args, kwargs)

    @overload
    async def run_mutation(
        self, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R: ...
    @overload
    async def run_mutation(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def run_mutation(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a step function that reads and writes the database, exactly once.

        Its writes and its entry in the journal commit together. Returns its result as the journal stores it;
        raises `StepFailed` (also an instance of the class that the function raised).
        """
        return await self._run(StepKind.MUTATION, fn, args, kwargs)

    @overload
    async def run_action(self, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def run_action(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    async def run_action(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a step function that may do anything: network, files, money.

        It is attempted again when its worker dies. Returns its result as the journal stores it; raises
        `StepFailed` (also an instance of the class that the function raised).
        """
        return await self._run(StepKind.ACTION, fn, args, kwargs)

    async def run_workflow(
        self, definition: WorkflowDefinition[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run a child workflow; it is canceled with this one.

        Options given to the child by `definition.using()` count for it too, but for the key.

        Returns:
            Its result.

        Raises:
            ChildFailed: it failed (also an instance of the class that it failed with).
            StepCanceled: it was canceled.
            LimitReached: there are `CHILD_DEPTH_LIMIT` levels of children above it.

        """
        number = self._replay.next_number()
        if not isinstance(definition, WorkflowDefinition):
            raise InvalidArguments(
                "step.run_workflow()", [f"definition: {definition!r} is no workflow definition"]
            )
        self._check_depth(number, definition)
        if definition.start_options.key is not None:
            raise InvalidArguments(
                "step.run_workflow()",
                ["key: a child has none; its step in the journal sees to it that it is started once"],
            )
        name = self._options.name or definition.name.rpartition(".")[2][:STEP_NAME_LIMIT]
        text = definition.signature.encode_arguments(
            args,
            kwargs,
            what=f"the arguments of step {number} ({name})",
            limit=self._replay.world.limits.value,
            defaults=True,
        )
        answer = await self._replay.ask(
            Command(
                number,
                StepKind.WORKFLOW,
                name,
                definition.name,
                text,
                self._due_at() or self._due_after(definition.start_options.run_after),
                unstable_args=self._options.unstable_args,
                timeout=self._options.timeout,
                rollback=self._options.rollback,
                cluster=self._options.cluster,
                child=Child(definition.version, definition.start_options),
            )
        )
        if answer.state is not StepState.COMPLETED:
            raise _failure(name, number, answer, ChildFailed)
        result: R = definition.signature.decode_result(
            answer.text or "null", what=f"the result of step {number} ({name})"
        )
        return result

    # ── events ──────────────────────────────────────────────────────────────────────────────────────────────

    @overload
    async def wait_for_event(self, event: Event[T], timeout: float | timedelta | None = None) -> T: ...
    @overload
    async def wait_for_event(self, event: str, timeout: float | timedelta | None = None) -> Any: ...
    async def wait_for_event(self, event: Any, timeout: float | timedelta | None = None) -> Any:
        """Wait for the next event of that name that no other wait has taken; one that was sent before counts, too.

        Args:
            event: an `Event`, or the name of one.
            timeout: durable time (seconds, or a timedelta); None: for ever. An event counts that was sent by then,
                however late this workflow comes to look.

        Returns:
            Its value.

        Raises:
            TimeoutError: none was sent in time (also a `StepFailed`).
            EventFailed: it carries an error.

        """
        number = self._replay.next_number()
        expected = event_of(event, "step.wait_for_event()")
        seconds = None if timeout is None else max(_seconds("wait_for_event", "timeout", timeout), 0.0)
        answer = await self._replay.ask(
            Command(
                number,
                StepKind.EVENT,
                self._options.name or expected.name,
                "",
                json.dumps({"event": expected.name, "timeout": seconds}, separators=(",", ":")),
                None if seconds is None else self._later("wait_for_event", seconds),
                unstable_args=self._options.unstable_args,
            )
        )
        if answer.state is not StepState.COMPLETED:
            raise _no_event(expected.name, number, answer)
        return expected.decode(answer.text or "null")

    # ── time ────────────────────────────────────────────────────────────────────────────────────────────────

    async def sleep(self, duration: float | timedelta) -> None:
        """Wait for so many seconds (or a timedelta), however often workers die. Zero or less returns at once."""
        seconds = max(_seconds("sleep", "duration", duration), 0.0)
        await self._sleep(f'{{"seconds":{seconds!r}}}', self._later("sleep", seconds))

    async def sleep_until(self, moment: datetime) -> None:
        """Wait for an instant (an aware datetime). One that has passed returns at once."""
        instant = _aware("sleep_until", "moment", moment)
        await self._sleep(f'{{"until":"{instant.isoformat()}"}}', instant)

    # ── many at once ────────────────────────────────────────────────────────────────────────────────────────

    async def map(
        self,
        fn: Callable[[I], Any],
        items: Iterable[I],
        /,
        *,
        limit: int = 10,
        return_exceptions: bool = False,
    ) -> list[Any]:
        """Run one action per item, the item being its one argument.

        Args:
            fn: the step function.
            items: in the order in which the results come back.
            limit: at most so many unfinished at once; one that waits for its next attempt counts.
            return_exceptions: True: a failure stands in its place among the results, and nothing is canceled.

        Raises:
            UsageError: `limit` is no whole number from 1.
            StepFailed: of the first action to fail; the others are canceled.

        """
        return await bounded_map(lambda item: self.run_action(fn, item), items, limit, return_exceptions)

    async def first_completed(self, *aws: Awaitable[T]) -> tuple[int, T]:
        """Wait for the first of several; the others are canceled, and their steps settle as canceled.

        Returns its position among the arguments and its result; raises what it raised.
        """
        return await first_completed(aws)

    def as_completed(self, *aws: Awaitable[T]) -> Completions[T]:
        """`async for task in step.as_completed(…): await task`, in the order in which they are done."""
        return Completions(aws)

    # ── options ─────────────────────────────────────────────────────────────────────────────────────────────

    def using(
        self,
        *,
        name: str | None = None,
        run_at: datetime | None = None,
        run_after: timedelta | float | None = None,
        inline: bool | None = None,
        unstable_args: bool | None = None,
        retry: Retry | bool | None = None,
        timeout: timedelta | float | None = None,
        at_most_once: bool | None = None,
        rollback: Callable[..., Any] | None = None,
        cluster: str | None = None,
    ) -> StepContext:
        """A copy of this context whose steps take these options; chains, later wins.

        Args:
            name: shown in the journal in place of the function's name, and compared on replay.
            run_at: aware time before which the step's body isn't started.
            run_after: the same, from the moment at which the handler asks (seconds, or a timedelta).
            inline: False: any worker may run the step, and a query or mutation has a transaction of its own.
                True or None: in the turn, where that is possible.
            unstable_args: True: on replay the arguments are not compared with those on record.
            retry: how a step that fails is attempted again; True: by the manager's default; False: not at all.
            timeout: real seconds (or a timedelta) that one attempt may take; then it fails as `StepTimedOut`.
            at_most_once: True: an action whose worker died is not begun again; it fails as `StepInterrupted`.
            rollback: a step function `(error, result, *args of the step)` that undoes the step when the workflow fails,
                or is canceled with `rollback=True`; it runs as what it is marked, as an action when unmarked.
            cluster: the django-q2 cluster that the step, or the child, is to run on.

        Raises:
            InvalidArguments: an option has a value that it can't take.

        """
        options = self._options
        if name is not None:
            options = replace(options, name=_step_name(name))
        if run_at is not None and run_after is not None:
            raise InvalidArguments("step.using()", ["run_at and run_after: give one of them, not both"])
        if run_at is not None:
            options = replace(options, run_at=_aware("using", "run_at", run_at), run_after=None)
        if run_after is not None:
            seconds = _seconds("using", "run_after", run_after)
            try:
                options = replace(options, run_at=None, run_after=timedelta(seconds=max(seconds, 0.0)))
            except OverflowError:
                raise _past_the_calendar("using", "run_after") from None
        if inline is not None:
            options = replace(options, inline=_flag("inline", inline))
        if unstable_args is not None:
            options = replace(options, unstable_args=_flag("unstable_args", unstable_args))
        if retry is not None:
            options = replace(options, retry=checked_retry("step.using()", retry))
        if timeout is not None:
            options = replace(options, timeout=checked_timeout("step.using()", timeout))
        if at_most_once is not None:
            options = replace(options, at_most_once=_flag("at_most_once", at_most_once))
        if rollback is not None:
            options = replace(options, rollback=function_path(rollback, None, what="step.using(): rollback"))
        if cluster is not None:
            options = replace(options, cluster=_cluster(cluster))
        return StepContext(self._replay, options)

    # ── the handler's own time, dice, log and face ──────────────────────────────────────────────────────────

    @property
    def workflow_id(self) -> UUID:
        """The id of this workflow."""
        return self._replay.world.workflow_id

    @property
    def is_replaying(self) -> bool:
        """True while the handler only repeats what an earlier turn has committed."""
        return self._replay.is_replaying

    def now(self) -> datetime:
        """The handler's time (aware, UTC): when the last answer was delivered. Equal on every replay."""
        return self._replay.now

    @property
    def random(self) -> Random:
        """A generator seeded by the workflow: equal on every replay, different between workflows."""
        return self._replay.world.dice.random

    def uuid4(self) -> UUID:
        """A random UUID: equal on every replay, different between workflows."""
        return self._replay.world.dice.uuid4()

    @property
    def logger(self) -> HandlerLogger:
        """A logger that writes each line once, not again on replay. It has the name of the handler's module."""
        return HandlerLogger(self._replay)

    def patched(self, patch: str) -> bool:
        """Whether this workflow has the change of the code that goes by this name.

        True, and on record, for workflows that come to this point for the first time with the new code; False for those
        that had passed it before. The first call for a name decides for the whole workflow.
        """
        return self._replay.patched(_patch_name("patched", patch))

    def deprecate_patch(self, patch: str) -> None:
        """In place of `patched()` once no workflow is on the old path any more, until the line can be removed."""
        self._replay.deprecate(_patch_name("deprecate_patch", patch))

    def continue_as_new(self, *args: Any, **kwargs: Any) -> NoReturn:
        """End this journal and go on with a fresh one, under the same id, key and labels, with these arguments.

        Events that nobody has taken stay; steps in flight are dropped, children canceled. Never returns.

        Raises:
            InvalidArguments: they don't fit the handler; nothing has ended then.

        """
        raise self._replay.continue_as_new(args, kwargs)

    def set_status(self, value: Any) -> None:
        """Show a custom status (any JSON, like `{"done": 3, "of": 10}`) until the next one. Raises `NotStorable`."""
        limit = self._replay.world.limits.value
        self._replay.set_custom(encode(value, what="the custom status", limit=limit))

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self, kind: StepKind, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        number = self._replay.next_number()
        path = function_path(fn, kind)
        name = self._options.name or fn.__name__
        signature = signature_of(fn)
        text = signature.encode_arguments(
            args,
            kwargs,
            what=f"the arguments of step {number} ({name})",
            limit=self._replay.world.limits.value,
            defaults=False,
        )
        answer: Answer = await self._replay.ask(
            Command(
                number,
                kind,
                name,
                path,
                text,
                self._due_at(),
                self._options.inline,
                self._options.unstable_args,
                *self._attempting(kind, mark_of(fn) or StepMark(kind)),
                self._options.rollback,
                self._options.cluster,
            )
        )
        if answer.state is not StepState.COMPLETED:
            raise _failure(name, number, answer)
        return signature.decode_result(answer.text or "null", what=f"the result of step {number} ({name})")

    def _attempting(self, kind: StepKind, mark: StepMark) -> tuple[Retry | None, float | None, bool]:
        """How the step is attempted: what the handler says, else the function's mark, else the defaults."""
        world, options = self._replay.world, self._options
        retry = options.retry if options.retry is not None else mark.retry
        if retry is None:
            retry = world.action_retry if kind == StepKind.ACTION else None
        elif isinstance(retry, bool):
            retry = world.retry if retry else None
        timeout = options.timeout if options.timeout is not None else mark.timeout
        once = options.at_most_once if options.at_most_once is not None else mark.at_most_once
        return retry, timeout, bool(once)

    def _check_depth(self, number: int, definition: WorkflowDefinition[Any, Any]) -> None:
        world = self._replay.world
        if world.depth >= world.limits.depth:
            raise LimitReached(
                f"step {number} ({definition.name}) of workflow {world.workflow_id}, {world.depth} levels below its root,",
                f"CHILD_DEPTH_LIMIT = {world.limits.depth}",
                "start what goes on for ever as a workflow of its own (definition.start() in a mutation), or go on in a "
                "fresh journal (step.continue_as_new)",
            )

    async def _sleep(self, args: str, due_at: datetime) -> None:
        number = self._replay.next_number()
        await self._replay.ask(
            Command(
                number,
                StepKind.SLEEP,
                self._options.name or "sleep",
                "",
                args,
                due_at,
                unstable_args=self._options.unstable_args,
            )
        )

    def _due_at(self) -> datetime | None:
        if self._options.run_after is not None:
            return self._later("run_after", self._options.run_after.total_seconds())
        return self._options.run_at

    def _due_after(self, delay: timedelta | None) -> datetime | None:
        """When a child is due that was given a delay of its own: refused here, where it leads out of the calendar."""
        return None if delay is None else self._later("run_workflow", max(delay.total_seconds(), 0.0))

    def _later(self, what: str, seconds: float) -> datetime:
        try:
            return self._replay.counts_from + timedelta(seconds=seconds)
        except OverflowError:
            raise InvalidArguments(
                f"step.{what}()", [f"{seconds} seconds from now is past the year 9999"]
            ) from None


class HandlerLogger(logging.LoggerAdapter[logging.Logger]):
    """Hands lines over to the replay, which lets each through once."""

    def __init__(self, replay: Replay) -> None:
        super().__init__(replay.author_logger, {"workflow_id": str(replay.world.workflow_id)})
        self._replay = replay

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log as `logging.Logger.log` does, once."""
        if self._replay.is_replaying or not self.isEnabledFor(level):
            return
        exc_info = kwargs.get("exc_info")
        if isinstance(exc_info, BaseException):
            exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
        elif exc_info and not isinstance(exc_info, tuple):
            exc_info = sys.exc_info()
        path, line, function, stack = self.logger.findCaller(
            bool(kwargs.get("stack_info")), kwargs.get("stacklevel", 1) + 1
        )
        record = self.logger.makeRecord(
            self.logger.name,
            level,
            path,
            line,
            msg,
            args,
            exc_info or None,
            function,
            {**(self.extra or {}), **(kwargs.get("extra") or {})},
            stack,
        )
        self._replay.log(self.logger, record)


_OWN_FAILURES: dict[str, type[StepFailed]] = {
    dotted_path(each): each for each in (StepInterrupted, StepTimedOut, StepCanceled)
}


def _failure(name: str, number: int, answer: Answer, base: type[StepFailed] = StepFailed) -> StepFailed:
    error = decode_error(answer.text or "")
    return step_failed(name, number, answer.attempts, error, _OWN_FAILURES.get(error.type, base))


def _no_event(event: str, number: int, answer: Answer) -> Exception:
    error = decode_error(answer.text or "")
    if error.step == number:  # the engine's own word: none came in time
        return step_failed(event, number, answer.attempts, error)
    failed = EventFailed(event, error, number)
    if error.traceback:
        failed.__cause__ = RemoteTraceback(error.traceback)
    return failed


def _seconds(call: str, argument: str, value: float | timedelta) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    try:
        if not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    except OverflowError:  # an int that no float holds
        raise _past_the_calendar(call, argument) from None
    raise InvalidArguments(
        f"step.{call}()", [f"{argument}: {value!r} is no duration; give seconds or a timedelta"]
    )


def _past_the_calendar(call: str, argument: str) -> InvalidArguments:
    return InvalidArguments(f"step.{call}()", [f"{argument}: it ends past the year 9999"])


def _aware(call: str, argument: str, value: datetime) -> datetime:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise InvalidArguments(
            f"step.{call}()", [f"{argument}: {value!r} is no aware datetime; give one with a time zone"]
        )
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InvalidArguments(
            f"step.{call}()", [f"{argument}: {value!r} is outside of the years 1 to 9999 in UTC"]
        ) from None


def _flag(option: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise InvalidArguments("step.using()", [f"{option}: {value!r} is neither True nor False"])
    return value


def _cluster(name: str) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= CLUSTER_NAME_LIMIT or not name.isprintable():
        raise InvalidArguments(
            "step.using()",
            [f"cluster: {name!r} is no cluster; give 1 to {CLUSTER_NAME_LIMIT} printable characters"],
        )
    return name


def _patch_name(call: str, patch: str) -> str:
    if not _is_name(patch):
        raise UsageError(
            f"step.{call}({patch!r}): a patch is named by 1 to {STEP_NAME_LIMIT} printable characters"
        )
    return patch


def _is_name(name: object) -> bool:
    return isinstance(name, str) and 1 <= len(name) <= STEP_NAME_LIMIT and name.isprintable()


def _step_name(name: str) -> str:
    if not _is_name(name):
        raise UsageError(
            f"step.using(name={name!r}): a step's name has 1 to {STEP_NAME_LIMIT} printable characters"
        )
    return name
