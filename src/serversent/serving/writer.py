"""The writer of a connection: frames and heartbeats, one at a time."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, Protocol

from ..concurrency.tasks import run_eagerly
from ..servers.base import ServerAdapter
from ..servers.uvicorn import write_all
from .idle_monitor import IdleMonitor

__all__ = ["Writer", "WriterOwner"]

# A generator that never waits, on a socket that never fills, would keep the event loop to itself.
FRAMES_PER_TURN = 64


class WriterOwner(Protocol):
    """The connection. A reference to it is smaller than one to its method."""

    def on_send_error(self, error: Exception) -> None:
        """The server could not send."""


class Writer:
    """Writes the body of one response.

    A heartbeat may be sent by a short task of its own: to a client that does not read it may wait for ever, and nothing
    must wait for it. ``at_line_start``: no line of the body is half written. ``owner``: is told of errors of ``send``.
    """

    __slots__ = ("_frames", "_heartbeat", "_idle", "_is_sending", "_owner", "_server", "at_line_start", "fast_path")

    def __init__(self, server: ServerAdapter, idle: IdleMonitor, owner: WriterOwner) -> None:
        self.fast_path: Any = server.fast_path
        self.at_line_start = True
        self._server = server
        self._idle = idle
        self._owner = owner
        self._is_sending = False
        self._frames = 0
        self._heartbeat: asyncio.Task[None] | None = None  # set while a heartbeat is being sent

    @property
    def is_waiting(self) -> bool:
        """Return whether a frame or a heartbeat waits for the client."""
        return self._is_sending or self._heartbeat is not None

    def write(self, frame: bytes) -> Awaitable[None] | None:
        """Write a frame. Return an awaitable if the server makes the stream wait: its backpressure."""
        if self._heartbeat is None and self._write_directly(frame):
            return self._after_write(frame)
        sending = self._send_frame(frame)
        return run_eagerly(sending) if self._server.supports_eager_send else sending

    def _write_directly(self, frame: bytes) -> bool:
        return self.fast_path is not None and not write_all((self.fast_path,), frame)

    async def _send_frame(self, frame: bytes) -> None:
        if self._heartbeat is not None:  # never two sends at once
            await asyncio.wait({self._heartbeat})
        self._is_sending = True
        try:
            await self._server.send({"type": "http.response.body", "body": frame, "more_body": True})
        except Exception as error:
            self._owner.on_send_error(error)
        finally:
            self._is_sending = False
            self._idle.on_sent()
        if pause := self._after_write(frame):
            await pause

    def _after_write(self, frame: bytes) -> Awaitable[None] | None:
        self._idle.is_silent = False
        self.at_line_start = frame.endswith(b"\n")
        self._frames = (self._frames + 1) % FRAMES_PER_TURN
        return None if self._frames else asyncio.sleep(0)

    def write_heartbeat(self, frame: bytes, now: float) -> None:
        """Write a heartbeat. Call it when nothing is waiting."""
        if self._write_directly(frame):
            self._idle.on_heartbeat(now)
        elif self.fast_path is None:  # otherwise the socket is full, and the client has bytes to read
            self._heartbeat = asyncio.get_running_loop().create_task(self._send_heartbeat(frame))

    async def _send_heartbeat(self, frame: bytes) -> None:
        try:
            await self._server.send({"type": "http.response.body", "body": frame, "more_body": True})
        except Exception as error:
            self._owner.on_send_error(error)
        self._idle.on_heartbeat(time.monotonic())
        self._heartbeat = None
        self._idle.on_sent()

    def cancel_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self._heartbeat.cancel()

    async def end(self, frame: bytes, seconds: float, *, cut: bool) -> None:
        """Write a last frame, and end the body; or close the connection without an end, if the server can do that.

        ``seconds``: how long the client may take to read the bytes that were written. Raises the server's errors.
        """
        if cut and frame:
            await self._server.send({"type": "http.response.body", "body": frame, "more_body": True})
            frame = b""
        if not (cut and self._server.close_unfinished(seconds)):
            await self._server.send({"type": "http.response.body", "body": frame, "more_body": False})
