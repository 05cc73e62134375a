"""A client for JSON over one kept connection, HTTP/1.1; the standard library only."""

import asyncio
import json
from typing import Any


class Client:
    """Calls a server on this machine, one call after the other."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> "Client":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def post(self, path: str, value: Any) -> Any:
        """Send a value; what came back. Raises RuntimeError for anything but a success."""
        body = json.dumps(value).encode()
        return await self._ask("POST", path, body)

    async def get(self, path: str) -> Any:
        """The same without a value."""
        return await self._ask("GET", path, b"")

    async def _ask(self, method: str, path: str, body: bytes) -> Any:
        content = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        self._writer.write(f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{content}\r\n".encode() + body)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])
        }
        answer = await self._body(headers)
        if not head[0].split(" ")[1].startswith("2"):
            raise RuntimeError(f"{method} {path}: {head[0]} {answer.decode(errors='replace')}")
        return json.loads(answer) if answer else None

    async def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return await self._reader.readexactly(int(headers.get("content-length", "0")))
        parts = []
        while size := int(await self._reader.readline(), 16):
            parts.append(await self._reader.readexactly(size))
            await self._reader.readline()
        await self._reader.readline()
        return b"".join(parts)
