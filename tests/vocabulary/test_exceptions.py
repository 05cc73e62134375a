"""What an error keeps on its way through the journal, and what a handler can catch of it. No database, no engine."""

import abc
import asyncio
import builtins
import copy
import dataclasses
import pickle
import subprocess
import traceback
import types
import uuid
from datetime import timedelta
from typing import Any

import pydantic
import pytest
import rest_framework.exceptions
from django.core.exceptions import ValidationError as DjangoValidationError

from django_workflow import exceptions
from django_workflow.exceptions import (
    ChildFailed,
    DeterminismViolation,
    DjangoWorkflowError,
    ErrorInfo,
    EventFailed,
    InternalError,
    InvalidArguments,
    KeyConflict,
    LimitReached,
    NonRetryable,
    NotDeterministic,
    NotReadable,
    NotStorable,
    PayloadTooLarge,
    StepCanceled,
    StepFailed,
    StepInterrupted,
    StepTimedOut,
    UnknownDefinition,
    WorkflowStuck,
    describe_error,
    dotted_path,
    step_failed,
)

HERE = __name__


# Awkward classes, importable from this module


class CardDeclined(Exception):
    pass


class Outer:
    class Inner(Exception):
        pass


class KeywordOnly(Exception):
    def __init__(self, *, code: int) -> None:
        super().__init__(code)
        self.code = code


class OwnNew(Exception):
    def __new__(cls, first: int, second: int) -> "OwnNew":
        raise RuntimeError("must not be called")


class Slotted(Exception):
    __slots__ = ("code",)


class WithProperties(Exception):
    error = property(lambda self: 1 / 0)
    number = property(lambda self: self.missing)
    step_name = property(lambda self: "mine")
    attempts = property(lambda self: None)
    _failure = property(lambda self: None)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class PrintsByExiting(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class PrintsAnything(Exception):
    def __str__(self) -> Any:
        return 42


class Endless(Exception):
    def __getattr__(self, name: str) -> Any:
        return getattr(self, name + "x")


class Guarded(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise RuntimeError(name)

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __hash__(self) -> int:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int


class Registering(type):
    made: list[type] = []

    def __call__(cls, *args: Any, **options: Any) -> Any:
        raise RuntimeError("no instances")


class WithMetaclass(Exception, metaclass=Registering):
    pass


class Refusing(type):
    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> "Refusing":
        if name != "Sealed":
            raise TypeError("sealed")
        return super().__new__(mcs, name, bases, namespace)


class Sealed(Exception, metaclass=Refusing):
    pass


class Silent(type):
    def __getattribute__(cls, name: str) -> Any:
        raise RuntimeError(name)


class Hidden(Exception, metaclass=Silent):
    __module__ = None  # type: ignore[assignment]


class Opaque(Exception, metaclass=Silent):
    pass


class Abstract(Exception, metaclass=abc.ABCMeta):
    @abc.abstractmethod
    def code(self) -> int: ...


class Hooked(Exception):
    subclasses: list[type] = []

    def __init_subclass__(cls, *, required: str, **options: Any) -> None:
        Hooked.subclasses.append(cls)


class TwoLayouts(ValueError, OSError):
    pass


class OwnGroup(ExceptionGroup[Exception]):
    def __new__(cls, code: int) -> "OwnGroup":
        return super().__new__(cls, "own", [ValueError(str(code))])


class OwnStepFailed(StepFailed):
    def __init__(self, only: str) -> None:
        self.only = only


class NotRepeatable(NonRetryable):
    pass


AWKWARD = [
    CardDeclined,
    Outer.Inner,
    KeywordOnly,
    OwnNew,
    Slotted,
    WithProperties,
    Unprintable,
    PrintsByExiting,
    Endless,
    Guarded,
    Frozen,
    WithMetaclass,
    Abstract,
    Hooked,
    TwoLayouts,
    OwnGroup,
    OwnStepFailed,
    NotRepeatable,
    ExceptionGroup,
    DjangoValidationError,
    rest_framework.exceptions.APIException,
    rest_framework.exceptions.ValidationError,
    subprocess.CalledProcessError,
    subprocess.TimeoutExpired,
    NotStorable,
    StepTimedOut,
    asyncio.IncompleteReadError,
]
BUILTIN = [
    value for value in vars(builtins).values() if isinstance(value, type) and issubclass(value, BaseException)
]
NEVER_MIXED = [
    cls
    for cls in BUILTIN
    if not issubclass(cls, Exception) or issubclass(cls, (StopIteration, StopAsyncIteration))
]
MIXED = [cls for cls in BUILTIN if cls not in NEVER_MIXED]


def info(cls: type, message: str = "insufficient funds", trace: str = "Traceback: line 7\n") -> ErrorInfo:
    return ErrorInfo(dotted_path(cls), message, trace)


def assert_behaves(exc: StepFailed, error: ErrorInfo) -> None:
    assert (exc.step_name, exc.number, exc.attempts, exc.error) == ("charge_card", 2, 3, error)
    assert str(exc).startswith("step 2 (charge_card) ")
    assert error.message in str(exc)
    assert error.message in repr(exc)
    assert bool(exc) is True
    assert exc == exc
    assert exc in {exc}
    assert not hasattr(exc, "an_attribute_that_nobody_set")
    exc.__notes__ = ["a note"]
    for copied in (copy.copy(exc), copy.deepcopy(exc)):
        assert type(copied) is type(exc)
        assert copied.error == error
    with pytest.raises(StepFailed) as caught:
        raise exc
    shown = "".join(traceback.format_exception(caught.value))
    assert error.message in shown
    assert "a note" in shown
    assert "Traceback: line 7" in shown
    described = describe_error(caught.value)
    assert described == dataclasses.replace(error, step=2)


@pytest.mark.parametrize("cls", [*AWKWARD, *MIXED], ids=dotted_path)
@pytest.mark.parametrize("base", [StepFailed, ChildFailed])
def test_a_failed_step_is_an_instance_of_the_original_class_too(
    cls: type[Exception], base: type[StepFailed]
) -> None:
    error = info(cls)
    exc = step_failed("charge_card", 2, 3, error, base)
    assert isinstance(exc, base)
    caught = None
    try:
        raise exc
    except cls as same:
        caught = same
    assert caught is exc
    assert_behaves(exc, error)


@pytest.mark.parametrize(
    "cls",
    [
        *NEVER_MIXED,
        asyncio.CancelledError,
        DeterminismViolation,
        NotDeterministic,
        WorkflowStuck,
        Sealed,
        pydantic.ValidationError,
        Outer,
        int,
    ],
    ids=dotted_path,
)
def test_what_cannot_or_must_not_be_mixed_in_degrades_to_the_plain_class(cls: type) -> None:
    error = info(cls)
    exc = step_failed("charge_card", 2, 3, error)
    assert type(exc) is StepFailed
    assert_behaves(exc, error)


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "..",
        "ValueError",
        "no.such.module.Error",
        f"{HERE}.missing",
        f"{HERE}.f.<locals>.E",
        "this file/x.Y",
        f"{HERE}.info",
        "<unknown>.X",
        "os.path",
        "a.b\x00c.D",
    ],
)
def test_what_cannot_be_imported_degrades_to_the_plain_class(path: str) -> None:
    error = ErrorInfo(path, "gone", "Traceback: line 7\n")
    exc = step_failed("charge_card", 2, 3, error)
    assert type(exc) is StepFailed
    assert_behaves(exc, error)


