"""Every error of the package, and what becomes of an error that crosses the journal.

Rules of this file: an exception owns its message. Its constructor takes data, builds the text from it and keeps the
data as attributes; who raises it writes no prose. Nothing here imports Django or another part of the package.

    Exception
    ├── DjangoWorkflowError
    │   ├── DefinitionError
    │   │   ├── DuplicateDefinition
    │   │   ├── UnknownDefinition
    │   │   └── InvalidDefinition       (+ TypeError)
    │   ├── UsageError
    │   │   ├── InvalidArguments        (+ TypeError)
    │   │   ├── NotStorable             (+ TypeError)
    │   │   ├── NotReadable             (+ TypeError)
    │   │   ├── PayloadTooLarge
    │   │   ├── LimitReached
    │   │   ├── KeyConflict
    │   │   ├── QueryWrote
    │   │   └── StepKindMismatch
    │   ├── NotFound                    (+ LookupError)
    │   │   ├── WorkflowNotFound
    │   │   └── StepNotFound
    │   ├── StateError
    │   │   ├── WorkflowInProgress
    │   │   └── WorkflowFinished
    │   ├── StepFailed                  (+ the class of the step's own error, where it can be imported)
    │   │   ├── StepTimedOut            (+ TimeoutError)
    │   │   ├── StepInterrupted
    │   │   ├── StepCanceled
    │   │   └── ChildFailed
    │   ├── WorkflowTimedOut
    │   ├── EventFailed
    │   └── NonRetryable
    └── InternalError                   our own bug: no `except DjangoWorkflowError` takes it for the caller's

    BaseException                       what no `except Exception` of a handler may swallow
    ├── DeterminismViolation
    ├── NotDeterministic
    └── WorkflowStuck
"""

from __future__ import annotations

import difflib
import functools
import importlib
import sys
import traceback
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, NamedTuple, SupportsIndex, cast

MESSAGE_LIMIT = 10_000
TRACEBACK_LIMIT = 50_000
_UNREADABLE = "<unknown>"


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error as the journal keeps it.

    `type` is the dotted path of the exception's class, module included (`builtins.ValueError`); `step` is the number
    of the step that the error came from, or None.
    """

    type: str
    message: str
    traceback: str
    step: int | None = None


# Our errors take data, not a message, so the default way to copy one (call the class with `args`) would fail.
def _revive(cls: type[BaseException], args: tuple[object, ...], state: Mapping[str, object]) -> BaseException:
    exc = cls.__new__(cls)
    exc.args = args
    exc.__dict__.update(state)
    return exc


class _MadeOfData:
    def __reduce__(self: BaseException) -> tuple[Any, ...]:  # type: ignore[misc]
        return _revive, (type(self), self.args, dict(self.__dict__))


class DjangoWorkflowError(_MadeOfData, Exception):
    """The base of all errors that a caller or a handler may want to catch."""


# Definitions


class DefinitionError(DjangoWorkflowError):
    """Something is wrong with a definition, not with this use of it."""


class DuplicateDefinition(DefinitionError):
    """Two definitions claim one name and version.

    `where` says what holds the name already, e.g. `shop.workflows.checkout`.
    """

    def __init__(self, name: str, version: object, where: str) -> None:
        self.name, self.version, self.where = name, version, where
        label = repr(name) if version is None else f"{name!r} (version {version})"
        super().__init__(
            f"{label} is defined already by {where}; give one of the two another name= or version="
        )


class UnknownDefinition(DefinitionError):
    """No definition of that name is registered; `known` are the names that are."""

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        self.name, self.known = name, tuple(sorted(known))
        super().__init__(f"no workflow is defined as {name!r}; {_nearest(name, self.known)}")


def _nearest(name: str, known: Sequence[str]) -> str:
    similar = difflib.get_close_matches(name, known, n=3)
    if similar:
        return f"did you mean {' or '.join(map(repr, similar))}?"
    if known:
        shown = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
        return f"defined are: {shown}"
    return "none is defined: is the app with its workflows.py in INSTALLED_APPS?"


class InvalidDefinition(DefinitionError, TypeError):
    """A handler, step function or annotation that cannot work.

    The message reads `<what> <problem>; <remedy>`.
    """

    def __init__(self, what: str, problem: str = "", remedy: str = "") -> None:
        self.what, self.problem, self.remedy = what, problem, remedy
        said = f"{what} {problem}" if problem else what
        super().__init__(f"{said}; {remedy}" if remedy else said)


# Usage


class UsageError(DjangoWorkflowError):
    """A call that was refused; nothing has changed."""


class InvalidArguments(UsageError, TypeError):
    """Arguments that don't fit; each problem stands on a line of its own."""

    def __init__(self, what: str, problems: Sequence[str]) -> None:
        self.what, self.problems = what, tuple(problems)
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(f"{what}: {_count(len(self.problems), 'problem')}{lines}")


