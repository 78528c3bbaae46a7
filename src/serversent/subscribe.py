"""Subscriptions: what a channel view grants, and the driver that serves it to one connection.

A connection is *live*, and the hub pushes to it, or *catching up*, and it reads the ring or the log itself, in a task
that is there only meanwhile. Live means that its position is the hub's; from the comparison to the end of the task
there is no await.
"""

import asyncio
import contextvars
import datetime
import inspect
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async

from .channels import check_channels
from .cursors import Cursor
from .errors import BrokerUnavailable, CursorExpired, InvalidSubscription
from .event import END_FRAME, ServerSentEvent, comment_frame, ready_frame, state_frame
from .hub import Frames, Hub, hub
from .threads import StreamThread, stand_in

__all__ = ["ChannelDriver", "Subscription"]

logger = logging.getLogger("serversent")

Write = Callable[[bytes], Awaitable[None] | None]

# What is replayed is joined into writes of at least this size.
WRITE_BYTES = 32 * 1024

RETRY_SECONDS = 1.0

# How long a client with a cursor of a new epoch waits for the hub to learn of it, rather than being reset.
EPOCH_SECONDS = 2.0


@dataclass(frozen=True, slots=True, init=False)
class Subscription:
    """What a channel view grants: the channels, and how their stream begins and when it ends.

    ``channels``: a name or several. ``initial``: a function of no arguments, sync or async, that returns a value or
    yields values, as a generator view does: the state before the first event. It is asked for on a first connect and
    after each ``reset``, after the cursor was taken, so that nothing is missing between the state and the events.
    ``start``: ``"now"``, or ``"oldest"`` to begin with all that is kept. ``expires``: when the stream ends and its
    client has to ask again, in seconds, as a ``timedelta`` or as an aware ``datetime``.

    Raises ``InvalidChannel``, and ``InvalidSubscription`` for anything else that is wrong.
    """

    channels: frozenset[str]
    initial: Callable[[], Any] | None
    start: str
    expires_at: float | None

    def __init__(
        self,
        channels: str | Iterable[str],
        *,
        initial: Callable[[], Any] | None = None,
        start: str = "now",
        expires: float | datetime.timedelta | datetime.datetime | None = None,
    ) -> None:
        if initial is not None and not callable(initial):
            raise InvalidSubscription("initial", f"must be a function without arguments, not {type(initial).__name__}")
        if start not in ("now", "oldest"):
            raise InvalidSubscription("start", f'must be "now" or "oldest", not {start!r}')
        object.__setattr__(self, "channels", check_channels(channels))
        object.__setattr__(self, "initial", initial)
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "expires_at", _expires_at(expires))


def _expires_at(expires: object) -> float | None:
    """Return the time, as ``time.time()`` counts."""
    if expires is None:
        return None
    if isinstance(expires, datetime.datetime):
        if expires.tzinfo is None:
            raise InvalidSubscription("expires", "must be an aware datetime")
        return expires.timestamp()
    if isinstance(expires, datetime.timedelta):
        return time.time() + expires.total_seconds()
    if isinstance(expires, (int, float)) and not isinstance(expires, bool):
        return time.time() + expires
    raise InvalidSubscription("expires", f"must be seconds, a timedelta or a datetime, not {type(expires).__name__}")


