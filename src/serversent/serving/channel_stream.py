"""The source that serves channels to one client.

A stream is *live*, and the hub pushes to it, or it is *replaying*: then a task reads the replay buffer or the log,
until the stream has everything up to the hub's cursor. A live stream has no position: it is where the hub is. Between
the comparison that finds both equal and the end of that task there is no await.
"""

import asyncio
import contextlib
import contextvars
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple

from ..access.revocation_feed import check_url, revocation_feed
from ..channels.group import Group, send_events_written
from ..channels.hub import Hub, hub
from ..channels.log_reader import WriteChunk
from ..concurrency.sync_code import explain_sync_call
from ..concurrency.tasks import is_cancelled
from ..errors import BrokerUnavailable, CursorExpired
from ..wire.cursor import Cursor
from ..wire.event import END_ID
from ..wire.frames import END_FRAME, comment_frame, id_frame
from .failures import last_frames, log_failure
from .grant import Grant
from .initial_state import opening_frames
from .source import Outcome, StreamSource, Write, opening_frame
from .start import Position, StartRequest, start_position, start_without_cursor

__all__ = ["ChannelStream", "Phase"]

logger = logging.getLogger("serversent")

RETRY_SECONDS = 1.0

_TASK = "serversent-channel-stream"


# The life of a stream of channels. The last three are final. "complete": all channels are closed, and their events were
# sent. "ended": by the connection, a revocation or an expiry.
Phase = Literal["new", "replaying", "live", "complete", "failed", "ended"]
_OVER = {"complete", "failed", "ended"}


class _Output(NamedTuple):
    """The connection of a stream: where frames go, the callback at the end, and the timer of an expiry."""

    write: Write
    on_end: Callable[[Any], object]
    fast_path: Any
    expiry: asyncio.TimerHandle | None


# Of a stream that is live, whose position is the hub's cursor.
_AT_HUB = Position("", 0)


