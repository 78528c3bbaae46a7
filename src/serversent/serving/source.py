"""The source of a stream makes its frames. This is the interface that a connection sees."""

import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any, Literal

from ..access.identity import Identity
from ..conf import setting
from ..wire.frames import comment_frame, retry_frame

__all__ = ["HEARTBEAT_FRAME", "Ends", "Outcome", "StreamSource", "Write", "opening_frame"]

# Writes a frame. If it returns an awaitable, that is awaited before the next frame: the client's pace.
Write = Callable[[bytes], Awaitable[None] | None]

# How a stream ended, as far as its source knows: "open" if it has not ended, or if its connection has ended it.
Outcome = Literal["open", "complete", "failed"]

# When the body of a response ends properly. Otherwise the connection is cut, so that the client does not take the
# stream for complete.
Ends = Literal["always", "unless failed", "if complete"]

HEARTBEAT_FRAME = comment_frame("hb")


def opening_frame(kind: str, url_expires_at: float | None = None) -> bytes:
    """Return the beginning of a stream: a comment, so that proxies pass the headers on, and the reconnection time.

    The comment tells the browser client the interval of heartbeats, whether the stream has cursors, and for how long
    its signed URL is valid, if it has one. ``url_expires_at``: a Unix time.
    """
    valid = "" if url_expires_at is None else f", valid for {max(0, int(url_expires_at - time.time()))} s"
    comment = comment_frame(f"{kind}, heartbeat {setting('HEARTBEAT_SECONDS'):g} s{valid}")
    return comment + retry_frame(setting("RETRY_MILLISECONDS"))


class StreamSource:
    """Makes the frames of one stream.

    ``name``: for the log. ``channels``: the channels of the stream, if it has any. ``may_send_retry``: the end of the
    stream may tell the client when to come back. ``reads_request``: code that may use the request runs while the stream
    is open. ``control_events``: whether the client knows the event ``end``.
    ``usual_end``: when the body ends properly. ``url_identity``: for whom the stream's URL was signed, if it was.
    """

    __slots__ = ()

    name: str
    channels: Collection[str] = frozenset()
    may_send_retry = True
    reads_request = False
    control_events = True
    usual_end: Ends = "always"
    url_identity: Identity | None = None

    @property
    def outcome(self) -> Outcome:
        raise NotImplementedError

    @property
    def write_count(self) -> int:
        """Return how often frames were written past ``write``."""
        return 0

    @property
    def is_caught_up(self) -> bool:
        """Return whether everything that there is was sent, and only future events are missing."""
        return False

    async def begin(self, last_event_id: str = "") -> None:
        """Prepare the stream before its headers are sent. A second call does nothing.

        Raises ``BrokerUnavailable`` and ``StreamRefused``.
        """

    def opening(self) -> bytes:
        """Return the bytes before the first frame."""
        raise NotImplementedError

    def attach(self, write: Write, on_end: Callable[[Any], object], fast_path: Any = None) -> None:
        """Send frames through ``write`` from now on, and call ``on_end`` when there will be no more.

        ``fast_path``: the argument for ``servers.uvicorn.write_all()``, for frames that many streams get.
        """
        raise NotImplementedError

    def heartbeat(self) -> bytes:
        """Return the frame that is sent after a silence."""
        return HEARTBEAT_FRAME

    def close_with(self, *closers: Callable[[], Any]) -> None:
        """Call these when the stream is closed."""

    def cancel(self) -> None:
        """Stop. May be called in any state, also twice."""
        raise NotImplementedError

    def frames_in_thread(self) -> Iterator[bytes] | None:
        """Return the frames of the stream for a WSGI server's thread; ``None`` if it needs an event loop."""
        return None

    def cancel_threadsafe(self) -> None:
        """Stop, called from any thread."""

    async def wait_closed(self, seconds: float) -> None:
        """Wait until no code of the stream runs any more, at most so long."""
        raise NotImplementedError
