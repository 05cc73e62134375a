"""A WSGI server with threads, and an ASGI application in an event loop: how streams are served."""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import asgiref.testing
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler

from tests.stream.listening import Event, events

# Without types of its own.
ApplicationCommunicator: Any = asgiref.testing.ApplicationCommunicator
DEADLINE = 20.0  # seconds until whatever is waited for must have come

T = TypeVar("T")


class Server(Protocol):
    """What tests need of a server."""

    def get(self, path: str, headers: dict[str, str]) -> Answer: ...

    def stop(self) -> None:
        """Return when every request has ended; nothing when it has been stopped already."""


@dataclass
class Answer:
    """An answer that has begun."""

    status: int
    headers: dict[str, str]
    chunks: Iterator[bytes]
    hang_up: Any
    events: Iterator[Event] = field(init=False)

    def __post_init__(self) -> None:
        self.events = events(self.chunks)


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


class WSGIServer:
    """Django's own, with a thread for each request."""

    def __init__(self) -> None:
        self._server = ThreadedWSGIServer(("127.0.0.1", 0), _Quiet)
        self._server.daemon_threads = False  # so that closing it waits for them
        self._server.set_app(WSGIHandler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def get(self, path: str, headers: dict[str, str]) -> Answer:
        line = http.client.HTTPConnection("127.0.0.1", self._server.server_port, timeout=DEADLINE)
        line.request("GET", path, headers=headers)
        response = line.getresponse()

        def hang_up() -> None:
            response.close()
            line.close()

        chunks = iter(lambda: response.read1(65536), b"")
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, chunks, hang_up)

    def stop(self) -> None:
        if not self._thread.is_alive():
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(DEADLINE)


class ASGIServer:
    """Django's handler as an ASGI server calls it, in an event loop of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._application = ASGIHandler()
        self._requests: list[Any] = []

    def get(self, path: str, headers: dict[str, str]) -> Answer:
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
        request = self._do(self._begin(scope))
        self._requests.append(request)
        start = self._do(request.receive_output(DEADLINE))
        told = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        return Answer(start["status"], told, self._chunks(request), lambda: self._hang_up(request))

    def stop(self) -> None:
        if self._loop.is_closed():
            return
        for request in self._requests:
            self._do(request.wait(DEADLINE))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)
        self._loop.close()

    async def _begin(self, scope: dict[str, Any]) -> Any:
        request = ApplicationCommunicator(self._application, scope)
        await request.send_input({"type": "http.request"})
        return request

    def _chunks(self, request: Any) -> Iterator[bytes]:
        while True:
            message = self._do(request.receive_output(DEADLINE))
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                return

    def _hang_up(self, request: Any) -> None:
        if not self._loop.is_closed():
            self._do(request.send_input({"type": "http.disconnect"}))

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE * 2)
