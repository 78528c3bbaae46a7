"""An open stream: one ``Connection`` for each open HTTP response."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Literal

from ..access.identity import NOBODY, Identity
from ..concurrency.tasks import begun
from ..conf import setting
from ..errors import StreamRefused
from ..servers.adapters import (
    Send,
    abort,
    cut,
    direct_writer,
    flush_seconds,
    has_left,
    is_hung_up,
    runs_by_hand,
    unsent_bytes,
    with_backpressure,
    write_all,
)
from ..wire.frames import last_retry_frame
from .registry import open_connections
from .source import Driver

__all__ = ["Connection", "Ends"]

logger = logging.getLogger("serversent")


# Streams that were opened at one time do not end at one time.
AGE_JITTER = 0.1

# A generator that never waits, on a socket that never fills, would keep the event loop to itself.
FRAMES_PER_TURN = 64

UNKNOWN = 2**62  # bytes

# When the body of a response ends properly. Otherwise it is cut, so that its client does not take it for complete.
Ends = Literal["always", "unless failed", "if complete"]


class Connection:
    """Serves one stream to one client, until either ends or the server stops.

    Two tasks meet here: the request's own (``serve``) waits for the client to leave, is interrupted by whatever else
    ends the stream, and ends the response; the driver's, if it needs one, writes the frames. A heartbeat may be a short
    task of its own: to a client that does not read it may wait for ever, and nobody may wait for it.
    """

    __slots__ = (
        "_at_line_start",
        "_blocked_since",
        "_by_hand",
        "_direct",
        "_driver",
        "_ends",
        "_ends_at",
        "_frames",
        "_gone",
        "_heartbeat",
        "_identify",
        "_is_ending",
        "_is_silent",
        "_left",
        "_opening",
        "_retries",
        "_retry_delay",
        "_send",
        "_silent_since",
        "_unsent",
        "_waiting",
        "_writes",
        "_writing",
        "identity",
    )

    def __init__(
        self,
        send: Send,
        gone: Callable[[], Awaitable[object]],
        driver: Driver,
        opening: bytes,
        identity: Identity = NOBODY,
        *,
        retries: bool = False,
        ends: Ends = "always",
        identify: Callable[[], Identity | None] | None = None,
    ) -> None:
        self._send = with_backpressure(send)
        self._direct = direct_writer(send)
        self._by_hand = runs_by_hand(self._send)
        self._gone = gone
        self._driver = driver
        self._opening = opening
        self._ends = ends
        self._retries = retries  # its end may say when its client should come back
        self.identity = identity
        self._identify = identify  # set while it is not known for whom the stream is
        self._waiting: asyncio.Task[Any] | None = None  # the request's task, while an interruption is welcome
        self._heartbeat: asyncio.Task[None] | None = None  # set while a heartbeat is being sent
        self._writing = False
        self._frames = 0
        self._is_silent = False  # nothing was written since the timer looked; writing asks no clock
        self._silent_since = 0.0
        self._writes = 0  # the driver's own, when the timer looked
        self._at_line_start = True
        self._left = False  # the client is gone: ``gone`` returned, or ``send`` raised
        self._is_ending = False
        self._retry_delay = 0.0  # how much later than usual the client is asked to come back, in seconds
        self._blocked_since = 0.0  # when the timer first saw what still waits for the client; 0: nothing does
        # Bytes that waited for the client then. 0: nothing did, and nothing but heartbeats was written since.
        self._unsent = UNKNOWN
        seconds = setting("MAX_STREAM_SECONDS")
        self._ends_at = time.monotonic() + seconds * random.uniform(1 - AGE_JITTER, 1) if seconds else 0.0

    @property
    def channels(self) -> Collection[str]:
        return self._driver.channels

    async def serve(self) -> None:
        """Send the stream; return when it is over and its generator closed."""
        connections = open_connections()
        try:
            connections.add(self)
            if self._opening and (pause := self.write(self._opening)):
                await pause
            if not self._is_ending:
                self._driver.attach(self.write, self._interrupt, self._direct)
            if not (self._left or self._is_ending):
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
            seconds = setting("DRAIN_SECONDS")
            self._retry_delay = self._retry_delay or random.uniform(0, seconds)
            await self._end_response(seconds)
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
            self._blocked_since = 0.0
        if pause := self._wrote(frame):
            await pause

    def _wrote(self, frame: bytes) -> Awaitable[None] | None:
        self._is_silent = False
        self._at_line_start = frame.endswith(b"\n")
        self._frames = (self._frames + 1) % FRAMES_PER_TURN
        return None if self._frames else asyncio.sleep(0)

    def look(self, now: float, heartbeat_seconds: float) -> None:
        """See to the heartbeat, to a client that is gone or does not read, and to the stream's age and identity.

        Called about once a second.
        """
        is_idle = (
            self._is_silent
            and now - self._silent_since < heartbeat_seconds
            and not (self._writing or self._heartbeat or self._identify)
            and self._driver.writes() == self._writes
        )
        if not is_idle:
            self._look_closer(now, heartbeat_seconds)
        if self._ends_at and now >= self._ends_at:
            self.end()

    def _look_closer(self, now: float, heartbeat_seconds: float) -> None:
        if self._identify is not None:
            self._look_who()
        if self._writing or self._heartbeat is not None:
            self._look_at_client(now, waits=True)
        elif not self._is_silent or self._driver.writes() != self._writes:
            self._is_silent, self._silent_since, self._writes = True, now, self._driver.writes()
            self._blocked_since, self._unsent = 0.0, UNKNOWN
        elif now - self._silent_since >= heartbeat_seconds:
            self._look_at_client(now, waits=False)
            # What waits for the client does for a heartbeat. In the middle of a line of somebody's own bytes a comment
            # would become part of it.
            if not (self._blocked_since or self._left) and self._at_line_start:
                self._beat(now)

    def _has_left(self) -> bool:
        """Whether the client has gone and the server does not tell."""
        if self._direct is None:
            return has_left(self._send)
        closing: bool = self._direct.transport.is_closing()
        return closing or (self._direct.flow.read_paused and is_hung_up(self._direct.transport))

    def _look_who(self) -> None:
        """Note for whom the stream is, if its generator has asked for the user since it began."""
        try:
            identity = self._identify() if self._identify is not None else None
        except StreamRefused as error:
            logger.warning("The stream %s ends: %s", self._driver.name, error)
            self.end()
            return
        if identity is not None:
            open_connections().rename(self, identity)
        if identity is not None and identity.user:
            self._identify = None

    def _look_at_client(self, now: float, *, waits: bool) -> None:
        """Cut a client that has left, and one that has read nothing for too long.

        ``waits``: whether a write waits for it. Servers that do not wait tell how much they keep for the client.
        """
        if self._has_left():
            self._cut()
            return
        if not (waits or self._unsent):
            return
        limit, unsent = setting("SEND_TIMEOUT_SECONDS"), unsent_bytes(self._send)
        if not (waits or unsent):
            self._blocked_since, self._unsent = 0.0, 0
            return
        if not self._blocked_since or unsent < self._unsent:  # slow, and reading
            self._blocked_since = now
        self._unsent = unsent
        if limit is not None and now - self._blocked_since >= limit:
            logger.info("The client of %s has not read for %d s: its stream is cut", self._driver.name, limit)
            self._cut()

    def _cut(self) -> None:
        self._left = True  # no end of the body is of any use
        self.end()
        abort(self._send)

    def _beat(self, now: float) -> None:
        frame = self._driver.heartbeat()
        if not frame:
            return
        if self._writes_now(frame):
            self._silent_since = now
        elif self._direct is None:  # otherwise the socket is full, and what is in it does for a heartbeat
            self._heartbeat = asyncio.get_running_loop().create_task(self._send_heartbeat(frame))

    def drain(self, delay: float) -> None:
        """End the stream because the server stops; its client is asked to come back so much later than usual."""
        self._retry_delay = delay
        self._is_ending = True
        self._interrupt()

    def end(self) -> None:
        """End the stream, and hand it nothing more. Its client comes back, and is judged anew."""
        self._is_ending = True
        self._driver.cancel()
        self._interrupt()

    async def _send_heartbeat(self, frame: bytes) -> None:
        try:
            await self._send({"type": "http.response.body", "body": frame, "more_body": True})
        except Exception as error:
            self._leave(error)
        self._silent_since = time.monotonic()
        self._heartbeat = None
        self._blocked_since = 0.0

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

    def _must_be_cut(self) -> bool:
        outcome = self._driver.outcome
        return (self._ends == "if complete" and outcome != "complete") or (
            self._ends == "unless failed" and outcome == "failed"
        )

    async def _end_response(self, seconds: float) -> None:
        if self._left:
            return
        must_be_cut, frame = self._must_be_cut(), b""
        if self._retry_delay and self._retries and self._at_line_start:
            frame = last_retry_frame(setting("RETRY_MILLISECONDS") + round(self._retry_delay * 1000))
        try:
            async with asyncio.timeout(seconds):
                if must_be_cut and frame:
                    await self._send({"type": "http.response.body", "body": frame, "more_body": True})
                    frame = b""
                if not (must_be_cut and cut(self._send, seconds)):
                    await self._send({"type": "http.response.body", "body": frame, "more_body": False})
                self._left = True
        except Exception as error:
            if isinstance(error, TimeoutError):  # the client does not read
                abort(self._send)
            self._leave(error)
        if self._retry_delay:
            await asyncio.sleep(flush_seconds(self._send))


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task
