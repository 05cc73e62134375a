"""What a client of a stream does: it reads events, and shows what they say."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    name: str
    id: str
    data: Any


COMMENT = Event("comment", "", None)


def events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """The events and comments of a stream, wherever its chunks were cut."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        while b"\n\n" in rest:
            block, _, rest = rest.partition(b"\n\n")
            if block.startswith(b":"):
                yield COMMENT
                continue
            fields = dict(line.split(": ", 1) for line in block.decode("ascii").split("\n"))
            if "data" in fields:
                yield Event(fields["event"], fields["id"], json.loads(fields["data"]))
    assert rest == b""


@dataclass
class Screen:
    """What a user sees."""

    steps: dict[int, Any] = field(default_factory=dict)
    custom: Any = None
    status: Any = None
    ended: str | None = None

    def show(self, *news: Event) -> Screen:
        """Take events in."""
        for event in news:
            match event.name:
                case "reset":
                    self.__init__()  # type: ignore[misc]
                case "step":
                    self.steps[event.data["number"]] = event.data
                case "custom":
                    self.custom = event.data
                case "status":
                    self.status = event.data
                case "end":
                    self.ended = event.data["reason"]
                case "comment":
                    pass
                case other:
                    raise AssertionError(f"{other} is no event of a stream")
        return self
