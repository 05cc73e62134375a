"""The other side of slow calls: answers each line that it is sent, a second later. The standard library only."""

import asyncio
import os
import threading
from concurrent.futures import Future

from benchmarks.driver import SLOW_CALL_SECONDS

PORT = "BENCHMARK_SLOW_PORT"  # the variable by which workers find it


def start() -> None:
    """Serve in a thread from now on, and say where in the environment."""
    port: Future[int] = Future()
    threading.Thread(target=lambda: asyncio.run(_serve(port)), name="slow server", daemon=True).start()
    os.environ[PORT] = str(port.result())


async def call(number: int) -> int:
    """Ask it, from another process: it waits, and says the number."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ[PORT]))
    writer.write(f"{number}\n".encode())
    answer = await reader.readline()
    writer.close()
    return int(answer)


async def _serve(port: "Future[int]") -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", backlog=2000)
    port.set_result(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    line = await reader.readline()
    await asyncio.sleep(SLOW_CALL_SECONDS)
    writer.write(line)
    await writer.drain()
    writer.close()