def test_a_module_that_exits_when_imported_degrades_too(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exits_at_import.py").write_text("raise SystemExit(1)")
    monkeypatch.syspath_prepend(tmp_path)
    assert type(step_failed("a", 1, 1, ErrorInfo("exits_at_import.Error", "m", ""))) is StepFailed


def test_the_class_is_imported_where_it_was_not_yet(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imported_late.py").write_text("class Late(Exception): pass")
    monkeypatch.syspath_prepend(tmp_path)
    exc = step_failed("a", 1, 1, ErrorInfo("imported_late.Late", "m", ""))
    assert "imported_late.Late" in map(dotted_path, type(exc).__mro__)


def test_the_mixed_class_is_made_once_and_says_what_it_is() -> None:
    one, two = (step_failed("charge_card", n, 1, info(Outer.Inner)) for n in (1, 2))
    assert type(one) is type(two)
    assert type(one).__name__ == "StepFailed[Inner]"
    assert type(one).__qualname__ == "StepFailed[Outer.Inner]"
    assert traceback.format_exception_only(one)[-1] == (
        f"django_workflow.exceptions.StepFailed[Outer.Inner]: step 1 (charge_card) failed after 1 attempt: "
        f"{HERE}.Outer.Inner: insufficient funds\n"
    )


def test_mixing_does_not_enter_the_originals_registry() -> None:
    step_failed("a", 1, 1, info(Hooked))
    assert Hooked.subclasses == []


def test_it_says_why_the_originals_attributes_are_missing() -> None:
    exc: Any = step_failed("a", 1, 1, info(KeywordOnly))
    with pytest.raises(AttributeError, match=r"has no 'code': .* constructor did not run; .error holds"):
        _ = exc.code


def test_an_exception_group_can_be_caught_whole_and_in_parts() -> None:
    error = info(ExceptionGroup, "unhandled errors in a TaskGroup (2 sub-exceptions)")
    group = step_failed("charge_card", 2, 3, error)
    assert isinstance(group, ExceptionGroup)
    (member,) = group.exceptions
    assert type(member) is StepFailed
    assert member.error == error
    caught: list[BaseException] = []
    try:
        raise group
    except* StepFailed as matched:
        caught.append(matched)
    assert caught[0] is group or group in caught[0].exceptions  # type: ignore[attr-defined]


def test_raised_in_a_coroutine_and_through_a_task_it_stays_itself() -> None:
    async def outer(exc: BaseException) -> None:
        async def step() -> None:
            raise exc

        await asyncio.create_task(step())

    for cls in (*AWKWARD, *MIXED):
        exc = step_failed("charge_card", 2, 3, info(cls))
        with pytest.raises(StepFailed) as caught:
            asyncio.run(outer(exc))
        assert caught.value is exc


def test_the_engines_own_outcomes() -> None:
    def text(cls: type[StepFailed], message: str = "", attempts: int = 1) -> str:
        exc = step_failed("charge_card", 2, attempts, info(cls, message))
        assert type(exc) is cls
        return str(exc)

    assert text(StepTimedOut, "no result within 30 s", 2) == (
        "step 2 (charge_card) timed out after 2 attempts: no result within 30 s"
    )
    assert text(StepInterrupted, "outcome unknown") == (
        "step 2 (charge_card) was interrupted after 1 attempt: outcome unknown"
    )
    assert text(StepCanceled) == "step 2 (charge_card) was canceled after 1 attempt"
    assert isinstance(step_failed("a", 1, 1, info(StepTimedOut)), TimeoutError)
    child = step_failed("embed", 2, 1, info(StepTimedOut, "late"), ChildFailed)
    assert isinstance(child, ChildFailed)
    assert isinstance(child, StepTimedOut)


def test_text_and_cause_of_a_failed_step() -> None:
    exc = step_failed("charge_card", 2, 1, info(CardDeclined))
    assert str(exc) == f"step 2 (charge_card) failed after 1 attempt: {HERE}.CardDeclined: insufficient funds"
    assert str(exc.__cause__).strip() == "Traceback: line 7"
    assert (
        str(step_failed("a", 1, 2, info(ValueError, ""))) == "step 1 (a) failed after 2 attempts: ValueError"
    )
    assert step_failed("a", 1, 2, info(ValueError, trace="")).__cause__ is None
    long = step_failed("a", 1, 2, info(ValueError, "x" * 100_000))
    assert len(str(long)) < 2_000
    assert len(long.error.message) == 100_000


def test_a_class_that_answers_nothing_degrades_to_the_plain_class() -> None:
    error = ErrorInfo(f"{HERE}.Opaque", "no", "Traceback: line 7\n")
    exc = step_failed("charge_card", 2, 3, error)
    assert type(exc) is StepFailed
    assert_behaves(exc, error)


# describe_error


def raised(make: Any) -> BaseException:
    try:
        raise make()
    except BaseException as exc:  # noqa: BLE001  any exception is what the tests want
        return exc


def test_an_error_is_described_with_type_message_and_traceback() -> None:
    secret = "only-in-a-local-variable"
    exc = raised(lambda: CardDeclined("insufficient funds"))
    error = describe_error(exc, step=4)
    assert (error.type, error.message, error.step) == (f"{HERE}.CardDeclined", "insufficient funds", 4)
    assert "in raised" in error.traceback
    assert error.traceback.endswith("CardDeclined: insufficient funds\n")
    assert f"secret = {secret}" not in error.traceback
    assert describe_error(ValueError()) == ErrorInfo("builtins.ValueError", "", "ValueError\n", None)


def test_a_local_class_keeps_its_path() -> None:
    class Local(Exception):
        pass

    assert describe_error(Local()).type.endswith("keeps_its_path.<locals>.Local")
    assert describe_error(Local()).type.startswith(f"{HERE}.")


def test_odd_texts_are_kept() -> None:
    text = "NUL \x00, half a character \ud800, a whole one \U0001f600"
    error = describe_error(raised(lambda: ValueError(text)))
    assert error.message == text
    assert text in error.traceback
    assert text in str(step_failed("a", 1, 1, error))


def test_huge_texts_are_cut() -> None:
    exc = raised(lambda: ValueError("a" * 1_000_000 + "END"))
    error = describe_error(exc)
    assert len(error.message) == 10_000
    assert error.message.endswith("… (1,000,003 characters)")
    assert len(error.traceback) == 50_000
    assert error.traceback.endswith("END\n")


@pytest.mark.parametrize("cls", [Unprintable, PrintsByExiting, PrintsAnything])
def test_an_unprintable_error_is_still_described(cls: type[Exception]) -> None:
    error = describe_error(raised(cls))
    assert error.type == dotted_path(cls)
    assert "no message: reading it raised" in error.message
    assert error.traceback


def test_nothing_that_an_exception_does_makes_describing_fail() -> None:
    class Subtext(str):
        def __len__(self) -> int:
            raise RuntimeError

        def __getitem__(self, key: Any) -> str:
            raise RuntimeError

    class Tricky(Exception):
        def __str__(self) -> str:
            return Subtext("tricky")

    deep: Exception = ValueError("innermost")
    for _ in range(3_000):
        deep = ExceptionGroup("group", [deep])
    chain = ValueError("first")
    for _ in range(3_000):
        later = ValueError("later")
        later.__cause__, chain = chain, later

    error = describe_error(raised(lambda: Hidden("m")))
    assert (error.type.partition(".")[0], error.message) == ("<unknown>", "m")
    error = describe_error(Tricky())
    assert (error.message, type(error.message)) == ("tricky", str)
    assert describe_error(deep).type == "builtins.ExceptionGroup"
    assert describe_error(chain).message == "later"
    for cls in (Endless, Guarded):
        assert describe_error(raised(cls)).type == dotted_path(cls)
    noted = ValueError("noted")
    noted.__notes__ = 5  # type: ignore[assignment]
    assert describe_error(noted).message == "noted"


def test_an_uncaught_step_failure_is_described_as_the_error_behind_it() -> None:
    origin = describe_error(raised(lambda: CardDeclined("no")))
    exc = raised(lambda: step_failed("charge_card", 7, 2, origin))
    assert describe_error(exc, step=1) == dataclasses.replace(origin, step=7)
    half_made = OwnStepFailed("x")
    assert describe_error(half_made, step=1).type == f"{HERE}.OwnStepFailed"


# The errors themselves


def every_error() -> list[BaseException]:
    id = uuid.UUID(int=1)
    error = ErrorInfo("shop.CardDeclined", "no", "")
    e = exceptions
    return [
        e.DuplicateDefinition("shop.checkout", 2, "shop.workflows.checkout"),
        e.DuplicateDefinition("shop.checkout", None, "shop.workflows.checkout"),
        e.UnknownDefinition("shop.chekout", ["shop.checkout"]),
        e.InvalidDefinition("shop.checkout", "is not async", "write `async def`"),
        e.InvalidArguments("checkout", ["order_id: is missing", "x: unexpected argument"]),
        e.NotStorable("result of step 2 (fetch)", "$.a[3]", "is NaN", "store None"),
        e.NotReadable("result of step 2 (fetch)", "int", ["$: no"]),
        e.PayloadTooLarge("result of step 2 (fetch)", 2_000_000, 1_048_576),
        e.PayloadTooLarge("result of step 2 (fetch)", None, 1_048_576),
        e.LimitReached("the journal", 10_000, "use continue_as_new"),
        e.KeyConflict("shop.checkout", "order-1", id),
        e.QueryWrote("order_total", "UPDATE"),
        e.StepKindMismatch("charge_card", "action", "query"),
        e.WorkflowNotFound(id),
        e.StepNotFound(id, "charge"),
        e.WorkflowInProgress(id, "clean up"),
        e.WorkflowFinished(id, "completed"),
        e.StepFailed("a", 1, 1, error),
        e.StepTimedOut("a", 1, 1, error),
        e.StepInterrupted("a", 1, 1, error),
        e.StepCanceled("a", 1, 1, error),
        e.ChildFailed("a", 1, 1, error),
        e.WorkflowTimedOut(id, timedelta(days=90)),
        e.EventFailed("approved", error),
        e.NonRetryable("any", 3, "arguments"),
        e.InternalError("a step vanished", number=3),
        e.DeterminismViolation(3, "mutation reserve", "query total"),
        e.NotDeterministic("opening a socket", "move this into a step"),
        e.WorkflowStuck(["task 1: Event.wait()"]),
    ]


@pytest.mark.parametrize("exc", every_error(), ids=lambda exc: type(exc).__name__)
def test_every_error_copies_and_pickles_with_its_data(exc: BaseException) -> None:
    for again in (copy.copy(exc), copy.deepcopy(exc), pickle.loads(pickle.dumps(exc))):  # noqa: S301
        assert type(again) is type(exc)
        assert str(again) == str(exc)
        assert again.__dict__ == exc.__dict__
    assert type(exc).__doc__


def test_the_tree() -> None:
    def bases(cls: type) -> set[str]:
        return {base.__name__ for base in cls.__mro__[1:]}

    e = exceptions
    assert bases(e.InvalidArguments) >= {"UsageError", "TypeError", "DjangoWorkflowError"}
    assert bases(e.NotStorable) >= {"UsageError", "TypeError"}
    assert bases(e.InvalidDefinition) >= {"DefinitionError", "TypeError"}
    assert bases(e.WorkflowNotFound) >= {"NotFound", "LookupError"}
    assert bases(e.StepTimedOut) >= {"StepFailed", "TimeoutError"}
    assert "DjangoWorkflowError" not in bases(e.InternalError)
    for cls in (e.DeterminismViolation, e.NotDeterministic, e.WorkflowStuck):
        assert "Exception" not in bases(cls)
    public = {
        n for n, v in vars(e).items() if isinstance(v, type) and v.__module__ == e.__name__ and n[0] != "_"
    }
    drawn = {
        word.strip("├└─│ ").partition(" ")[0] for word in (e.__doc__ or "").splitlines() if "── " in word
    }
    assert public - drawn == {"ErrorInfo", "RemoteTraceback"}
    assert drawn <= public


def test_texts() -> None:
    id = uuid.UUID(int=1)
    assert str(UnknownDefinition("shop.chekout", ["shop.checkout", "x"])) == (
        "no workflow is defined as 'shop.chekout'; did you mean 'shop.checkout'?"
    )
    assert str(UnknownDefinition("zzz", ["a.b", "c.d"])).endswith("; defined are: a.b, c.d")
    assert "INSTALLED_APPS" in str(UnknownDefinition("zzz"))
    assert str(InvalidArguments("checkout", ["a: is missing", "b: is missing"])) == (
        "checkout: 2 problems\n  a: is missing\n  b: is missing"
    )
    assert str(NotStorable("result of step 2 (fetch)", "$.a", "is NaN", "store None")) == (
        "result of step 2 (fetch) cannot be stored: $.a is NaN; store None"
    )
    assert str(PayloadTooLarge("the result", 2_000_000, 1_048_576)).startswith(
        "the result is 2,000,000 bytes, more than the limit of 1,048,576 bytes; "
    )
    assert str(PayloadTooLarge("the result", None, 10)).startswith(
        "the result is larger than the limit of 10 bytes"
    )
    assert "'order-1' of shop.checkout" in str(KeyConflict("shop.checkout", "order-1", id))
    assert "the limit of 10,000; use" in str(LimitReached("the journal", 10_000, "use continue_as_new"))
    assert str(id) in str(exceptions.WorkflowNotFound(id))
    violation = DeterminismViolation(3, "mutation reserve(order_id=1)", "query total(order_id=1)")
    assert str(violation).startswith(
        "at step 3 the journal has mutation reserve(order_id=1), but the handler asked for query total(order_id=1)."
    )
    assert "the handler ended without asking for it" in str(DeterminismViolation(3, "x", None))
    assert "the journal has nothing, but" in str(DeterminismViolation(3, None, "x"))
    assert "what can never come (a; b); await steps" in str(WorkflowStuck(["a", "b"]))
    assert str(WorkflowStuck("it never rests")) == "the handler is stuck: it never rests"
    assert str(NotDeterministic("a socket was opened", "move this into a step")) == (
        "not deterministic: a socket was opened; move this into a step"
    )
    assert "shop.CardDeclined: no" in str(EventFailed("approved", ErrorInfo("shop.CardDeclined", "no", "")))
    assert str(EventFailed("approved", ErrorInfo(dotted_path(EventFailed), "no", ""))).endswith(
        "an error: no"
    )
    assert "bug of django_workflow" in str(InternalError("a step vanished", number=3))
    assert "number = 3" in str(InternalError("a step vanished", number=3))
    assert "readings" in str(NotReadable("readings", "int", ["$: no"]))


def test_user_classes_may_take_any_arguments() -> None:
    class Final(NonRetryable):
        def __init__(self, code: int) -> None:
            super().__init__("code", code)

    assert Final(3).args == ("code", 3)
    assert isinstance(Final(3), DjangoWorkflowError)
    assert isinstance(types.new_class("Late", (NonRetryable,))(), NonRetryable)