class NotStorable(UsageError, TypeError):
    """A value that the journal cannot keep; `path` leads to the part at fault, from `$`, the value itself."""

    def __init__(self, what: str, path: str, reason: str, remedy: str) -> None:
        self.what, self.path, self.reason, self.remedy = what, path, reason, remedy
        super().__init__(f"{what} cannot be stored: {path} {reason}; {remedy}")


class NotReadable(UsageError, TypeError):
    """A stored value that no longer fits the annotation it is read by."""

    def __init__(self, what: str, annotation: str, problems: Sequence[str]) -> None:
        self.what, self.annotation, self.problems = what, annotation, tuple(problems)
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(
            f"{what} no longer fits its annotation {annotation}; the annotation has changed since the value was stored,"
            f" let it accept the old values too{lines}"
        )


class PayloadTooLarge(UsageError):
    """A value of more than `limit` bytes as JSON; `size` is None where counting was given up at the limit."""

    def __init__(self, what: str, size: int | None, limit: int) -> None:
        self.what, self.size, self.limit = what, size, limit
        measured = "is larger than" if size is None else f"is {size:,} bytes, more than"
        super().__init__(
            f"{what} {measured} the limit of {limit:,} bytes; keep it in a file or a row and pass its path or key"
        )


class LimitReached(UsageError):
    """A limit of the settings or of the definition was reached."""

    def __init__(self, what: str, limit: object, remedy: str) -> None:
        self.what, self.limit, self.remedy = what, limit, remedy
        shown = f"{limit:,}" if isinstance(limit, int) else limit
        super().__init__(f"{what} reached the limit of {shown}; {remedy}")


class KeyConflict(UsageError):
    """The key belongs to a workflow that was started with other arguments."""

    def __init__(self, definition: str, key: str, id: object) -> None:
        self.definition, self.key, self.id = definition, key, id
        super().__init__(
            f"the key {key!r} of {definition} belongs to workflow {id}, which was started with other arguments;"
            " use another key, or the same arguments to get that workflow"
        )


class QueryWrote(UsageError):
    """A query changed the database."""

    def __init__(self, function: str, sql_keyword: str) -> None:
        self.function, self.sql_keyword = function, sql_keyword
        super().__init__(
            f"the query {function} executed {sql_keyword}, but queries only read; run it as a mutation"
        )


class StepKindMismatch(UsageError):
    """A function marked as one kind of step was used as another; kinds are `query`, `mutation`, `action`."""

    def __init__(self, function: str, marked: str, used: str) -> None:
        self.function, self.marked, self.used = function, marked, used
        super().__init__(
            f"{function} is marked @{marked} but was given to run_{used}; call run_{marked}, or change its mark"
        )


# Not found, wrong state


class NotFound(DjangoWorkflowError, LookupError):
    """What was asked for does not exist."""


class WorkflowNotFound(NotFound):
    """No workflow has this id."""

    def __init__(self, id: object) -> None:
        self.id = id
        super().__init__(
            f"there is no workflow {_shorten(str(id), 100)}; it was cleaned up, or never committed"
        )


class StepNotFound(NotFound):
    """The workflow has no such step; `step` is the number, name or function that was asked for."""

    def __init__(self, id: object, step: object) -> None:
        self.id, self.step = id, step
        super().__init__(f"workflow {id} has no step {_shorten(repr(step), 100)}; nothing has changed")


class StateError(DjangoWorkflowError):
    """The workflow is in a state in which this cannot be done."""


