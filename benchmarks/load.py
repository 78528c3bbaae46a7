"""The load generator: many connections from one process, which reads as little of each answer as it needs."""

import asyncio
import re
import socket
import time
from typing import Any

__all__ = ["Load", "free_port", "wait_for_port"]

_SENT_AT = re.compile(rb"data: (\d{12,})\n\n")
DEADLINE_SECONDS = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def wait_for_port(port: int) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


class _Client(asyncio.Protocol):
    def __init__(self, load: "Load") -> None:
        self._load = load
        self._tail = b""
        self._has_headers = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n" % self._load.path)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        data = self._tail + data
        if not self._has_headers and b"\r\n\r\n" in data:
            assert data.startswith(b"HTTP/1.1 200"), data
            self._has_headers = True
            self._load.opened += 1
        end = 0
        for match in _SENT_AT.finditer(data):
            end = match.end()
            self._load.latencies.append((now - int(match[1])) / 1e9)
        self._tail = data[max(end, len(data) - 64) :]


class Load:
    """A number of open connections to one stream; ``latencies`` in seconds, one for each event that arrived."""

    def __init__(self, port: int, path: str) -> None:
        self.port = port
        self.path = path.encode()
        self.latencies: list[float] = []
        self.opened = 0
        self._clients: list[_Client] = []

    async def connect(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        for number in range(1, count + 1):
            _, client = await loop.create_connection(lambda: _Client(self), "127.0.0.1", self.port)
            self._clients.append(client)
            if number % 50 == 0 or number == count:
                await self._until(lambda: self.opened == len(self._clients))
                # What the requests left as garbage is not the memory of an open connection.
                await self.ask("/collect/")

    async def publish(self, events: int, interval: float) -> None:
        await self.ask(f"/publish/?events={events}&interval={interval}")

    async def ask(self, path: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" % path.encode())
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200"), answer
        writer.close()

    async def delivered(self, count: int) -> None:
        await self._until(lambda: len(self.latencies) >= count)

    async def close(self) -> None:
        for client in self._clients:
            client.transport.abort()
        await asyncio.sleep(0.1)

    async def _until(self, done: Any) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not done():
                await asyncio.sleep(0.005)
