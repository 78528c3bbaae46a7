"""Open streams: one ``Connection`` for each open HTTP response, and the set of them that one event loop serves."""

import asyncio
import logging
import random
import time
import weakref
from collections.abc import Iterator
from typing import Any

from .conf import setting
from .driver import StreamDriver
from .event import comment_frame, retry_frame
from .servers import Send, abort, with_backpressure

__all__ = ["Connection", "OpenConnections", "open_connections", "opening_frame"]

logger = logging.getLogger("serversent")

HEARTBEAT_FRAME = comment_frame("hb")

# A generator that never waits, on a socket that never fills, would keep the event loop to itself.
FRAMES_PER_TURN = 64


def opening_frame() -> bytes:
    """What a stream begins with: a comment, so that proxies pass the headers on, and the reconnection time."""
    return comment_frame("stream") + retry_frame(setting("RETRY_MILLISECONDS"))


class Connection:
    """Serves one stream to one client, until either ends or the server stops.

    Three tasks meet here: the request's own (``serve``) waits and ends the response; the driver's runs the generator
    and writes its frames; the server's tells by ``gone`` that the client has left. A heartbeat is a short task of its
    own: to a client that does not read it may wait for ever, and nobody may wait for it.
    """

    __slots__ = (
        "_at_line_start",
        "_driver",
        "_frames",
        "_gone",
        "_heartbeat",
        "_left",
        "_opening",
        "_send",
        "_wake",
        "_writing",
        "_written_at",
        "draining",
    )

    def __init__(self, send: Send, gone: asyncio.Future[Any], driver: StreamDriver, opening: bytes) -> None:
        self._send = with_backpressure(send)
        self._gone = gone
        self._driver = driver
        self._opening = opening
        self._wake: asyncio.Future[None] | None = None
        self._heartbeat: asyncio.Task[None] | None = None  # set while a heartbeat is being sent
        self._writing = False
        self._frames = 0
        self._written_at = time.monotonic()
        self._at_line_start = True
        self._left = False  # ``send`` said by an error that the client is gone
        self.draining = False

    async def serve(self) -> None:
        """Send the stream; return when it is over and its generator closed."""
        connections = open_connections()
        connections.add(self)
        try:
            if not self._client_is_gone():
                await self.write(self._opening)
            wake = self.wake
            driving = self._driver.attach(self.write)
            driving.add_done_callback(wake)
            self._gone.add_done_callback(wake)
            while not (driving.done() or self._client_is_gone() or self.draining):
                self._wake = asyncio.get_running_loop().create_future()
                await self._wake
            await self._finish(setting("DRAIN_SECONDS"))
        except asyncio.CancelledError:
            # The server gives up on us (Daphne when it stops): a proper end of the body is all there is time for.
            self._driver.cancel()
            await self._end_response(setting("DRAIN_SECONDS"))
            raise
        finally:
            self._gone.remove_done_callback(self.wake)
            self._cancel_heartbeat()
            connections.discard(self)

    async def write(self, frame: bytes) -> None:
        """Send ``frame``; return when the server took it, which is its backpressure."""
        if not frame:
            return
        if self._heartbeat is not None:  # never two sends at once
            await asyncio.wait({self._heartbeat})
        self._writing = True
        try:
            await self._send({"type": "http.response.body", "body": frame, "more_body": True})
        except Exception as error:
            self._leave(error)
        finally:
            self._writing = False
        self._written_at = time.monotonic()
        self._at_line_start = frame.endswith(b"\n")
        self._frames += 1
        if not self._frames % FRAMES_PER_TURN:
            await asyncio.sleep(0)

    def wake(self, _: object = None) -> None:
        """Let ``serve`` look around."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def beat_if_silent(self, seconds: float) -> None:
        """Send a heartbeat after so many seconds of silence, unless a frame, or a heartbeat, waits for the socket."""
        if self._writing or self._heartbeat is not None or time.monotonic() - self._written_at < seconds:
            return
        # In the middle of a line of somebody's own bytes a comment would become part of it.
        if self._at_line_start:
            self._heartbeat = asyncio.get_running_loop().create_task(self._send_heartbeat())

    def drain(self) -> None:
        """End the stream because the server stops; its client is asked to come back."""
        self.draining = True
        self.wake()

    async def _send_heartbeat(self) -> None:
        try:
            await self._send({"type": "http.response.body", "body": HEARTBEAT_FRAME, "more_body": True})
        except Exception as error:
            self._leave(error)
        self._written_at = time.monotonic()
        self._heartbeat = None

    def _cancel_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.cancel()

    async def _finish(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        self._cancel_heartbeat()
        self._driver.cancel()
        await self._driver.wait_closed(seconds)
        await self._end_response(deadline - time.monotonic())

    def _client_is_gone(self) -> bool:
        return self._left or self._gone.done()

    def _leave(self, error: Exception) -> None:
        # Servers do not agree on the error for a client that is gone: OSError by the specification, and uvloop's
        # transport raises RuntimeError. Whatever it is, nothing more can be sent.
        logger.debug("A stream's client is gone: %s", error)
        self._left = True
        self.wake()

    async def _end_response(self, seconds: float) -> None:
        if self._client_is_gone():
            return
        body = b""
        if self.draining and self._opening:
            # Spread, so that the clients of a stopped server do not all come back at once.
            retry = setting("RETRY_MILLISECONDS")
            body = retry_frame(random.randint(retry, 2 * retry))
        try:
            async with asyncio.timeout(seconds):
                await self._send({"type": "http.response.body", "body": body, "more_body": False})
        except Exception as error:
            if isinstance(error, TimeoutError):  # the client does not read
                abort(self._send)
            self._leave(error)


class OpenConnections:
    """The connections that one event loop serves. One timer looks after all of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._connections: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._draining = False

    def __len__(self) -> int:
        return len(self._connections)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._connections)

    def add(self, connection: Connection) -> None:
        self._connections.add(connection)
        if self._draining:
            connection.drain()
        if self._timer is None:
            self._look_later()

    def discard(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def drain(self) -> None:
        """End every stream, and at once each one that still comes: the server stops. Call it in the loop's thread."""
        self._draining = True
        for connection in list(self._connections):
            connection.drain()

    def _look_later(self) -> None:
        self._timer = self._loop.call_later(min(1.0, setting("HEARTBEAT_SECONDS") / 4), self._look)

    def _look(self) -> None:
        seconds = setting("HEARTBEAT_SECONDS")
        for connection in self._connections:
            connection.beat_if_silent(seconds)
        self._look_later()


_by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, OpenConnections] = weakref.WeakKeyDictionary()


def open_connections() -> OpenConnections:
    """Return the connections of the running event loop."""
    loop = asyncio.get_running_loop()
    connections = _by_loop.get(loop)
    if connections is None:
        connections = _by_loop[loop] = OpenConnections(loop)
    return connections
