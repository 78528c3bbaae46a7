"""Where a stream of channels starts: at the client's cursor, at the page's, or at the log's head."""

import asyncio
import contextlib
from typing import Literal, NamedTuple

from ..channels.hub import Hub
from ..channels.log_reader import Beginning
from ..channels.subscription import Start
from ..errors import CursorExpired
from ..wire.cursor import Cursor

__all__ = ["Position", "StartRequest", "start_position", "start_without_cursor"]

# How long a client with a cursor of a new epoch waits for the hub to learn of that epoch, before it is reset.
EPOCH_SECONDS = 2.0


class Position(NamedTuple):
    """How far a stream that catches up has come.

    ``offset``: of the last event that was written, or where the stream begins. ``greeting``: the event that is still to
    be sent, before the initial state. ``tells_cursor``: once the stream has caught up, a comment with the cursor is to
    be sent; otherwise the client would not know that it is up to date. ``may_be_closed``: all channels may be closed at
    this position. ``oldest_until``: the stream began with the oldest events, when the head had this offset.
    """

    epoch: str
    offset: int | Beginning
    greeting: Literal["", "ready", "reset"] = ""
    tells_cursor: bool = False
    may_be_closed: bool = True
    oldest_until: int = 0


class StartRequest(NamedTuple):
    """Where a client asks to start. ``is_signed``: its URL was granted at the cursor ``begins_at``."""

    last_event_id: str
    begins_at: str
    start: Start
    is_signed: bool


async def start_position(hub: Hub, channels: frozenset[str], request: StartRequest) -> Position:
    """Return where a stream starts. Raises ``BrokerUnavailable``."""
    if not request.last_event_id and (not request.begins_at or request.start == "latest"):
        return await start_without_cursor(hub, request.start, "ready")
    cursor = Cursor.parse(request.last_event_id or request.begins_at)
    if cursor is None or not await _is_known(hub, cursor) or await _is_before_grant(hub, channels, cursor, request):
        return await start_without_cursor(hub, request.start, "reset")
    if request.last_event_id:
        return Position(cursor.epoch, cursor.offset, tells_cursor=True)
    return Position(cursor.epoch, cursor.offset, "ready")


async def start_without_cursor(hub: Hub, start: Start, greeting: Literal["ready", "reset"]) -> Position:
    """Return where a stream starts whose client has no cursor, or none that can be used."""
    newest = await hub.newest()
    if start == "oldest":
        return Position(newest.epoch, start, greeting, oldest_until=newest.offset)
    return Position(newest.epoch, newest.offset if start == "now" else start, greeting)


async def _is_known(hub: Hub, cursor: Cursor) -> bool:
    """Return whether a cursor is one of the log. The client may come from a process that has read more of it."""
    here = hub.cursor
    if cursor.epoch == here.epoch and cursor.offset <= here.offset:
        return True
    # Ask twice: the first call may be shared with one that began before this cursor was given out.
    for _ in range(2):
        head = await hub.head()
        if cursor.epoch == head.epoch and cursor.offset <= head.offset:
            break
    else:
        return False
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(EPOCH_SECONDS):
            while hub.cursor.epoch != head.epoch:
                await hub.wait_for_batch()
    return True


async def _is_before_grant(hub: Hub, channels: frozenset[str], cursor: Cursor, request: StartRequest) -> bool:
    """Return whether a client asks for events from before its URL was granted: it may have forged its cursor.

    A page that has kept its cursor over a reload has an older one, too. It missed nothing if there was no event.
    """
    granted = Cursor.parse(request.begins_at) if request.is_signed else None
    if granted is None or granted.epoch != cursor.epoch or cursor.offset >= granted.offset:
        return False
    try:
        frames, complete = await hub.first(channels, cursor.offset, granted.offset)
    except CursorExpired:
        return True
    return bool(frames) or complete < granted.offset
