"""The project's `DJANGO_WORKFLOW` setting.

`Settings` is the whole list: an annotation is a key's type and bounds, a value is its default. Read keys as
`conf.settings.LEASE_SECONDS`. Nothing is read at import, a changed setting (`override_settings`) is seen at
once, and a wrong key or value is never passed on.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, Literal, cast, get_args, get_type_hints

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from pydantic import ConfigDict, Field, InstanceOf, TypeAdapter, ValidationError

from django_workflow.retry import Retry

NAME = "DJANGO_WORKFLOW"

Seconds = Annotated[float, Field(gt=0, description="a number of seconds above 0")]
Count = Annotated[int, Field(ge=1, description="a whole number of at least 1")]
Bytes = Annotated[int, Field(ge=1, description="a whole number of bytes, at least 1")]
Switch = Annotated[bool, Field(description="True or False")]


@dataclass(frozen=True)
class Settings:
    """Every key of `DJANGO_WORKFLOW`, with its type and default."""

    # The django-q2 cluster that gets the wake-ups; None: the one that Q_CLUSTER names.
    CLUSTER: Annotated[str | None, Field(min_length=1, description="the name of a cluster, or None")] = None

    LEASE_SECONDS: Annotated[float, Field(ge=1, description="a number of seconds, at least 1")] = 30
    DRAIN_SECONDS: Seconds = 10
    TICK_SECONDS: Seconds = 0.1
    CLAIM_LIMIT: Count = 16
    TURN_COMMIT_MS: Annotated[float, Field(gt=0, description="a number of milliseconds above 0")] = 100

    VALUE_LIMIT: Bytes = 1024 * 1024
    JOURNAL_LIMIT: Bytes = 8 * 1024 * 1024
    STEP_LIMIT: Count = 10_000
    CHILD_DEPTH_LIMIT: Count = 20
    PENDING_EVENT_LIMIT: Count = 1000
    INTERRUPTED_LIMIT: Count = 5
    ASYNC_LIMIT: Count = 500

    ALWAYS_SUSPEND: Switch = False
    CHECK_DETERMINISM: Switch = field(default_factory=lambda: bool(django_settings.DEBUG))
    ON_DETERMINISM_VIOLATION: Annotated[Literal["fail", "pause"], Field(description='"fail" or "pause"')] = (
        "fail"
    )

    RETRY: Annotated[InstanceOf[Retry], Field(description="a Retry")] = field(default_factory=Retry)
    RETRY_ACTIONS: Switch = False

    RETENTION: Annotated[
        timedelta | None, Field(gt=timedelta(0), description="a timedelta above zero, or None")
    ] = None
    CODEC: Annotated[
        str | None, Field(pattern=r"^\w+(\.\w+)+$", description="the dotted path of a codec, or None")
    ] = None
    # strict=False: a list is as good as a tuple; whatever comes in, a tuple is kept.
    REDACT: Annotated[
        tuple[str, ...], Field(strict=False, description="a tuple or list of names, all of them text")
    ] = ("password", "secret", "token", "api_key", "authorization")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the setting."""

    message: str
    remedy: str
    unknown_key: bool = False


def problems() -> list[Problem]:
    """All that is wrong with the project's `DJANGO_WORKFLOW`, as it stands now; empty when all is well."""
    configured = getattr(django_settings, NAME, {})
    if not isinstance(configured, dict):
        return [Problem(f"{NAME} is {reprlib.repr(configured)}.", "Make it a dict of settings.")]
    return list(_problems(configured))


def load() -> Settings:
    """Read and check the project's settings.

    Raises:
        ImproperlyConfigured: a key is unknown or a value doesn't fit; the text names all of them.
    """
    found = problems()
    if found:
        raise ImproperlyConfigured("\n".join(f"{problem.message} {problem.remedy}" for problem in found))
    configured = getattr(django_settings, NAME, {})
    return Settings(**{key: _adapter(key).validate_python(value) for key, value in configured.items()})


class _LazySettings:
    """Stands for `Settings`: reads them at the first access, and again after a setting has changed."""

    def __init__(self) -> None:
        self._loaded: Settings | None = None

    def __getattr__(self, key: str) -> Any:
        loaded = self._loaded
        if loaded is None:
            loaded = self._loaded = load()
        return getattr(loaded, key)

    def forget(self) -> None:
        self._loaded = None


_lazy = _LazySettings()
settings = cast(Settings, _lazy)


def _forget(*, setting: str, **_: object) -> None:
    if setting in (NAME, "DEBUG"):
        _lazy.forget()


setting_changed.connect(_forget, dispatch_uid="django_workflow.conf")


def _problems(configured: dict[Any, Any]) -> Iterator[Problem]:
    known = [key.name for key in fields(Settings)]
    for key, value in configured.items():
        if key not in known:
            yield Problem(f"{NAME} has no key {key!r}.", _did_you_mean(key, known), unknown_key=True)
        elif not _fits(key, value):
            yield Problem(
                f"{NAME}[{key!r}] is {reprlib.repr(value)}; it must be {_description(key)}.",
                f"Correct it, or leave the key out for its default, {_default(key)!r}.",
            )


def _did_you_mean(key: object, known: list[str]) -> str:
    close = difflib.get_close_matches(str(key).upper(), known, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Remove it. The keys are {', '.join(known)}."


def _fits(key: str, value: object) -> bool:
    try:
        _adapter(key).validate_python(value)
    except ValidationError:
        return False
    return True


@cache
def _adapter(key: str) -> TypeAdapter[Any]:
    annotation = _annotation(key)
    if is_dataclass(get_args(annotation)[0]):
        return TypeAdapter(annotation)  # pydantic takes no config for one; `InstanceOf` is as strict
    # Strict, so that True is no number and "30" is no count of seconds.
    return TypeAdapter(annotation, config=ConfigDict(strict=True, allow_inf_nan=False))


@cache
def _annotation(key: str) -> Any:
    return get_type_hints(Settings, include_extras=True)[key]


def _description(key: str) -> str:
    *_, bounds = get_args(_annotation(key))
    return str(bounds.description)


def _default(key: str) -> object:
    found = next(each for each in fields(Settings) if each.name == key)
    return found.default if found.default_factory is MISSING else found.default_factory()