class ChannelStream(StreamSource):
    """Serves one grant to one connection."""

    __slots__ = (
        "_begins_at",
        "_context",
        "_expires_at",
        "_group",
        "_hub",
        "_initial",
        "_last_event_id",
        "_output",
        "_position",
        "_prepare",
        "_start",
        "_task",
        "_using",
        "channels",
        "control_events",
        "name",
        "phase",
        "url_identity",
    )

    channels: frozenset[str]
    _hub: Hub  # set by begin()

    def __init__(self, grant: Grant) -> None:
        subscription = grant.subscription
        self.name = grant.name
        self.phase: Phase = "new"
        # The grant itself is not kept: the streams of a group share one set of channels.
        self.channels = subscription.channels
        self.control_events = subscription.control_events
        self.url_identity = grant.url_identity
        self._initial = subscription.initial
        self._start = subscription.start
        self._expires_at = subscription.expires_at
        self._prepare = grant.prepare
        self._last_event_id = grant.last_event_id
        self._begins_at = grant.begins_at
        # The view's, for the initial state. Without one, nothing of the request has to stay.
        self._context = None if self._initial is None else contextvars.copy_context()
        self._using = grant.using
        self._group: Group | None = None  # set while it is joined
        self._position = _AT_HUB
        self._task: asyncio.Task[None] | None = None  # set while replaying, or while a write waits
        self._output: _Output | None = None  # set while it is attached

    @property
    def outcome(self) -> Outcome:
        if self.phase == "complete":
            return "complete"
        return "failed" if self.phase == "failed" else "open"

    @property
    def is_caught_up(self) -> bool:
        return self.phase == "live"

    @property
    def write_count(self) -> int:
        return self._group.write_count if self.phase == "live" and self._group is not None else 0

    @property
    def fast_path(self) -> Any:
        return None if self._output is None else self._output.fast_path

    def opening(self) -> bytes:
        return opening_frame("stream of channels", None if self.url_identity is None else self._expires_at)

    def heartbeat(self) -> bytes:
        """Return a comment, with the cursor if everything up to it was sent."""
        return comment_frame(f"hb {self._hub.cursor}" if self.phase == "live" else "hb")

    # Beginning and end.

    async def begin(self, last_event_id: str = "") -> None:
        """Join the hub, and find where the stream starts. Later errors of the broker are waited out.

        Raises ``BrokerUnavailable``, and ``StreamRefused`` for a URL that was revoked after it was signed.
        """
        if self._group is not None:
            return
        self._hub = hub(self._using)
        revocation_feed()
        await self._hub.start()
        if self.phase in _OVER:  # cancelled meanwhile: nobody would leave the hub
            return
        self._group = self._hub.join(self, self.channels)
        self.channels = self._group.channels
        try:
            if self.url_identity is not None:
                await check_url(self.url_identity, self.channels)
            is_signed = self.url_identity is not None
            request = StartRequest(last_event_id or self._last_event_id, self._begins_at, self._start, is_signed)
            self._position = await start_position(self._hub, self.channels, request)
        except BaseException:
            self._leave()
            raise

    def attach(self, write: Write, on_end: Callable[[Any], object], fast_path: Any = None) -> None:
        expiry = None
        if self._expires_at is not None:
            seconds = max(0.0, self._expires_at - time.time())
            expiry = asyncio.get_running_loop().call_later(seconds, self.end, context=self._context)
        self._output = _Output(write, on_end, fast_path, expiry)
        if self.phase not in _OVER:
            self.phase = "replaying"
        self.catch_up()

    def end(self) -> None:
        """End the response. Its client comes back with its cursor."""
        self._end_as("ended")

    def _end_as(self, phase: Phase) -> None:
        if self.phase in _OVER:
            return
        self._leave_live()
        self.phase = phase
        if self._output is not None:
            self._output.on_end(self)

    def cancel(self) -> None:
        self._leave()
        if self.phase not in _OVER:
            self.phase = "ended"
        if self._task is not None:
            # Not before it has started: a write that has begun without a task may hold a lock of the server's.
            asyncio.get_running_loop().call_soon(self._task.cancel)

    async def wait_closed(self, seconds: float) -> None:
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=seconds)

    def _leave(self) -> None:
        if self._output is not None and self._output.expiry is not None:
            self._output.expiry.cancel()
        self._leave_live()
        if self._group is not None:
            self._hub.leave(self, self._group)
            self._group = None

    # Live. The hub calls these.

    def push(self, frames: bytes) -> bool:
        pause = self._output.write(frames)  # type: ignore[union-attr]
        if pause is not None:
            self._start_task(pause, frames)
        return pause is None

    def catch_up(self) -> None:
        if self._task is None and self._output is not None and self.phase not in _OVER:
            self._start_task()

    def end_if_closed(self) -> None:
        self._leave_live()
        self._position = self._position._replace(may_be_closed=True)
        self.catch_up()

    def _go_live(self) -> None:
        if self._group is not None:
            self.phase, self._position = "live", _AT_HUB
            self._group.go_live(self)

    def _leave_live(self) -> None:
        if self.phase == "live" and self._group is not None:
            self.phase = "replaying"
            cursor = self._hub.cursor
            self._position = Position(cursor.epoch, cursor.offset, may_be_closed=False)
            self._group.leave_live(self)

    # Replaying.

    def _start_task(self, pause: Awaitable[None] | None = None, frames: bytes = b"") -> None:
        """Leave live and replay, after ``pause``, which ends when these pushed frames are written."""
        self._leave_live()
        loop, coroutine = asyncio.get_running_loop(), self._run(pause, frames)
        if pause is not None and sys.version_info >= (3, 12):
            task = asyncio.Task(coroutine, loop=loop, name=_TASK, context=self._context, eager_start=True)
        else:
            task = loop.create_task(coroutine, name=_TASK, context=self._context)
        self._task = None if task.done() else task

    async def _run(self, pause: Awaitable[None] | None, frames: bytes) -> None:
        try:
            if pause is not None:
                await pause
                self._tell_written(frames)
            await self._replay()
        except asyncio.CancelledError as error:
            if self.phase in _OVER:  # cancel() was called
                raise
            if is_cancelled():  # the event loop ends
                self.end()
                raise
            await self._fail(error)  # something that the initial state awaits was cancelled
        except Exception as error:
            explain_sync_call(f"The initial state of {self.name}", error)
            await self._fail(error)
        finally:
            self._task = None

    async def _replay(self) -> None:
        """Go on until the stream is live or over."""
        while self.phase == "replaying":
            if self._position.greeting:  # outside the try: errors of the project's initial state are no outages
                await self._greet()
                continue
            try:
                await self._hub.start()
                await self._step()
            except BrokerUnavailable as error:
                logger.debug("The stream %s waits: %s", self.name, error)  # the hub logs the outage, once
                await asyncio.sleep(RETRY_SECONDS)

    async def _step(self) -> None:
        """Take one step towards the hub's cursor."""
        here, position = self._hub.cursor, self._position
        if position.epoch != here.epoch:
            await self._reset()
        elif isinstance(position.offset, int) and position.offset > here.offset:  # from a process that has read more
            await self._hub.wait_for_batch()
        elif position.offset != here.offset:
            await self._send_page()
        elif position.may_be_closed:
            await self._end_if_closed(here.offset)
        elif position.tells_cursor:
            self._position = position._replace(tells_cursor=False)
            await self._write(comment_frame(f"hb {here}"))
        else:
            self._go_live()

    async def _reset(self) -> None:
        self._position = await start_without_cursor(self._hub, self._start, "reset")

    async def _send_page(self) -> None:
        position = self._position
        try:
            chunks, end = await self._read(position)
        except CursorExpired:
            await self._reset()
            return
        if position.epoch != self._hub.cursor.epoch:  # it was read from another log
            return
        for chunk in chunks:
            may_be_closed = self._position.may_be_closed or chunk.closes
            self._position = self._position._replace(offset=chunk.offset, may_be_closed=may_be_closed)
            await self._write(chunk.frames)
        reached = self._position.offset
        self._position = self._position._replace(offset=end if isinstance(reached, str) else max(end, reached))

    async def _read(self, position: Position) -> tuple[list[WriteChunk], int]:
        try:
            return await self._hub.read(self.channels, position.offset)
        except CursorExpired as error:
            if error.floor > position.oldest_until:
                raise
            # "oldest" promises the events that are kept. Those below the floor of another channel are among them.
            return await self._hub.read_kept(self.channels, error.after)

    async def _end_if_closed(self, offset: int) -> None:
        # Before the answer: a channel that is closed meanwhile sets it again.
        self._position = self._position._replace(may_be_closed=False)
        try:
            is_closed = self._group is not None and await self._hub.all_closed(self._group, offset)
        except BaseException:
            self._position = self._position._replace(may_be_closed=True)
            raise
        if is_closed:
            await self._write(END_FRAME if self.control_events else id_frame(END_ID))
            self._end_as("complete")

    async def _greet(self) -> None:
        """Send ``ready`` or ``reset``, and the initial state."""
        position = self._position
        begins_with_latest = position.offset == "latest"
        # With "latest", each event has its own cursor, and the greeting has none: it would skip events.
        self._position = position._replace(greeting="", tells_cursor=begins_with_latest)
        start = Cursor(position.epoch, position.offset if isinstance(position.offset, int) else 0)
        frames = opening_frames(
            position.greeting,
            None if begins_with_latest else str(start),
            initial=self._initial,
            start=start,
            prepare=self._prepare,
            turns=self._hub.initial_turns,
            control_events=self.control_events,
        )
        async with contextlib.aclosing(frames):
            async for frame in frames:
                await self._write(frame)

    # Writing.

    async def _write(self, frames: bytes) -> None:
        if not frames or self.phase in _OVER or self._output is None:
            return
        if (pause := self._output.write(frames)) is not None:
            await pause
        self._tell_written(frames)

    def _tell_written(self, frames: bytes) -> None:
        if self.phase not in _OVER and self._group is not None:
            send_events_written(self._group.channels, frames)

    async def _fail(self, error: BaseException) -> None:
        log_failure(self.name, error)
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await self._write(last_frames(self.name, error, control_events=self.control_events))
        finally:
            self._end_as("failed")