class WorkflowInProgress(StateError):
    """The workflow has not finished; `verb` is what was to be done, e.g. `clean up`."""

    def __init__(self, id: object, verb: str) -> None:
        self.id, self.verb = id, verb
        super().__init__(
            f"workflow {id} is in progress, cannot {verb} it; wait until it has finished, or cancel it"
        )


class WorkflowFinished(StateError):
    """The workflow has finished; `state` is how: `completed`, `failed` or `canceled`."""

    def __init__(self, id: object, state: str) -> None:
        self.id, self.state = id, state
        super().__init__(f"workflow {id} has finished ({state}) and takes nothing more")


# Failures as a handler meets them


class _Failure(NamedTuple):
    step_name: str
    number: int
    attempts: int
    error: ErrorInfo
    message: str


class StepFailed(DjangoWorkflowError):
    """A step failed for good.

    Made by `step_failed()`, the object is an instance of the original error's class too, so that
    `except CardDeclined:` works in a handler; the traceback of the place where it happened is its `__cause__`.
    """

    _outcome: ClassVar[str] = "failed"

    def __init__(self, step_name: str, number: int, attempts: int, error: ErrorInfo) -> None:
        failure = _failure(type(self), step_name, number, attempts, error)
        self.__dict__["_failure"] = failure
        super().__init__(failure.message)

    # Properties, not attributes: the class that is mixed in may define a property of the same name, which would
    # otherwise win over the instance's own value.
    @property
    def step_name(self) -> str:
        """The step's name in the journal."""
        return _failure_of(self).step_name

    @property
    def number(self) -> int:
        """The step's number, from 1."""
        return _failure_of(self).number

    @property
    def attempts(self) -> int:
        """How often the step's body was started."""
        return _failure_of(self).attempts

    @property
    def error(self) -> ErrorInfo:
        """The last attempt's error: type, message and traceback as they were where it happened."""
        return _failure_of(self).error

    def __str__(self) -> str:
        failure = self.__dict__.get("_failure")
        return failure.message if isinstance(failure, _Failure) else super().__str__()


class StepTimedOut(StepFailed, TimeoutError):
    """The step's body took longer than its timeout."""

    _outcome = "timed out"


class StepInterrupted(StepFailed):
    """The worker died while the body ran: its outcome is unknown, and the step must not be started again."""

    _outcome = "was interrupted"


class StepCanceled(StepFailed):
    """The step was canceled before it settled; also raised for a child workflow that was canceled."""

    _outcome = "was canceled"


class ChildFailed(StepFailed):
    """A child workflow failed; it is an instance of the class of the child's own error too."""

    _outcome = "(a child workflow) failed"


def _failure(cls: type[StepFailed], step_name: str, number: int, attempts: int, error: ErrorInfo) -> _Failure:
    # The engine's own outcomes (a timeout, say) carry their class as the error's type; naming it again adds nothing.
    own = f"{cls.__module__}.{cls.__qualname__}"
    reason = _shorten(error.message, 1000) if error.type == own else _summary(error)
    message = f"step {number} ({step_name}) {cls._outcome} after {_count(attempts, 'attempt')}"
    return _Failure(step_name, number, attempts, error, f"{message}: {reason}" if reason else message)


def _failure_of(exc: StepFailed) -> _Failure:
    failure = exc.__dict__.get("_failure")
    if not isinstance(failure, _Failure):
        raise AttributeError("this StepFailed was made by a subclass that did not call StepFailed.__init__")
    return failure


def _summary(error: ErrorInfo) -> str:
    name = error.type.removeprefix("builtins.")
    return f"{name}: {_shorten(error.message, 1000)}" if error.message else name


class WorkflowTimedOut(DjangoWorkflowError):
    """The workflow did not end within its timeout."""

    def __init__(self, id: object, timeout: timedelta) -> None:
        self.id, self.timeout = id, timeout
        super().__init__(f"workflow {id} did not end within its timeout of {timeout}")


class EventFailed(DjangoWorkflowError):
    """The event that the handler waited for carries an error in place of a value; `number` is the waiting step's."""

    def __init__(self, event: str, error: ErrorInfo, number: int | None = None) -> None:
        self.event, self.error, self.number = event, error, number
        own = f"{EventFailed.__module__}.{EventFailed.__qualname__}"
        reason = error.message if error.type == own else _summary(error)
        super().__init__(f"the event {event!r} carries an error: {reason}")


