"""An open connection: one for each open response."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Literal, NamedTuple

from ..access.identity import NOBODY, Identity
from ..conf import setting
from ..errors import StreamRefused
from ..servers.base import ServerAdapter
from ..signals import send, stream_closed, stream_opened
from ..wire.frames import last_retry_frame
from .idle_monitor import IdleMonitor
from .registry import connection_registry
from .source import Ends, StreamSource
from .writer import Writer

__all__ = ["Connection", "Ending", "Phase"]

logger = logging.getLogger("serversent")

# Streams that were opened at one time do not end at one time.
AGE_JITTER = 0.1


# The life of a connection. "ending": its stream ends, and the end of the body is still to be sent. "closed": nothing
# more can be sent.
Phase = Literal["open", "ending", "closed"]


class Ending(NamedTuple):
    """Why a stream ends. ``retry_delay``: how many seconds later than usual the client is asked to come back."""

    reason: Literal["", "client", "ended", "shutdown", "stuck"] = ""
    retry_delay: float = 0.0


_NOT_ENDING = Ending()


class Connection:
    """Serves one stream to one client, until either ends or the server stops.

    Two tasks meet here: the request's own (``serve``) waits for the client to leave, is interrupted by whatever else
    ends the stream, and ends the response; the source's, if it needs one, writes the frames.

    ``disconnected``: returns an awaitable for the client's disconnect, which may be cancelled and asked for again.
    ``identify``: returns the identity of a stream that has none yet, once its code has asked for the user.
    """

    __slots__ = (
        "_disconnected",
        "_ending",
        "_ends",
        "_ends_at",
        "_identify",
        "_idle",
        "_phase",
        "_server",
        "_source",
        "_waiting",
        "_writer",
        "identity",
    )

    def __init__(
        self,
        server: ServerAdapter,
        disconnected: Callable[[], Awaitable[object]],
        source: StreamSource,
        identity: Identity = NOBODY,
        *,
        ends: Ends = "always",
        identify: Callable[[], Identity | None] | None = None,
    ) -> None:
        self.identity = identity
        self._server = server
        self._idle = IdleMonitor()
        self._writer = Writer(server, self._idle, self)
        self._disconnected = disconnected
        self._source = source
        self._ends = ends
        self._identify = identify
        self._phase: Phase = "open"
        self._ending = _NOT_ENDING
        self._waiting: asyncio.Task[Any] | None = None  # the request's task, while it may be interrupted
        seconds = setting("MAX_STREAM_SECONDS")
        self._ends_at = time.monotonic() + seconds * random.uniform(1 - AGE_JITTER, 1) if seconds else 0.0

    @property
    def channels(self) -> Collection[str]:
        return self._source.channels

    async def serve(self) -> None:
        """Send the stream; return when it is over and its generator closed."""
        registry = connection_registry()
        opened_at = time.monotonic()
        self._send_signal(stream_opened)
        try:
            registry.add(self)
            await self._begin()
            if self._phase == "open":
                # Here, and not in a method of its own, whose frame each open connection would keep.
                self._waiting = task = _current_task()
                try:
                    await self._disconnected()
                    self._close("client")
                except asyncio.CancelledError:
                    # As asyncio.timeout() does: undo a cancellation by _interrupt(), and pass on one by the server.
                    if self._waiting is not None or task.uncancel() > 0:
                        raise
                finally:
                    self._waiting = None
            await self._finish(setting("DRAIN_SECONDS"))
        except asyncio.CancelledError:
            # The server gives up on the request (Daphne when it stops): there is time only for the end of the body.
            self._source.cancel()
            seconds = setting("DRAIN_SECONDS")
            if not self._ending.retry_delay:
                self._ending = Ending(self._ending.reason or "shutdown", random.uniform(0, seconds))
            await self._end_response(seconds)
            raise
        finally:
            self._writer.cancel_heartbeat()
            registry.discard(self)
            self._send_signal(stream_closed, reason=self._reason(), seconds=time.monotonic() - opened_at)

    async def _begin(self) -> None:
        opening = self._source.opening()
        if opening and (pause := self._writer.write(opening)):
            await pause
        if self._phase == "open":
            self._source.attach(self._writer.write, self._interrupt, self._writer.fast_path)

    def _interrupt(self, _: object = None) -> None:
        task, self._waiting = self._waiting, None
        if task is not None:
            task.cancel()

    # The end.

    def drain(self, delay: float) -> None:
        """End the stream because the server stops; its client is asked to come back so much later than usual."""
        self._begin_ending(Ending("shutdown", delay))
        self._interrupt()

    def end(self) -> None:
        """End the stream at once. Its client comes back and is checked again."""
        self._begin_ending(Ending("ended"))
        self._source.cancel()
        self._interrupt()

    def _begin_ending(self, ending: Ending) -> None:
        if self._phase == "open":
            self._phase = "ending"
        self._ending = Ending(self._ending.reason or ending.reason, ending.retry_delay or self._ending.retry_delay)

    def _close(self, reason: Literal["client", "stuck"]) -> None:
        """Note that nothing more can be sent."""
        self._phase = "closed"
        if not self._ending.reason:
            self._ending = Ending(reason)

    def on_send_error(self, error: Exception) -> None:
        """Note that the server could not send: nothing more can be sent."""
        # Servers do not agree on the error for a client that has left: OSError by the specification, and uvloop's
        # transport raises RuntimeError. Whatever it is, nothing more can be sent.
        logger.debug("A stream's client has left: %s", error)
        self._close("client")
        self._interrupt()

    def _cut(self, reason: Literal["client", "stuck"]) -> None:
        self._close(reason)
        self.end()
        self._server.abort()

    async def _finish(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        self._writer.cancel_heartbeat()
        self._source.cancel()
        await self._source.wait_closed(seconds)
        await self._end_response(deadline - time.monotonic())

    async def _end_response(self, seconds: float) -> None:
        if self._phase == "closed":
            return
        delay = self._ending.retry_delay
        try:
            async with asyncio.timeout(seconds):
                await self._writer.end(self._last_frame(), seconds, cut=self._must_be_cut())
                self._phase = "closed"
        except Exception as error:
            if isinstance(error, TimeoutError):  # the client does not read
                self._server.abort()
            self.on_send_error(error)
        if delay:
            await asyncio.sleep(self._server.flush_seconds)

    def _last_frame(self) -> bytes:
        delay = self._ending.retry_delay
        if delay and self._source.may_send_retry and self._writer.at_line_start:
            return last_retry_frame(setting("RETRY_MILLISECONDS") + round(delay * 1000))
        return b""

    def _must_be_cut(self) -> bool:
        outcome = self._source.outcome
        return (self._ends == "if complete" and outcome != "complete") or (
            self._ends == "unless failed" and outcome == "failed"
        )

    def _reason(self) -> str:
        outcome = self._source.outcome
        return self._ending.reason or ("ended" if outcome == "open" else outcome)

    def _send_signal(self, signal: Any, **arguments: Any) -> None:
        name, user = self._source.name, self.identity.user
        send(signal, Connection, name=name, channels=self.channels, user=user, **arguments)

    # The timer.

    def on_tick(self, now: float, heartbeat_seconds: float) -> None:
        """Send a heartbeat if one is due; end a stream that is too old, or whose client does not read."""
        is_waiting = self._writer.is_waiting
        if (
            is_waiting
            or self._identify is not None
            or not self._idle.is_quiet(now, heartbeat_seconds, self._source.write_count)
        ):
            self._look_closer(now, heartbeat_seconds, is_waiting=is_waiting)
        if self._ends_at and now >= self._ends_at:
            self.end()

    def _look_closer(self, now: float, heartbeat_seconds: float, *, is_waiting: bool) -> None:
        if self._identify is not None:
            self._check_identity(self._identify)
        if is_waiting:
            self._check_client(now, is_waiting=True)
        elif self._idle.look(now, self._source.write_count) and self._idle.is_heartbeat_due(now, heartbeat_seconds):
            self._check_client(now, is_waiting=False)
            # Bytes that wait for the client serve as a heartbeat. Inside a line a comment would be part of it.
            is_ready = not self._idle.is_blocked and self._writer.at_line_start
            if is_ready and self._phase != "closed" and (frame := self._source.heartbeat()):
                self._writer.write_heartbeat(frame, now)

    def _check_identity(self, identify: Callable[[], Identity | None]) -> None:
        """Set the identity of the stream, if its code has asked for the user since it began."""
        try:
            identity = identify()
        except StreamRefused as error:
            logger.warning("The stream %s ends: %s", self._source.name, error)
            self.end()
            return
        if identity is not None:
            connection_registry().identify(self, identity)
            if identity.user:
                self._identify = None

    def _check_client(self, now: float, *, is_waiting: bool) -> None:
        """Cut the connection of a client that has left, or that has read nothing for ``SEND_TIMEOUT_SECONDS``."""
        if self._server.has_client_left():
            self._cut("client")
            return
        if not (is_waiting or self._idle.may_have_unsent()):
            return
        seconds = self._idle.blocked_seconds(now, self._server.unsent_bytes(), is_waiting=is_waiting)
        limit = setting("SEND_TIMEOUT_SECONDS")
        if limit is not None and self._idle.is_blocked and seconds >= limit:
            logger.info("The client of %s has not read for %d s: its stream is cut", self._source.name, limit)
            self._cut("stuck")


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task
