"""The driver that serves a subscription to one connection.

A connection is *live*, and the hub pushes to it, or *catching up*, and it reads the ring or the log itself, in a task
that is there only meanwhile. Live means that its position is the hub's: it has none of its own then. From the
comparison that makes it live to the end of the task there is no await.
"""

import asyncio
import contextlib
import contextvars
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from ..access.identity import Identity
from ..channels.group import Group
from ..channels.hub import Hub, hub
from ..channels.log_reader import Beginning
from ..channels.subscription import Subscription
from ..concurrency.sync_code import explain_sync_call
from ..concurrency.tasks import is_cancelled
from ..errors import BrokerUnavailable, CursorExpired, StreamRefused
from ..wire.cursor import Cursor
from ..wire.event import END_ID, ServerSentEvent
from ..wire.frames import END_FRAME, comment_frame, id_frame, ready_frame, state_frame
from .failures import Outcome, last_frames, log_failure
from .initial_state import initial_values

__all__ = ["ChannelDriver", "check_revoked"]

logger = logging.getLogger("serversent")


Write = Callable[[bytes], Awaitable[None] | None]

RETRY_SECONDS = 1.0

_TASK = "serversent-catch-up"

_END: Any = object()

# How long a client with a cursor of a new epoch waits for the hub to learn of it, rather than being reset.
EPOCH_SECONDS = 2.0


