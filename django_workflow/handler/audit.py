"""Watches a handler for I/O while it is polled, where `CHECK_DETERMINISM` asks for it.

Python's audit hooks can't be removed, so one is added at the first use and does nothing while no handler is
polled in the thread that it is called in.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django_workflow.exceptions import NotDeterministic
from django_workflow.handler.commands import Violate

WATCHED = {
    "socket.connect": "connects a socket",
    "socket.getaddrinfo": "looks up a host",
    "subprocess.Popen": "starts a process",
    "os.system": "starts a process",
}
HINT = "a handler does no I/O; move this into a step"

# The loop that is polled knows its thread: by it the hook tells a handler's I/O from that of other threads.
_watched: dict[asyncio.AbstractEventLoop, Violate] = {}
_installed = False


@contextmanager
def watching(loop: asyncio.AbstractEventLoop, violate: Violate | None) -> Iterator[None]:
    """Refuse I/O in this thread while `loop` is polled. Without `violate` nothing is watched."""
    if violate is None:
        yield
        return
    _install()
    _watched[loop] = violate
    try:
        yield
    finally:
        del _watched[loop]


def _install() -> None:
    global _installed
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)


def _hook(event: str, _args: tuple[Any, ...]) -> None:
    what = WATCHED.get(event)
    if what is None or not _watched:
        return
    loop = asyncio._get_running_loop()
    violate = _watched.get(loop) if loop is not None else None
    if violate is not None:
        raise violate(NotDeterministic(f"the handler {what} ({event})", HINT))
