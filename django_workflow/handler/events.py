"""Events as their authors name them: a name, and the type of the value that comes with it."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, overload

from django_workflow.exceptions import InvalidArguments, InvalidDefinition
from django_workflow.handler import registry
from django_workflow.payloads import decode, encode_argument

T = TypeVar("T")

NAME_LIMIT = 200


class Event(Generic[T]):
    """A kind of event, shared by those who send it and the handlers that wait for it.

    Args:
        name: 1 to 200 printable characters; events are matched by it.
        type: of its value, any type form (`bool`, `int | None`, a dataclass …); by default any plain JSON.

    Raises:
        InvalidDefinition: that is no name.
        DuplicateDefinition: an event of this name has another type.

    """

    @overload
    def __init__(self: Event[T], name: str, type: type[T]) -> None: ...
    @overload
    def __init__(self: Event[Any], name: str, type: Any = Any) -> None: ...
    def __init__(self, name: str, type: Any = Any) -> None:
        if not _is_name(name):
            raise InvalidDefinition(f"{name!r} is no name for an event", "", _NAMES)
        self.name = name
        self.type = type
        registry.add_event(self)

    def __repr__(self) -> str:
        return f"Event({self.name!r}, {self.type!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and (self.name, self.type) == (other.name, other.type)

    def __hash__(self) -> int:
        return hash(self.name)

    def encode(self, value: Any, *, limit: int) -> str:
        """A value as JSON text. Raises `InvalidArguments` for one of another type, `NotStorable`, `PayloadTooLarge`."""
        return encode_argument(
            value, self.type, name="value", what=f"the value of event {self.name!r}", limit=limit
        )

    def decode(self, text: str) -> T:
        """The value that was encoded. Raises `NotReadable`."""
        value: T = decode(text, self.type, what=f"the value of event {self.name!r}")
        return value


def event_of(event: Any, call: str) -> Event[Any]:
    """The event in an argument that is one, or the name of one: then with the type registered under that name.

    Raises `InvalidArguments`, of `call`.
    """
    if isinstance(event, Event):
        return event
    if not _is_name(event):
        raise InvalidArguments(call, [f"event: {event!r} is neither an Event nor the name of one; {_NAMES}"])
    return registry.find_event(event) or _untyped(event)


def _untyped(name: str) -> Event[Any]:
    event: Event[Any] = object.__new__(Event)  # not registered: the name may get a type later
    event.name, event.type = name, Any
    return event


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and 1 <= len(name) <= NAME_LIMIT and name.isprintable()


_NAMES = f"a name has 1 to {NAME_LIMIT} printable characters"
