"""Many clients at once, each as an ``EventSource`` is: it comes back with its cursor after ``retry``."""

import asyncio
import contextlib

from serversent.event import EventParser

__all__ = ["Client", "Crowd"]

AGAIN_SECONDS = 0.2


class Client:
    """Reads one stream until it is stopped, and comes back whenever it ends."""

    def __init__(self, port: int, path: str, headers: str = "") -> None:
        self._port = port
        self._path = path
        self._headers = headers
        self.last_event_id = ""
        self.retry = 0.0  # seconds, as last told
        self.is_ready = asyncio.Event()
        self.data: list[str] = []
        self.events: list[str] = []  # the types of the others
        self.statuses: list[int] = []
        self.ends: list[float] = []  # what retry was when a stream ended properly
        self.cuts = 0

    async def run(self) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            answered = len(self.statuses)
            try:
                await self._read(reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                # Before an answer: it waited for a server that was about to end, which is as good as none.
                self.cuts += len(self.statuses) > answered
            finally:
                writer.close()
            await asyncio.sleep(self.retry or AGAIN_SECONDS)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        last = f"Last-Event-ID: {self.last_event_id}\r\n" if self.last_event_id else ""
        writer.write(f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{self._headers}{last}\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        self.statuses.append(int(head.split()[1]))
        if b"text/event-stream" not in head:
            return
        parser = EventParser()
        while size := int(await reader.readuntil(b"\r\n"), 16):
            piece = await reader.readexactly(size + 2)
            for event in parser.feed(piece[:-2]):
                self._take(event)
            if parser.retry is not None:
                self.retry = parser.retry / 1000
        self.ends.append(self.retry)

    def _take(self, event) -> None:
        self.last_event_id = event.id or self.last_event_id
        if event.event == "message":
            self.data.append(event.data)
        else:
            self.events.append(event.event)
            self.is_ready.set()


class Crowd:
    """``async with Crowd(port, path, count) as crowd``: all of them are ready then."""

    def __init__(self, port: int, path: str, count: int, headers: str = "") -> None:
        self.clients = [Client(port, path, headers) for _ in range(count)]

    async def __aenter__(self) -> "Crowd":
        self._tasks = [asyncio.ensure_future(client.run()) for client in self.clients]
        async with asyncio.timeout(120):
            await asyncio.gather(*(client.is_ready.wait() for client in self.clients))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)