class NonRetryable(DjangoWorkflowError):
    """Raise it, or a subclass, in a step body to end the step: no further attempts."""


class InternalError(_MadeOfData, Exception):
    """A bug of the package itself, never of its user."""

    def __init__(self, what: str, **facts: object) -> None:
        self.what, self.facts = what, facts
        shown = {name: _shorten(_safe(functools.partial(repr, value)), 500) for name, value in facts.items()}
        listed = "".join(f"\n  {name} = {text}" for name, text in shown.items())
        super().__init__(
            f"{what}. This is a bug of django_workflow, not of your code; please report it with this text and the"
            f" traceback{':' if listed else ''}{listed}"
        )


# What a handler must not swallow


class DeterminismViolation(_MadeOfData, BaseException):
    """The handler asked for something else than its journal holds.

    `position` is the step's number, from 1; `recorded` describes what the journal has there, `asked` what the handler
    asked for; None stands for nothing.
    """

    def __init__(self, position: int, recorded: object, asked: object) -> None:
        self.position, self.recorded, self.asked = position, recorded, asked
        has = "nothing" if recorded is None else str(recorded)
        wants = "ended without asking for it" if asked is None else f"asked for {asked}"
        super().__init__(
            f"at step {position} the journal has {has}, but the handler {wants}. Its code, or something that it reads,"
            " differs from when the journal was written: undo the change, guard it with step.patched(), or restart the"
            f" workflow from a step below {position}"
        )


class NotDeterministic(_MadeOfData, BaseException):
    """The handler did something whose outcome a replay could not repeat; `hint` says what to do instead."""

    def __init__(self, what: str, hint: str) -> None:
        self.what, self.hint = what, hint
        super().__init__(f"not deterministic: {what}; {hint}")


class WorkflowStuck(_MadeOfData, BaseException):
    """The handler waits for something that no step, timer or event can ever bring.

    `waiting` says in one sentence why, or describes each wait.
    """

    def __init__(self, waiting: str | Sequence[str] = ()) -> None:
        self.waiting = (waiting,) if isinstance(waiting, str) else tuple(waiting)
        why = waiting
        if not isinstance(why, str):
            where = f" ({'; '.join(self.waiting)})" if self.waiting else ""
            why = (
                f"it waits for what can never come{where}; await steps, sleeps and events of the step context, not"
                " futures, queues or locks that nothing else in the handler sets"
            )
        super().__init__(f"the handler is stuck: {why}")


# From an exception to the journal


def describe_error(exc: BaseException, step: int | None = None) -> ErrorInfo:
    """Return what the journal keeps of `exc`. Never raises, however the exception behaves.

    `step` is the number of the step that raised it. A `StepFailed` that nobody caught is described as the error behind
    it: type, message and traceback of the original, and the number of its step. A message over 10,000 characters is
    cut at its end, a traceback over 50,000 at its beginning. The traceback shows no local variables.
    """
    if issubclass(type(exc), StepFailed):  # isinstance() would ask the exception, too
        failure = BaseException.__getattribute__(exc, "__dict__").get("_failure")
        if isinstance(failure, _Failure):
            error = failure.error
            return ErrorInfo(error.type, error.message, error.traceback, failure.number)
    if type(exc) is EventFailed and step is None:
        step = exc.number
    return ErrorInfo(dotted_path(type(exc)), _message_of(exc), _traceback_of(exc), step)


def dotted_path(cls: type) -> str:
    """Return `module.qualname` of a class, also of one that hides or falsifies them."""
    return f"{_class_text(cls, '__module__')}.{_class_text(cls, '__qualname__')}"


def _class_text(cls: type, attribute: str) -> str:
    # Asked of `type`, not of the class: a metaclass may answer with anything.
    try:
        text = type.__dict__[attribute].__get__(cls)
    except Exception:  # noqa: BLE001  a class may hide its names; the error must be described all the same
        return _UNREADABLE
    return text if type(text) is str and text else _UNREADABLE


def _message_of(exc: BaseException) -> str:
    text = _safe(lambda: str(exc))
    if len(text) <= MESSAGE_LIMIT:
        return text
    mark = f" … ({len(text):,} characters)"
    return text[: MESSAGE_LIMIT - len(mark)] + mark