class ChannelDriver:
    """Serves one subscription to one connection."""

    __slots__ = (
        "_channels",
        "_epoch",
        "_expiry",
        "_greeting",
        "_hub",
        "_joined",
        "_last_event_id",
        "_noted_end",
        "_on_end",
        "_over",
        "_position",
        "_subscription",
        "_task",
        "_write",
        "context",
        "name",
    )

    def __init__(
        self, subscription: Subscription, *, name: str, using: str = "default", last_event_id: str = ""
    ) -> None:
        self.name = name
        self.context = contextvars.copy_context()
        self._subscription = subscription
        self._channels = subscription.channels
        self._hub: Hub = hub(using)
        self._last_event_id = last_event_id
        self._epoch = ""
        # The last offset that was handed to ``write``; ``None``: what is kept comes first, from the oldest on.
        self._position: int | None = 0
        self._greeting = ""  # "ready" or "reset", until it was sent
        self._joined = False
        self._noted_end = False  # a channel was closed somewhere before the position
        self._over = False
        self._task: asyncio.Task[None] | None = None  # set while catching up, or while a write waits
        self._write: Write | None = None
        self._on_end: Callable[[Any], object] | None = None
        self._expiry: asyncio.TimerHandle | None = None

    # Before the headers.

    async def begin(self, last_event_id: str = "") -> None:
        """Find where the stream begins. Raises ``BrokerUnavailable``; after this, nothing of the broker is an error."""
        await self._hub.start()
        self._hub.join(self, self._channels)
        self._joined = True
        try:
            await self._find_position(last_event_id or self._last_event_id)
        except BaseException:
            self._leave()
            raise

    async def _find_position(self, last_event_id: str) -> None:
        if not last_event_id:
            self._begin_at_head("ready")
            self._noted_end = self._position is not None and await self._hub.closed(self._channels)
            return
        cursor = Cursor.parse(last_event_id)
        if cursor is None or not await self._is_known(cursor):
            self._begin_at_head("reset")
            return
        self._epoch, self._position = cursor.epoch, cursor.offset

    async def _is_known(self, cursor: Cursor) -> bool:
        here = self._hub.cursor
        if cursor.epoch == here.epoch and cursor.offset <= here.offset:
            return True
        # Another process may be ahead of this one's hub.
        head = await self._hub.head()
        if cursor.epoch != head.epoch or cursor.offset > head.offset:
            return False
        until = time.monotonic() + EPOCH_SECONDS
        while self._hub.cursor.epoch != head.epoch and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return True

    def _begin_at_head(self, greeting: str) -> None:
        self._greeting = greeting
        self._epoch = self._hub.cursor.epoch
        self._position = self._hub.cursor.offset if self._subscription.start == "now" else None

    # While it is served.

    @property
    def is_live(self) -> bool:
        """Whether everything there is was sent."""
        return self._write is not None and self._task is None

    def attach(self, write: Write, on_end: Callable[[Any], object]) -> None:
        """Send what there is, and all that comes, through ``write``; call ``on_end`` once when that is over."""
        self._write = write
        self._on_end = on_end
        if self._subscription.expires_at is not None:
            seconds = max(0.0, self._subscription.expires_at - time.time())
            self._expiry = asyncio.get_running_loop().call_later(seconds, self.end)
        self.catch_up()

    def push(self, frames: Frames, joined: bytes) -> None:
        if self._task is not None or self._write is None or self._over or self._position is None:
            return
        if self._position >= frames[0][0]:  # it knew more than the hub
            frames = [(offset, frame) for offset, frame in frames if offset > self._position]
            if not frames:
                return
            joined = b"".join([frame for _, frame in frames])
        self._position = frames[-1][0]
        if joined and (pause := self._write(joined)) is not None:
            self._start(pause)

    def catch_up(self) -> None:
        if self._task is None and self._write is not None and not self._over:
            self._start(None)

    def check_closed(self) -> None:
        self._noted_end = True
        self.catch_up()

    def heartbeat(self) -> bytes:
        """Return a comment; with the cursor, if all up to it was sent."""
        if self._task is not None or self._write is None or self._position is None:
            return comment_frame("hb")
        here = self._hub.cursor
        return comment_frame(f"hb {Cursor(self._epoch, max(here.offset, self._position))}")

    def cancel(self) -> None:
        """Stop. May be called in any state, also twice."""
        self._over = True
        self._leave()
        if self._task is not None:
            self._task.cancel()

    async def wait_closed(self, seconds: float) -> None:
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=seconds)

    def _leave(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        if self._joined:
            self._joined = False
            self._hub.leave(self, self._channels)

    def end(self) -> None:
        """End the response. Its client comes back with its cursor, unless it was told not to."""
        self._over = True
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self)

    # Catching up.

    def _start(self, pause: Awaitable[None] | None) -> None:
        self._task = asyncio.get_running_loop().create_task(
            self._catch_up(pause), name="serversent-catch-up", context=self.context
        )

    async def _catch_up(self, pause: Awaitable[None] | None) -> None:
        try:
            if pause is not None:
                await pause
            while not self._over:
                try:
                    if await self._step():
                        # Live: from the comparison with the hub's position to here there was no await.
                        return
                except BrokerUnavailable as error:
                    logger.debug("The stream %s waits: %s", self.name, error)  # the hub tells of the outage, once
                    await asyncio.sleep(RETRY_SECONDS)
        except Exception:
            logger.exception("The stream %s failed", self.name)
            self.end()
        finally:
            self._task = None

    async def _step(self) -> bool:
        """Take one step towards the hub's position. True: it is reached, and everything up to it was sent."""
        if self._greeting:
            await self._greet()
            return False
        here = self._hub.cursor
        if self._epoch != here.epoch:
            self._begin_at_head("reset")
            return False
        if self._position is not None and self._position >= here.offset:
            if self._noted_end:
                await self._end_if_closed()
                return False
            return True
        try:
            frames, upto = await self._hub.read(self._channels, self._position)
        except CursorExpired:
            self._begin_at_head("reset")
            return False
        if self._epoch != self._hub.cursor.epoch:  # read from one log, and named by the other
            return False
        await self._send(frames)
        self._position = max(upto, self._position or 0)
        return False

    async def _send(self, frames: Frames) -> None:
        """Write frames, joined to pieces of a useful size. The position is the last that was handed over."""
        piece: list[bytes] = []
        size = 0
        for number, (offset, frame) in enumerate(frames, 1):
            if frame is END_FRAME:
                self._noted_end = True
            else:
                piece.append(frame)
                size += len(frame)
            if size < WRITE_BYTES and number < len(frames):
                continue
            self._position = offset
            await self._write_now(b"".join(piece))
            piece, size = [], 0

    async def _write_now(self, piece: bytes) -> None:
        if piece and not self._over and (pause := self._write(piece)) is not None:  # type: ignore[misc]
            await pause

    async def _end_if_closed(self) -> None:
        closed = await self._hub.closed(self._channels)
        if self._position is None or (held := self._hub.held(self._channels, self._position)) is None or held[0]:
            return  # something came meanwhile; it goes first, and may have opened a channel again
        self._noted_end = False
        if closed:
            await self._write_now(END_FRAME)
            self.end()

    # How it begins.

    async def _greet(self) -> None:
        """Send ``ready`` or ``reset``, and the initial state.

        The cursor is the id of the last of these events and of no other: a client that is cut off in between comes
        back without it, and gets the state from its beginning.
        """
        greeting, self._greeting = self._greeting, ""
        start = self._position if self._position is not None else 0
        cursor = str(Cursor(self._epoch, start))
        last: ServerSentEvent | None = None
        async for value in _values(self._subscription.initial):
            event = value if isinstance(value, ServerSentEvent) else ServerSentEvent(value)
            if event.data is None:  # it cannot carry an id
                continue
            await self._write_now(ready_frame(greeting, None) if last is None else state_frame(last, None))
            last = event
        await self._write_now(ready_frame(greeting, cursor) if last is None else state_frame(last, cursor))


async def _values(initial: Callable[[], Any] | None) -> AsyncIterator[Any]:
    """Yield the values of an initial state. Sync code runs in a thread that is there only for it."""
    if initial is None:
        return
    thread = StreamThread()
    try:
        async with ThreadSensitiveContext(executor=stand_in.get() or thread):  # type: ignore[arg-type]
            if inspect.isasyncgenfunction(initial):
                async for value in initial():
                    yield value
                return
            if inspect.iscoroutinefunction(initial):
                returned = await initial()
            else:
                returned = await sync_to_async(_called)(initial)
            if isinstance(returned, _Many):
                for value in returned.values:
                    yield value
            elif returned is not None:
                yield returned
    finally:
        thread.shutdown()


class _Many:
    def __init__(self, values: list[Any]) -> None:
        self.values = values


def _called(initial: Callable[[], Any]) -> Any:
    returned = initial()
    return _Many(list(returned)) if inspect.isgenerator(returned) else returned