class ChannelDriver:
    """Serves one subscription to one connection."""

    __slots__ = (
        "_begins_at",
        "_epoch",
        "_expires_at",
        "_expiry",
        "_greeting",
        "_group",
        "_has_begun",
        "_hub",
        "_initial",
        "_last_event_id",
        "_may_be_closed",
        "_on_end",
        "_on_written",
        "_over",
        "_position",
        "_prepare",
        "_start_at",
        "_task",
        "_tells_cursor",
        "_write",
        "channels",
        "context",
        "control_events",
        "direct",
        "is_live",
        "name",
        "outcome",
        "signed",
    )

    def __init__(
        self,
        subscription: Subscription,
        *,
        name: str,
        using: str = "default",
        last_event_id: str = "",
        begins_at: str = "",
        signed: Identity | None = None,
        on_written: Callable[[bytes], None] | None = None,
        prepare: Callable[[], object] | None = None,
        context: contextvars.Context | None = None,
    ) -> None:
        self.name = name
        self.context = context or contextvars.copy_context()  # the view's
        self.outcome: Outcome = "open"
        self.is_live = False  # everything there is was sent, and the hub pushes the rest
        self.direct: Any = None
        # Not the subscription itself: thousands of streams may have the same channels, and share one set of them.
        self.channels = subscription.channels
        self.signed = signed  # for whom its URL was signed, if it was
        self._on_written = on_written  # told of what was written, of all streams of these channels
        self._initial = subscription.initial
        self._prepare = prepare  # called by each thread of the initial state
        self._start_at = subscription.start
        self.control_events = subscription.control_events
        self._expires_at = subscription.expires_at
        self._hub: Hub = hub(using)
        self._group: Group | None = None  # set while it is joined
        self._last_event_id = last_event_id
        self._begins_at = begins_at  # a cursor, for who has none
        self._epoch = ""
        # While it is not live: the last offset that was handed to ``write``, or where it begins.
        self._position: int | Beginning = 0
        self._greeting = ""  # "ready" or "reset", until it was sent
        self._tells_cursor = False  # once it has caught up: to who has resumed nothing else may say so for long
        self._may_be_closed = True  # so all channels may be, where it stands or before
        self._over = False
        self._task: asyncio.Task[None] | None = None  # set while catching up, or while a write waits
        self._has_begun = False  # that task
        self._write: Write | None = None
        self._on_end: Callable[[Any], object] | None = None
        self._expiry: asyncio.TimerHandle | None = None

    # Before the headers.

    async def begin(self, last_event_id: str = "") -> None:
        """Find where the stream begins. After this, nothing of the broker is an error. Twice is once.

        Raises ``BrokerUnavailable``, and ``StreamRefused`` for a URL that was taken back since it was signed.
        """
        if self._group is not None:
            return
        await self._hub.start()
        self._group = self._hub.join(self, self.channels)
        self.channels = self._group.channels
        self._group.on_written = self._on_written or self._group.on_written
        try:
            if self.signed is not None:
                await check_revoked(self.signed, self.channels)
            await self._find_position(last_event_id or self._last_event_id)
        except BaseException:
            self._leave()
            raise

    async def _find_position(self, last_event_id: str) -> None:
        if not last_event_id and (not self._begins_at or self._start_at == "latest"):
            await self._begin_at_head("ready")
            return
        cursor = Cursor.parse(last_event_id or self._begins_at)
        if cursor is None or not await self._is_known(cursor) or await self._is_before_grant(cursor):
            await self._begin_at_head("reset")
            return
        self._epoch, self._position = cursor.epoch, cursor.offset
        if last_event_id:
            self._tells_cursor = True
        else:
            self._greeting = "ready"

    async def _is_known(self, cursor: Cursor) -> bool:
        here = self._hub.cursor
        if cursor.epoch == here.epoch and cursor.offset <= here.offset:
            return True
        # Another process may be ahead of this one's hub. The first answer may be to a question from before the cursor.
        for _ in range(2):
            head = await self._hub.head()
            if cursor.epoch == head.epoch and cursor.offset <= head.offset:
                break
        else:
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EPOCH_SECONDS):
                while self._hub.cursor.epoch != head.epoch:
                    await self._hub.moved()
        return True

    async def _is_before_grant(self, cursor: Cursor) -> bool:
        """Whether a client asks for events of its channels from before its URL was granted: its cursor may be forged.

        A page that kept its cursor over a reload has an older one as well, and missed nothing if there was no event.
        """
        granted = Cursor.parse(self._begins_at) if self.signed is not None else None
        if granted is None or granted.epoch != cursor.epoch or cursor.offset >= granted.offset:
            return False
        try:
            frames, upto = await self._hub.first(self.channels, cursor.offset, granted.offset)
        except CursorExpired:
            return True
        return bool(frames) or upto < granted.offset

    async def _begin_at_head(self, greeting: str) -> None:
        newest = await self._hub.newest()
        self._greeting = greeting
        self._epoch = newest.epoch
        self._position = newest.offset if self._start_at == "now" else self._start_at

    # While it is served.

    def attach(self, write: Write, on_end: Callable[[Any], object], direct: Any = None) -> None:
        """Send what there is, and all that comes, through ``write``; call ``on_end`` once when that is over."""
        self._write = write
        self._on_end = on_end
        self.direct = direct
        if self._initial is None:  # nothing of the project's runs any more, and of the request nothing has to stay
            self.context = contextvars.copy_context()
        if self._expires_at is not None:
            seconds = max(0.0, self._expires_at - time.time())
            self._expiry = asyncio.get_running_loop().call_later(seconds, self.end, context=self.context)
        self.catch_up()

    def push(self, joined: bytes) -> None:
        if (pause := self._write(joined)) is not None:  # type: ignore[misc]
            self._start(pause if self._on_written is None else self._and_tell(pause, joined), at_once=True)

    def catch_up(self) -> None:
        if self._task is None and self._write is not None and not self._over:
            self._start(None)

    def check_closed(self) -> None:
        self._may_be_closed = True
        self.catch_up()

    @property
    def url_expires_at(self) -> float | None:
        """When the signed URL of the stream expires, if it has one, as ``time.time()`` counts."""
        return None if self.signed is None else self._expires_at

    def writes(self) -> int:
        return self._group.writes if self.is_live and self._group is not None else 0

    def heartbeat(self) -> bytes:
        """Return a comment; with the cursor, if all up to it was sent."""
        return comment_frame(f"hb {self._hub.cursor}" if self.is_live else "hb")

    def cancel(self) -> None:
        """Stop. May be called in any state, also twice."""
        self._over = True
        self._leave()
        if self._task is not None and self._has_begun:
            self._task.cancel()
        elif self._task is not None:
            # A write that was begun by hand may hold a lock of the server's: the task has to get as far as that first.
            asyncio.get_running_loop().call_soon(self._task.cancel)

    async def wait_closed(self, seconds: float) -> None:
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=seconds)

    def _leave(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self._leave_live()
        if self._group is not None:
            self._hub.leave(self, self._group)
            self._group = None

    def end(self) -> None:
        """End the response. Its client comes back with its cursor, unless it was told not to."""
        self._over = True
        self._leave_live()
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self)

    # Live.

    def _go_live(self) -> None:
        if self._group is not None:
            self.is_live = True
            self._group.go_live(self)

    def _leave_live(self) -> None:
        if self.is_live and self._group is not None:
            self.is_live = False
            self._position = self._hub.cursor.offset
            self._group.leave_live(self)

    # Catching up.

    def _start(self, pause: Awaitable[None] | None, *, at_once: bool = False) -> None:
        """Catch up. ``at_once``: what can be written without waiting is written before this returns."""
        self._leave_live()
        self._has_begun = False
        loop, coroutine = asyncio.get_running_loop(), self._catch_up(pause)
        if at_once and sys.version_info >= (3, 12):
            task = asyncio.Task(coroutine, loop=loop, name=_TASK, context=self.context, eager_start=True)
        else:
            task = loop.create_task(coroutine, name=_TASK, context=self.context)
        self._task = None if task.done() else task

    async def _catch_up(self, pause: Awaitable[None] | None) -> None:
        self._has_begun = True
        try:
            if pause is not None:
                await pause
            while not self._over:
                if self._greeting:  # an error of the initial state is none of the broker's
                    await self._greet()
                    continue
                try:
                    await self._hub.start()
                    if await self._step():
                        self._go_live()
                        return
                except BrokerUnavailable as error:
                    logger.debug("The stream %s waits: %s", self.name, error)  # the hub tells of the outage, once
                    await asyncio.sleep(RETRY_SECONDS)
        except asyncio.CancelledError as error:
            if self._over:  # by us
                raise
            if is_cancelled():  # by the end of the loop
                self.end()
                raise
            await self._fail(error)  # by something that the initial state awaits
        except Exception as error:
            explain_sync_call(f"The initial state of {self.name}", error)
            await self._fail(error)
        finally:
            self._task = None

    async def _fail(self, error: BaseException) -> None:
        log_failure(self.name, error)
        self.outcome = "failed"
        with contextlib.suppress(asyncio.CancelledError):
            await self._write_now(last_frames(self.name, error, control_events=self.control_events))
        self.end()

    async def _step(self) -> bool:
        """Take one step towards the hub's position. True: it is reached, and everything up to it was sent."""
        here = self._hub.cursor
        if self._epoch != here.epoch:
            await self._begin_at_head("reset")
            return False
        if isinstance(self._position, int) and self._position > here.offset:  # it comes from a process that is ahead
            await self._hub.moved()
            return False
        if self._position == here.offset:
            if self._may_be_closed:
                await self._end_if_closed(here.offset)
                return False
            if self._tells_cursor:
                self._tells_cursor = False
                await self._write_now(comment_frame(f"hb {here}"))
                return False
            return True
        try:
            pieces, upto = await self._hub.read(self.channels, self._position)
        except CursorExpired:
            await self._begin_at_head("reset")
            return False
        if self._epoch != self._hub.cursor.epoch:  # read from one log, and named by the other
            return False
        for piece in pieces:
            self._may_be_closed |= piece.closes
            self._position = piece.offset
            await self._write_now(piece.frames)
        self._position = upto if isinstance(self._position, str) else max(upto, self._position)
        return False

    async def _write_now(self, piece: bytes) -> None:
        if not piece or self._over:
            return
        if (pause := self._write(piece)) is not None:  # type: ignore[misc]
            await pause
        self._tell(piece)

    async def _and_tell(self, pause: Awaitable[None], joined: bytes) -> None:
        await pause
        self._tell(joined)

    def _tell(self, written: bytes) -> None:
        if self._on_written is not None and not self._over and self._group is not None:
            self._group.tell_written(written)

    async def _end_if_closed(self, position: int) -> None:
        self._may_be_closed = False  # before the answer: what is closed meanwhile is another question
        try:
            is_closed = self._group is not None and await self._hub.all_closed(self._group, position)
        except BaseException:
            self._may_be_closed = True
            raise
        if is_closed:
            await self._write_now(END_FRAME if self.control_events else id_frame(END_ID))
            self.outcome = "complete"
            self.end()

    # How it begins.

    async def _greet(self) -> None:
        """Send ``ready`` or ``reset``, and the initial state.

        The cursor is the id of the last of these events and of no other: a client that is cut off in between comes
        back without it, and gets the state from its beginning.
        """
        greeting, self._greeting = self._greeting, ""
        start = self._position if isinstance(self._position, int) else 0
        # The newest events of the channels are not all that there is after any cursor, and bring their own.
        self._tells_cursor = self._position == "latest"
        cursor = None if self._tells_cursor else str(Cursor(self._epoch, start))
        last: ServerSentEvent | None = None
        values = initial_values(self._initial, Cursor(self._epoch, start), self._prepare)
        async with contextlib.aclosing(values):
            waits = self._initial is not None
            while True:
                async with self._hub.initial_turns.turn() if waits else contextlib.nullcontext(False) as has_turn:
                    value = await anext(values, _END)
                waits = has_turn  # who has waited too long once waits no more
                if value is _END:
                    break
                event = value if isinstance(value, ServerSentEvent) else ServerSentEvent(value)
                if event.data is None:  # it cannot carry an id
                    continue
                await self._write_now(self._greeting_frame(greeting, None) if last is None else state_frame(last, None))
                last = event
        await self._write_now(self._greeting_frame(greeting, cursor) if last is None else state_frame(last, cursor))

    def _greeting_frame(self, greeting: str, cursor: str | None) -> bytes:
        if self.control_events:
            return ready_frame(greeting, cursor)
        return b"" if cursor is None else id_frame(cursor)


async def check_revoked(signed: Identity, channels: Collection[str]) -> None:
    """Raise ``StreamRefused`` if a URL was taken back since it was signed, or ``BrokerUnavailable``."""
    default = hub("default")
    await default.start()
    await default.know_revoked()
    known = signed.signed is not None and signed.signed.is_of(default.cursor)
    if not known or default.revocations.refuses(signed, channels):
        raise StreamRefused(403, "This address is not valid any more.")