def _traceback_of(exc: BaseException) -> str:
    # `format_exception` looks at notes, causes and suggestions, all of them the exception's own code; the plain frames
    # are what is left when that fails.
    try:
        text = "".join(traceback.format_exception(exc))
    except BaseException:  # noqa: BLE001  whatever it raises, the original error must not be lost
        try:
            frames = traceback.format_tb(BaseException.__dict__["__traceback__"].__get__(exc))
        except Exception:  # noqa: BLE001  no frames, then: type and message are left
            frames = []
        text = "".join([*frames, f"{dotted_path(type(exc))}: {_message_of(exc)}\n"])
    return text if len(text) <= TRACEBACK_LIMIT else "…" + text[1 - TRACEBACK_LIMIT :]


def _safe(read: Callable[[], str]) -> str:
    try:
        # The slice makes an exact `str` of a subclass, whose methods could be anything.
        return str.__getitem__(read(), slice(None))
    except BaseException as error:  # noqa: BLE001  a foreign __str__ may raise anything, SystemExit included
        return f"<no message: reading it raised {dotted_path(type(error)).removeprefix('builtins.')}>"


def shown(value: object) -> str:
    """`repr(value)` for an error text, shortened; never raises."""
    if isinstance(value, int) and value.bit_length() > 4000:
        return f"an integer of {value.bit_length():,} bits"  # Python refuses to write very long ones down
    return _shorten(_safe(functools.partial(repr, value)), 500)


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# From the journal to an exception


class RemoteTraceback(Exception):
    """The cause of a `StepFailed`: the traceback of the place where the error happened, as text."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f"\n\n{self.text}"


def step_failed(
    step_name: str, number: int, attempts: int, error: ErrorInfo, base: type[StepFailed] = StepFailed
) -> StepFailed:
    """Return the exception that a handler gets for a failed step.

    It is an instance of `base`, and of the class that `error.type` names where that is an `Exception` that can be
    imported and mixed in; `error.traceback` becomes its `__cause__`. The original's constructor is not called: what it
    would have set is not there. Never raises.
    """
    exc = _as_original(step_name, number, attempts, error, base) or base(step_name, number, attempts, error)
    if error.traceback:
        exc.__cause__ = RemoteTraceback(error.traceback)
    return exc


def _as_original(
    step_name: str, number: int, attempts: int, error: ErrorInfo, base: type[StepFailed]
) -> StepFailed | None:
    original = _import_exception(error.type)
    if original is None or original in base.__mro__:
        return None
    if base in _ancestry(original) and _class_text(original, "__module__") == __name__:
        return original(step_name, number, attempts, error)  # type: ignore[return-value]
    try:
        mixed = _mixed_class(base, original)  # type: ignore[arg-type]  # mypy does not see that classes are hashable
        return _instance(mixed, base, _failure(base, step_name, number, attempts, error))
    except Exception:  # noqa: BLE001  a layout conflict, a final class, a metaclass that refuses: take the plain base
        return None


# StopIteration and StopAsyncIteration are control flow: Python turns them into RuntimeError where they leave a
# coroutine or generator, futures refuse them, and an `async for` would end on one as if nothing had happened.
_NEVER_MIXED = (StopIteration, StopAsyncIteration)


def _import_exception(path: str) -> type[Exception] | None:
    parts = path.split(".")
    if not all(part.isidentifier() for part in parts):  # e.g. `<locals>`
        return None
    for split in range(len(parts) - 1, 0, -1):
        try:
            found: Any = _module(".".join(parts[:split]))
            for name in parts[split:]:
                found = getattr(found, name)
        except (Exception, SystemExit):  # noqa: BLE001, S112  importing runs foreign code; "not importable" is an answer
            continue
        return found if _may_be_mixed(found) else None
    return None


def _module(name: str) -> types.ModuleType:
    return sys.modules.get(name) or importlib.import_module(name)


def _may_be_mixed(found: object) -> bool:
    meta = type(found)
    if not issubclass(meta, type):
        return False
    # `copy` and `traceback` ask the class for its names: one that may answer with an error is no base for ours.
    if meta.__getattribute__ is not type.__getattribute__:
        return False
    ancestry = _ancestry(cast("type", found))
    return Exception in ancestry and not any(banned in ancestry for banned in _NEVER_MIXED)


def _ancestry(cls: type) -> tuple[type, ...]:
    # The real one: `issubclass` and `cls.__mro__` may be answered by a metaclass.
    ancestry: tuple[type, ...] = type.__dict__["__mro__"].__get__(cls)
    return ancestry


class _Mixed(StepFailed):
    """First in line before `base` and the original, so that nothing of the original runs that expects its __init__."""

    def __init_subclass__(cls, **options: object) -> None:
        """Keep the original's hook from registering a class that its author never wrote."""

    def __new__(cls, *args: object, **options: object) -> _Mixed:
        raise TypeError(f"{cls.__qualname__} is made by step_failed() only")

    def __init__(self, *args: object, **options: object) -> None:
        raise TypeError(f"{type(self).__qualname__} is made by step_failed() only")

    def __str__(self) -> str:
        return _failure_of(self).message

    def __repr__(self) -> str:
        return f"<{_class_text(type(self), '__qualname__')}: {_failure_of(self).message}>"

    def __reduce__(self) -> tuple[Any, ...]:
        failure = _failure_of(self)
        return step_failed, (
            failure.step_name,
            failure.number,
            failure.attempts,
            failure.error,
            self.__dict__["_base"],
        )

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        return self.__reduce__()

    def __copy__(self) -> StepFailed:
        make, arguments = self.__reduce__()
        copied: StepFailed = make(*arguments)
        return copied

    def __deepcopy__(self, memo: object) -> StepFailed:
        return self.__copy__()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"{_class_text(type(self), '__qualname__')} has no {name!r}: an error that comes out of the journal has no attributes of its"
            " own, since the original's constructor did not run; .error holds its type, message and traceback"
        )

    def __bool__(self) -> bool:
        return True

    __getattribute__ = BaseException.__getattribute__
    __setattr__ = BaseException.__setattr__
    __delattr__ = BaseException.__delattr__
    __eq__ = BaseException.__eq__
    __ne__ = BaseException.__ne__
    __hash__ = BaseException.__hash__
    __format__ = BaseException.__format__
    __dir__ = BaseException.__dir__
    with_traceback = BaseException.with_traceback


