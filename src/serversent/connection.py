"""Open streams: one ``Connection`` for each open HTTP response, and the set of them that one event loop serves."""

import asyncio
import contextvars
import functools
import logging
import random
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from .byhand import begun
from .conf import setting
from .driver import Driver
from .event import comment_frame, retry_frame
from .servers import Send, abort, direct_writer, runs_by_hand, with_backpressure, write_all

__all__ = ["Connection", "OpenConnections", "open_connections", "opening_frame"]

logger = logging.getLogger("serversent")

# A generator that never waits, on a socket that never fills, would keep the event loop to itself.
FRAMES_PER_TURN = 64


def opening_frame() -> bytes:
    """What a stream begins with: a comment, so that proxies pass the headers on, and the reconnection time."""
    return _opening_frame(setting("RETRY_MILLISECONDS"))


@functools.cache
def _opening_frame(retry: int) -> bytes:
    return comment_frame("stream") + retry_frame(retry)


class Connection:
    """Serves one stream to one client, until either ends or the server stops.

    Two tasks meet here: the request's own (``serve``) waits for the client to leave, is interrupted by whatever else
    ends the stream, and ends the response; the driver's, if it needs one, writes the frames. A heartbeat may be a short
    task of its own: to a client that does not read it may wait for ever, and nobody may wait for it.
    """

    __slots__ = (
        "_at_line_start",
        "_by_hand",
        "_direct",
        "_driver",
        "_frames",
        "_gone",
        "_heartbeat",
        "_is_silent",
        "_left",
        "_opening",
        "_send",
        "_silent_since",
        "_waiting",
        "_writes",
        "_writing",
        "draining",
    )

    def __init__(self, send: Send, gone: Callable[[], Awaitable[object]], driver: Driver, opening: bytes) -> None:
        self._send = with_backpressure(send)
        self._direct = direct_writer(send)
        self._by_hand = runs_by_hand(self._send)
        self._gone = gone
        self._driver = driver
        self._opening = opening
        self._waiting: asyncio.Task[Any] | None = None  # the request's task, while an interruption is welcome
        self._heartbeat: asyncio.Task[None] | None = None  # set while a heartbeat is being sent
        self._writing = False
        self._frames = 0
        self._is_silent = False  # nothing was written since the timer looked; writing asks no clock
        self._silent_since = 0.0
        self._writes = 0  # the driver's own, when the timer looked
        self._at_line_start = True
        self._left = False  # the client is gone: ``gone`` returned, or ``send`` raised
        self.draining = False

    async def serve(self) -> None:
        """Send the stream; return when it is over and its generator closed."""
        connections = open_connections()
        connections.add(self)
        try:
            if self._opening and (pause := self.write(self._opening)):
                await pause
            self._driver.attach(self.write, self._interrupt, self._direct)
            if not (self._left or self.draining):
                self._waiting = task = _current_task()
                try:
                    await self._gone()
                    self._left = True
                except asyncio.CancelledError:
                    # As asyncio.timeout() does: a cancellation of ours is taken back, one of the server's goes on.
                    if self._waiting is not None or task.uncancel() > 0:
                        raise
                finally:
                    self._waiting = None
            await self._finish(setting("DRAIN_SECONDS"))
        except asyncio.CancelledError:
            # The server gives up on us (Daphne when it stops): a proper end of the body is all there is time for.
            self._driver.cancel()
            await self._end_response(setting("DRAIN_SECONDS"))
            raise
        finally:
            self._cancel_heartbeat()
            connections.discard(self)

    def _interrupt(self, _: object = None) -> None:
        task, self._waiting = self._waiting, None
        if task is not None:
            task.cancel()

    def write(self, frame: bytes) -> Awaitable[None] | None:
        """Send ``frame``. What is returned, if anything, is to be awaited: the server's backpressure."""
        if self._heartbeat is None and self._writes_now(frame):
            return self._wrote(frame)
        sending = self._send_frame(frame)
        return begun(sending) if self._by_hand else sending

    def _writes_now(self, frame: bytes) -> bool:
        return self._direct is not None and not write_all((self._direct,), frame)

    async def _send_frame(self, frame: bytes) -> None:
        if self._heartbeat is not None:  # never two sends at once
            await asyncio.wait({self._heartbeat})
        self._writing = True
        try:
            await self._send({"type": "http.response.body", "body": frame, "more_body": True})
        except Exception as error:
            self._leave(error)
        finally:
            self._writing = False
        if pause := self._wrote(frame):
            await pause

    def _wrote(self, frame: bytes) -> Awaitable[None] | None:
        self._is_silent = False
        self._at_line_start = frame.endswith(b"\n")
        self._frames = (self._frames + 1) % FRAMES_PER_TURN
        return None if self._frames else asyncio.sleep(0)

    def beat_if_silent(self, now: float, seconds: float) -> None:
        """Send a heartbeat after so many seconds of silence, unless a frame, or a heartbeat, waits for the socket."""
        if not self._is_silent or self._driver.writes() != self._writes:
            self._is_silent, self._silent_since, self._writes = True, now, self._driver.writes()
        if self._writing or self._heartbeat is not None or now - self._silent_since < seconds:
            return
        # In the middle of a line of somebody's own bytes a comment would become part of it.
        if self._at_line_start:
            self._beat()

    def _beat(self) -> None:
        frame = self._driver.heartbeat()
        if self._writes_now(frame):
            self._is_silent = False
        elif self._direct is None:  # otherwise the socket is full, and what is in it does for a heartbeat
            self._heartbeat = asyncio.get_running_loop().create_task(self._send_heartbeat(frame))

    def drain(self) -> None:
        """End the stream because the server stops; its client is asked to come back."""
        self.draining = True
        self._interrupt()

    async def _send_heartbeat(self, frame: bytes) -> None:
        try:
            await self._send({"type": "http.response.body", "body": frame, "more_body": True})
        except Exception as error:
            self._leave(error)
        self._is_silent = False
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

    def _leave(self, error: Exception) -> None:
        # Servers do not agree on the error for a client that is gone: OSError by the specification, and uvloop's
        # transport raises RuntimeError. Whatever it is, nothing more can be sent.
        logger.debug("A stream's client is gone: %s", error)
        self._left = True
        self._interrupt()

    async def _end_response(self, seconds: float) -> None:
        if self._left:
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


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


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
        seconds = min(1.0, setting("HEARTBEAT_SECONDS") / 4)
        # In no context: that of the request which happened to be first would be kept for good.
        self._timer = self._loop.call_later(seconds, self._look, context=contextvars.Context())

    def _look(self) -> None:
        now, seconds = time.monotonic(), setting("HEARTBEAT_SECONDS")
        for connection in self._connections:
            connection.beat_if_silent(now, seconds)
        self._look_later()


_by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, OpenConnections] = weakref.WeakKeyDictionary()


def open_connections() -> OpenConnections:
    """Return the connections of the running event loop."""
    loop = asyncio.get_running_loop()
    connections = _by_loop.get(loop)
    if connections is None:
        connections = _by_loop[loop] = OpenConnections(loop)
    return connections
