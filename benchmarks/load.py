"""The load: many connections from one process, which reads as little of each answer as it needs."""

import asyncio
import re
import socket
import time
from collections.abc import Callable
from typing import Any

__all__ = ["Crowd", "ask", "wait_for_port"]

_SENT_AT = re.compile(rb"data: (\d{12,}) *\r?\n")
_TAIL_BYTES = 64
DEADLINE_SECONDS = 120
WAITING_AT_ONCE = 200


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


async def ask(port: int, path: str) -> bytes:
    """Return the whole answer to one request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" % path.encode())
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 200"), answer
    writer.close()
    return answer


class _Client(asyncio.Protocol):
    def __init__(self, crowd: "Crowd", path: bytes) -> None:
        self._crowd = crowd
        self._path = path
        self._tail = b""
        self._begun = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        head = b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n%s\r\n"
        transport.write(head % (self._path, self._crowd.headers))

    def data_received(self, data: bytes) -> None:
        crowd = self._crowd
        crowd.bytes += len(data)
        now = time.monotonic_ns()
        data = self._tail + data
        if not self._begun:
            if crowd.until not in data:
                self._tail = data
                return
            assert data.startswith(b"HTTP/1.1 200"), data
            self._begun = True
            crowd.opened += 1
            if crowd.closes:
                self.transport.abort()
                return
        end = 0
        for match in _SENT_AT.finditer(data):
            end = match.end()
            crowd.latencies.append((now - int(match[1])) / 1e9)
        self._tail = data[max(end, len(data) - _TAIL_BYTES) :]


class Crowd:
    """Open connections of one kind. ``latencies`` in seconds, one for each event that arrived; ``bytes`` that came.

    ``until``: what has to come before a connection counts as open. ``closes``: close it then. ``window``: bytes that
    the kernel takes for a connection that is not read.
    """

    def __init__(
        self,
        port: int,
        *,
        headers: bytes = b"",
        until: bytes = b"\r\n\r\n",
        closes: bool = False,
        window: int | None = None,
    ) -> None:
        self.port = port
        self.headers = headers
        self.window = window
        self.until = until
        self.closes = closes
        self.latencies: list[float] = []
        self.bytes = 0
        self.opened = 0
        self._clients: list[_Client] = []

    async def connect(self, path: Callable[[int], str] | str, count: int, *, each: int = WAITING_AT_ONCE) -> None:
        """Open so many connections, with no more than ``each`` on their way at any time."""
        loop = asyncio.get_running_loop()
        waiting = asyncio.Semaphore(16)

        async def open_one(number: int) -> None:
            name = path if isinstance(path, str) else path(number)
            connection = socket.socket()
            connection.setblocking(False)
            if self.window is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.window)
            async with waiting:
                await loop.sock_connect(connection, ("127.0.0.1", self.port))
                _, client = await loop.create_connection(lambda: _Client(self, name.encode()), sock=connection)
            self._clients.append(client)

        for start in range(0, count, each):
            numbers = range(start, min(start + each, count))
            await asyncio.gather(*map(open_one, numbers))
            await self.until_true(lambda: self.opened >= len(self._clients))

    async def freeze(self) -> None:
        """Read no more."""
        for client in self._clients:
            client.transport.pause_reading()

    async def thaw(self) -> None:
        for client in self._clients:
            client.transport.resume_reading()

    async def delivered(self, count: int) -> list[float]:
        """Wait for so many events, and return what each of them took."""
        await self.until_true(lambda: len(self.latencies) >= count)
        found, self.latencies = self.latencies, []
        return found

    async def close(self) -> None:
        for client in self._clients:
            client.transport.abort()
        self._clients.clear()
        self.opened = 0
        await asyncio.sleep(0.2)

    async def until_true(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not done():
                await asyncio.sleep(0.002)