@functools.lru_cache(maxsize=1024)
def _mixed_class(base: type[StepFailed], original: type[Exception]) -> type[StepFailed]:
    name = _class_text(original, "__qualname__")
    bases = (_Mixed, original) if base in _ancestry(original) else (_Mixed, base, original)

    def fill(namespace: dict[str, Any]) -> None:
        namespace["__module__"] = __name__
        namespace["__qualname__"] = f"{base.__qualname__}[{name}]"
        namespace["__doc__"] = f"{base.__qualname__} that is also a {name}."

    made: type[StepFailed] = types.new_class(
        f"{base.__name__}[{name.rpartition('.')[2]}]", bases, exec_body=fill
    )
    return made


def _instance(cls: type[StepFailed], base: type[StepFailed], failure: _Failure) -> StepFailed:
    exc = _allocate(cls, failure)
    exc.__dict__.update(_failure=failure, _base=base)
    if isinstance(exc, SyntaxError):
        exc.msg = failure.message  # the traceback module prints this field, not str()
    return exc


def _allocate(cls: type[StepFailed], failure: _Failure) -> StepFailed:
    # Only C-level allocators: a `__new__` written in Python is the original's constructor too. Of several, the one that
    # knows the object's memory layout accepts; CPython makes the others raise TypeError.
    arguments: tuple[object, ...] = (failure.message,)
    if BaseExceptionGroup in _ancestry(cls):  # a group needs a member: a plain StepFailed that says the same
        arguments = (failure.message, [StepFailed(*failure[:4])])
    for ancestor in _ancestry(cls):
        allocate = type.__dict__["__dict__"].__get__(ancestor).get("__new__")
        if isinstance(allocate, types.BuiltinFunctionType):
            try:
                made = allocate(cls, *arguments)
            except TypeError:
                continue
            if type(made) is cls:
                return made
    raise TypeError(f"{cls.__qualname__} cannot be allocated")
