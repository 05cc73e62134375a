"""When a step that failed is attempted again. Pure: it takes an error and a die, and gives a delay."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django_workflow.exceptions import InvalidArguments, NonRetryable, dotted_path

Classes = tuple[type[BaseException], ...]


@dataclass(frozen=True)
class Retry:
    """How often and when to attempt a failed step again.

    The delay before attempt n + 1 is `min(max_delay, initial · base^(n-1))` seconds, times a uniform 0.5 to 1.5
    with jitter. An exception with a `retry_after` attribute (seconds) says itself how long to wait; `NonRetryable`
    ends it.

    Args:
        max_attempts: how often the body may fail, from 1.
        initial: seconds before the second attempt.
        base: by what the delay grows each time, from 1.
        max_delay: seconds that no delay exceeds (jitter aside).
        jitter: whether to spread the delays, so that many steps that failed together don't come back together.
        on: exception classes that are retried.
        unless: exception classes that are not, whatever `on` says.

    Raises:
        InvalidArguments: a value that can't be, each named.

    """

    max_attempts: int = 5
    initial: float = 0.5
    base: float = 2
    max_delay: float = 60
    jitter: bool = True
    on: Classes | type[BaseException] = (Exception,)
    unless: Classes | type[BaseException] = ()

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise InvalidArguments("Retry()", problems)

    def delay(self, failures: int, error: BaseException, roll: Callable[[], float]) -> float | None:
        """Seconds to wait after the body has failed.

        Args:
            failures: how often it has failed, this time included.
            error: what it raised.
            roll: a die that gives a number from 0 to 1.

        Returns:
            The delay; None when there is to be no further attempt.

        """
        if failures >= self.max_attempts or isinstance(error, NonRetryable):
            return None
        if not isinstance(error, self._on) or isinstance(error, self._unless):
            return None
        asked = getattr(error, "retry_after", None)
        if isinstance(asked, int | float) and not isinstance(asked, bool) and 0 <= asked < math.inf:
            return float(asked)
        return self._backoff(failures) * (0.5 + roll() if self.jitter else 1.0)

    @property
    def _on(self) -> Classes:
        return (self.on,) if isinstance(self.on, type) else self.on

    @property
    def _unless(self) -> Classes:
        return (self.unless,) if isinstance(self.unless, type) else self.unless

    def _backoff(self, failures: int) -> float:
        try:
            return min(self.max_delay, self.initial * self.base ** (failures - 1))
        except OverflowError:
            return self.max_delay

    def to_text(self) -> str:
        """This policy as JSON, for the journal: whoever attempts the step next obeys it."""
        return json.dumps(
            {
                "max_attempts": self.max_attempts,
                "initial": self.initial,
                "base": self.base,
                "max_delay": self.max_delay,
                "jitter": self.jitter,
                "on": [dotted_path(each) for each in self._on],
                "unless": [dotted_path(each) for each in self._unless],
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_text(cls, text: str) -> Retry:
        """The policy that `to_text()` wrote. A class that is gone matches nothing."""
        fields: dict[str, Any] = json.loads(text)
        for field in ("on", "unless"):
            fields[field] = tuple(found for path in fields[field] if (found := _class_at(path)) is not None)
        return cls(**fields)


def _class_at(path: str) -> type[BaseException] | None:
    parts = path.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
            for part in parts[cut:]:
                found = getattr(found, part)
        except (ImportError, AttributeError):
            continue
        return found if isinstance(found, type) and issubclass(found, BaseException) else None
    return None


def _problems(retry: Retry) -> list[str]:
    problems = []
    if type(retry.max_attempts) is not int or retry.max_attempts < 1:
        problems.append(f"max_attempts: {retry.max_attempts!r} is no whole number from 1")
    for field, least in (("initial", 0), ("base", 1), ("max_delay", 0)):
        value = getattr(retry, field)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
            problems.append(f"{field}: {value!r} is no number from {least}")
    if not isinstance(retry.jitter, bool):
        problems.append(f"jitter: {retry.jitter!r} is neither True nor False")
    for field in ("on", "unless"):
        value = getattr(retry, field)
        if isinstance(value, type):
            value = (value,)
        if not isinstance(value, tuple) or not all(
            isinstance(each, type) and issubclass(each, BaseException) for each in value
        ):
            problems.append(f"{field}: {value!r} is no tuple of exception classes")
    return problems
